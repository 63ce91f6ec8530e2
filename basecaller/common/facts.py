"""Facts: frozen dataclasses that are stored as JSON. All of them are written and read here."""

from __future__ import annotations

import dataclasses
from types import NoneType, UnionType
from typing import Any, TypeVar, Union, get_args, get_origin, get_type_hints

Facts = TypeVar("Facts")

KINDS: dict[type, tuple[type, ...]] = {
    bool: (bool,), int: (int,), float: (float, int), str: (str,), list: (list,), dict: (dict,),
}  # fmt: skip
"""The types that a value may have in JSON, by the type of its field."""


def to_json(facts: Any) -> dict[str, Any]:
    """Facts as JSON's values. Omits fields that are None, including those of nested facts."""
    values = {field.name: getattr(facts, field.name) for field in dataclasses.fields(facts)}
    return {name: _plain(value) for name, value in values.items() if value is not None}


def from_json(kind: type[Facts], content: Any) -> Facts:
    """Facts from the result of `to_json`. Ignores unknown keys: a later version may have added them.

    Args:
        kind: a dataclass whose fields are numbers, text, other such dataclasses, lists of these, or dicts of these by name; any
            of them may be None.
        content: JSON's values.
    Raises:
        ValueError: a field is missing that has no default and cannot be None, or a value is of another type.
    """
    _check(content, dict)
    hints, given, missing = get_type_hints(kind), {}, []
    for field in dataclasses.fields(kind):  # type: ignore[arg-type]
        if field.name in content:
            try:
                given[field.name] = _read(hints[field.name], content[field.name])
            except ValueError as error:
                raise ValueError(f"{field.name}: {error}") from error
        elif field.default is field.default_factory is dataclasses.MISSING:
            if NoneType in get_args(hints[field.name]):
                given[field.name] = None
            else:
                missing.append(field.name)
    if missing:
        raise ValueError(f"has no {', '.join(missing)}")
    return kind(**given)


def _plain(value: Any) -> Any:
    if dataclasses.is_dataclass(value):
        return to_json(value)
    if isinstance(value, list):
        return [_plain(each) for each in value]
    if isinstance(value, dict):
        return {key: _plain(each) for key, each in value.items()}
    return value


def _read(hint: Any, value: Any) -> Any:
    if dataclasses.is_dataclass(hint):
        return from_json(hint, value)  # type: ignore[arg-type]
    origin, inner = get_origin(hint) or hint, get_args(hint)
    if origin in (Union, UnionType):
        return None if value is None else _read(next(each for each in inner if each is not NoneType), value)
    if origin in KINDS:
        _check(value, origin)
    if origin is list:
        return [_read(inner[0], each) for each in value]
    if origin is dict:
        return {key: _read(inner[1], each) for key, each in value.items()}
    return float(value) if origin is float else value


def _check(value: Any, kind: type) -> None:
    if not isinstance(value, KINDS[kind]) or (isinstance(value, bool) and kind is not bool):
        raise ValueError(f"must be a {kind.__name__}, is {value!r:.60}")
