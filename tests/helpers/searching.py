"""A search in this process, its incumbent, and questions with losses of choice."""

from __future__ import annotations

from typing import Any

from rich.console import Console

from basecaller.hpo.designs import EVERY
from basecaller.hpo.records import TrialRecord
from basecaller.hpo.standing import Standing
from basecaller.hpo.winners import setting_of
from basecaller.reporting.search_state import Asked
from basecaller.search_plan.incumbent import Incumbent
from basecaller.search_plan.request import Request
from basecaller.search_plan.search import Search
from tests.conftest import TINY

SETTINGS = {
    "padding": "off", "optimizer": "adam", "data.batch_size": 4, "model.batch_norm": True, "model.max_dilation": 32,
    "model.stacks": 3, "optimizer.lr": 0.004,
}  # fmt: skip
INCUMBENT = Incumbent(SETTINGS, "study", 0, 1.0)

SHORT = [*TINY, "model.batch_norm=true", "plan=[padding,lr_adam]", "stage.extend=0", "search.finalists=5",
         "search.finalist_share=0.5"]  # fmt: skip


def search(*overrides: str) -> Search:
    return Search(Request(overrides), Console(quiet=True))


def asked(stage: str, choice: str, losses: dict[Any, dict[float, float]], simple_first: bool = True) -> tuple[Asked, Standing]:
    """A question about a choice with some losses by learning rate, at one seed."""
    points = {f"{value}/{rate}": (value, rate, loss) for value, of in losses.items() for rate, loss in of.items()}
    trials = {
        (point, 1): TrialRecord(0, 0, "complete", loss, {choice: value}, None, config={"optimizer": {"lr": rate}})
        for point, (value, rate, loss) in points.items()
    }
    settings = {point: {choice: value} for point, (value, _, _) in points.items()}
    stand = Standing(list(points), [1], EVERY, trials, {}, choice, list(losses) if simple_first else None, settings)
    won = stand.winner
    assert won is not None
    answer = {choice: won.params[choice], "optimizer.lr": setting_of(won, "optimizer.lr")}
    return Asked(stage, 1, 1, "", stage, {}, answer, False), stand
