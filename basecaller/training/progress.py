"""The progress of a training: a bar on a terminal, elsewhere a line in the log for each point of the learning curve."""

from __future__ import annotations

import datetime
import logging
import time
from types import TracebackType

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

log = logging.getLogger(__name__)

SILENCE = 60.0
"""Seconds after which one of many trainings logs its progress; most trials of a search are shorter."""


class Meter:
    """Shows the updates of a training.

    Args:
        updates: total number of updates.
        done: number of updates before this run.
        alone: whether it is the only training here. One of several has no bar, and at most one line every `SILENCE` seconds.
        name: name of the training, to identify its lines.
    """

    def __init__(self, updates: int, done: int, alone: bool, name: str) -> None:
        console = Console(stderr=True)
        columns = (
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("loss {task.fields[loss]} nats/base"),
            TextColumn("{task.fields[rate]:,.0f} samples/s"),
            TimeElapsedColumn(),
            TimeRemainingColumn(),
        )
        self.drawn, self.alone = alone and console.is_terminal, alone
        self.prefix = "" if alone else f"run {name}: "
        self.progress = Progress(*columns, console=console, disable=not self.drawn)
        self.task = self.progress.add_task("training", total=updates, completed=done, loss="-", rate=0.0)
        self.updates, self.before, self.done, self.samples = updates, done, done, 0
        self.started = self.told = time.perf_counter()

    def __enter__(self) -> Meter:
        self.progress.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.progress.stop()

    @property
    def rate(self) -> float:
        """Samples of signal per second in this run."""
        return self.samples / max(1e-9, time.perf_counter() - self.started)

    def advance(self, loss: float, samples: int) -> None:
        """Counts one more update, over `samples` samples of signal."""
        self.samples += samples
        self.done += 1
        self.progress.update(self.task, advance=1, loss=f"{loss:.3f}", rate=self.rate)

    def point(self, train_loss: float, val_loss: float) -> None:
        """Shows a point of the learning curve, losses in nats per base."""
        now = time.perf_counter()
        if self.drawn or not (self.alone or now - self.told >= SILENCE):
            return
        self.told = now
        left = (now - self.started) / (self.done - self.before) * max(0, self.updates - self.done)
        log.info(
            "%s%s of %s updates, loss %.4f, validation %.4f nats/base, %s samples/s, %s left",
            self.prefix,
            f"{self.done:,}",
            f"{self.updates:,}",
            train_loss,
            val_loss,
            f"{self.rate:,.0f}",
            datetime.timedelta(seconds=round(left)),
        )
