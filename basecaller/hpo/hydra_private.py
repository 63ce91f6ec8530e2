"""What this program needs of Hydra beyond its public interface; `tests/hpo/test_private_names.py` says which of it, and why."""

from __future__ import annotations

from hydra._internal.config_loader_impl import ConfigLoaderImpl
from hydra._internal.hydra import Hydra
from hydra.core.override_parser.types import Override
from hydra.core.utils import JobReturn
from omegaconf import DictConfig

__all__ = ["Hydra", "apply_overrides", "error_of"]


def apply_overrides(overrides: list[Override], config: DictConfig) -> None:
    """Puts plain values into a composed config, with Hydra's own checks; public is only composing from the files anew.

    Raises:
        hydra.errors.ConfigCompositionException: the config has no such key.
    """
    ConfigLoaderImpl._apply_overrides_to_config(overrides, config)


def error_of(job: JobReturn) -> BaseException:
    """What a failed job raised. `JobReturn.return_value` raises it too, and prints all overrides first."""
    return job._return_value
