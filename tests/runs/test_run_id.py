"""Equivalent configs have one run id, and others have others."""

from __future__ import annotations

from pathlib import Path

import pytest

from basecaller.config.composition import compose_config
from basecaller.runs.job import resolve_job


def run_id(*overrides: str) -> str:
    return resolve_job(compose_config(list(overrides)), Path()).run_id


@pytest.mark.slow
@pytest.mark.parametrize(
    "same",
    [
        ("train.clip=2", "train.clip=2.0", "train.clip=20e-1"),
        ("optimizer.weight_decay=0", "optimizer.weight_decay=0.0"),
        ("model.batch_norm=yes", "model.batch_norm=true", "model.batch_norm=on", "model.batch_norm=1"),
        ("model.projection=no", "model.projection=false"),
        ("data.validation=1e-1", "data.validation=0.1"),
        ("train.epochs=3", "train.epochs='3'"),
        ("padding.mode=off", "padding.mode='off'", "padding=off"),
        ("model.name=mine", "model.name=theirs"),
        ("experiment=a", "experiment=b", "storage=sqlite:///x.db", "threads=1", "data.folder=d", "device=cpu"),
    ],
)
def test_a_training_has_one_run_id_however_it_is_written(same):
    assert len({run_id(override) for override in same}) == 1


def test_settings_that_change_a_result_change_the_run_id():
    others = [(), ("seed=2",), ("optimizer.lr=0.1",), ("data.reads=100",), ("train.epochs=2",), ("padding=on",),
              ("train.clip=null",), ("model.batch_norm=yes",)]  # fmt: skip
    assert len({run_id(*overrides) for overrides in others}) == len(others)
