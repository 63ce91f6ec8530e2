"""Shared by the benchmarks: a row of the table, timing of functions in turns, the default data set and training."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from basecaller.config.composition import compose_config
from basecaller.config.settings import Settings, settings
from basecaller.data.dataset import Dataset
from basecaller.data.sources import prepare
from basecaller.networks.rawctcnet import RawCTCNet
from basecaller.training.fit import Recipe, Trainer


@dataclass(frozen=True)
class Row:
    """A measurement.

    Attributes:
        name: the subject.
        ours, theirs: our result and that of the peer or the limit, in `unit`.
        ratio: their ratio; larger is better if the goal is "at least".
        goal: in words.
        met: whether the goal is met.
        how: the conditions of the measurement.
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
    """Median seconds of each function, run in turns. Measures processor time, which depends little on other work."""
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


def run_of(chosen: Settings, dataset: Dataset, folder: Path) -> Trainer:
    job = Recipe(chosen.optimizer, chosen.train, chosen.padding, chosen.data.batch_size, 1, folder)
    return Trainer(RawCTCNet(chosen.model, seed=1), dataset, job)
