"""Work of a search in its worker processes."""

from __future__ import annotations

import os
import sys

import joblib

from basecaller.common.workers import Workers
from basecaller.search_plan.pool import spread, warm_up


def test_calls_are_spread_over_the_workers_in_order():
    two = Workers(2, 1)
    assert spread(two, pow, [(2, n) for n in range(5)]) == [1, 2, 4, 8, 16]
    assert os.getpid() not in spread(two, os.getpid, [()] * 4)
    assert spread(Workers(1, 2), os.getpid, [()]) == [os.getpid()]


def test_hydras_launcher_finds_the_workers_that_are_warm():
    """It makes the same pool in its own way; with other options joblib would end these processes and start others."""
    warm_up(Workers(2, 1)).join()
    with joblib.parallel_backend("loky", inner_max_num_threads=1, n_jobs=2):
        found = joblib.Parallel(batch_size=1, pre_dispatch="2*n_jobs")(joblib.delayed(_imported)() for _ in range(4))
    assert found == [True] * 4


def _imported() -> bool:
    return "basecaller.runs.trial" in sys.modules
