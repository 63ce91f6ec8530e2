"""Trainings that are longer than a trial."""

from __future__ import annotations

import pytest
from omegaconf import OmegaConf

from basecaller.config import compose_config
from basecaller.data import Dataset
from basecaller.search_plan.budget import longer


@pytest.mark.slow
@pytest.mark.parametrize(
    ("overrides", "factor", "expected"),
    [
        (["train.chunks=10"], 4, {"train.chunks": 40, "train.epochs": 1}),
        (["train.chunks=10"], 16, {"train.chunks": None, "train.epochs": 3}),  # 160 chunks of 51
        (["train.chunks=null", "train.epochs=2"], 4, {"train.chunks": None, "train.epochs": 8}),
        (["train.budget=updates", "train.updates=7", "train.chunks=10"], 4, {"train.chunks": 40, "train.updates": 28}),
        (["train.budget=samples", "train.samples=700", "train.chunks=null"], 2, {"train.chunks": None, "train.samples": 1400}),
        (["train.validation_chunks=5"], 4, {"train.validation_chunks": 10}),
    ],
)
def test_a_longer_training_takes_more_chunks_and_then_more_epochs(dataset: Dataset, overrides, factor, expected):
    lines = longer(compose_config(overrides), dataset, factor)
    made = compose_config([*overrides, *lines])
    assert len(dataset.indices("train")) == 51
    assert {key: OmegaConf.select(made, key) for key in expected} == expected
