"""Optuna's samplers, as `hydra/sweeper/sampler=...` chooses them, for spaces that are no grid."""

from __future__ import annotations

from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

from hydra.errors import HydraException
from hydra.utils import instantiate
from omegaconf import DictConfig

from basecaller.errors import SettingError
from basecaller.hpo.identity import digest

if TYPE_CHECKING:
    import optuna

ALLOWED = ("hydra_plugins.hydra_optuna_sweeper.*", "optuna.samplers.*")
"""Where Hydra may take a sampler from."""

PACKAGES = {"CmaEsSampler": "cmaes", "GPSampler": "scipy", "QMCSampler": "scipy"}
"""What a sampler needs that Optuna does not install."""

REFUSED = {
    "raise_motpe_removed": "Optuna has removed it; use hydra/sweeper/sampler=tpe",
    "GridSampler": "a grid needs no sampler; leave it out and give the values, as in optimizer.lr=0.01,0.001",
}
"""Choices of Hydra's group that lead nowhere here, and what to do instead."""


def check_sampler(config: DictConfig | None, choice: str) -> None:
    """Finds out whether a sampler can be used.

    Args:
        config: of the sampler; None: Optuna's own default, TPE.
        choice: what the user calls it.
    Raises:
        SettingError: it cannot; the message says what to do.
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

    A seeded sampler draws from a stream of its own for every trial, so that neither a sweep that goes on nor one beside it
    repeats points. A quasi-random sequence keeps its seed: the study counts how much of it is used.

    Args:
        config: of the sampler; None: TPE.
        number: of trials that the study has.
    """
    import optuna

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
