"""A progress bar with loss, speed and time left; silent where nobody watches."""

from __future__ import annotations

from types import TracebackType

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn


class Meter:
    """Shows the updates of a training.

    Args:
        updates: in all.
        done: before this run.
        show: off, or where standard error is no terminal, nothing is drawn.
    """

    def __init__(self, updates: int, done: int, show: bool) -> None:
        console = Console(stderr=True)
        columns = (
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("loss {task.fields[loss]:.3f} nats/base"),
            TextColumn("{task.fields[rate]:,.0f} samples/s"),
            TimeElapsedColumn(),
            TimeRemainingColumn(),
        )
        self.progress = Progress(*columns, console=console, disable=not (show and console.is_terminal))
        self.task = self.progress.add_task("training", total=updates, completed=done, loss=float("nan"), rate=0.0)
        self.samples = 0

    def __enter__(self) -> Meter:
        self.progress.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.progress.stop()

    def advance(self, loss: float, samples: int) -> None:
        """One update more, over `samples` samples of signal."""
        self.samples += samples
        elapsed = self.progress.tasks[0].elapsed or 0.0
        self.progress.update(self.task, advance=1, loss=loss, rate=self.samples / elapsed if elapsed else 0.0)
