"""The life of a trial in a job, from its claim to its named end."""

from __future__ import annotations

from pathlib import Path

import optuna
import pytest
from optuna.trial import TrialState

from basecaller.errors import BasecallerError
from basecaller.runs import trial as life
from tests.helpers.sweeping import sweep

pytestmark = pytest.mark.usefixtures("folder")


def test_a_validation_loss_that_is_no_number_is_a_divergence(monkeypatch, folder: Path):
    from basecaller.training import fit

    real = fit.evaluate
    monkeypatch.setattr(fit, "evaluate", lambda *given, **kwargs: real(*given, **kwargs) | {"loss": float("nan")})
    for _ in range(2):  # and is not tried again
        with pytest.raises(BasecallerError, match="diverged"):
            sweep("optimizer.lr=0.01,0.1")
    (summary,) = optuna.get_all_study_summaries("sqlite:///outputs/optuna.db")
    trials = optuna.load_study(study_name=summary.study_name, storage="sqlite:///outputs/optuna.db").trials
    assert [(t.state, t.user_attrs["outcome"]) for t in trials] == [(TrialState.FAIL, "diverged")] * 2
    assert "the validation loss is nan at update" in trials[0].user_attrs["message"]
    assert not list(folder.glob("outputs/tiny/runs/*/result.json"))


@pytest.mark.parametrize("broken", ["train", "asdict"])
def test_a_trial_ends_whatever_breaks_between_its_claim_and_its_end(monkeypatch, broken):
    monkeypatch.setattr(life, broken, lambda *_, **__: 1 / 0)
    with pytest.raises(BasecallerError, match="failed"):
        sweep("optimizer.lr=0.01")
    (summary,) = optuna.get_all_study_summaries("sqlite:///outputs/optuna.db")
    (trial,) = optuna.load_study(study_name=summary.study_name, storage="sqlite:///outputs/optuna.db").trials
    assert (trial.state, trial.user_attrs["outcome"]) == (TrialState.FAIL, "failed")
    assert "division by zero" in trial.user_attrs["message"]
