"""Command lines as typed: paths and names are text, whatever they look like.

Every command takes Hydra's overrides. Hydra's grammar reads `2024_11_25` as a number and does not know `~`, `#` or `ü`. So the
values of text keys are quoted for it, except for syntax with a meaning there: lists, commas, `${...}`, `null`, quotes, and
functions such as `glob(*)`. The options of a command that sweeps nothing (`options`) are single values: commas, brackets and
functions have no meaning there and are text too.
"""

from __future__ import annotations

import re
import sys
from dataclasses import fields
from functools import cache
from typing import Any, TypeVar

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import ChoiceSweep, Quote, QuotedString
from hydra.errors import HydraException

from basecaller.cli.flags import no_such_flag, without_config_dir
from basecaller.cli.help import answer_help
from basecaller.common.checking import rules_of, section, type_of
from basecaller.common.places import expanded
from basecaller.config.composition import composed
from basecaller.config.schema import PATHS
from basecaller.hpo.hydra_private import parsed_value

Options = TypeVar("Options")

ELEMENT = re.compile(r"""(?:^|,)(\s*'(?:\\.|[^'\\])*'\s*|\s*"(?:\\.|[^"\\])*"\s*|[^,]*)(?=,|$)""")
"""One of several values between commas; a quoted value may hold commas."""

COMPUTED = re.compile(r"\$\{.*\}")
"""An interpolation: a value, or part of one, that comes from other keys."""

TEXT = PATHS | {"experiment", "storage"}
"""Keys of `conf/config.yaml` whose values are text."""


def arguments(command: str) -> list[str]:
    """The `key=value` arguments of a command, as they were typed. Answers `--help`.

    Raises:
        SettingError: an argument is an unknown flag.
    """
    answer_help(command, sys.argv[1:])
    given = without_config_dir(sys.argv[1:])
    for argument in given:
        if argument.startswith("-"):
            raise no_such_flag(argument, command)
    return given


def options(command: str, overrides: list[str], kind: type[Options]) -> Options:
    """The options of a command that sweeps nothing: `conf/commands/<command>.yaml` with the user's overrides.

    Args:
        command: its name.
        overrides: as typed.
        kind: dataclass that describes the keys.
    Raises:
        SettingError: a key is missing or unknown, or a value is invalid.
    """
    given = [_as_single(line, kind) for line in overrides]
    return section(kind, composed(given, f"commands/{command}", {"": kind}), "")


def _as_single(line: str, kind: type) -> str:
    """An override of an option with its value quoted if it is text; `null`, `${...}` and quotes keep their meaning."""
    key, equals, value = line.partition("=")
    if not equals or key not in {f.name for f in fields(kind)} or type_of(kind, key)[0] is not str or COMPUTED.search(value):
        return line
    read = _read(value)
    if read is None:
        return line
    text = read.text if isinstance(read, QuotedString) else value
    return f"{key}={_in_quotes(expanded(text) if 'path' in rules_of(kind, key) else text)}"


def as_typed(overrides: list[str]) -> list[str]:
    """Overrides with the values of `TEXT` quoted if Hydra would not read them as text."""
    return [_as_typed(line) for line in overrides]


def _as_typed(line: str) -> str:
    key, equals, value = line.partition("=")
    name = key.lstrip("+")
    if not equals or name not in TEXT or COMPUTED.search(value):
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
    return _in_quotes(_placed(name, text))


def _in_quotes(text: str) -> str:
    return QuotedString(text, Quote.single).with_quotes()


def _placed(name: str, text: str) -> str:
    return expanded(text) if name in PATHS else text


class _Unreadable:
    """Stands for a value that Hydra's grammar cannot read."""


def _read(value: str) -> Any:
    """A value as Hydra's grammar reads it."""
    try:
        override = _parser().parse_override(f"key={value}")
    except HydraException:
        return _Unreadable()
    return parsed_value(override)


@cache
def _parser() -> OverridesParser:
    return OverridesParser.create()
