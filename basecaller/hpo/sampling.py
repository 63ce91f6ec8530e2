"""Optuna's samplers, chosen with `hydra/sweeper/sampler=...`, for spaces that are not grids."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from typing import Any

import optuna
from hydra.errors import HydraException
from hydra.utils import instantiate
from omegaconf import DictConfig
from optuna.trial import TrialState

from basecaller.common.errors import SettingError, StorageError
from basecaller.common.nested import digest
from basecaller.hpo.grid import Entry, Point, Space
from basecaller.hpo.optuna_private import beat, storage_of, trial_id
from basecaller.hpo.records import Outcome, store_study, store_trial, trials_of

ALLOWED = ("hydra_plugins.hydra_optuna_sweeper.*", "optuna.samplers.*")
"""Modules that Hydra may take a sampler from."""

PACKAGES = {"CmaEsSampler": "cmaes", "GPSampler": "scipy", "QMCSampler": "scipy"}
"""Packages that a sampler needs and Optuna does not install."""

REFUSED = {
    "raise_motpe_removed": "Optuna has removed it; use hydra/sweeper/sampler=tpe",
    "GridSampler": "a grid needs no sampler; leave it out and give the values, as in KEY=0.01,0.001",
}
"""Choices of Hydra's group that do not work here, and what to do instead."""


def check_sampler(config: DictConfig | None, choice: str) -> None:
    """Checks that a sampler can be used.

    Args:
        config: the sampler's config; None: Optuna's default, TPE.
        choice: the user's name for it.
    Raises:
        SettingError: it cannot be used; the message says what to do.
    """
    if config is None:
        return
    kind = str(config.get("_target_", "")).rpartition(".")[2]
    shown = f"hydra/sweeper/sampler={choice}"
    if kind in REFUSED:
        raise SettingError(f"{shown}: {REFUSED[kind]}")
    package = PACKAGES.get(kind)
    if package and find_spec(package) is None:
        raise SettingError(f"{shown}: needs the package {package}; install it with: python -m pip install {package}")
    try:
        sampler_for(config, 0)
    except (HydraException, TypeError, ValueError) as error:
        raise SettingError(f"{shown}: {str(error.__cause__ or error).splitlines()[0]}") from error


def sampler_for(config: DictConfig | None, number: int) -> optuna.samplers.BaseSampler:
    """The sampler that suggests the next trial of a study.

    A seeded sampler draws from a separate stream for every trial, so that neither a continued sweep nor a parallel one repeats
    points. A quasi-random sequence keeps its seed: the study counts how much of it is used.

    Args:
        config: the sampler's config; None: TPE.
        number: number of trials in the study.
    """
    if config is None:
        return optuna.samplers.TPESampler()
    chosen: dict[str, Any] = {}
    if config.get("seed") is not None:
        seed = int(digest([config.seed, number], length=8), 16)
        if str(config.get("_target_")).endswith("QMCSampler"):
            chosen["independent_sampler"] = optuna.samplers.RandomSampler(seed=seed)
        else:
            chosen["seed"] = seed
    return instantiate(config, **chosen, _execution_whitelist_=ALLOWED)


def suggested(study: optuna.Study, space: Space, config: DictConfig | None, sweeper: str) -> tuple[optuna.Trial, Entry]:
    """A running trial with the point that the sampler suggests.

    Args:
        study: the study that gets the trial.
        space: the space to sample.
        config: the sampler's config.
        sweeper: the process that the trial belongs to until a job claims it.
    """
    study.sampler = sampler_for(config, len(study.get_trials(deepcopy=False)))
    store_study(study, sampler=type(study.sampler).__name__)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Heartbeat of storage")  # jobs keep it themselves
        trial = study.ask(space.distributions)
    entry = Entry(Point({key: trial.params[key] for key in space.distributions}), space.seeds[0])
    key = f"{trial.number}: {entry.point.key}"
    store_trial(study, trial_id(trial), sweeper=sweeper, point=key, seed=entry.seed)
    beat(study, trial_id(trial))  # no job has claimed it yet
    return trial, entry


@contextmanager
def unclaimed_ended(study: optuna.Study, numbers: set[int]) -> Iterator[None]:
    """Ends the trials that no job has claimed when the block is left."""
    try:
        yield
    except StorageError:
        raise  # the next sweep finds them
    except BaseException:
        _end_unclaimed(study, numbers)
        raise
    _end_unclaimed(study, numbers)


def _end_unclaimed(study: optuna.Study, numbers: set[int]) -> None:
    for trial in trials_of(study, TrialState.RUNNING):
        if trial.number in numbers and trial.claimed is None:
            store_trial(study, trial.trial_id, outcome=Outcome.ABANDONED)
            storage_of(study).set_trial_state_values(trial.trial_id, TrialState.FAIL)
