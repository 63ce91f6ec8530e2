"""All use of OmegaConf's private interface: copies and plain values of configs, read from the nodes themselves.

OmegaConf's own take 4 to 18 times as long, which was half of the work around a short trial.
`tests/common/test_omegaconf_private.py` compares both.
"""

from __future__ import annotations

import copy
from collections.abc import Collection
from enum import Enum
from types import NoneType
from typing import Any

from omegaconf import MISSING, DictConfig, OmegaConf, ValueNode
from omegaconf.base import Container, Node


class JobConfig(DictConfig):
    """A config whose deep copies are fast. Hydra copies every job's config once, and its own part of it three times."""

    @classmethod
    def of(cls, config: DictConfig) -> JobConfig:
        """A copy of a whole config."""
        copied: JobConfig = _copied(config, None)
        return copied

    def __deepcopy__(self, memo: dict[int, Any]) -> JobConfig:
        copied: JobConfig = _copied(self, self._get_parent())
        return copied


def _copied(node: Any, parent: Any) -> Any:
    """A copy of a node and of all nodes below it. Like OmegaConf's copies it shares the values, and the values of sections also
    share their metadata (type, key and flags), which are set once."""
    made = _shallow(node, JobConfig if type(node) is DictConfig else type(node))
    state = made.__dict__
    state |= {"_parent": parent, "_flags_cache": None}
    if isinstance(node, ValueNode) and isinstance(parent, DictConfig):
        return made
    metadata = state["_metadata"] = _shallow(node._metadata, type(node._metadata))
    metadata.flags, cache = metadata.flags.copy(), metadata.resolver_cache
    metadata.resolver_cache = copy.deepcopy(cache) if cache else cache.copy()  # most are empty
    content = state.get("_content")
    if isinstance(content, dict):
        state["_content"] = {key: _copied(child, made) for key, child in content.items()}
    elif isinstance(content, list):
        state["_content"] = [_copied(child, made) for child in content]
    elif isinstance(content, Node):
        state["_content"] = _copied(content, made)
    return made


def _shallow(thing: Any, kind: type) -> Any:
    """A copy of an object that shares its attributes' values. `copy.copy` takes three times as long."""
    made: Any = object.__new__(kind)
    made.__dict__.update(thing.__dict__)
    return made


def plain(config: Any, resolve: bool = False, without: Collection[str] = ()) -> Any:
    """The plain values of a config; enumerations become their names, as with `OmegaConf.to_container(enum_to_str=True)`.

    Args:
        config: OmegaConf's section or list.
        resolve: whether to resolve interpolations.
        without: keys of a section to leave out.
    Raises:
        omegaconf.errors.OmegaConfBaseException: an interpolation cannot be resolved.
    """
    content = config.__dict__["_content"]
    if isinstance(content, dict):
        return {key: _value(config, key, child, resolve) for key, child in content.items() if key not in without}
    if isinstance(content, list):
        return [_value(config, key, child, resolve) for key, child in enumerate(content)]
    return OmegaConf.to_container(config, resolve=resolve)  # null, missing, or an interpolation


def _value(config: Any, key: Any, child: Any, resolve: bool) -> Any:
    value = child.__dict__.get("_val", child)
    if type(value) in (int, float, bool, NoneType) or (type(value) is str and not (resolve and "${" in value)):
        return value
    if isinstance(child, Container) and not (resolve and child._is_interpolation()):
        return plain(child, resolve)
    if resolve:
        value = MISSING if OmegaConf.is_missing(config, key) else config[key]
        if isinstance(value, Container):
            return plain(value, resolve)
    else:
        value = child._value()  # of a union or an enumeration
    return value.name if isinstance(value, Enum) else str(value) if isinstance(value, str) else value
