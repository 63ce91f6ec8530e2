"""A PostgreSQL server for the tests, from Debian's packages, on loopback."""

from __future__ import annotations

import os
import pwd
import shutil
import socket
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path


def binaries() -> Path | None:
    """The folder of the server's programs; None if there are none."""
    versions = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"))
    if versions:
        return versions[-1].parent
    found = shutil.which("initdb")
    return Path(found).parent if found else None


class AbsentError(Exception):
    """No server can run here; the message says why."""


class Server:
    """A server in a folder, which can be stopped and started.

    Args:
        folder: the server's folder.
        network: network that it accepts connections from; None: only from this host.
    Raises:
        AbsentError: it is not installed, or cannot run.
    """

    def __init__(self, folder: Path, network: str | None = None) -> None:
        found = binaries()
        if found is None:
            raise AbsentError("PostgreSQL's server is not installed (Debian: postgresql)")
        if not find_spec("psycopg"):
            raise AbsentError("the extra `postgres` is not installed")
        self.binaries, self.data = found, folder / "data"
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        self.data.mkdir(parents=True)
        if os.geteuid() == 0:  # the server refuses to run as root
            owner = next((name for name in ("postgres", "nobody") if _exists(name)), None)
            if owner is None:
                raise AbsentError("PostgreSQL cannot run as root, and there is no other user")
            shutil.chown(self.data, owner)
            for parent in (self.data, *self.data.parents):
                if parent != Path("/"):
                    parent.chmod(parent.stat().st_mode | 0o711)
            self.prefix = ["runuser", "-u", owner, "--"]
        else:
            self.prefix = []
        self._run("initdb", "-D", str(self.data), "-A", "trust", "-U", "tester", "--no-sync")
        self.listen = "127.0.0.1"
        if network:
            self.listen = "*"
            with (self.data / "pg_hba.conf").open("a") as rules:
                rules.write(f"host all all {network} trust\n")
        self.start()
        self.url = self.database("search")

    def _run(self, program: str, *arguments: str) -> None:
        command = [*self.prefix, str(self.binaries / program), *arguments]
        done = subprocess.run(
            command, cwd="/", stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True
        )
        assert done.returncode == 0, done.stderr

    def start(self) -> None:
        options = f"-p {self.port} -h '{self.listen}' -k '' -F"
        self._run("pg_ctl", "-D", str(self.data), "-w", "-l", str(self.data / "log"), "-o", options, "start")

    def stop(self) -> None:
        self._run("pg_ctl", "-D", str(self.data), "-m", "immediate", "stop")

    def database(self, name: str) -> str:
        """Makes an empty database; returns its URL."""
        self._run("createdb", "-h", "127.0.0.1", "-p", str(self.port), "-U", "tester", name)
        return f"postgresql+psycopg://tester@127.0.0.1:{self.port}/{name}"


@contextmanager
def temporary_server(network: str | None = None) -> Iterator[Server]:
    """A server while the block runs, in a separate folder, since pytest closes its folders to other users again."""
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        server = Server(Path(folder) / "server", network)
        try:
            yield server
        finally:
            server.stop()


def _exists(name: str) -> bool:
    try:
        return bool(pwd.getpwnam(name))
    except KeyError:
        return False
