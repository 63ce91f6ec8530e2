"""Estimates of the time that trainings take, from their settings and from the time of a training step on this machine."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from functools import lru_cache
from typing import Any

import numpy as np
from omegaconf import DictConfig, OmegaConf

from basecaller.common.geometry import Model, dilations
from basecaller.common.resolving import resolve
from basecaller.config.settings import settings
from basecaller.data.splits import SPLITS
from basecaller.hpo.designs import most_runs, planned
from basecaller.networks.named import TARGET, Named, model_settings
from basecaller.search_plan.request import Request

REFERENCE = Model(
    "reference",
    channels=32,
    skip_channels=64,
    kernel=3,
    max_dilation=64,
    stacks=3,
    batch_norm=False,
    stride=4,
    projection=False,
)
"""The RawCTCNet whose training is timed; the times of others follow from their sizes."""

TIMED_BATCH, TIMED_SAMPLES = 8, 600
"""The batch that it is timed on: chunks, and samples of each."""

SAMPLES_PER_BASE = 10.2
"""Mean number of samples per base in simulated reads."""

DECODING = 2e5
"""Signal samples that one core decodes per second, by beam search."""


@dataclass(frozen=True)
class Sizes:
    """The sizes of the data that an estimate needs.

    Attributes:
        samples: mean number of samples of a chunk.
        training, validation, testing: numbers of chunks of each split.
    """

    samples: float
    training: int
    validation: int
    testing: int


@lru_cache(maxsize=1)
def sizes(request: Request) -> Sizes:
    """Sizes of a search's data; simulates no reads."""
    data = request.cfg.data
    if data.name.startswith("simulated"):
        counts = [round(data.reads * share) for share in (1 - data.validation - data.test, data.validation, data.test)]
        return Sizes(SAMPLES_PER_BASE * (data.min_bases + data.max_bases) / 2, *counts)
    dataset = request.dataset
    training, validation, testing = (len(dataset.indices(split)) for split in SPLITS)
    return Sizes(float(np.mean(dataset.lengths)), training, validation, testing)


@lru_cache(maxsize=1)
def _path(request: Request) -> str:
    """The engine of the search's trainings, `native` or `torch`."""
    from basecaller.search_plan.timing import engine_name  # here: imports PyTorch, and --help times nothing

    return engine_name(settings(request.cfg))


def most_trials(request: Request, name: str) -> tuple[int, int]:
    """The largest number of trials of a stage of the plan, unless its grid grows, and its number of seeds."""
    file, space = request.files[name], request.spaces[name]
    if space.seeds:
        return len(space.points()) * len(space.seeds), len(space.seeds)
    design, choices, seeds = planned(str(file.stage.design), space.axes, file.choice, int(file.stage.replicates))
    return most_runs(design, choices, seeds), seeds


def estimate(request: Request, chosen: Mapping[str, Any], train: Any = None, config: DictConfig | None = None) -> float:
    """Seconds of one training on one worker.

    Args:
        request: the search that it is a trial of.
        chosen: its settings by key; settings that an earlier stage decides come from the config.
        train: its `train` section, if not the config's.
        config: its config, if not the search's.
    """
    cfg = config or request.cfg

    def number(key: str) -> float:
        value = str(chosen.get(key, "<default>"))
        return float(OmegaConf.select(cfg, key) if value.startswith("<") else value)

    batch = number("data.batch_size")
    if TARGET in cfg.model:
        asked = {str(key): str(chosen.get(f"model.{key}", "<default>")) for key in cfg.model}
        swept = OmegaConf.from_dotlist([f"{key}={value}" for key, value in asked.items() if not value.startswith("<")])
        model = resolve(OmegaConf.merge(cfg.model, swept))
    else:
        model = {key: number(f"model.{key}") for key in ("max_dilation", "stacks", "channels", "stride")}
    return training_seconds(request, model, train or cfg.train, batch, _path(request))


def training_seconds(request: Request, model: Mapping[str, Any], train: Mapping[str, Any], batch: float, path: str) -> float:
    """Seconds of one training on a worker of this machine.

    Args:
        request: the search that it is a trial of.
        model, train: sections of its config.
        batch: chunks per batch.
        path: engine of the training, `native` or `torch`.
    """
    from basecaller.search_plan.timing import timed  # here: as above

    data, workers = sizes(request), request.workers
    there = min(train["chunks"] or data.training, data.training)
    chunks = {
        "epochs": train["epochs"] * there,
        "updates": train["updates"] * batch,
        "samples": train["samples"] / data.samples,
    }[train["budget"]]
    validated = min(train["validation_chunks"] or data.validation, data.validation)
    validation = train["validations"] * chunks / there * validated / 3  # no backward
    if TARGET in model:
        networks = tuple(request.cfg.networks)
        settings = model_settings(dict(model), networks)
        assert isinstance(settings, Named)
        every = timed(json.dumps(settings.section()), networks, path, workers, int(batch), int(data.samples))
        return (chunks + validation) * data.samples * every
    reference = timed(json.dumps(asdict(REFERENCE)), (), path, workers, TIMED_BATCH, TIMED_SAMPLES)
    every = reference / _work(asdict(REFERENCE)) * _work(model)
    overhead = _overhead(path, batch) / _overhead(path, TIMED_BATCH)
    return float((chunks * overhead + validation) * data.samples * every)


def _work(model: Mapping[str, Any]) -> float:
    """How the time of a RawCTCNet for a sample grows with its sizes, see `Model`. Measured: more slowly than the number of
    multiplications, since products of narrow matrices use a processor less well."""
    blocks = len(dilations(int(model["max_dilation"]), int(model["stacks"])))
    return float(blocks * model["channels"] ** 1.5 / model["stride"])


def _overhead(path: str, batch: float) -> float:
    """How PyTorch's time for a sample grows with smaller batches, which keep a core less busy."""
    return 1 + 2 / batch if path == "torch" else 1.0


def testing_seconds(request: Request) -> float:
    """Seconds that the test of one model takes on the test split, by beam search on one core."""
    data = sizes(request)
    chunks = data.testing + min(request.cfg.train.validation_chunks or data.validation, data.validation)
    return chunks * data.samples / DECODING
