"""How fast the choices of a stage learn."""

from __future__ import annotations

import dataclasses
import math

import pytest

from basecaller.hpo.standing import standing
from basecaller.reporting.convergence import convergence, loss_at, per_cost, reached, same_loss
from tests.helpers.stages import study_of

pytestmark = pytest.mark.usefixtures("folder")


def test_samples_to_a_level_are_linear_between_points():
    curve = [{"samples": 100, "val_loss": 2.0}, {"samples": 200, "val_loss": 1.0}, {"samples": 300, "val_loss": 1.2}]
    assert reached(curve, 1.5) == 150
    assert reached(curve, 1.0) == 200
    assert reached(curve, 2.5) == 100
    assert math.isinf(reached(curve, 0.5))


def test_a_curve_gives_the_loss_at_equal_cost():
    losses = [1.4, 1.0, 0.9]
    curve = [{"samples": 10 * i, "updates": i, "seconds": 2.0 * i, "val_loss": loss} for i, loss in enumerate(losses, 1)]
    assert reached(curve, 1.2, "seconds") == pytest.approx(3.0)
    assert reached(curve, 1.2) == pytest.approx(15)
    assert reached(curve, 0.8, "seconds") == math.inf
    assert loss_at(curve, "updates", 2.5) == pytest.approx(0.95)
    assert math.isnan(loss_at(curve, "updates", 0.5))  # before its first point nothing is known
    assert math.isnan(loss_at([], "updates", 1))


def test_a_point_that_never_learns_does_not_set_the_level_of_convergence():
    values = {"off": [1.0, 1.1, 1.0, 1.1], "on": [1.2, 1.3, 1.2, 1.3], "masked": [1.6]}
    study = study_of("convergence", values, {name: {"padding": 1.0 + i} for i, name in enumerate(values)}, "padding")
    stand = standing(study)
    for entry, trial in stand.complete.items():
        curve = [{"samples": 100, "val_loss": 1.7}, {"samples": 300, "val_loss": trial.value}]
        stand.complete[entry] = dataclasses.replace(trial, curve=curve)
    found = convergence(stand)
    assert found.level == 1.3
    assert list(found.samples.values()).count(None) == 1
    assert "224 against 280 samples (difference 56" in found.text
    assert "to reach a loss of 1.3000" in found.text


@pytest.mark.parametrize(("points", "known"), [(1, False), (2, True)])
def test_a_single_validation_at_the_end_says_nothing_about_convergence(points, known):
    study = study_of("ends", {"off": [1.0], "on": [1.2]}, {"off": {"padding": "off"}, "on": {"padding": "on"}}, "padding")
    stand = standing(study)
    for entry, trial in stand.complete.items():
        curve = [{"samples": 100, "val_loss": 1.7}, {"samples": 300, "val_loss": trial.value}][-points:]
        stand.complete[entry] = dataclasses.replace(trial, curve=curve)
    assert bool(convergence(stand)) == known
    assert math.isfinite(same_loss(stand)) == known


def test_choices_are_compared_at_equal_cost_over_the_seeds_that_they_share():
    """A choice that was dropped after a seed with low losses is not ahead of one that ran at others as well."""
    values = {"1": [1.0, 1.4], "8": [1.1]}
    stand = standing(study_of("cost", values, {name: {"data.batch_size": float(name)} for name in values}, "data.batch_size"))
    for entry, trial in stand.complete.items():
        curve = [
            {"updates": updates, "seconds": seconds, "val_loss": trial.value + more}
            for updates, seconds, more in ((50, 1.0, 0.2), (100, 2.0, 0.0))
        ]
        stand.complete[entry] = dataclasses.replace(trial, curve=curve)
    assert per_cost(stand) == (
        "At equal cost, over 1 seed: after 100 updates batch_size 1 is ahead (1.0000 nats per base, of 2); after 2.0 seconds "
        "batch_size 1 is ahead (1.0000 nats per base, of 2)."
    )
