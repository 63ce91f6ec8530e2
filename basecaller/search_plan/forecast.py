"""When a search will end, from how long its trainings have taken and from what it still has to run."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

RECENT = 30
"""Trainings that the machine's speed is taken from, the latest ones: its load changes, and later trainings are longer."""


@dataclass(frozen=True)
class Training:
    """A training that has run, or a part of one.

    Attributes:
        cost: seconds that `preview.estimate` expects of it, or of that part.
        seconds: what it took.
    """

    cost: float
    seconds: float


@dataclass(frozen=True)
class Planned:
    """Trainings to come that wait for each other only where there are too few workers.

    Attributes:
        count: how many are expected; may be a fraction.
        cost: seconds that `preview.estimate` expects of each.
        spent: seconds that those under way have run already, on average; 0 where none has begun.
    """

    count: float
    cost: float
    spent: float = 0.0


def slowness(trained: Sequence[Training]) -> float:
    """Seconds of a training for each second of the estimate; 1 where nothing was measured."""
    latest = [each for each in trained[-RECENT:] if each.cost > 0 and each.seconds > 0]
    return math.fsum(each.seconds for each in latest) / math.fsum(each.cost for each in latest) if latest else 1.0


def seconds_left(planned: Iterable[Planned], trained: Sequence[Training], at_once: int, pause: float = 0.0) -> float:
    """Seconds until all that is planned has ended.

    Args:
        planned: in their order; one group begins when the one before has ended.
        trained: what has run so far, in the order in which it ended.
        at_once: trainings that run side by side.
        pause: seconds of a worker between two trainings.
    """
    speed, total = slowness(trained), 0.0
    for group in planned:
        waves = math.ceil(group.count / at_once)
        total += max(0.0, waves * (group.cost * speed + pause) - group.spent)
    return total
