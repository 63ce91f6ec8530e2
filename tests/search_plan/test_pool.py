"""Work of a search in its worker processes."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator

import pytest

from basecaller.common.workers import Workers
from basecaller.search_plan.pool import shut_down, spread
from basecaller.search_plan.stages import run_sweep
from tests.conftest import TINY

TWO = Workers(2, 1)


@pytest.fixture(autouse=True)
def own_workers() -> Iterator[None]:
    """Workers stay in the folder in which they start, which is another one in every test."""
    shut_down()
    yield
    shut_down()


def test_calls_are_spread_over_the_workers_in_order():
    assert spread(TWO, pow, [(2, n) for n in range(5)]) == [1, 2, 4, 8, 16]
    assert os.getpid() not in spread(TWO, os.getpid, [()] * 4)
    before = _processes()
    shut_down()
    assert not before & _processes()
    assert spread(Workers(1, 2), os.getpid, [()]) == [os.getpid()]


@pytest.mark.slow
def test_they_are_the_processes_of_trials(folder):
    """With other options than those of Hydra's launcher, joblib would end these processes and start others."""
    run_sweep([*TINY, *TWO.overrides, "optimizer.lr=0.001,0.002"])
    assert spread(TWO, _has_trained, [()] * 8) == [True] * 8


def _has_trained() -> bool:
    return "basecaller.runs.trial" in sys.modules


def _processes() -> set[int]:
    found = set[int]()
    while len(found) < 2:
        found |= set(spread(TWO, os.getpid, [()] * 8))
    return found
