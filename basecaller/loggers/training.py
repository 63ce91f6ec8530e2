"""What a logger is given, and what it does."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol


@dataclass(frozen=True)
class Training:
    """What is known of a training before it begins.

    Attributes:
        name: for people; it ends with the run id.
        run_id: the identity of the training.
        folder: of the training: a logger may keep there which of its runs is the training's.
        hyperparameters: settings by dotted key, as numbers, truth values, text and None.
        tags: experiment, stage, study, trial, seed and run id.
    """

    name: str
    run_id: str
    folder: Path
    hyperparameters: dict[str, int | float | bool | str | None]
    tags: dict[str, str]

    def place(self, folder: str) -> Path:
        """The training's own folder in a folder of logs: the one that is there, though another trial may have begun it."""
        return next(Path(folder).glob(f"*{self.run_id}"), Path(folder) / self.name)


class Logger(Protocol):
    """Logs one training. It may raise anything: then the training goes on without it."""

    def __init__(self, settings: Any, training: Training) -> None: ...

    def log(self, step: int, metrics: dict[str, float]) -> None:
        """Logs metrics after so many updates. A resumed training tells again what it told before it was killed; that must not
        be logged twice."""

    def close(self, error: BaseException | None) -> None:
        """Ends the log. `error` is what ended the training; None: it has finished."""
