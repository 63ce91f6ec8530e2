"""Checks values against the dataclass fields that describe them.

A field gives its key's type in its annotation and its rules in its metadata; `RULES` lists them. The dataclass's docstring
gives a key's meaning, under `Attributes:`. So a new key is one field, and its default in `conf/`. Rules about several keys are
the dataclass's method `check_keys`, see `Checked`.
"""

from __future__ import annotations

import dataclasses
import inspect
import json
import math
import re
import types
from collections.abc import Callable, Mapping
from functools import cache
from typing import Any, Protocol, TypeVar, Union, cast, get_args, get_origin, get_type_hints, runtime_checkable

from omegaconf import MISSING

from basecaller.common.errors import SettingError
from basecaller.common.resolving import resolve

Section = TypeVar("Section")

RULES: dict[str, tuple[Callable[[Any, Any], Any], str]] = {
    "least": (lambda value, bound: value >= bound, "must be at least {}"),
    "above": (lambda value, bound: value > bound, "must be above {}"),
    "below": (lambda value, bound: value < bound, "must be below {}"),
    "most": (lambda value, bound: value <= bound, "must be at most {}"),
    "choices": (lambda value, choices: value in choices, "must be one of {}"),
    "odd": (lambda value, _: value % 2, "must be odd"),
    "power_of_two": (lambda value, _: not value & (value - 1), "must be a power of two"),
    "matches": (lambda value, rule: re.fullmatch(rule[0], value), "must be {}"),  # (pattern, in words)
    "longest": (lambda value, bytes_: len(value.encode()) <= bytes_, "must be at most {} bytes long"),
    "path": (lambda value, _: value, "must not be empty"),  # `~` is the home folder
    "distinct": (lambda value, _: len(set(value)) == len(value), "must not repeat a value"),
}
"""Rules for a field's metadata, by name: a function that tells whether a value follows the rule, and the rule in words. null
follows every rule."""

BOUNDS = ("least", "above", "below", "most", "odd", "power_of_two")
"""The rules of numbers."""

TRUTH = {"true": True, "yes": True, "on": True, "1": True, "false": False, "no": False, "off": False, "0": False}

WORDS = {int: "a whole number", float: "a number", bool: "true or false", str: "text", tuple: "a list", dict: "a mapping"}


@runtime_checkable
class Checked(Protocol):
    """A section with rules about several of its keys together."""

    def check_keys(self, where: str) -> None:
        """Checks these rules.

        Args:
            where: the section's dotted key, for messages.
        Raises:
            SettingError: a rule is broken.
        """


def type_of(kind: type, name: str) -> tuple[type, bool]:
    """The type of a dataclass's field, without the type of its elements, and whether it may be null; `object` for any type."""
    hint = _hints(kind)[name]
    options = get_args(hint) if get_origin(hint) in (Union, types.UnionType) else (hint,)
    kinds = [get_origin(option) or option for option in options if option is not types.NoneType]
    return (object if kinds[0] is Any else kinds[0]), len(kinds) < len(options)


def _element_of(kind: type, name: str) -> type:
    """The type of the elements of a dataclass's field that is a tuple."""
    hint = _hints(kind)[name]
    options = get_args(hint) if get_origin(hint) in (Union, types.UnionType) else (hint,)
    element: type = next(get_args(option)[0] for option in options if get_origin(option) is tuple)
    return element


def rules_of(kind: type, name: str) -> Mapping[str, Any]:
    """The rules of a dataclass's field, see `RULES`."""
    return next(f.metadata for f in dataclasses.fields(kind) if f.name == name)


def meaning_of(kind: type, name: str) -> str:
    """The meaning of a dataclass's field, from `Attributes:` in its docstring; empty if there is none."""
    return _meanings(kind).get(name, "")


@cache
def _meanings(kind: type) -> dict[str, str]:
    found: dict[str, str] = {}
    for each in reversed(kind.__mro__):
        entries = inspect.cleandoc(each.__doc__ or "").partition("Attributes:\n")[2]
        for names, text in re.findall(r"^    (\w[\w, ]*): (.*(?:\n {5,}.*)*)", entries, re.MULTILINE):
            found |= dict.fromkeys(names.split(", "), " ".join(text.split()))
    return found


def kind_in_words(kind: type, name: str) -> str:
    """The possible values of a dataclass's field in words, such as "a whole number, at least 1, or null"."""
    (wanted, nullable), rules = type_of(kind, name), dict(rules_of(kind, name))
    if "choices" in rules:
        words = " | ".join(rules.pop("choices"))
    elif "matches" in rules:
        words = rules.pop("matches")[1]
    else:
        words = "a path" if rules.pop("path", False) else WORDS.get(wanted, "any value")
    bounds = [RULES[rule][1].format(bound).removeprefix("must be ") for rule, bound in rules.items() if rule in BOUNDS]
    return ", ".join([words, *bounds]) + ("" if not nullable else ", or null" if bounds else " or null")


@cache
def _hints(kind: type) -> dict[str, Any]:
    return get_type_hints(kind)


def typed(kind: type, name: str, value: Any, key: str) -> Any:
    """Converts a value to its field's type and checks its rules: `2` becomes `2.0` for a float, `yes` becomes `true`.

    Args:
        kind: dataclass that describes the value.
        name: name of the field.
        value: the plain value.
        key: the user's name for it, for messages.
    Raises:
        SettingError: the value has another type, or breaks a rule.
    """
    wanted, nullable = type_of(kind, name)
    if value is None and nullable:
        return None
    try:
        value = _converted(value, wanted)
        if wanted is tuple:
            value = tuple(_converted(each, _element_of(kind, name)) for each in value)
    except (ValueError, TypeError, KeyError, OverflowError):
        words = WORDS[wanted] + (" or null" if nullable else "")
        example = f", as in {key}=[{value}]" if wanted is tuple and isinstance(value, str) else ""
        raise SettingError(f"{key}={_shown(value)}: must be {words}{example}") from None
    if isinstance(value, float) and not math.isfinite(value):
        raise SettingError(f"{key}={value}: must be a finite number")
    for rule, given in rules_of(kind, name).items():
        keeps, words = RULES[rule]
        if not keeps(value, given):
            given = ", ".join(given) if rule == "choices" else given[1] if rule == "matches" else given
            raise SettingError(f"{key}={_shown(value)}: {words.format(given)}")
    return value


def typed_scalar(described: tuple[type, str] | None, value: Any, key: str) -> Any:
    """Converts a number, text, truth value or null to its key's type, and checks it. Returns other values, and values of
    undescribed keys, unchanged.

    Args:
        described: the dataclass and the field that describe the key; None if nothing does.
        value: the plain value.
        key: the user's name for it, for messages.
    Raises:
        SettingError: see `typed`.
    """
    if described is None or isinstance(value, list | dict) or type_of(*described)[0] not in (int, float, bool, str):
        return value
    return typed(*described, value, key)


def _converted(value: Any, wanted: type) -> Any:
    """Converts a plain value to another type if it keeps its meaning.

    Raises:
        ValueError, TypeError, KeyError, OverflowError: it cannot be converted.
    """
    if wanted is object:
        return value
    if value is None:
        raise TypeError
    if wanted is bool:
        return TRUTH[str(value).lower()]
    if wanted in (int, float):
        if isinstance(value, bool) or (wanted is int and isinstance(value, float)):
            raise TypeError
        return wanted(value)
    if wanted is str:
        if isinstance(value, list | dict):
            raise TypeError
        return str(value)
    if wanted is tuple and isinstance(value, list | tuple):
        return tuple(value)
    if wanted is dict and isinstance(value, dict):
        return value
    raise TypeError


def _shown(value: Any) -> str:
    """A value as a user would type it."""
    if isinstance(value, tuple):
        return f"[{','.join(map(_shown, value))}]"
    return "null" if value is None else str(value).lower() if isinstance(value, bool) else str(value)


def section(kind: type[Section], node: Any, where: str) -> Section:
    """A config section as a checked dataclass.

    Args:
        kind: dataclass whose fields describe the keys.
        node: the section; every field must be there, and nothing else.
        where: its dotted key, for messages.
    Raises:
        SettingError: a key is unknown or missing, or a value has another type or breaks a rule; see `Checked` too.
    """
    return cast(Section, _checked(cast(Any, kind), json.dumps(resolve(node, where)), where))


@cache  # a sweep checks the same sections for every trial
def _checked(kind: type, values_json: str, where: str) -> Any:
    values, inside = json.loads(values_json), f"{where}." if where else ""
    names = [f.name for f in dataclasses.fields(kind)]
    for name in values:
        if name not in names:
            raise SettingError(f"{inside}{name}: unknown key; known keys are {', '.join(names)}")
    for name in names:
        if values.get(name, MISSING) == MISSING:
            raise SettingError(f"{inside}{name}: must be given, as in {inside}{name}=...")
    found = kind(**{name: typed(kind, name, values[name], f"{inside}{name}") for name in names})
    if isinstance(found, Checked):
        found.check_keys(where)
    return found
