"""The time of a training step on this machine."""

from __future__ import annotations

import json
import time
from concurrent.futures import ThreadPoolExecutor
from functools import lru_cache

import numpy as np
import torch

from basecaller.common.geometry import Model
from basecaller.common.workers import Workers
from basecaller.config.settings import Settings
from basecaller.data.batches import Batch
from basecaller.data.dataset import ALPHABET
from basecaller.networks.adapted import build
from basecaller.networks.named import TARGET, model_settings
from basecaller.training.device import choose_device
from basecaller.training.engine import Engine, choose_path, engine_of

UPDATES = 2
"""Updates that are timed together, so that all workers train most of the time."""

SAMPLES_PER_BASE = 10
"""Samples of a base in the timed chunks, as in most reads; the time of CTC grows with the bases."""


def engine_name(chosen: Settings) -> str:
    """The engine of a training, `native` or `torch`."""
    device, train = choose_device(chosen.device), chosen.train
    path = choose_path(chosen.model, device, train.native, train.precision, label_smoothing=train.label_smoothing)
    return "native" if str(path).startswith("native") else "torch"


@lru_cache
def timed(section: str, networks: tuple[str, ...], path: str, workers: Workers, batch_size: int, samples: int) -> float:
    """Seconds of training per sample of signal on this machine's CPU while every worker trains: they share caches and memory.

    Args:
        section: the network's `model` section as JSON.
        networks: modules that networks may be imported from.
        path: engine of the training, `native` or `torch`.
        workers: how a search divides the machine.
        batch_size: chunks of an update.
        samples: length of each chunk.
    """
    values = json.loads(section)
    size = model_settings(values, networks) if TARGET in values else Model(**values)
    rng = np.random.default_rng(0)
    bases = np.full(batch_size, max(1, samples // SAMPLES_PER_BASE))
    batch = Batch(
        signal=rng.standard_normal((batch_size, samples), np.float32),
        lengths=np.full(batch_size, samples),
        targets=rng.integers(1, 1 + len(ALPHABET), bases.sum()),
        target_lengths=bases,
    )
    native, precision = ("off", "float32") if path == "torch" else ("auto", "auto")
    engines = [engine_of(build(size, ALPHABET), native, precision) for _ in range(workers.count)]

    def updates(engine: Engine) -> None:
        torch.set_num_threads(workers.threads)
        for _ in range(UPDATES):
            engine.gradients(batch, masked=False)

    times, before = [], torch.get_num_threads()
    try:
        with ThreadPoolExecutor(workers.count) as threads:
            for _ in range(3):  # the first also warms up
                started = time.process_time()  # not the wall clock, since other programs may be running
                list(threads.map(updates, engines))
                times.append((time.process_time() - started) / workers.count / workers.threads)
    finally:
        torch.set_num_threads(before)
    return min(times) / UPDATES / batch.signal.size
