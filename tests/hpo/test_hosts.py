"""Two hosts, as network namespaces, that share a PostgreSQL server and no file system."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from basecaller.hpo.records import trials_of
from basecaller.hpo.storage import current_study
from tests.conftest import TINY
from tests.helpers.postgres import AbsentError, Server, temporary_server
from tests.helpers.processes import SLOW, wait_until

NETWORK = "198.18.0.0/15"
"""For tests between networks (RFC 2544), used by nobody."""


@dataclass
class Host:
    """A network namespace and a folder that only it sees.

    Attributes:
        name: name of the namespace and of the host.
        server: the database server's address, as seen from here.
        folder: the host's folder; `hidden` is that of the other host.
    """

    name: str
    server: str
    folder: Path
    hidden: Path

    def start(self, server: Server, *overrides: str, **environment: str) -> subprocess.Popen:
        url = server.url.replace("127.0.0.1", self.server)
        train = [sys.executable, "-m", "basecaller.train", "-m", *TINY, *overrides, f"storage={url}"]
        alone = f'hostname {self.name} && mount -t tmpfs none {self.hidden} && exec "$@"'
        return subprocess.Popen(
            ["ip", "netns", "exec", self.name, "unshare", "--mount", "--uts", "sh", "-c", alone, "sh", *train],
            cwd=self.folder,
            start_new_session=True,
            stderr=subprocess.PIPE,
            text=True,
            env=os.environ | environment,
        )

    def results(self) -> int:
        return len(list(self.folder.glob("outputs/*/runs/*/result.json")))


@pytest.fixture
def hosts(tmp_path) -> Iterator[list[Host]]:
    if os.geteuid() != 0 or not shutil.which("ip") or not shutil.which("unshare"):
        pytest.skip("network namespaces need root, iproute2 and util-linux")
    names = [f"bc{os.getpid()}{letter}" for letter in "ab"]
    made = []
    try:
        for i, name in enumerate(names):
            lines = [
                f"netns add {name}",
                f"link add {name} type veth peer name eth0 netns {name}",
                f"addr add 198.18.{i}.1/24 dev {name}",
                f"link set {name} up",
                f"-n {name} addr add 198.18.{i}.2/24 dev eth0",
                f"-n {name} link set eth0 up",
                f"-n {name} link set lo up",
            ]
            for line in lines:
                done = subprocess.run(["ip", *line.split()], capture_output=True, text=True, check=False)
                if done.returncode:
                    pytest.skip(f"ip {line}: {done.stderr.strip()}")
            (tmp_path / name).mkdir()
            made.append(Host(name, f"198.18.{i}.1", tmp_path / name, tmp_path / names[1 - i]))
        yield made
    finally:
        for name in names:
            subprocess.run(["ip", "netns", "del", name], capture_output=True, check=False)
            subprocess.run(["ip", "link", "del", name], capture_output=True, check=False)


@pytest.fixture(scope="module")
def far_server() -> Iterator[Server]:
    try:
        with temporary_server(NETWORK) as made:
            yield made
    except AbsentError as absent:
        pytest.skip(str(absent))


def test_two_hosts_share_a_grid(hosts, far_server):
    grid = "optimizer.lr=" + ",".join(f"0.00{i}" for i in range(1, 9))
    running = [host.start(far_server, *SLOW, "train.epochs=20", "experiment=shared", grid) for host in hosts]
    for process in running:
        _, errors = process.communicate(timeout=180)
        assert process.returncode == 0, errors
    study = current_study(far_server.url, "shared", "sweep")
    assert Counter(t.user_attrs["outcome"] for t in study.trials) == {"complete": 8}
    assert len({t.point for t in trials_of(study)}) == 8
    assert all(host.results() for host in hosts)
    assert sum(host.results() for host in hosts) == 8


def test_the_other_host_runs_the_trials_of_a_lost_one(hosts, far_server):
    wait = {"BASECALLER_STORAGE_WAIT": "3"}
    given = [*SLOW, "train.epochs=120", "experiment=lost", "optimizer.lr=0.01,0.001,0.002"]
    lost, other = hosts
    first = lost.start(far_server, *given, **wait)
    wait_until(lambda: bool(list(lost.folder.glob("outputs/lost/runs/*/last.pt"))), first)
    second = other.start(far_server, *given, **wait)
    wait_until(lambda: bool(list(other.folder.glob("outputs/lost/runs/*/last.pt"))), second)
    os.killpg(first.pid, signal.SIGKILL)
    killed = time.monotonic()
    _, errors = second.communicate(timeout=240)
    assert second.returncode == 0, errors
    assert time.monotonic() - killed > 3
    assert "its process died; it goes back into the queue" in errors
    study = current_study(far_server.url, "lost", "sweep")
    assert Counter(t.user_attrs["outcome"] for t in study.trials) == {"complete": 3, "abandoned": 1}
    assert len({t.point for t in trials_of(study) if t.is_complete}) == 3
