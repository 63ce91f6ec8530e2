"""The time of a training step on this machine."""

from __future__ import annotations

import json
import time
from functools import lru_cache

import numpy as np
import torch

from basecaller.common.geometry import Model
from basecaller.config.settings import Settings
from basecaller.data.batches import Batch
from basecaller.data.dataset import ALPHABET
from basecaller.networks.adapted import build
from basecaller.networks.named import TARGET, model_settings
from basecaller.training.device import choose_device
from basecaller.training.engine import choose_path, engine_of


def engine_name(chosen: Settings) -> str:
    """The engine of a training, `native` or `torch`."""
    device, train = choose_device(chosen.device), chosen.train
    path = choose_path(chosen.model, device, train.native, train.precision, label_smoothing=train.label_smoothing)
    return "native" if str(path).startswith("native") else "torch"


@lru_cache
def timed(section: str, networks: tuple[str, ...], path: str, threads: int, batch_size: int, samples: int) -> float:
    """Seconds of training per sample of signal: the fastest of three updates on this machine's CPU, after a warm-up.

    Args:
        section: the network's `model` section as JSON.
        networks: modules that networks may be imported from.
        path: engine of the training, `native` or `torch`.
        threads: threads of a worker.
        batch_size: chunks of the update.
        samples: length of each chunk.
    """
    values = json.loads(section)
    size = model_settings(values, networks) if TARGET in values else Model(**values)
    engine = engine_of(build(size, ALPHABET), *(("off", "float32") if path == "torch" else ("auto", "auto")))
    signal = np.random.default_rng(0).standard_normal((batch_size, samples), np.float32)
    bases = np.full(batch_size, 1)
    batch = Batch(signal, np.full(batch_size, samples), np.ones(batch_size, np.int64), bases)
    times, before = [], torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        for _ in range(4):
            started = time.process_time()  # not the wall clock, since other programs may be running
            engine.gradients(batch, masked=False)
            times.append((time.process_time() - started) / threads)
    finally:
        torch.set_num_threads(before)
    return min(times[1:]) / signal.size
