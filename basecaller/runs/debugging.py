"""Trainings with `debug=overfit` and `debug=profile`."""

from __future__ import annotations

import cProfile
import logging
import os
import pstats
from pathlib import Path

import torch
from torch.profiler import ProfilerActivity

from basecaller.common.errors import BasecallerError
from basecaller.runs.folder import Result
from basecaller.runs.job import Job
from basecaller.runs.training import train
from basecaller.training.fit import CurvePoint

log = logging.getLogger(__name__)

ROWS = 25
"""Number of rows in a profile's table: the slowest functions."""


class _LearnedError(Exception):
    """Ends a training that has memorised its chunks."""


def overfit(job: Job, learned: float) -> float:
    """Trains until the network has memorised its few chunks.

    Args:
        job: the job, with few training chunks.
        learned: training loss in nats per base below which the chunks count as memorised.
    Returns:
        The lowest training loss.
    Raises:
        BasecallerError: the training never reached that loss.
    """
    losses: dict[int, float] = {}

    def until(point: CurvePoint) -> None:
        losses[point.updates] = point.train_loss
        if point.train_loss < learned:
            raise _LearnedError

    try:
        train(job, until)
    except _LearnedError:
        log.info("memorised: the training loss is %.4f nats/base after %s updates", losses[max(losses)], max(losses))
        return losses[max(losses)]
    raise BasecallerError(
        f"not memorised: the lowest training loss in {max(losses)} updates is {min(losses.values()):.4f} nats/base, not below "
        f"debug.learned={learned}; raise optimizer.lr or train.updates, or look for a fault in the data or the network"
    )


def profiled(job: Job, kind: str) -> Result:
    """Trains under a profiler, prints the slowest functions, and writes the whole profile into the job's folder.

    Profiling starts at the first point of the learning curve, to leave out the start, such as imports.

    Args:
        job: the job to train.
        kind: `python` for cProfile, which writes profile.prof; `torch` for torch.profiler, which writes trace.json.
    """
    profiler = _Python() if kind == "python" else _Torch()
    begun: list[CurvePoint] = []

    def begin(point: CurvePoint) -> None:
        if not begun:
            profiler.start()
        begun.append(point)

    try:
        result = train(job, begin)
    finally:
        if begun:
            profiler.stop()
    file = profiler.write(job.folder)
    log.info("profile, from update %s on: %s", begun[0].updates, os.path.relpath(file))
    return result


class _Python:
    """cProfile, for Python functions including native ones; snakeviz draws profile.prof."""

    def __init__(self) -> None:
        self.profile = cProfile.Profile()
        self.start, self.stop = self.profile.enable, self.profile.disable

    def write(self, folder: Path) -> Path:
        """Prints the table, and writes the rest to a file."""
        pstats.Stats(self.profile).strip_dirs().sort_stats("tottime").print_stats(ROWS)
        self.profile.dump_stats(folder / "profile.prof")
        return folder / "profile.prof"


class _Torch:
    """torch.profiler, for PyTorch's operations and GPU kernels; https://ui.perfetto.dev draws trace.json."""

    def __init__(self) -> None:
        self.gpu = [ProfilerActivity.CUDA] if torch.cuda.is_available() else []
        self.profile = torch.profiler.profile(activities=[ProfilerActivity.CPU, *self.gpu])
        self.start, self.stop = self.profile.start, self.profile.stop

    def write(self, folder: Path) -> Path:
        """Prints the table, and writes the rest to a file."""
        print(self.profile.key_averages().table(sort_by=f"self_{'cuda' if self.gpu else 'cpu'}_time_total", row_limit=ROWS))
        self.profile.export_chrome_trace(str(folder / "trace.json"))
        return folder / "trace.json"
