"""What a preview lists, and how its estimates follow the settings."""

from __future__ import annotations

import io

import pytest
from omegaconf import OmegaConf
from rich.console import Console

from basecaller.search_plan.costs import estimate
from basecaller.search_plan.preview import preview
from basecaller.search_plan.request import Request

OWN = ["data.reads=1000", "train.native=off", "train.chunks=100", "search.workers=2", "plan=[padding,lr_adam]",
       "model.batch_norm=false"]  # fmt: skip


def request(*overrides: str) -> Request:
    return Request([*OWN, *overrides])


def shown(*overrides: str) -> str:
    console = Console(file=io.StringIO(), width=200)
    preview(request(*overrides), console)
    return console.file.getvalue()


@pytest.fixture(autouse=True)
def folder(folder):
    """Nothing is read from and written to the working folder of the tests."""


def test_every_trial_of_the_first_round_is_listed():
    text = shown("search.replicates=1")
    assert "padding=off" in text
    for rate in ("0.001", "0.0005", "0.0001", "5e-05"):
        assert f"optimizer.lr={rate}" in text
    assert "padding=<best of padding>" in text
    assert "first round: 6 trials" in text
    assert "2 trainings at once, " in text
    assert "in all" in text
    assert "6 points" not in text


def test_a_preview_writes_values_as_they_are_typed():
    given, console = [*OWN[:-1], "plan=[padding,batch_norm]"], Console(file=io.StringIO(), width=200)
    preview(Request(given), console)
    text = console.file.getvalue()
    assert "model.batch_norm=false" in text
    assert "False" not in text


@pytest.mark.slow
def test_later_rounds_and_finalists_are_listed_if_there_are_any():
    text = shown("search.rounds=3", "search.finalists=4", "search.finalist_seeds=2", "search.headline_seeds=1")
    assert "up to 2 more rounds, trials" in text
    assert "up to 4 finalists and 3 combinations at 2 seeds, 10% of the winner's training each" in text
    assert "headline: the winner and the defaults, 1 seed each" in text
    alone = shown("search.rounds=1", "search.finalists=0", "~search.winner.train")  # the winner trains like a trial
    assert "more round" not in alone
    assert "finalists" not in alone
    assert "up to 4 finalists at 1 seed, " in shown("search.finalists=4", "search.combined=0")


@pytest.mark.slow
def test_an_estimate_follows_the_work():
    asked = request("train.validation_chunks=1")
    base = estimate(asked, {})
    assert base > 0

    def trained(**changed: object) -> float:
        return estimate(asked, {}, OmegaConf.merge(asked.cfg.train, changed))

    assert trained(chunks=200) == pytest.approx(2 * base, rel=0.05)
    assert trained(epochs=3) == pytest.approx(3 * base, rel=0.05)
    assert trained(chunks=100_000) == trained(chunks=None)  # there are no more
    assert trained(validation_chunks=50) > base
    stacks = asked.cfg.model.stacks
    assert estimate(asked, {"model.stacks": 2 * stacks}) == pytest.approx(2 * base, rel=0.1)
    assert estimate(asked, {"data.batch_size": 1}) > base  # a core is less busy
    assert estimate(asked, {"model.stacks": "<best of stacks>"}) == base  # not known yet: as the config has it
    assert estimate(request("train.validation_chunks=1", "model.stride=2"), {}) == pytest.approx(2 * base)
    wider = request("train.validation_chunks=1", "~search.winner.train", "search.winner.model.stride=2")
    assert estimate(wider, {}, config=wider.winner_config) == pytest.approx(2 * base)
