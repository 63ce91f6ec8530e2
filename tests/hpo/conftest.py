"""Fixtures of the tests of sweeps."""

from __future__ import annotations

import pytest

from basecaller.runs import trial as life
from basecaller.runs.folder import Result
from tests.helpers.training import FACTS


@pytest.fixture
def untrained(monkeypatch: pytest.MonkeyPatch) -> None:
    """Trials that take no time: the loss is the distance of the rate from 0.01."""

    def train(job, on_point):
        return Result({"val_loss": abs(job.settings.optimizer.lr - 0.01)}, [], FACTS)

    monkeypatch.setattr(life, "train", train)
    monkeypatch.setattr(Result, "__str__", lambda self: "")
