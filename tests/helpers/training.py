"""Trainings on the small simulated data set in this process, and the facts of one that took no time."""

from __future__ import annotations

import dataclasses
from pathlib import Path

from basecaller.common.geometry import Model
from basecaller.data import Dataset
from basecaller.networks.rawctcnet import RawCTCNet
from basecaller.runs.folder import RunFacts
from basecaller.training.fit import FitResult, Recipe, fit
from basecaller.training.settings import Optimizer, Train

MODEL = Model("t", channels=8, skip_channels=8, kernel=3, max_dilation=4, stacks=1, batch_norm=True, stride=5, projection=False)
TRAIN = Train(
    budget="epochs",
    epochs=2,
    updates=9,
    samples=5000,
    chunks=None,
    validation_chunks=None,
    validations=2,
    batch_schedule=None,
    clip=2.0,
    clip_factor=None,
    warmup_updates=None,
    label_smoothing=0.0,
    schedule="cosine",
    warmup=0.1,
    precision="float32",
    native="auto",
    infeasible=0.5,
    resume=True,
)

FACTS = RunFacts(
    parameters=1,
    receptive_field=1,
    updates=1,
    reads=0,
    samples=0,
    chunks=0,
    validation_chunks=0,
    seconds=0.0,
    device="cpu",
    path="torch float32",
    precision="float32",
    threads=1,
    only_blanks=False,
    data="",
    commit=None,
    versions={},
    run_id="",
)
"""Facts of a training that took no time."""


def job(folder: Path, **changed) -> Recipe:
    optimizer = Optimizer(changed.pop("optimizer", "adam"), changed.pop("lr", 5e-3), 0.0, 0.0)
    settings = {"padding": "on", "batch_size": 8, "seed": 1}
    own = {key: changed.pop(key) for key in list(changed) if key in settings}
    return Recipe(optimizer, dataclasses.replace(TRAIN, **changed), folder=folder, **(settings | own))


def train(dataset: Dataset, chosen: Recipe, on_point=lambda point: None, model: Model = MODEL) -> FitResult:
    return fit(RawCTCNet(model, seed=chosen.seed), dataset, chosen, on_point)


def losses(outcome: FitResult) -> list[float]:
    return [point.val_loss for point in outcome.curve]
