"""What all measurements share: a row of the table, functions timed in turns, the default data set and training."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from basecaller.config import compose_config
from basecaller.data.dataset import Dataset
from basecaller.data.sources import prepare
from basecaller.network import RawCTCNet
from basecaller.settings import Settings, settings
from basecaller.training.fit import Recipe, _Run


@dataclass(frozen=True)
class Row:
    """One measurement.

    Attributes:
        name: what is measured.
        ours, theirs: two numbers of `unit`; theirs is the peer's or the limit's.
        ratio: of the two, larger is better where the goal is "at least".
        goal: in words.
        met: whether it is reached.
        how: how it was measured.
    """

    name: str
    ours: float
    theirs: float
    unit: str
    ratio: float
    goal: str
    met: bool
    how: str


def in_turns(functions: list[Callable[[], object]], rounds: int, clock: Callable[[], float] = time.process_time) -> list[float]:
    """Median seconds of each function, run in turns: of processor time, which other work disturbs little."""
    seconds: list[list[float]] = [[] for _ in functions]
    for i in range(rounds + 1):
        for function, of in zip(functions, seconds, strict=True):
            started = clock()
            function()
            if i:  # the first turn warms up
                of.append(clock() - started)
    return [statistics.median(of) for of in seconds]


def default(folder: Path, *overrides: str) -> tuple[Settings, Dataset]:
    """The default settings and their data set."""
    chosen = settings(compose_config([f"data.folder={folder}", "data.reads=3000", *overrides]))
    return chosen, prepare(chosen.data.name, chosen.data.source, folder)


def run_of(chosen: Settings, dataset: Dataset, folder: Path) -> _Run:
    job = Recipe(chosen.optimizer, chosen.train, chosen.padding, chosen.data.batch_size, 1, folder)
    return _Run(RawCTCNet(chosen.model, seed=1), dataset, job)
