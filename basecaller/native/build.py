"""Compiles step.c for this processor on first use, caches the library, and loads it."""

from __future__ import annotations

import atexit
import hashlib
import importlib.util
import logging
import os
import platform
import shlex
import shutil
import stat
import subprocess
import sys
import tempfile
from functools import cache
from pathlib import Path

from filelock import FileLock, Timeout

from basecaller.common.files import holding
from basecaller.native.step import Library, self_test

log = logging.getLogger(__name__)

COMPILER, FOLDER, TARGET = "BASECALLER_CC", "BASECALLER_NATIVE_CACHE", "BASECALLER_NATIVE_TARGET"
"""Environment variables: the compiler command, the cache folder, and the processor to compile for (default: this one)."""

FLAGS = ("-O2", "-std=gnu11", "-fno-math-errno", "-fno-trapping-math", "-ffp-contract=fast", "-fPIC", "-fvisibility=hidden")
SOURCES = ("step.c", "block.h", "ctc.h")
SECONDS = 300
"""Time limit for the compiler, which takes a few seconds; ziglang takes longer, and so does a busy machine."""


class UnavailableError(Exception):
    """Native code cannot be used on this machine; the message says why."""


def compiler() -> list[str]:
    """The command of a C compiler: from `BASECALLER_CC`, the system, or the package ziglang.

    Raises:
        UnavailableError: no compiler is installed.
    """
    if given := os.environ.get(COMPILER):
        try:
            return shlex.split(given)
        except ValueError as error:
            raise UnavailableError(f"{COMPILER}={given}: {error}") from None
    for name in ("cc", "gcc", "clang"):
        if (found := shutil.which(name)) and not _is_stub(found):
            return [found]
    if importlib.util.find_spec("ziglang"):
        return [sys.executable, "-m", "ziglang", "cc"]
    raise UnavailableError("no C compiler was found; install gcc or clang, or: python -m pip install 'basecaller[native]'")


def _is_stub(path: str) -> bool:
    """Whether a compiler of macOS is none: without Apple's developer tools, it asks the user to install them."""
    if sys.platform != "darwin" or Path(path).parent != Path("/usr/bin"):
        return False
    return subprocess.run(["/usr/bin/xcode-select", "-p"], capture_output=True, check=False).returncode != 0


def _march(command: list[str]) -> str:
    """The flag of a compiler that chooses the processor. Zig writes x86_64_v3 for x86-64-v3, and so for every processor."""
    target = os.environ.get(TARGET, "native")
    if any(Path(word).name in ("zig", "ziglang") for word in command):
        target = target.replace("-", "_")
    return f"-mcpu={target}" if platform.machine().lower() in ("aarch64", "arm64") else f"-march={target}"


def compiled(source: Path, library: Path) -> Path:
    """Compiles C source into a shared library.

    Raises:
        UnavailableError: no compiler is installed, or it fails.
    """
    command = compiler()
    _output([*command, _march(command), *FLAGS, "-shared", "-o", str(library), str(source), "-lm"], library.parent)
    return library


def _output(command: list[str], folder: Path) -> str:
    """Runs a compiler and returns its output.

    Args:
        command: the command line.
        folder: where ziglang keeps its cache.
    Raises:
        UnavailableError: the compiler fails; the message has its first error.
    """
    try:
        done = subprocess.run(
            command,
            capture_output=True,
            encoding="utf-8",
            errors="replace",
            timeout=SECONDS,
            check=False,
            stdin=subprocess.DEVNULL,
            env=os.environ | {"ZIG_GLOBAL_CACHE_DIR": str(folder / "zig")},
        )
    except subprocess.TimeoutExpired:
        raise UnavailableError(f"{command[0]} took longer than {SECONDS} s") from None
    except OSError as error:
        raise UnavailableError(f"{command[0]} cannot be run ({error.strerror})") from error
    if done.returncode:
        said = next((line for line in done.stderr.splitlines() if "error" in line), f"exit status {done.returncode}")
        raise UnavailableError(f"{command[0]} failed: {said.strip()}")
    return done.stdout


def _refused(path: Path) -> str:
    """Why a file or folder cannot be trusted; empty if only this user can write to it."""
    found = path.lstat()
    if stat.S_ISLNK(found.st_mode):
        return f"{path} is a link"
    if found.st_uid != os.getuid():
        return f"{path} belongs to another user"
    return f"{path} can be written by others" if found.st_mode & 0o022 else ""


def cache_folder() -> Path:
    """The user's cache folder, or else a temporary folder that is removed when the process exits.

    Raises:
        UnavailableError: neither can be created.
    """
    reason = ""
    try:
        given = os.environ.get(FOLDER) or os.environ.get("XDG_CACHE_HOME")
        base = Path("~/Library/Caches" if sys.platform == "darwin" else "~/.cache").expanduser() if not given else Path(given)
        folder = base if os.environ.get(FOLDER) else base / "basecaller"
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        reason = _refused(folder)
        if not reason and os.access(folder, os.W_OK | os.X_OK):
            return folder
        reason = reason or f"{folder} cannot be written"
    except (OSError, RuntimeError) as error:  # RuntimeError: no home folder
        reason = str(error)
    try:
        private = Path(tempfile.mkdtemp(prefix="basecaller-"))
    except OSError as error:
        raise UnavailableError(f"no folder for compiled code ({reason}; {error})") from error
    log.debug("native code: %s; compiled for this process alone", reason)
    atexit.register(shutil.rmtree, private, ignore_errors=True)
    return private


def build() -> Path:
    """Returns the compiled library, building it if it is missing.

    Its name is a digest of source, flags, compiler and processor features, so machines that share a home folder do not share
    libraries that only one of them can run.

    Raises:
        UnavailableError: it cannot be built, or the cached file is not trusted.
    """
    if platform.machine().lower() not in ("x86_64", "amd64", "aarch64", "arm64"):
        raise UnavailableError(f"it does not support {platform.machine()}")
    here, command, folder = Path(__file__).parent, compiler(), cache_folder()
    march = _march(command)
    digest = hashlib.sha256(shlex.join([*command, march, *FLAGS]).encode())
    for name in SOURCES:
        digest.update((here / name).read_bytes())
    for question in (["--version"], [march, "-dM", "-E", "-x", "c", os.devnull]):
        digest.update(_output([*command, *question], folder).encode())
    library = folder / f"step-{digest.hexdigest()[:24]}.so"
    try:
        lock = FileLock(folder / f"{library.name}.lock", mode=0o600)
        with holding(lock, "compiles native code", 2 * SECONDS):
            if not library.exists():
                log.info("compiling native code, once for this machine: a few seconds, up to a minute with ziglang")
                partial = library.with_suffix(f".{os.getpid()}.partial")
                try:
                    compiled(here / "step.c", partial)
                    partial.chmod(0o700)
                    partial.replace(library)
                finally:
                    partial.unlink(missing_ok=True)
    except Timeout:
        raise UnavailableError(f"another process has been compiling for {2 * SECONDS} s") from None
    except OSError as error:
        raise UnavailableError(f"{folder}: {error.strerror}") from error
    if reason := _refused(library):
        raise UnavailableError(reason)
    return library


@cache
def _loaded() -> Library | str:
    try:
        library = Library(str(build()))
    except UnavailableError as error:
        return str(error)
    except (OSError, AttributeError) as error:
        return f"the compiled library cannot be loaded ({error})"
    return self_test(library) or library


def load() -> Library:
    """Loads the native code, building it if necessary, and tests it against PyTorch once per process.

    Raises:
        UnavailableError: it cannot be used on this machine.
    """
    loaded = _loaded()
    if isinstance(loaded, str):
        raise UnavailableError(loaded)
    return loaded
