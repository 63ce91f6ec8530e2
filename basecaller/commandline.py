"""Command lines as they are typed: paths and names are text, whatever they look like.

`train`, `search`, `report`, `prepare` and the data of `evaluate` take Hydra's overrides. Hydra's grammar reads `2024_11_25` as
a number and does not know `~`, `#` or `ü`. So the values of the keys in `TEXT` are quoted for it, except for what has a meaning
there: lists, commas, `${...}`, `null`, quotes, and functions such as `glob(*)`.
"""

from __future__ import annotations

import argparse
import re
from functools import cache
from typing import Any

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import ChoiceSweep, Quote, QuotedString
from hydra.errors import HydraException

from basecaller.data.sources import SOURCES
from basecaller.places import expanded

PATHS = frozenset(
    {"output_dir", "data.folder", "data.pore_model", "train.init"}
    | {f"data.{key}" for source in SOURCES.values() for key in source.places}
)
"""Keys whose values are paths; `~` is the home folder there."""

ELEMENT = re.compile(r"""(?:^|,)(\s*'(?:\\.|[^'\\])*'\s*|\s*"(?:\\.|[^"\\])*"\s*|[^,]*)(?=,|$)""")
"""One of several values between commas, which quotes may hold."""

TEXT = PATHS | {"experiment", "storage"}
"""Keys whose values are text."""


def arguments(command: str, description: str | None, keys: str) -> list[str]:
    """The `key=value` arguments of a command, as they were typed.

    Args:
        command: the module's name.
        description: its module's docstring, of which `--help` shows the first line.
        keys: what the keys are, for `--help`.
    """
    parser = argparse.ArgumentParser(prog=f"python -m basecaller.{command}", description=(description or "").splitlines()[0])
    parser.add_argument("overrides", nargs="*", metavar="key=value", help=keys)
    return list(parser.parse_args().overrides)


def as_typed(overrides: list[str]) -> list[str]:
    """Overrides with the values of `TEXT` quoted where Hydra would read them as anything but the text that they are."""
    return [_as_typed(line) for line in overrides]


def _as_typed(line: str) -> str:
    key, equals, value = line.partition("=")
    name = key.lstrip("+")
    if not equals or name not in TEXT or "${" in value:
        return line
    read = _read(value)
    if not isinstance(read, _Unreadable | int | float | list | QuotedString | ChoiceSweep):  # text as it is, null, a function
        return line
    if isinstance(read, QuotedString):
        return line if _placed(name, read.text) == read.text else f"{key}={_quoted(name, read.text)}"
    if isinstance(read, ChoiceSweep) and not read.simple_form:
        return line
    inside = value[1:-1] if value.startswith("[") and value.endswith("]") else None
    text = ",".join(_element(name, part.strip()) for part in ELEMENT.findall(value if inside is None else inside))
    return f"{key}={text}" if inside is None else f"{key}=[{text}]"


def _element(name: str, text: str) -> str:
    read = _read(text)
    if isinstance(read, QuotedString):
        return _quoted(name, read.text)
    return text if read is None or isinstance(read, str) else _quoted(name, text)


def _quoted(name: str, text: str) -> str:
    return QuotedString(_placed(name, text), Quote.single).with_quotes()


def _placed(name: str, text: str) -> str:
    return expanded(text) if name in PATHS else text


class _Unreadable:
    """In place of a value that Hydra's grammar cannot read."""


def _read(value: str) -> Any:
    """A value as Hydra's grammar reads it."""
    try:
        override = _parser().parse_override(f"key={value}")
    except HydraException:
        return _Unreadable()
    return override._value


@cache
def _parser() -> OverridesParser:
    return OverridesParser.create()
