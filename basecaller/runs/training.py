"""Training a job in its folder."""

from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path

import torch

from basecaller.common.provenance import commit, versions
from basecaller.config.settings import Settings
from basecaller.data.sources import prepare
from basecaller.networks.adapted import build, check_protocol
from basecaller.runs.findings import warn_once
from basecaller.runs.folder import Result, RunFacts, RunFolder
from basecaller.runs.job import Job
from basecaller.runs.loggers import logging_of
from basecaller.training.checkpoint import check_start, start_from
from basecaller.training.device import check_gpu, choose_device
from basecaller.training.engine import choose_path
from basecaller.training.fit import CurvePoint, Recipe, fit

log = logging.getLogger(__name__)


def train(job: Job, on_point: Callable[[CurvePoint], None] = lambda point: None) -> Result:
    """Trains a job in its folder; continues a killed training, and only reads the result of a finished one.

    Args:
        job: the job to train.
        on_point: called with every point of the learning curve, including earlier ones.
    Raises:
        BasecallerError: the data cannot be used, or the training diverged.
    """
    folder = RunFolder(job)
    # without the lock first: this user may only have read access to a finished training
    if found := folder.finished():
        return _told(job, found, on_point)
    with folder.held():
        if found := folder.finished():
            return _told(job, found, on_point)
        if not job.is_trial:  # a sweep has already checked it
            check_needs(job.settings)
        folder.take()
        with logging_of(job) as loggers:

            def told(point: CurvePoint) -> None:
                loggers.point(point)
                on_point(point)  # last: it may end the training

            result = _fit(job, told)
            loggers.result(result)
        folder.keep(result)
    return result


def check_needs(chosen: Settings) -> None:
    """Checks what a training needs besides its data: a GPU, the checkpoint that it starts from, and native code, as far as its
    settings require them.

    Raises:
        BasecallerError: one of these is missing or unusable.
    """
    if chosen.device.startswith("cuda"):
        check_gpu(chosen.device)
    if chosen.train.init:
        check_start(chosen.model, Path(chosen.train.init), chosen.networks)
    if chosen.train.native == "on":
        kind = ("cuda" if torch.cuda.is_available() else "cpu") if chosen.device == "auto" else chosen.device
        train = chosen.train
        choose_path(chosen.model, torch.device(kind), "on", train.precision, label_smoothing=train.label_smoothing)


def _told(job: Job, found: Result, on_point: Callable[[CurvePoint], None]) -> Result:
    if job.settings.logger:
        names = ",".join(job.settings.logger)
        chosen = f"[{names}]" if len(job.settings.logger) > 1 else names
        log.info("run %s is already finished, so logger=%s does not log it again", job.run_id, chosen)
    for point in found.curve:
        on_point(point)
    return found


def _fit(job: Job, on_point: Callable[[CurvePoint], None]) -> Result:
    chosen = job.settings
    device = choose_device(chosen.device)
    dataset = prepare(chosen.data.name, chosen.data.source, Path(chosen.data.folder))
    if not job.is_trial:  # a sweep has already logged it
        warn_once(dataset, chosen)
    network = build(chosen.model, dataset.alphabet, chosen.seed)
    check_protocol(network)
    if chosen.train.init:
        start_from(network, Path(chosen.train.init), chosen.networks)
    network = network.to(device)
    recipe = Recipe(
        optimizer=chosen.optimizer,
        train=chosen.train,
        padding=chosen.padding,
        batch_size=chosen.data.batch_size,
        seed=chosen.seed,
        folder=job.folder,
        alone=not job.is_trial,
    )
    outcome = fit(network, dataset, recipe, on_point)
    facts = RunFacts(
        **vars(outcome.facts),
        data=dataset.fingerprint,
        commit=commit(),
        versions=versions(),
        run_id=job.run_id,
        sample_rates=dataset.sample_rates,
    )
    return Result(outcome.metrics, outcome.curve, facts)
