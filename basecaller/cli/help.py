"""`--help`: every key of a command with its type, default and meaning."""

from __future__ import annotations

import shutil
import sys
import textwrap
from collections.abc import Iterator
from itertools import groupby
from typing import Any, cast

from omegaconf import DictConfig, OmegaConf

from basecaller.cli.commands import COMMANDS, Command
from basecaller.cli.flags import without_config_dir
from basecaller.cli.keys import Key, groups_of, keys_of, own_and_others
from basecaller.config.composition import composed
from basecaller.loggers.settings import LOGGERS
from basecaller.networks.named import kind_of

WIDEST = 100
"""Largest width of the text, in columns."""

REQUIRED = "???"
"""Stands for the default of a key that must be given."""

EVERY_LOGGER = f"logger=[{','.join(LOGGERS)}]"
"""Composes the defaults of all loggers."""


def answer_help(name: str, arguments: list[str]) -> None:
    """Prints a command's help and exits, if its arguments ask for it.

    Raises:
        SettingError: the other arguments do not compose to a config.
    """
    if {"-h", "--help"} & set(arguments):
        given = without_config_dir(arguments)
        print(help_of(name, [argument for argument in given if not argument.startswith("-")]))
        sys.exit(0)


def overview() -> str:
    """The help of `basecaller`."""
    width = max(map(len, COMMANDS))
    rows = [_wrapped(command.summary, f"  {name:{width}}  ", " " * (width + 4)) for name, command in COMMANDS.items()]
    return "\n".join(
        [
            "usage: basecaller COMMAND [key=value ...]",
            "",
            "Hyperparameter search for nanopore basecallers.",
            "",
            "commands:",
            *(line for row in rows for line in row),
            "",
            "basecaller COMMAND --help lists the keys of a command, with defaults.",
            "python -m basecaller.COMMAND is the same as basecaller COMMAND.",
            'eval "$(basecaller completion bash)" completes commands, keys and values.',
        ]
    )


def help_of(name: str, overrides: list[str]) -> str:
    """The help of a command.

    Args:
        name: name of the command.
        overrides: overrides of config groups and keys, which the shown defaults take into account.
    """
    return "\n".join(_lines(name, COMMANDS[name], overrides))


def _lines(name: str, command: Command, overrides: list[str]) -> Iterator[str]:
    flags = "[-m] " if any(flag.startswith("-m") for flag, _ in command.flags) else ""
    yield f"usage: basecaller {name} {flags}[key=value ...]"
    yield ""
    yield from _wrapped(f"{command.summary} {command.details}", "")
    yield ""
    yield from (f"    basecaller {name} {example}".rstrip() for example in command.examples)
    yield ""
    yield "flags:"
    for flag, meaning in command.flags:
        yield f"  {flag}"
        yield from _wrapped(meaning, "      ")
    if groups := groups_of(command, overrides):
        yield ""
        yield "config groups (group=option):"
        yield from (f"  {group}={' | '.join(options)}" for group, options in groups.items())
    for section, keys in groupby(keys_and_defaults(name, overrides), lambda pair: pair[0].name.rpartition(".")[0]):
        yield ""
        yield f"{section or 'general'}:"
        for key, default in keys:
            yield f"  {key.name}: {key.values}; {'required' if default == REQUIRED else f'default {default}'}"
            yield from _wrapped(key.meaning, "      ")


def keys_and_defaults(name: str, overrides: list[str]) -> Iterator[tuple[Key, str]]:
    """The keys of a command, section by section, each with its default as typed, or `REQUIRED`.

    Args:
        name: name of the command.
        overrides: overrides of config groups and keys, which the defaults take into account.
    Raises:
        SettingError: the overrides do not compose to a config.
    """
    command = COMMANDS[name]
    own, others = own_and_others(overrides, command.options)
    config = composed([EVERY_LOGGER, *others])
    defaults = _values(config) | (_values(composed(own, f"commands/{name}", {"": command.options})) if command.options else {})
    for key in keys_of(command, str(config.data.name), kind_of(config.model, config.networks)):
        yield key, defaults.get(key.name, "null")


def _values(config: DictConfig) -> dict[str, str]:
    """The values of a config by dotted key, as a user would type them."""
    plain = cast(dict[str, Any], OmegaConf.to_container(config, resolve=False))
    return {key: _typed(value) for key, value in _nodes(plain)}


def _nodes(node: dict[str, Any], where: str = "") -> Iterator[tuple[str, Any]]:
    """All sections and values of a config, by dotted key."""
    for name, value in node.items():
        yield f"{where}{name}", value
        if isinstance(value, dict):
            yield from _nodes(value, f"{where}{name}.")


def _typed(value: Any) -> str:
    if isinstance(value, dict):
        return "{" + ", ".join(f"{key}: {_typed(each)}" for key, each in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ",".join(map(_typed, value)) + "]"
    return "null" if value is None else str(value).lower() if isinstance(value, bool) else str(value)


def _wrapped(text: str, indent: str, later: str | None = None) -> list[str]:
    """Lines as wide as the terminal, the first with one indent, the others with that or with another."""
    width, later = min(WIDEST, shutil.get_terminal_size().columns), indent if later is None else later
    return textwrap.wrap(text.strip(), width, initial_indent=indent, subsequent_indent=later, break_on_hyphens=False)
