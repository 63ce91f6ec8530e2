"""Trainings that are longer than a trial or shorter than the winner's."""

from __future__ import annotations

from types import SimpleNamespace
from typing import cast

import pytest
from omegaconf import OmegaConf

from basecaller.config.composition import compose_config
from basecaller.data import Dataset
from basecaller.search_plan.budget import longer, shortened
from basecaller.search_plan.stages import flat_overrides


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
        (["train.warmup_updates=3"], 4, {"train.warmup_updates": 12}),
        (["train.warmup=0.1"], 4, {"train.warmup": 0.1, "train.warmup_updates": None}),  # a share stays
    ],
)
def test_a_longer_training_takes_more_chunks_and_then_more_epochs(dataset: Dataset, overrides, factor, expected):
    lines = longer(compose_config(overrides), dataset, factor)
    made = compose_config([*overrides, *lines])
    assert len(dataset.indices("train")) == 51
    assert {key: OmegaConf.select(made, key) for key in expected} == expected


@pytest.mark.parametrize(
    ("overrides", "share", "expected"),
    [
        (["search.winner.train.epochs=11"], 0.1, {"train.epochs": 1, "train.chunks": None}),
        (["search.winner.train.epochs=14"], 0.2, {"train.epochs": 3, "train.chunks": None}),
        (["search.winner.train.epochs=2"], 0.25, {"train.epochs": 1, "train.chunks": 26}),  # half of 51
        (["search.winner.train.epochs=1", "search.winner.train.chunks=4"], 0.1, {"train.epochs": 1, "train.chunks": 1}),
        (["search.winner.train.budget=updates", "search.winner.train.updates=500"], 0.1, {"train.updates": 50}),
        (["search.winner.train.budget=samples", "train.samples=4000"], 0.5, {"train.samples": 2000}),  # of a trial's
        (["train.warmup_updates=500", "search.winner.train.epochs=20"], 0.1, {"train.epochs": 2, "train.warmup_updates": 50}),
        (["search.winner.train.warmup_updates=5"], 0.1, {"train.warmup_updates": 1}),  # some warm-up stays
        (["train.warmup_updates=0"], 0.1, {"train.warmup_updates": 0}),
        (
            ["search.winner.train.budget=updates", "search.winner.train.updates=500", "train.warmup_updates=100"],
            0.1,
            {"train.updates": 50, "train.warmup_updates": 10},
        ),
        (["~search.winner.train", "train.epochs=10", "train.chunks=20"], 0.2, {"train.epochs": 2, "train.chunks": 20}),
    ],
)
def test_a_finalist_trains_for_a_share_of_the_winners_length(overrides, share, expected):
    dataset = cast(Dataset, SimpleNamespace(indices=lambda split: range(51)))
    config = compose_config(overrides)
    made = compose_config([*overrides, *flat_overrides(config.search.winner), *shortened(config, dataset, share)])
    assert {key: OmegaConf.select(made, key) for key in expected} == expected
