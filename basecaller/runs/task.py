"""What Hydra runs for `python -m basecaller.train`: one training, or the trials of a sweep."""

from __future__ import annotations

import logging
import os
from contextlib import chdir, nullcontext
from pathlib import Path
from typing import Any

from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode
from omegaconf import DictConfig

from basecaller.config import register_resolvers
from basecaller.data.batches import check_padding
from basecaller.data.sources import prepare
from basecaller.entry import as_message
from basecaller.errors import SettingError
from basecaller.hpo.pruning import pruner_of
from basecaller.runs.findings import warn_once
from basecaller.runs.job import Job, checked_config, hydra_job
from basecaller.workers import use_threads

log = logging.getLogger(__name__)

# Hydra's launchers print every override of every job, PyTorch statistics of its caches. Levels in Hydra's own logging would be
# set anew for every job, of all loggers below them.
for name in ("hydra", "hydra_plugins", "torch"):
    logging.getLogger(name).setLevel(logging.WARNING)

register_resolvers()  # here too: a worker process imports what it runs, and no more


def run_job(cfg: DictConfig) -> float | None:
    """Trains a config, alone or as a trial of a sweep.

    Paths stay relative to the folder where the command was typed, with `hydra.job.chdir` too: all jobs share the storage.

    Returns:
        The objective, nats per base; None for a trial that gave none.
    """
    hydra = HydraConfig.get()
    with chdir(hydra.runtime.cwd) if hydra.job.chdir else nullcontext():
        rerun = hydra.mode == RunMode.RUN  # a trial's job outside its sweep
        return _train_alone(cfg) if cfg.trial.study is None or rerun else _run_trial(hydra_job(cfg))


@as_message  # here already: Hydra would print all overrides before the message
def _train_alone(cfg: DictConfig) -> float:
    if cfg.stage.name != "none" and cfg.trial.study is None:
        raise SettingError(
            f"stage={cfg.stage.name} is a sweep: add -m, as in: python -m basecaller.train -m stage={cfg.stage.name}"
        )
    # here: what starts trainings, such as a sweep, starts three times as fast without PyTorch
    from basecaller.printing import print_config
    from basecaller.runs.debugging import overfit, profiled
    from basecaller.runs.training import train

    job = hydra_job(cfg)
    debug = job.settings.debug
    if job.settings.print_config:
        print_config(job.config)
    use_threads(job.settings.threads)
    if debug.learned is not None:
        return overfit(job, debug.learned)
    result = profiled(job, debug.profile) if debug.profile else train(job)
    log.info("%s", result)
    log.info("in %s", os.path.relpath(job.folder))
    if result.taken_over:
        log.info("it had finished before; train.resume=false trains it again")
    return result.metrics["val_loss"]


def _run_trial(job: Job) -> float | None:
    from basecaller.runs.trial import run_trial  # with PyTorch, as above

    use_threads(job.settings.threads)
    return run_trial(job)


def check(cfg: DictConfig) -> dict[str, Any]:
    """Holds a config against all that can be known before it is trained: settings, data set, GPU.

    Returns:
        The config's plain values, see `Job.config`.
    Raises:
        BasecallerError: see `checked_config` and `data.sources.prepare`.
    """
    chosen, config = checked_config(cfg)
    debug = chosen.debug
    if debug.learned is not None or debug.profile:
        raise SettingError(f"debug={debug.name} is for one training: python -m basecaller.train debug={debug.name}")
    pruner_of(chosen.search)
    if chosen.device.startswith("cuda"):
        from basecaller.training.device import check_gpu  # with PyTorch, as above

        check_gpu(chosen.device)
    dataset = prepare(chosen.data.name, chosen.data.source, Path(chosen.data.folder))
    check_padding(dataset, chosen.padding, chosen.data.batch_size)
    warn_once(dataset, chosen)
    return config
