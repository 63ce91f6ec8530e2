"""The job that Hydra runs for `python -m basecaller.train`, a single training or a sweep's trial, and the sweeper's task."""

from __future__ import annotations

import gc
import logging
from contextlib import chdir, nullcontext
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode
from omegaconf import DictConfig

from basecaller.cli.entry import as_message
from basecaller.common.checking import section
from basecaller.common.errors import SettingError
from basecaller.config.composition import register_resolvers
from basecaller.config.printing import print_config
from basecaller.config.schema import NO_STAGE, OBJECTIVE, Stage, field_of
from basecaller.data.batches import check_padding
from basecaller.data.sources import prepare
from basecaller.hpo.resolver import register_best
from basecaller.hpo.task import CANDIDATE, Place, Task
from basecaller.networks.named import kind_of
from basecaller.runs.findings import check_data_files, warn_once
from basecaller.runs.job import hydra_job, job_of
from basecaller.runs.orphans import busy, watch
from basecaller.runs.run_id import IGNORED

if TYPE_CHECKING:
    import optuna

# Hydra's launchers print every override of every job, PyTorch prints statistics of its caches, and Matplotlib its search for
# fonts. Levels set in Hydra's own logging config would be reset for every job, for all loggers below them.
for name in ("hydra", "hydra_plugins", "matplotlib", "torch"):
    logging.getLogger(name).setLevel(logging.WARNING)


def run_job(cfg: DictConfig) -> float | None:
    """Trains a config, alone or as a trial of a sweep.

    Paths stay relative to the folder where the command was typed, even with `hydra.job.chdir`: all jobs share the storage.

    Returns:
        The objective, nats per base; None for a trial without a value.
    """
    hydra = HydraConfig.get()
    with chdir(hydra.runtime.cwd) if hydra.job.chdir else nullcontext():
        rerun = hydra.mode == RunMode.RUN  # a trial's job outside its sweep
        if cfg.trial.study is None or rerun:
            return _train_alone(cfg)
        from basecaller.runs.trial import run_trial  # here: imports PyTorch, as below

        watch()
        with busy:
            value = run_trial(hydra_job(cfg))
        _freeze()
        return value


@as_message  # here, since Hydra would print all overrides before the message
def _train_alone(cfg: DictConfig) -> float:
    if cfg.stage.name != NO_STAGE and cfg.trial.study is None:
        raise SettingError(
            f"stage={cfg.stage.name} is a sweep: add -m, as in: python -m basecaller.train -m stage={cfg.stage.name}"
        )
    from basecaller.runs.alone import train_alone  # here: without PyTorch, a sweep starts three times as fast

    return train_alone(hydra_job(cfg))


UNSWEPT = ("experiment", "storage", "output_dir", "plan", "search", "trial", "stage", "device", "threads", "data.folder",
           "train.resume", "networks", "logger", "debug", "print_config")  # fmt: skip
"""Keys that cannot be swept, since they are not settings of a training."""

TUNED = ("stage.rate_factor", CANDIDATE)
"""Exceptions that can be swept, since other settings are computed from them."""


class Training(Task):
    """Trainings as the sweeper's task; `conf/hydra/sweeper/basecaller.yaml` names it."""

    ignored = IGNORED
    objective = OBJECTIVE

    def place(self, config: DictConfig) -> Place:
        experiment = str(config.experiment)
        return Place(
            url=str(config.storage),
            experiment=experiment,
            folder=Path(config.output_dir),
            command=f"python -m basecaller.train -m stage={{stage}} experiment={experiment}",
            studies=config.stage.studies or {},
            workers=config.search.workers,
        )

    def stage(self, config: DictConfig) -> Stage:
        return section(Stage, config.stage, "stage")

    def trial_overrides(self, study: str, number: int) -> list[str]:
        return [f"trial.study='{study}'", f"trial.number={number}"]

    def check(self, config: DictConfig) -> dict[str, Any]:
        """Checks settings, files and device of a training.

        Returns:
            The config's plain values, see `Job.config`.
        Raises:
            BasecallerError: see `checked_config`, or what a setting names is missing or unusable.
        """
        job = job_of(config)
        chosen = job.settings
        debug, trial = chosen.debug, chosen.trial
        if trial.study is not None or trial.number is not None:
            raise SettingError("trial.study, trial.number: the sweeper sets the trial of a job; leave them out")
        if debug.learned is not None or debug.profile:
            raise SettingError(f"debug={debug.name} is for one training: python -m basecaller.train debug={debug.name}")
        if chosen.search.pruner is not None:
            from basecaller.hpo.pruning import pruner_of  # here: imports Optuna, and a single training needs none

            pruner_of(chosen.search.pruner, chosen.search.pruner_args, "search.pruner")
        if chosen.device.startswith("cuda") or chosen.train.init or chosen.train.native == "on":
            from basecaller.runs.training import check_needs  # here: imports PyTorch, as above

            check_needs(chosen)
        check_data_files(chosen.data)
        return job.config

    def prepare(self, config: DictConfig) -> None:
        """Makes the data set, if missing, and logs the findings of its audit.

        Raises:
            BasecallerError: see `data.sources.prepare`; or the padding does not suit the data.
        """
        chosen = job_of(config).settings
        dataset = prepare(chosen.data.name, chosen.data.source, Path(chosen.data.folder))
        check_padding(dataset, chosen.padding, max(chosen.train.batch_schedule or (chosen.data.batch_size,)))
        warn_once(dataset, chosen)

    def begins(self, config: DictConfig) -> None:
        if config.print_config:
            print_config(config)

    def apart(self, values: dict[str, Any]) -> list[Any]:
        """The pruner, since it leaves points without a value, and the candidates."""
        search, candidates = values["search"], values["stage"]["candidates"]
        pruner = [search["pruner"], search["pruner_args"]] if search["pruner"] else []
        return [*pruner, candidates] if candidates else pruner

    def field_of(self, key: str, config: DictConfig) -> tuple[type, str] | None:
        return field_of(key, str(config.data.name), kind_of(config.model, config.networks))

    def why_unswept(self, key: str) -> str:
        parents = [".".join(key.split(".")[:n]) for n in range(1, key.count(".") + 2)]
        if key == "stage":
            return "one stage at a time; python -m basecaller.search 'plan=[...]' runs several"
        if key not in TUNED and any(parent in UNSWEPT for parent in parents):
            return f"cannot be swept; {key} is not a setting of a training"
        return ""

    def ended(self, study: optuna.Study) -> None:
        """Shows the state of the study in optuna-dashboard."""
        from basecaller.reporting.dashboard import show_study  # here: a worker process needs no report

        show_study(study)
        _freeze()


@cache
def _freeze() -> None:
    """Excludes what is in memory after the first trial or sweep of a process, mostly imported modules, from garbage collection.
    Scanning it takes a tenth of a second, and a joblib worker collects garbage after every job that takes longer than a second.
    """
    gc.collect()
    gc.freeze()


TASK = Training()

# here too: a worker process imports only the module that it runs
register_resolvers()
register_best(TASK)
