"""A job: a composed config, resolved once into plain values. All later steps get the job, never the config."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig, OmegaConf

from basecaller.common.errors import DataError
from basecaller.common.files import content_digest
from basecaller.config.schema import typed_config
from basecaller.config.settings import Settings, settings_and_values
from basecaller.data.sources import source_fingerprint
from basecaller.hpo.urls import shown, without_password
from basecaller.networks.named import CODE, Named, kind_of
from basecaller.runs.hydra_files import HydraFiles
from basecaller.runs.run_id import run_id
from basecaller.runs.signals import Signals, stored_config


@dataclass(frozen=True)
class Job:
    """One training, alone or as a trial of a sweep.

    Attributes:
        settings: the checked settings. `settings.trial` names its trial.
        config: the settings as plain values of their keys' types, as stored in run folder and trial, with the digests of the
            files that they name. It may be written anywhere, so it omits the password in a storage's URL.
        run_id: fingerprint of the training, see `run_id`.
        folder: folder for checkpoints, curve and result.
        hydra: the configs that Hydra composed, for the folder's `.hydra/`; None outside Hydra.
    """

    settings: Settings
    config: dict[str, Any]
    run_id: str
    folder: Path
    hydra: HydraFiles | None = None

    @property
    def is_trial(self) -> bool:
        """Whether the job is a trial of a sweep."""
        return self.settings.trial.study is not None

    def __deepcopy__(self, memo: dict[int, Any]) -> Job:
        return self  # Hydra copies its configs, which may hold a job


def checked_config(cfg: DictConfig) -> tuple[Settings, dict[str, Any]]:
    """The settings of a composed config, and its plain values: see `Job`.

    Raises:
        BasecallerError: a setting is invalid, an interpolation cannot be resolved, or a file is missing.
    """
    settings, values = settings_and_values(cfg)
    config = typed_config(values, kind_of(values["model"], settings.networks))
    if isinstance(settings.model, Named):
        config["model"][CODE] = settings.model.code
    config["storage"], config["logger"] = without_password(settings.storage), shown(config["logger"])
    config["data"]["fingerprint"] = source_fingerprint(settings.data.name, settings.data.source)
    config["train"]["init_digest"] = init_digest(settings.train.init)
    init = settings.train.init
    if init and (trained := stored_config(Path(init).parent)):
        Signals.of(trained).check(settings.data.source, f"train.init={init}: it")
    return settings, config


def init_digest(path: str | None) -> str | None:
    """Digest of the content of `train.init`, 16 hex digits; None if it is not set.

    Raises:
        DataError: there is no such file.
    """
    if path is None:
        return None
    try:
        return content_digest(Path(path))
    except OSError as error:
        raise DataError(
            f"train.init={path}: cannot be read ({error.strerror}); give a checkpoint, such as .../best.pt"
        ) from None


def resolve_job(cfg: DictConfig, folder: Path) -> Job:
    """The job that trains a composed config in a folder.

    Raises:
        BasecallerError: see `checked_config`.
    """
    settings, config = checked_config(cfg)
    return Job(settings, config, run_id(config), folder)


RESOLVED = "basecaller.job"
"""The key in a config's resolver cache for the job resolved from it."""


def job_of(cfg: DictConfig) -> Job:
    """The job of a composed config, without its folder. It is resolved once, so the config must not change afterwards; its
    copies share the job.

    Raises:
        BasecallerError: see `checked_config`.
    """
    cache = OmegaConf.get_cache(cfg)
    if RESOLVED not in cache:
        cache[RESOLVED] = resolve_job(cfg, Path())
    job: Job = cache[RESOLVED]
    return job


def _run_id(*, _root_: DictConfig) -> str:
    """The resolver `${run_id:}`, by which Hydra names the folder of a training. Hydra resolves it before it opens the log in
    this folder and runs the job; `hydra_job` then finds the resolved job in its copy of the config.

    Raises:
        BasecallerError: see `checked_config`.
    """
    return job_of(_root_).run_id


OmegaConf.register_resolver("run_id", _run_id, replace=True)


def hydra_job(cfg: DictConfig) -> Job:
    """The job that Hydra runs, in Hydra's folder for it. In a sweep, the run id names the folder, whatever
    `hydra.sweep.subdir` says, so that no job takes another's folder.

    Raises:
        BasecallerError: see `checked_config`.
    """
    hydra, job = HydraConfig.get(), job_of(cfg)
    folder = Path(hydra.sweep.dir) / job.run_id if job.is_trial else Path(hydra.runtime.output_dir)
    files = HydraFiles(cfg, cast(DictConfig, HydraConfig.instance().cfg))
    return dataclasses.replace(job, folder=folder, hydra=files)
