"""Converts OmegaConf's nodes to plain values, and errors of its resolvers to this program's."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any, cast

from omegaconf import DictConfig
from omegaconf.errors import OmegaConfBaseException

from basecaller.common.errors import BasecallerError, SettingError
from basecaller.common.omegaconf_private import plain


def resolve(node: Any, where: str = "", without: Collection[str] = ()) -> dict[str, Any]:
    """A config section as a plain dict with interpolations resolved; a plain dict stays unchanged.

    Args:
        node: the section.
        where: its dotted key, for messages.
        without: keys to leave out, which are not resolved.
    Raises:
        SettingError: it is not a section, or an interpolation is broken.
        BasecallerError: a resolver of this program raised it.
    """
    if isinstance(node, dict):
        return node
    if not isinstance(node, DictConfig):
        raise SettingError(f"{where}={node}: must be a section of keys")
    try:
        return cast(dict[str, Any], plain(node, resolve=True, without=without))
    except OmegaConfBaseException as error:
        raise user_error(error) or SettingError(f"{error.full_key or where}: {str(error).splitlines()[0]}") from error


def user_error(error: BaseException | None) -> BasecallerError | None:
    """The error of this program that another one wraps, as OmegaConf wraps errors of a resolver; None if there is none."""
    while error is not None and not isinstance(error, BasecallerError):
        error = error.__cause__ or error.__context__
    return error
