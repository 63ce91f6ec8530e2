"""A training outside a sweep."""

from __future__ import annotations

import logging
import os

import torch

from basecaller.common.workers import job_threads
from basecaller.config.printing import print_config
from basecaller.runs.debugging import overfit, profiled
from basecaller.runs.job import Job
from basecaller.runs.training import train

log = logging.getLogger(__name__)


def train_alone(job: Job) -> float:
    """Trains a job as its `debug` section says, and logs where its model is.

    Returns:
        The objective, nats per base.
    """
    debug = job.settings.debug
    if job.settings.print_config:
        print_config(job.config)
    torch.set_num_threads(job_threads(job.settings.threads))
    if debug.learned is not None:
        return overfit(job, debug.learned)
    result = profiled(job, debug.profile) if debug.profile else train(job)
    log.info("%s", result)
    log.info("the model is in %s", os.path.relpath(job.folder))
    if result.reused:
        log.info("it had finished before; train it again with train.resume=false")
    return result.metrics["val_loss"]
