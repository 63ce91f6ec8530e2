"""Pruning: the trials that may be pruned, and the choice of a pruner."""

from __future__ import annotations

import optuna
import pytest

from basecaller.common.errors import SettingError
from basecaller.hpo.designs import HALVING
from basecaller.hpo.pruning import is_screening, pruner_of
from basecaller.hpo.records import store_study
from basecaller.hpo.storage import open_study
from tests.helpers.sweeping import URL

pytestmark = pytest.mark.usefixtures("folder")


def test_the_pruner_is_optunas_with_its_arguments():
    assert pruner_of(None, None, "search.pruner") is None
    made = pruner_of("PercentilePruner", {"percentile": 30.0}, "search.pruner")
    assert isinstance(made, optuna.pruners.PercentilePruner)
    with pytest.raises(SettingError, match=r"search\.pruner=PercentilePruner search\.pruner_args=.*percentile"):
        pruner_of("PercentilePruner", None, "search.pruner")
    with pytest.raises(SettingError, match=r"search\.pruner=optuna: no such pruner; Optuna has .*HyperbandPruner"):
        pruner_of("optuna", None, "search.pruner")


def test_only_the_first_seed_of_a_grid_that_drops_points_may_be_pruned():
    study = open_study(URL, "tiny/sweep/x")
    points = {f"optimizer.lr={rate}": {"optimizer.lr": rate} for rate in (0.1, 0.2, 0.3, 0.4)}

    def prunes(seed: int, seeds: list[int], kept: dict[str, dict[str, float]] = points) -> bool:
        store_study(study, points=list(kept), settings=kept, choice="optimizer.lr", seeds=seeds, design=HALVING)
        return is_screening(study, seed)

    assert prunes(1, [1, 2])
    assert not prunes(2, [1, 2])
    assert prunes(1, [1])
    assert not prunes(1, [1, 2], dict(list(points.items())[:2]))  # both run at every seed
