"""Files that are whole or not there, all text of them UTF-8, and locks that the users of a machine share."""

from __future__ import annotations

import hashlib
import json
import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout
from omegaconf import OmegaConf

log = logging.getLogger(__name__)

PATIENCE = 1.0
"""Seconds that a process waits for another's lock before it says so."""


@contextmanager
def naming(path: Path, partial: Path | None = None) -> Iterator[None]:
    """Names a path in the system's errors that name none, as that of a full disk, or name the partial file in its place."""
    try:
        yield
    except OSError as error:
        if error.errno is not None and error.filename in (None, partial and str(partial)):
            raise type(error)(error.errno, error.strerror, str(path)) from error
        raise


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Gives a path to write to, beside `path`; renames it over `path` when the block ends well, else removes it.

    Example:
        >>> with replacing(Path("report.md")) as partial:
        ...     partial.write_text(text, encoding="utf-8")
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{path.name}.{os.getpid()}.partial")
    try:
        with naming(path, partial):
            yield partial
            partial.replace(path)
    finally:
        with suppress(OSError):  # what made the block fail is told, not this
            partial.unlink(missing_ok=True)


def check_writable(folder: Path) -> None:
    """Makes a folder, and makes sure that files can be written to it, before work is spent on what they will hold.

    Raises:
        OSError: it cannot be made or written to.
    """
    folder.mkdir(parents=True, exist_ok=True)
    probe = folder / f".{os.getpid()}.probe"
    probe.touch()
    probe.unlink()


def write_json(path: Path, content: Any) -> None:
    """Writes JSON, whole or not at all."""
    with replacing(path) as partial:
        partial.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")


def write_yaml(path: Path, content: Any) -> None:
    """Writes plain values or a config as YAML, whole or not at all."""
    with replacing(path) as partial:
        OmegaConf.save(OmegaConf.create(content), partial)


def content_digest(path: Path) -> str:
    """Of a file's content, 16 hex digits."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()[:16]


def read_json(path: Path) -> Any | None:
    """The content of a JSON file; None where there is none, or it cannot be read as JSON."""
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (FileNotFoundError, NotADirectoryError, ValueError):
        return None


def shared_lock(path: Path) -> FileLock:
    """A lock file that all users can take who can write to its folder; the kernel drops it when its holder dies."""
    return FileLock(path, mode=0o666)


def remove_lock(lock: FileLock) -> None:
    """Removes the file of a lock that nobody needs any more; one that another user owns may have to stay."""
    with suppress(PermissionError):
        Path(lock.lock_file).unlink(missing_ok=True)


@contextmanager
def holding(lock: FileLock, purpose: str) -> Iterator[None]:
    """Holds a lock. Where another process has it, says once what it waits for.

    Args:
        lock: to hold.
        purpose: ends the sentence "waiting for another process that ...".
    """
    try:
        lock.acquire(timeout=PATIENCE)
    except Timeout:
        log.info("waiting for another process that %s (%s)", purpose, lock.lock_file)
        lock.acquire()
    try:
        yield
    finally:
        lock.release()
