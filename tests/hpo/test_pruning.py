"""Pruning: which points it may give up, and which pruners there are."""

from __future__ import annotations

import pytest
from optuna.trial import TrialState

from basecaller.errors import SettingError
from basecaller.hpo.best import standing
from tests.helpers.sweeping import RATES, sweep

pytestmark = pytest.mark.usefixtures("folder")


def test_pruned_points_are_shown_and_never_win():
    rates = "optimizer.lr=0.02,0.01,0.005,0.00001"
    given = ("stage=lr_adam", "padding=on", "model.batch_norm=true", "stage.extend=0", "train.epochs=2")
    pruning = ("search.pruner=MedianPruner", "+search.pruner_args.n_startup_trials=2", "search.replicates=2")
    study = sweep(*given, *pruning, rates)
    pruned = study.get_trials(states=(TrialState.PRUNED,))
    assert "optimizer.lr=1e-05" in [t.user_attrs["point"] for t in pruned]
    assert all(len(t.intermediate_values) < 4 for t in pruned)
    stand = standing(study)
    assert stand.failed == {t.user_attrs["point"]: "pruned at seed 1" for t in pruned}
    assert stand.conclusion.winner not in (None, *stand.failed)
    assert all(t.state == TrialState.COMPLETE for t in study.trials if t.user_attrs["seed"] == 2)


def test_replicates_that_a_conclusion_needs_are_not_pruned():
    study = sweep("stage=padding", "search.pruner=ThresholdPruner", "+search.pruner_args.upper=0.0", "search.replicates=2")
    assert {t.state for t in study.trials} == {TrialState.COMPLETE}
    assert len(study.trials) >= 2 * 3


@pytest.mark.parametrize(
    ("overrides", "words"),
    [(["search.pruner=Nonesuch"], "MedianPruner"), (["search.pruner=ThresholdPruner"], "search.pruner_args")],
)
def test_a_pruner_that_cannot_be_is_refused_before_anything_is_stored(folder, overrides, words):
    with pytest.raises(SettingError, match=words):
        sweep(RATES, *overrides)
    assert not (folder / "outputs/optuna.db").exists()
