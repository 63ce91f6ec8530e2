"""Finished stages with given losses."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

import optuna

from basecaller.hpo.designs import HALVING, rounds
from basecaller.hpo.records import store_study, trial_attributes
from basecaller.hpo.storage import open_study

SIX = [0.00, 0.10, 0.05, -0.02, 0.07, 0.03]
"""The effects of six seeds on every point."""


def study_of(
    name: str,
    values: dict[str, list[float]],
    params: dict[str, dict],
    choice: str | None,
    optimizer: str = "adam",
    updates: Mapping[str, int] = MappingProxyType({}),
    config: Mapping = MappingProxyType({"data": {}}),
) -> optuna.Study:
    """A finished stage with given losses at the seeds 1, 2, ..."""
    study = open_study("sqlite:///:memory:", f"made/{name}/x")
    seeds = list(range(1, 1 + max(map(len, values.values()))))
    design = rounds([params[p].get(choice, p) for p in values], 3, stops=False) if choice != "optimizer.lr" else HALVING
    store_study(study, points=list(values), seeds=seeds, design=design, settings=params, choice=choice)
    for point, losses in values.items():
        for seed, loss in zip(seeds, losses, strict=False):
            distributions = {
                key: optuna.distributions.FloatDistribution(1e-9, 1e3)
                if type(value) is float
                else optuna.distributions.CategoricalDistribution([False, True] if type(value) is bool else ["off", "on"])
                for key, value in params[point].items()
            }
            fields = {"point": point, "seed": seed, "outcome": "complete", "loss_per_read": 60 * loss,
                     "updates": updates.get(point, 64),
                     "area_under_curve": loss + 0.1, "identity_mean": 0.5, "identity_floor": 0.3,
                     "config": {**config, "optimizer": {"lr": 0.001}},
                     "choices": {"optimizer": optimizer}}  # fmt: skip
            user, system = trial_attributes(fields)
            given = {"params": params[point], "distributions": distributions, "user_attrs": user, "system_attrs": system}
            study.add_trial(optuna.trial.create_trial(value=loss, **given))
    return study


def lr_stage(name: str, losses: dict[float, list[float]], config: Mapping = MappingProxyType({"data": {}})) -> optuna.Study:
    points = {f"optimizer.lr={rate}": of for rate, of in losses.items()}
    params = {f"optimizer.lr={rate}": {"optimizer.lr": rate} for rate in losses}
    return study_of(name, points, params, "optimizer.lr", name.partition("{")[0].removeprefix("lr_"), config=config)


def pair(name: str, off: float, on: float, **more) -> optuna.Study:
    """A finished padding stage: two points, six seeds, a little noise."""
    noise = [0.000, 0.001, -0.001, 0.002, -0.002, 0.001]
    values = {"off": [off + s for s in SIX], "on": [on + s + n for s, n in zip(SIX, noise, strict=True)]}
    return study_of(name, values, {"off": {"padding": "off"}, "on": {"padding": "on"}}, "padding", **more)
