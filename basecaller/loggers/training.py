"""The input and the protocol of a logger."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol


@dataclass(frozen=True)
class Training:
    """A training's description before it begins.

    Attributes:
        name: readable name; it ends with the run id.
        run_id: fingerprint of the training, which names its folder.
        folder: folder of the training, where a logger may store which of its runs belongs to the training.
        hyperparameters: settings by dotted key, as numbers, truth values, text and None.
        tags: experiment, seed and run id; in a sweep also stage, study and trial.
    """

    name: str
    run_id: str
    folder: Path
    hyperparameters: dict[str, int | float | bool | str | None]
    tags: dict[str, str]

    def place(self, folder: str) -> Path:
        """The training's own folder in a folder of logs; an existing one is reused even if another trial began it."""
        return next(Path(folder).glob(f"*{self.run_id}"), Path(folder) / self.name)


class Logger(Protocol):
    """Logs one training. If it raises any exception, the training continues without it."""

    def __init__(self, settings: Any, training: Training) -> None: ...

    def log(self, step: int, metrics: dict[str, float]) -> None:
        """Logs metrics at a number of updates. A resumed training repeats the points from before it was killed; these must not
        be logged twice."""

    def close(self, error: BaseException | None) -> None:
        """Ends the log. `error` is the exception that ended the training; None if it has finished."""
