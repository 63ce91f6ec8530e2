"""Pruning: which points it may give up, and which pruners there are."""

from __future__ import annotations

import optuna
import pytest
from optuna.trial import TrialState

from basecaller.errors import SettingError
from basecaller.hpo.best import standing
from basecaller.hpo.designs import HALVING
from basecaller.hpo.pruning import is_screening, pruner_of
from basecaller.hpo.records import store_study
from basecaller.hpo.storage import open_study
from tests.helpers.sweeping import RATES, URL, sweep

pytestmark = pytest.mark.usefixtures("folder")


@pytest.mark.slow
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


@pytest.mark.slow
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


def test_the_pruner_is_optunas_with_its_arguments():
    assert pruner_of(None, None, "search.pruner") is None
    made = pruner_of("PercentilePruner", {"percentile": 30.0}, "search.pruner")
    assert isinstance(made, optuna.pruners.PercentilePruner)
    with pytest.raises(SettingError, match=r"search\.pruner=PercentilePruner search\.pruner_args=.*percentile"):
        pruner_of("PercentilePruner", None, "search.pruner")
    with pytest.raises(SettingError, match=r"search\.pruner=optuna: no such pruner; Optuna has .*HyperbandPruner"):
        pruner_of("optuna", None, "search.pruner")


def test_only_the_first_seed_of_a_grid_that_is_thinned_out_may_be_pruned():
    study = open_study(URL, "tiny/none/x")
    points = {f"optimizer.lr={rate}": {"optimizer.lr": rate} for rate in (0.1, 0.2, 0.3, 0.4)}

    def prunes(seed: int, seeds: list[int], kept: dict[str, dict[str, float]] = points) -> bool:
        store_study(study, points=list(kept), settings=kept, choice="optimizer.lr", seeds=seeds, design=HALVING)
        return is_screening(study, seed)

    assert prunes(1, [1, 2])
    assert not prunes(2, [1, 2])
    assert prunes(1, [1])
    assert not prunes(1, [1, 2], dict(list(points.items())[:2]))  # both run at every seed
