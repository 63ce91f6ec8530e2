"""Errors that a user can cause and fix: each message names the file, key or value, and says what to do."""

from __future__ import annotations

import difflib
import errno
from collections.abc import Sequence
from pathlib import Path


class BasecallerError(Exception):
    """Base of all errors that are shown as one message, without a traceback."""


class SettingError(BasecallerError):
    """A setting has an invalid value."""


class DataError(BasecallerError):
    """A file or a data set cannot be used."""


class InfeasibleError(DataError):
    """A target needs more frames than the network gives: CTC has no path for it."""


class StorageError(BasecallerError):
    """The Optuna storage cannot be opened or used."""


class StageError(BasecallerError):
    """A stage needs the winner of another stage that is missing or unfinished."""


class FailedStageError(StageError):
    """None of a stage's trials gave a value.

    Args:
        message: which stage, and why.
        study: name of its study.
    """

    def __init__(self, message: str, study: str) -> None:
        super().__init__(message)
        self.study = study


class DivergedError(BasecallerError):
    """The training loss or the validation loss is no longer finite.

    Args:
        update: the optimizer update at which it happened, counted from 1.
        loss: the value seen.
        kind: which loss.
    """

    def __init__(self, update: int, loss: float, kind: str = "loss") -> None:
        super().__init__(f"the {kind} is {loss} at update {update}: lower optimizer.lr or train.clip")
        self.update = update


_NOISE = ("full_key:", "object_type=", "reference_type=", "Set the environment variable", "You may also", "Config search path:",
          "provider=", "See https://hydra.cc")  # fmt: skip
"""Beginnings of lines of Hydra and OmegaConf that say nothing to a user."""


def meant(name: str, known: Sequence[str], what: str) -> str:
    """Advice about an unknown name: the one that is nearest, and all.

    Args:
        name: as typed.
        known: names that exist.
        what: the word for them, in the plural.
    """
    close = difflib.get_close_matches(name, known, n=1)
    return f"{f'did you mean {close[0]}? {what.capitalize()}' if close else what} are {', '.join(known)}"


def one_line(message: str) -> str:
    """A message of Hydra or OmegaConf on one line, without their internals."""
    lines = [line.strip() for line in message.splitlines()]
    return " ".join(line for line in lines if line and not line.startswith(_NOISE)).removeprefix("In 'config': ")


REMEDIES = {
    errno.EACCES: "change its permissions, or give a file or folder of your own",
    errno.EPERM: "change its permissions, or give a file or folder of your own",
    errno.EROFS: "give a folder that can be written to",
    errno.ENOSPC: "free some space, or give a folder on another disk",
    errno.EDQUOT: "free some of your quota, or give a folder on another disk",
    errno.EISDIR: "give a file",
    errno.ENOTDIR: "give a folder",
    errno.EEXIST: "move it away, or give another folder",
    errno.ENOENT: "check the path",
    errno.ELOOP: "its symbolic links lead in a circle; give another path",
    errno.ENAMETOOLONG: "give a shorter name",
    errno.EMFILE: "raise the limit (ulimit -n)",
    errno.EIO: "check the disk",
    errno.ESTALE: "check the network file system",
}
"""What a user can do about the system's errors with files."""


def file_problem(error: OSError) -> str | None:
    """A system error about a file as one message that names the file; None for other errors."""
    if error.errno not in REMEDIES or isinstance(error, ConnectionError):
        return None
    path = str(error.filename) if error.filename is not None else ""
    reason, remedy = str(error.strerror), REMEDIES[error.errno]
    if path and error.errno in (errno.EEXIST, errno.ENOENT):
        dangling = next((p for p in (Path(path), *Path(path).parents) if p.is_symlink() and not p.exists()), None)
        if dangling is not None:
            reason = f"{dangling} is a link to {dangling.readlink()}, which is not there"
            remedy = "make that folder, or give another"
        elif Path(path).is_file():
            reason = "is a file, not a folder"
    return f"{path}: {reason}; {remedy}" if path else f"{reason}; {remedy}"
