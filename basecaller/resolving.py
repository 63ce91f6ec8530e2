"""From OmegaConf's nodes to plain values, and from what its resolvers raise to this program's errors."""

from __future__ import annotations

from typing import Any, cast

from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from basecaller.errors import BasecallerError, SettingError


def resolve(node: Any, where: str = "") -> dict[str, Any]:
    """A config section as a plain dict, interpolations resolved.

    Raises:
        SettingError: it is no section.
        BasecallerError: what a resolver of this program raised, or SettingError for any other broken interpolation.
    """
    if not isinstance(node, DictConfig):
        raise SettingError(f"{where}={node}: must be a section of keys")
    try:
        return cast(dict[str, Any], OmegaConf.to_container(node, resolve=True))
    except OmegaConfBaseException as error:
        raise user_error(error) or SettingError(f"{error.full_key or where}: {str(error).splitlines()[0]}") from error


def value_at(config: DictConfig, key: str) -> Any:
    """A key's value, resolved.

    Raises:
        BasecallerError: see `resolve`; also where the config has no such key.
    """
    try:
        return config[key]
    except OmegaConfBaseException as error:
        raise user_error(error) or SettingError(f"{key}: {str(error).splitlines()[0]}") from error


def user_error(error: BaseException | None) -> BasecallerError | None:
    """The error of this program that another one wraps, as OmegaConf does with what a resolver raises; None for none."""
    while error is not None and not isinstance(error, BasecallerError):
        error = error.__cause__ or error.__context__
    return error
