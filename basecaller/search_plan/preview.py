"""What a search would run, and about how long it takes; nothing runs."""

from __future__ import annotations

import json
import time
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import numpy as np
from omegaconf import OmegaConf
from rich.console import Console
from rich.table import Table

from basecaller.data.batches import Batch
from basecaller.data.dataset import ALPHABET
from basecaller.geometry import dilations
from basecaller.hpo.designs import most_runs, planned
from basecaller.networks.named import TARGET, Named, model_settings
from basecaller.resolving import resolve
from basecaller.settings import settings

if TYPE_CHECKING:
    from basecaller.search_plan.search import Search

SPEED = {"native": 13e6, "torch": 2.6e6}
"""Signal samples times residual blocks that one core trains in a second, at 32 channels and stride 4."""

SAMPLES_PER_BASE = 10.2
"""Of simulated reads, on average."""


def preview(search: Search, console: Console) -> None:
    """Lists every trial of the first round with its settings, then rounds, finalists and headline, with estimates of time."""
    cfg = search.cfg.search
    total, seconds = 0, 0.0
    longest = 0.0
    for name, file in search.files.items():
        space, fixed = file.planned(search.overrides)
        points = [point.values for point in space.points()]
        table = Table("trial", "settings", "about", title=name, title_justify="left")
        costs = [estimate(search, {**fixed, **point}) for point in points]
        for number, (point, cost) in enumerate(zip(points, costs, strict=True)):
            table.add_row(str(number), "  ".join(f"{k}={v}" for k, v in point.items()), f"{cost:.1f} s")
        if file.stage.extend:
            table.caption = f"and up to {file.stage.extend} more beyond the edge of the grid, if the winner lies there"
        console.print(table)
        console.print("  ".join(f"{k}={v}" for k, v in fixed.items()), style="dim")
        if space.seeds:
            seeds, runs = len(space.seeds), len(points) * len(space.seeds)
        else:
            design, choices, seeds = planned(str(file.stage.design), space.axes, file.choice, int(file.stage.replicates))
            runs = most_runs(design, choices, seeds)
        if seeds > 1:
            console.print(f"{len(points)} points, {runs} trials at most over {seeds} seeds", style="dim")
        total, seconds = total + runs, seconds + runs * float(np.mean(costs))
        longest = max(longest, float(np.mean(costs)))
    workers, each = search.workers.count, f"{search.workers.count} at once, {search.workers.threads} thread(s) each"
    table = Table("after the first round", "about", title_justify="left")
    later = max(0, int(cfg.rounds) - 1)
    if later:
        table.add_row(
            f"up to {later} more round(s), trials {cfg.round_budget} times as long",
            _minutes(later * seconds / 2 * int(cfg.round_budget) / workers),
        )
    if int(cfg.finalists) > 1:
        table.add_row(
            f"up to {cfg.finalists} finalists at {cfg.finalist_seeds} seed(s), {cfg.finalist_budget} times as long",
            _minutes(int(cfg.finalists) * int(cfg.finalist_seeds) * int(cfg.finalist_budget) * longest / workers),
        )
    final = OmegaConf.merge(search.cfg.train, cfg.winner.train)
    cost = estimate(search, {}, final)
    seeds = int(cfg.headline_seeds)
    table.add_row(f"headline: the winner and the defaults, {seeds} seed(s) each", _minutes(2 * seeds * cost / workers))
    console.print(table)
    console.print(f"first round: {total} trials, {each}: {_minutes(seconds / workers)}")


def _minutes(seconds: float) -> str:
    return f"{seconds / 60:.1f} minutes"


@lru_cache(maxsize=1)
def sizes(search: Search) -> tuple[tuple[float, int, int], str]:
    """What an estimate needs of the data, and how it trains; the same for all of a search."""
    return _sizes(search), _path(search)


def _sizes(search: Search) -> tuple[float, int, int]:
    """Samples of a chunk on average, and how many chunks train and validate; simulated reads need not be made for it."""
    data = search.cfg.data
    if data.name.startswith("simulated"):
        samples = SAMPLES_PER_BASE * (data.min_bases + data.max_bases) / 2
        return samples, round(data.reads * (1 - data.validation - data.test)), round(data.reads * data.validation)
    dataset = search.dataset
    return float(np.mean(dataset.lengths)), len(dataset.indices("train")), len(dataset.indices("validation"))


def _path(search: Search) -> str:
    from basecaller.training.device import choose_device  # torch starts slowly
    from basecaller.training.engine import choose_path

    checked = settings(search.cfg)
    device, train = choose_device(checked.device), checked.train
    path = choose_path(checked.model, device, train.native, train.precision, label_smoothing=train.label_smoothing)
    return "native" if str(path).startswith("native") else "torch"


@lru_cache
def seconds_per_sample(section: str, networks: tuple[str, ...], batch_size: int, samples: int) -> float:
    """What a training of a named network takes for a sample of signal: nothing is known of its cost, so one update is measured,
    on the processor, after one that is not.

    Args:
        section: its `model` section as JSON.
        networks: that may be imported.
        batch_size: chunks of the update.
        samples: length of each.
    """
    from basecaller.networks.adapted import build  # torch starts slowly
    from basecaller.training.engine import engine_of

    engine = engine_of(build(model_settings(json.loads(section), networks), ALPHABET))
    signal = np.random.default_rng(0).standard_normal((batch_size, samples), np.float32)
    bases = np.full(batch_size, 1)
    batch = Batch(signal, np.full(batch_size, samples), np.ones(batch_size, np.int64), bases)
    engine.gradients(batch, masked=False)
    before = time.perf_counter()
    engine.gradients(batch, masked=False)
    return (time.perf_counter() - before) / signal.size


def estimate(search: Search, chosen: dict[str, Any], train: Any = None) -> float:
    """Seconds of one training on one worker.

    Args:
        search: of which it is a trial.
        chosen: its settings by key; those that an earlier stage decides are taken from the config.
        train: its `train` section, where it is not the search's.
    """
    cfg, train = search.cfg, train or search.cfg.train

    def number(key: str) -> float:
        value = str(chosen.get(key, "<default>"))
        return float(OmegaConf.select(cfg, key) if value.startswith("<") else value)

    (samples, there, validating), path = sizes(search)
    chunks = train.epochs * min(train.chunks or there, there)
    validation = train.epochs * train.validations * min(train.validation_chunks or validating, validating) / 3  # no backward
    if TARGET in cfg.model:
        asked = {str(key): str(chosen.get(f"model.{key}", "<default>")) for key in cfg.model}
        swept = OmegaConf.from_dotlist([f"{key}={value}" for key, value in asked.items() if not value.startswith("<")])
        model = model_settings(resolve(OmegaConf.merge(cfg.model, swept)), cfg.networks)
        assert isinstance(model, Named)
        every = seconds_per_sample(
            json.dumps(model.section()), tuple(cfg.networks), int(number("data.batch_size")), int(samples)
        )
        return (chunks + validation) * samples * every
    overhead = 1 + 2 / number("data.batch_size") if path == "torch" else 1  # PyTorch's small batches keep a core less busy
    blocks = len(dilations(int(number("model.max_dilation")), int(number("model.stacks"))))
    width = (cfg.model.channels / 32) ** 1.5 * 4 / cfg.model.stride
    return float((chunks * overhead + validation) * samples * blocks * width / SPEED[path])
