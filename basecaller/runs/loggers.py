"""Runs a training's loggers so that no failing logger can harm the training."""

from __future__ import annotations

import json
import logging
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib import import_module
from typing import Any

from basecaller.common.errors import one_line
from basecaller.config.settings import TRAINING
from basecaller.hpo.urls import HIDDEN
from basecaller.loggers.training import Logger, Training
from basecaller.runs.folder import Result
from basecaller.runs.job import Job
from basecaller.training.fit import CurvePoint

log = logging.getLogger(__name__)

PASSWORD = re.compile(r"(://[^\s/:@]*:)[^\s@]+@")
"""A password in a URL in an error message."""


class Loggers:
    """The loggers of a job. A logger that fails is dropped with one warning; the training continues.

    Args:
        job: the job; its `settings.logger` names the loggers.
    """

    def __init__(self, job: Job) -> None:
        self.names = list(job.settings.logger)
        self.open: dict[str, Logger] = {}
        for name, settings in job.settings.logger.items():
            with self._unharmed(name):
                self.open[name] = import_module(f"basecaller.loggers.{name}").Logger(settings, described(job))

    def point(self, point: CurvePoint) -> None:
        """Logs a point of the learning curve."""
        metrics = {
            "train/loss": point.train_loss,
            "val/loss": point.val_loss,
            "lr": point.lr,
            "epoch": point.epoch,
            "samples": float(point.samples),
        }
        self._each(lambda logger: logger.log(point.updates, metrics))

    def result(self, result: Result) -> None:
        """Logs the best checkpoint's metrics, at the last update."""
        metrics = {"val/best_loss": result.metrics["val_loss"], "val/identity": result.metrics["identity_mean"]}
        self._each(lambda logger: logger.log(result.curve[-1].updates, metrics))

    def close(self, error: BaseException | None) -> None:
        """Ends all logs. `error` is the exception that ended the training; None if it has finished."""
        self._each(lambda logger: logger.close(error))

    def _each(self, told: Callable[[Logger], None]) -> None:
        for name, logger in list(self.open.items()):
            with self._unharmed(name):
                told(logger)

    @contextmanager
    def _unharmed(self, name: str) -> Iterator[None]:
        try:
            yield
        except Exception as error:  # from any package, server or disk
            self.open.pop(name, None)
            log.debug("logger=%s", name, exc_info=True)
            message = PASSWORD.sub(rf"\1{HIDDEN}@", one_line(str(error))) or type(error).__name__
            log.warning("logger=%s: %s; the training continues without it", name, message)


@contextmanager
def logging_of(job: Job) -> Iterator[Loggers]:
    """The loggers of a job while it trains; at the end they get its outcome."""
    loggers, ended = Loggers(job), None
    try:
        yield loggers
    except BaseException as error:
        ended = error
        raise
    finally:
        loggers.close(ended)


def described(job: Job) -> Training:
    """The loggers' description of a job."""
    chosen, place = job.settings, job.settings.trial
    of_trial, name = dict[str, str](), job.run_id
    if place.study:
        of_trial = {"stage": place.study.split("/")[1], "study": place.study, "trial": str(place.number)}
        name = f"{of_trial['stage']}-{place.number}-{job.run_id}"
    tags = {"experiment": chosen.experiment, **of_trial, "seed": str(chosen.seed), "run_id": job.run_id}
    return Training(name, job.run_id, job.folder, _flat({key: job.config[key] for key in TRAINING}), tags)


def _flat(node: dict[str, Any], where: str = "") -> dict[str, int | float | bool | str | None]:
    """Settings by dotted key."""
    found: dict[str, int | float | bool | str | None] = {}
    for key, value in node.items():
        if isinstance(value, dict):
            found |= _flat(value, f"{where}{key}.")
        else:
            found[f"{where}{key}"] = value if isinstance(value, int | float | bool | str | None) else json.dumps(value)
    return found
