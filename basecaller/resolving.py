"""From OmegaConf's nodes to plain values, and from what its resolvers raise to this program's errors."""

from __future__ import annotations

from typing import Any, cast

from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import InterpolationResolutionError, OmegaConfBaseException

from basecaller.errors import BasecallerError, SettingError


def resolve(node: Any, where: str = "") -> dict[str, Any]:
    """A config node as a plain dict, interpolations resolved.

    Raises:
        BasecallerError: what a resolver of this program raised, or SettingError for any other broken interpolation.
    """
    try:
        return cast(dict[str, Any], OmegaConf.to_container(node, resolve=True))
    except InterpolationResolutionError as error:
        raise user_error(error) or SettingError(f"{error.full_key or where}: {error.msg}") from error


def value_at(config: DictConfig, key: str) -> Any:
    """A key's value, resolved.

    Raises:
        BasecallerError: see `resolve`; also where the config has no such key.
    """
    try:
        return config[key]
    except OmegaConfBaseException as error:
        raise user_error(error) or SettingError(f"{key}: {error.msg or error}".splitlines()[0]) from error


def user_error(error: BaseException | None) -> BasecallerError | None:
    """The error of this program that another one wraps, as OmegaConf does with what a resolver raises; None for none."""
    while error is not None and not isinstance(error, BasecallerError):
        error = error.__cause__ or error.__context__
    return error
