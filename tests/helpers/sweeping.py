"""Sweeps in this process, and their results."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import optuna
from optuna.trial import TrialState

from basecaller.hpo.records import trials_of
from basecaller.hpo.storage import open_study
from basecaller.hpo.task import Place
from basecaller.search_plan.stages import hydra_app
from basecaller.task import run_job
from tests.conftest import TINY

URL = "sqlite:///outputs/optuna.db"
RATES = "optimizer.lr=0.01,0.001"
PLACE = Place(url=URL, experiment="tiny", folder=Path("outputs/tiny"), command="python -m basecaller.train -m stage={stage}")


def sweep(*overrides: str) -> optuna.Study:
    """Runs a sweep; returns its study."""
    tiny = [line for line in TINY if "data=pod5" not in overrides or not line.startswith("data.")]
    with hydra_app() as app:
        name = app.multirun("config", run_job, [*tiny, *overrides], with_log_configuration=False)
    return open_study(URL, name)


def points(study: optuna.Study, state: TrialState = TrialState.COMPLETE) -> list[str]:
    return [str(t.point) for t in trials_of(study, state)]


def values(study: optuna.Study, key: str) -> list[Any]:
    """A swept setting in all trials, in their order."""
    return [t.params[key] for t in study.trials]
