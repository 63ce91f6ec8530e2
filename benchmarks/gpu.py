"""Training on one device: a bfloat16 step against the speed of a large product, and trials per hour with 1 to 8 processes.

`python -m benchmarks --only gpu`, or `python -m benchmarks.gpu` if only PyTorch is installed. Takes less than eight minutes.
"""

from __future__ import annotations

import multiprocessing
import statistics
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from basecaller.common.errors import SettingError
from basecaller.common.geometry import Model, dilations
from basecaller.data.batches import Batch
from basecaller.networks.rawctcnet import RawCTCNet
from basecaller.training.engine import TorchEngine

SMALL = Model("small", 32, 64, 3, 64, 3, batch_norm=False, stride=4, projection=False)
PUBLISHED = Model("published", 256, 512, 3, 64, 3, batch_norm=False, stride=1, projection=True)


@dataclass(frozen=True)
class Trial:
    """The work of one trial: that of the default plan, or less."""

    size: Model = SMALL
    chunks: int = 512
    batch_size: int = 8
    validations: int = 4
    validation_chunks: int = 64
    samples: int = 640
    bases: int = 60


def batches(count: int, batch_size: int, samples: int, bases: int) -> Iterator[Batch]:
    """Noise in the shapes of reads."""
    rng = np.random.default_rng(0)
    for _ in range(count):
        signal = rng.standard_normal((batch_size, samples)).astype(np.float32)
        targets = rng.integers(1, 5, batch_size * bases)
        yield Batch(signal, np.full(batch_size, samples), targets, np.full(batch_size, bases))


def updater(size: Model, device: torch.device) -> tuple[TorchEngine, Callable[[Batch], None]]:
    """A network with bfloat16 products, and a function that updates it once."""
    engine = TorchEngine(RawCTCNet(size).to(device), torch.bfloat16)
    optimizer = torch.optim.Adam([engine.parameter], lr=0.001, fused=True)

    def update(batch: Batch) -> None:
        engine.gradients(batch, masked=False)
        torch.nn.utils.clip_grad_norm_([engine.parameter], 2.0)
        optimizer.step()

    return engine, update


def wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def timed(device: torch.device, work: Callable[[], object], turns: int = 5) -> float:
    """Median seconds without the first turn."""
    seconds = []
    for _ in range(turns + 1):
        wait(device)
        started = time.perf_counter()
        work()
        wait(device)
        seconds.append(time.perf_counter() - started)
    return statistics.median(seconds[1:])


def multiply_adds(size: Model, frames: int) -> float:
    """Multiply-adds of a forward pass over a number of frames: stem and mix, blocks, skip, head, scores."""
    c, s, n = size.channels, size.skip_channels, len(dilations(size.max_dilation, size.stacks))
    block = 2 * c * size.kernel * c + c * c * (1 + size.projection)
    return float(frames * (c * c + n * block + n * c * s + s * s + 5 * s))


def matrix_rate(device: torch.device, width: int) -> float:
    """Multiply-adds per second in a large bfloat16 product."""
    a, b = (torch.randn(width, width, device=device, dtype=torch.bfloat16) for _ in range(2))
    return width**3 / timed(device, lambda: a @ b, 20)


def run_trials(device: str, trial: Trial, count: int, start: float) -> None:
    """Runs the trials of one process, which begin at the same time as those of the others."""
    torch.set_num_threads(1)
    place = torch.device(device)
    engine, update = updater(trial.size, place)
    (first,) = batches(1, trial.batch_size, trial.samples, trial.bases)
    update(first)
    time.sleep(max(0.0, start - time.time()))
    for _ in range(count):
        engine, update = updater(trial.size, place)
        steps = max(1, trial.chunks // trial.batch_size // trial.validations)
        for _ in range(trial.validations):
            for batch in batches(steps, trial.batch_size, trial.samples, trial.bases):
                update(batch)
            for batch in batches(max(1, trial.validation_chunks // 64), 64, trial.samples, trial.bases):
                engine.nats(batch)


WARM_UP = 20.0
"""Seconds that all processes have to start."""


def trials_an_hour(device: str, processes: int, trial: Trial, count: int, warm_up: float = WARM_UP) -> float:
    """Trials per hour of parallel processes, each with `count` trials one after the other."""
    context = multiprocessing.get_context("spawn")
    start = time.time() + warm_up
    running = [context.Process(target=run_trials, args=(device, trial, count, start)) for _ in range(processes)]
    for process in running:
        process.start()
    for process in running:
        process.join()
    if any(process.exitcode for process in running):
        raise SettingError(f"{processes} processes on {device}: one of them failed, see above")
    return 3600 * processes * count / (time.time() - start)


def measure(
    device: str = "cuda",
    trial: Trial | None = None,
    width: int = 8192,
    step_samples: int = 4000,
    step_batch: int = 32,
    step_size: Model = PUBLISHED,
    processes: tuple[int, ...] = (1, 2, 4, 8),
    warm_up: float = WARM_UP,
) -> Iterator[tuple[str, float, float, str]]:
    """Yields name, our result, that of the limit or of one process, and unit of each measurement.

    Raises:
        SettingError: the device does not exist.
    """
    if device.startswith("cuda") and not torch.cuda.is_available():
        raise SettingError("the gpu group needs a GPU that PyTorch can use, and this machine has none")
    place, trial = torch.device(device), trial or Trial()
    rate = matrix_rate(place, width)
    for name, size, batch_size, samples in (
        ("published size", step_size, step_batch, step_samples),
        ("default size, batch 8", trial.size, trial.batch_size, trial.samples),
    ):
        _, update = updater(size, place)
        (batch,) = batches(1, batch_size, samples, samples // 10 // size.stride or 1)
        seconds = timed(place, lambda update=update, batch=batch: update(batch))  # type: ignore[misc]
        needed = 3 * multiply_adds(size, batch_size * -(-samples // size.stride)) / rate
        yield f"training step, {name}, and its products at the rate of a large one", seconds, needed, "s"
    one = 0.0
    for count in processes:
        found = trials_an_hour(device, count, trial, 2, warm_up)
        one = one or found
        yield f"{count} processes, and 1", found, one, "trials/h"


def gpu(folder: Path) -> list:
    """The rows of the table."""
    from benchmarks.measuring import Row

    return [
        Row(
            name,
            ours,
            theirs,
            unit,
            (theirs if unit == "s" else ours) / (ours if unit == "s" else theirs),
            "shown",
            True,
            torch.cuda.get_device_name(),
        )
        for name, ours, theirs, unit in measure()
    ]


if __name__ == "__main__":
    try:
        for name, ours, theirs, unit in measure():
            print(f"{name}: {ours:,.4g} {unit}, {theirs:,.4g} {unit}", flush=True)
    except SettingError as error:
        sys.exit(f"error: {error}")
