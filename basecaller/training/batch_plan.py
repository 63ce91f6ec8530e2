"""The batch sizes of a training: one size, or large batches first and small ones at the end."""

from __future__ import annotations

import itertools
import math
from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property


@dataclass(frozen=True)
class BatchPlan:
    """The batch sizes of a training.

    With a schedule, the sizes follow each other, each for an equal share of the training's chunks. The learning rate grows with
    the square root of the batch size (Krizhevsky, arXiv:1404.5997, 2014). Its own schedule runs over chunks, not updates: most
    updates belong to the small batches, and a cosine over updates would be spent almost entirely on them.

    Attributes:
        chunks: chunks per epoch.
        batch_size: the size that the learning rate applies to; without a schedule, the size of every batch.
        schedule: batch sizes in order; None: one size.
        epochs: epochs of the whole training, for a schedule.
    """

    chunks: int
    batch_size: int
    schedule: tuple[int, ...] | None = None
    epochs: int = 1

    def parts(self, epoch: int) -> list[tuple[int, int]]:
        """Pairs of number of chunks and batch size of an epoch, in order."""
        if self.schedule is None:
            return [(self.chunks, self.batch_size)]
        count = len(self.schedule)
        cuts = [min(max(self.epochs * k / count - epoch, 0.0), 1.0) for k in range(count)] + [1.0]
        ends = [round(self.chunks * cut) for cut in cuts]
        sizes = [(b - a, size) for size, (a, b) in zip(self.schedule, itertools.pairwise(ends), strict=True)]
        return [(chunks, size) for chunks, size in sizes if chunks]

    def batches(self, epoch: int) -> int:
        """Number of batches of an epoch."""
        return sum(math.ceil(chunks / size) for chunks, size in self.parts(epoch))

    def share(self, epoch: int, batches: int) -> float:
        """Share of an epoch's chunks in its first `batches` batches."""
        done = 0.0
        for chunks, size in self.parts(epoch):
            there = math.ceil(chunks / size)
            if batches < there:
                return done + batches / there * (chunks / self.chunks)
            done, batches = done + chunks / self.chunks, batches - there
        return min(done, 1.0)

    @property
    def updates(self) -> int:
        """Number of updates of the whole training."""
        return sum(self.batches(epoch) for epoch in range(self.epochs))

    @cached_property
    def _steps(self) -> tuple[list[int], list[int], list[float]]:
        """The updates at which a batch size begins, and the last; the sizes; the share of all chunks seen by these updates."""
        updates, sizes, shares = [0], list[int](), [0.0]
        for epoch in range(self.epochs):
            for chunks, size in self.parts(epoch):
                updates.append(updates[-1] + math.ceil(chunks / size))
                shares.append(shares[-1] + chunks / self.chunks / self.epochs)
                sizes.append(size)
        return updates, sizes, shares

    def rate_factor(self, update: int) -> float:
        """Factor of the learning rate at an update."""
        if self.schedule is None:
            return 1.0
        updates, sizes, _ = self._steps
        return math.sqrt(sizes[min(bisect_right(updates, update) - 1, len(sizes) - 1)] / self.batch_size)

    def position(self, update: int) -> float:
        """The position of an update, from 0 to `updates`, if all updates had equally many chunks."""
        if self.schedule is None:
            return update
        updates, sizes, shares = self._steps
        step = min(bisect_right(updates, update) - 1, len(sizes) - 1)
        inside = min(1.0, (update - updates[step]) / (updates[step + 1] - updates[step]))
        return (shares[step] + inside * (shares[step + 1] - shares[step])) * updates[-1]


def check_schedule(schedule: Sequence[int] | None, budget: str) -> str:
    """Describes what is wrong with a batch schedule; empty if it is valid.

    Args:
        schedule: batch sizes in order; None is valid.
        budget: unit of the training's length, `train.budget`.
    """
    if schedule is None:
        return ""
    if not schedule or any(size < 1 for size in schedule):
        return "must be batch sizes of at least 1, as in [32,8,1]"
    return "" if budget == "epochs" else "needs train.budget=epochs: its parts are shares of the epochs"
