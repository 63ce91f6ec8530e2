"""What `debug=overfit` and `debug=profile` do with a training."""

from __future__ import annotations

import cProfile
import logging
import os
import pstats
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import torch
from torch.profiler import ProfilerActivity

from basecaller.data.sources import prepare
from basecaller.errors import BasecallerError
from basecaller.runs.folder import Result
from basecaller.runs.job import Job
from basecaller.runs.training import train
from basecaller.training.fit import Point

log = logging.getLogger(__name__)

ROWS = 25
"""Of a profile's table: what takes most time."""


class _LearnedError(Exception):
    """Ends a training that has learned its chunks."""


def overfit(job: Job, learned: float) -> float:
    """Trains until the network knows its few chunks by heart.

    Args:
        job: whose training has few chunks.
        learned: training loss, nats per base, below which it does.
    Returns:
        The lowest training loss.
    Raises:
        BasecallerError: it never came so far.
    """
    losses: dict[int, float] = {}

    def until(point: Point) -> None:
        losses[point.updates] = point.train_loss
        if point.train_loss < learned:
            raise _LearnedError

    try:
        train(job, until)
    except _LearnedError:
        log.info("learned: the training loss is %.4f nats/base after %s updates", losses[max(losses)], max(losses))
        return losses[max(losses)]
    raise BasecallerError(
        f"not learned: the lowest training loss in {max(losses)} updates is {min(losses.values()):.4f} nats/base, not below "
        f"debug.learned={learned}; raise optimizer.lr or train.updates, or look for a fault in the data or the network"
    )


def profiled(job: Job, kind: str) -> Result:
    """Trains under a profiler, prints what took most time, and writes all of it into the job's folder.

    Args:
        job: to train.
        kind: `python` for cProfile, which writes profile.prof; `torch` for torch.profiler, which writes trace.json.
    """
    data = job.settings.data
    prepare(data.name, data.source, Path(data.folder))  # is not part of the training
    with (_python if kind == "python" else _torch)(job.folder):
        return train(job)


@contextmanager
def _python(folder: Path) -> Iterator[None]:
    with cProfile.Profile() as profile:
        yield
    pstats.Stats(profile).strip_dirs().sort_stats("tottime").print_stats(ROWS)
    profile.dump_stats(folder / "profile.prof")
    log.info("profile: %s; for a picture: pip install snakeviz", os.path.relpath(folder / "profile.prof"))


@contextmanager
def _torch(folder: Path) -> Iterator[None]:
    gpu = [ProfilerActivity.CUDA] if torch.cuda.is_available() else []
    with torch.profiler.profile(activities=[ProfilerActivity.CPU, *gpu]) as profile:
        yield
    by = "self_cuda_time_total" if gpu else "self_cpu_time_total"
    print(profile.key_averages().table(sort_by=by, row_limit=ROWS))
    profile.export_chrome_trace(str(folder / "trace.json"))
    log.info("trace: %s; open it in https://ui.perfetto.dev", os.path.relpath(folder / "trace.json"))
