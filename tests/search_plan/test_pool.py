"""Work of a search in its worker processes."""

from __future__ import annotations

import os
import time
from types import SimpleNamespace

import pytest

from basecaller.common.errors import SettingError
from basecaller.common.workers import Workers
from basecaller.runs import orphans
from basecaller.search_plan import pool
from basecaller.search_plan import search as search_module
from basecaller.search_plan.pool import shut_down, spread, warm_up
from basecaller.search_plan.stages import run_sweep
from tests.conftest import TINY
from tests.helpers.searching import search

TWO = Workers(2, 1)


def test_calls_are_spread_over_the_workers_in_order():
    assert spread(TWO, pow, [(2, n) for n in range(5)]) == [1, 2, 4, 8, 16]
    assert os.getpid() not in spread(TWO, os.getpid, [()] * 4)
    before = _processes()
    shut_down()
    assert not before & _processes()
    assert spread(Workers(1, 2), os.getpid, [()]) == [os.getpid()]


@pytest.mark.slow
def test_trials_run_in_the_processes_that_are_warm(folder):
    """With other options than those of Hydra's launcher, joblib would end these processes and start others."""
    shut_down()  # other tests ran in other folders
    warm_up(TWO)
    warm = _processes()
    assert all(spread(TWO, _is_watching, [()] * 8))
    run_sweep([*TINY, *TWO.overrides, "optimizer.lr=0.001,0.002"])
    assert _processes() == warm


def test_workers_that_are_about_to_start_end_too(monkeypatch):
    happened = list[str]()

    def start(*arguments: object) -> None:
        time.sleep(0.2)
        happened.append("start")

    monkeypatch.setattr(pool, "spread", start)
    monkeypatch.setattr(pool, "get_reusable_executor", lambda: SimpleNamespace(shutdown=lambda: happened.append("end")))
    warm_up(TWO)
    shut_down()
    assert happened == ["start", "end"]


def test_a_wrong_setting_starts_no_worker(folder, monkeypatch):
    def check() -> None:
        raise SettingError("wrong")

    asked, warmed = search("search.workers=2"), list[Workers]()
    monkeypatch.setattr(asked.request, "check", check)
    monkeypatch.setattr(search_module, "warm_up", warmed.append)
    with pytest.raises(SettingError):
        asked.run()
    assert not warmed


def _is_watching() -> bool:
    return orphans.watch.cache_info().currsize == 1


def _processes() -> set[int]:
    found = set[int]()
    while len(found) < 2:
        found |= set(spread(TWO, os.getpid, [()] * 8))
    return found
