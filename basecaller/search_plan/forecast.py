"""Forecasts the end of a search from the times of its trainings so far and from its remaining trainings."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

RECENT = 30
"""Number of latest trainings that give the machine's speed: its load changes, and later trainings are longer."""


@dataclass(frozen=True)
class Training:
    """A training that has run, or a part of one.

    Attributes:
        cost: seconds that `costs.estimate` predicts for it, or for that part.
        seconds: seconds that it took.
    """

    cost: float
    seconds: float


@dataclass(frozen=True)
class Planned:
    """A group of future trainings that can all run side by side, given enough workers.

    Attributes:
        count: expected number; may be a fraction.
        cost: seconds that `costs.estimate` predicts for each.
        spent: mean seconds that running ones have taken so far; 0 if none has begun.
    """

    count: float
    cost: float
    spent: float = 0.0


def slowness(trained: Sequence[Training]) -> float:
    """Actual seconds of a training per second of its estimate; 1 if nothing was measured."""
    latest = [each for each in trained[-RECENT:] if each.cost > 0 and each.seconds > 0]
    return math.fsum(each.seconds for each in latest) / math.fsum(each.cost for each in latest) if latest else 1.0


def seconds_left(planned: Iterable[Planned], trained: Sequence[Training], at_once: int, pause: float = 0.0) -> float:
    """Seconds until all that is planned has ended.

    Args:
        planned: groups in order; a group begins when the one before it has ended.
        trained: trainings that have run so far, in the order in which they ended.
        at_once: number of trainings that run side by side.
        pause: seconds that a worker needs between two trainings.
    """
    speed, total = slowness(trained), 0.0
    for group in planned:
        waves = math.ceil(group.count / at_once)
        total += max(0.0, waves * (group.cost * speed + pause) - group.spent)
    return total
