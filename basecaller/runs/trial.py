"""The life of a trial, from its claim to its outcome."""

from __future__ import annotations

import logging
import os
from dataclasses import asdict
from pathlib import Path
from typing import Any

import optuna
import torch
from hydra.core.hydra_config import HydraConfig

from basecaller.common.errors import DivergedError, InfeasibleError, StorageError, file_problem, one_line
from basecaller.common.omegaconf_private import plain
from basecaller.common.workers import job_threads
from basecaller.hpo.pruning import is_screening, pruner_of
from basecaller.hpo.records import Outcome
from basecaller.hpo.storage import open_study
from basecaller.hpo.trial import JobTrial, claim
from basecaller.runs.job import Job
from basecaller.runs.summary import STEPS
from basecaller.runs.training import train
from basecaller.training.fit import CurvePoint

log = logging.getLogger(__name__)

OUTCOMES: tuple[tuple[type[Exception], Outcome], ...] = (
    (DivergedError, Outcome.DIVERGED),
    (InfeasibleError, Outcome.INFEASIBLE),
    (MemoryError, Outcome.OUT_OF_MEMORY),
    (torch.OutOfMemoryError, Outcome.OUT_OF_MEMORY),
    (Exception, Outcome.FAILED),
)
"""The outcome of a trial without a value, by the error of its training."""

SHOWN = ("identity_mean", "updates", "samples", "seconds", "parameters")
"""Metrics and facts of a training that a person reads."""

OWN_OVERRIDES = ("trial.", "stage=", "storage=", "threads=", "experiment=", "logger", "print_config=")
"""Overrides of a sweep's job that say where and for whom it runs, not what it trains."""


def run_trial(job: Job) -> float | None:
    """Claims the job's trial, trains, and ends the trial with an outcome; a bad trial never ends the search.

    Returns:
        The objective, nats per base; None for a trial without a value.
    Raises:
        StorageError: the storage is unreachable. The training finishes first, so the next sweep finds its result in its folder.
    """
    chosen, place = job.settings, job.settings.trial
    torch.set_num_threads(job_threads(chosen.threads))
    assert place.study is not None
    assert place.number is not None
    pruner, folder = pruner_of(chosen.search.pruner, chosen.search.pruner_args, "search.pruner"), Path(chosen.output_dir)
    if pruner is not None and not is_screening(open_study(chosen.storage, place.study), chosen.seed):
        pruner = None
    with claim(chosen.storage, place.study, place.number, folder, _asked(job), pruner) as trial:
        if trial is None:
            log.info("trial %s: another process runs it", place.number)
            return None
        name = " ".join(filter(None, [chosen.stage.name, trial.point, f"seed={chosen.seed}"]))
        try:
            return _run_claimed(trial, job, name)
        except optuna.exceptions.UpdateFinishedTrialError:
            log.warning("%s: this process sent no heartbeat for too long, so another one runs this trial now", name)
            return None


def _run_claimed(trial: JobTrial, job: Job, name: str) -> float | None:
    curve, result = _Curve(trial), None
    try:
        result = train(job, curve)
        if curve.lost:
            raise curve.lost
        facts = result.metrics | asdict(result.facts) | {"reused": result.reused}
        points = [asdict(point) for point in result.curve]
        trial.end(Outcome.COMPLETE, result.metrics["val_loss"], shown=SHOWN, **facts, curve=points)
    except StorageError:
        if result:
            log.error("%s: %s; the storage was lost, but the result is in %s", name, result, os.path.relpath(job.folder))
        raise
    except optuna.exceptions.UpdateFinishedTrialError:
        raise
    except optuna.TrialPruned:
        trial.end(Outcome.PRUNED)
        log.info("%s: pruned", name)
    except Exception as error:
        outcome = next(outcome for kind, outcome in OUTCOMES if isinstance(error, kind))
        message = (isinstance(error, OSError) and file_problem(error)) or one_line(str(error)) or type(error).__name__
        log.debug("%s", name, exc_info=True)
        trial.end(outcome, message=message)
        log.warning("%s: %s: %s", name, outcome, message)
    else:
        log.info("%s: %s", name, result)
        return result.metrics["val_loss"]
    return None


class _Curve:
    """Reports the learning curve to a trial; if the storage is lost, the training continues without it."""

    def __init__(self, trial: JobTrial) -> None:
        self.trial = trial
        self.lost: StorageError | None = None

    def __call__(self, point: CurvePoint) -> None:
        if self.lost is None:
            try:
                self.trial.report(point.val_loss, round(STEPS * point.progress))
            except StorageError as error:
                log.warning("%s", error)
                self.lost = error


def _asked(job: Job) -> dict[str, Any]:
    """The request for a job: its config, and its overrides as the user wrote them."""
    hydra = HydraConfig.get()
    # unresolved: an override computed from others stays as written
    written, choices = plain(hydra.overrides.task), plain(hydra.runtime.choices)
    return {
        "config": job.config,
        "choices": {key: choice for key, choice in choices.items() if not key.startswith(("hydra/", "logger"))},
        "overrides": [line for line in written if not str(line).lstrip("+").startswith(OWN_OVERRIDES)],
        "folder": os.path.relpath(job.folder),
    }
