"""Writes files completely or not at all, with text in UTF-8; and provides locks that the users of a machine share."""

from __future__ import annotations

import hashlib
import json
import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import yaml
from filelock import FileLock, Timeout

log = logging.getLogger(__name__)

PATIENCE = 1.0
"""Seconds that a process waits for another's lock before it logs that it waits."""


@contextmanager
def naming(path: Path, partial: Path | None = None) -> Iterator[None]:
    """Puts a path into system errors that name no file, such as those of a full disk, or that name the partial file."""
    try:
        yield
    except OSError as error:
        if error.errno is not None and error.filename in (None, partial and str(partial)):
            raise type(error)(error.errno, error.strerror, str(path)) from error
        raise


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Yields a path to write to, next to `path`; renames it to `path` if the block succeeds, else removes it.

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
        with suppress(OSError):  # so that the block's own error is reported
            partial.unlink(missing_ok=True)


def check_writable(folder: Path) -> None:
    """Creates a folder and checks that files can be written to it, before any work is done for them.

    Raises:
        OSError: the folder cannot be created or written to.
    """
    folder.mkdir(parents=True, exist_ok=True)
    probe = folder / f".{os.getpid()}.probe"
    with naming(folder, probe):
        probe.touch()
        probe.unlink(missing_ok=True)  # a process of another host may have the same id


def write_json(path: Path, content: Any) -> None:
    """Writes JSON, whole or not at all."""
    with replacing(path) as partial:
        partial.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")


class _Dumper(getattr(yaml, "CSafeDumper", yaml.SafeDumper)):  # type: ignore[misc]  # libyaml takes a tenth of the time
    """Writes text so that OmegaConf reads it as text, and repeated values in full."""

    def ignore_aliases(self, data: Any) -> bool:
        return True

    def text(self, value: str) -> yaml.ScalarNode:
        """Quotes text that looks like a number: OmegaConf reads `1e3` as one, unlike PyYAML, which quotes all others."""
        try:
            float(value)
        except ValueError:
            return self.represent_scalar("tag:yaml.org,2002:str", value)
        return self.represent_scalar("tag:yaml.org,2002:str", value, style="'")


_Dumper.add_representer(str, _Dumper.text)


def write_yaml(path: Path, content: Any) -> None:
    """Writes plain values as YAML, whole or not at all."""
    with replacing(path) as partial, partial.open("w", encoding="utf-8") as file:
        yaml.dump(content, file, Dumper=_Dumper, sort_keys=False, allow_unicode=True)


def content_digest(path: Path) -> str:
    """Digest of a file's content, 16 hex digits."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()[:16]


def read_json(path: Path) -> Any | None:
    """The content of a JSON file; None if it is missing or not JSON."""
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (FileNotFoundError, NotADirectoryError, ValueError):
        return None


def shared_lock(path: Path) -> FileLock:
    """A lock file for all users who can write to its folder; the kernel drops the lock when its holder dies."""
    return FileLock(path, mode=0o666)


def remove_lock(lock: FileLock) -> None:
    """Removes the file of a lock that is no longer needed; another user's file may have to stay."""
    with suppress(PermissionError):
        Path(lock.lock_file).unlink(missing_ok=True)


@contextmanager
def holding(lock: FileLock, purpose: str, seconds: float = -1) -> Iterator[None]:
    """Holds a lock. If another process has it, logs once what it waits for.

    Args:
        lock: the lock to hold.
        purpose: ends the sentence "waiting for another process that ...".
        seconds: longest time to wait; negative: no limit.
    Raises:
        Timeout: another process has the lock all that time.
    """
    try:
        lock.acquire(timeout=PATIENCE)
    except Timeout:
        log.info("waiting for another process that %s (%s)", purpose, lock.lock_file)
        lock.acquire(timeout=seconds)
    try:
        yield
    finally:
        lock.release()
