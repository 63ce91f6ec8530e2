"""All use of Hydra's private interface; `tests/hpo/test_private_names.py` lists the names and the reasons."""

from __future__ import annotations

from typing import Any

from hydra._internal.config_loader_impl import ConfigLoaderImpl
from hydra._internal.hydra import Hydra
from hydra._internal.utils import get_args_parser
from hydra.core.override_parser.types import Override
from hydra.core.utils import JobReturn
from omegaconf import DictConfig

__all__ = ["Hydra", "apply_overrides", "error_of", "parsed_value", "unknown_flags"]


def apply_overrides(overrides: list[Override], config: DictConfig) -> None:
    """Sets plain values in a composed config, with Hydra's own checks. Hydra's public API only composes from the files.

    Raises:
        hydra.errors.ConfigCompositionException: the config has no such key.
    """
    ConfigLoaderImpl._apply_overrides_to_config(overrides, config)


def unknown_flags(arguments: list[str]) -> list[str]:
    """The flags on a command line that `hydra.main` does not know: it would print its usage and exit."""
    _, others = get_args_parser().parse_known_args(arguments)
    return [argument for argument in others if argument.startswith("-")]


def error_of(job: JobReturn) -> BaseException:
    """The exception that a failed job raised. `JobReturn.return_value` raises it too, but prints all overrides first."""
    return job._return_value


def parsed_value(override: Override) -> Any:
    """The value of an override as Hydra's grammar reads it. `Override.value` does not tell whether text is quoted."""
    return override._value
