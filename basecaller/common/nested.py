"""Plain configs as nested dicts: short digests, and values by dotted key."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from typing import Any


def digest(content: Any, length: int = 10) -> str:
    """Short hash of plain values, the same for equal content."""
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()[:length]


def without(config: dict[str, Any], keys: Iterable[str]) -> dict[str, Any]:
    """A copy of a nested dict without some dotted keys."""
    copy = {k: dict(v) if isinstance(v, dict) else v for k, v in config.items()}
    for key in keys:
        *parents, last = key.split(".")
        node = copy
        for parent in parents:
            below = node.get(parent)
            if not isinstance(below, dict):
                break
            node[parent] = node = dict(below)
        else:
            node.pop(last, None)
    return copy


def value_at(config: Mapping[str, Any], key: str) -> Any:
    """The value of a dotted key in a nested dict; None if the key is missing."""
    value: Any = config
    for part in key.split("."):
        value = value.get(part) if isinstance(value, Mapping) else None
    return value
