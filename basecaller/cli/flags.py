"""`--config-dir`, the one flag of Hydra that every command takes."""

from __future__ import annotations

import re
from pathlib import Path

from hydra.core.override_parser.types import Quote, QuotedString

from basecaller.cli.commands import COMMANDS
from basecaller.cli.keys import keys_of
from basecaller.common.errors import SettingError
from basecaller.common.places import expanded

CONFIG_DIR = ("--config-dir", "-cd")


def no_such_flag(flag: str, command: str) -> SettingError:
    """The error about a flag that a command does not have, which may be one of its keys with dashes."""
    name, _, value = flag.lstrip("-").partition("=")
    key = next((key for key in keys_of(COMMANDS[command], "") if key.name == name), None)
    hint = f"and python -m basecaller.{command} --help lists both"
    if key:
        hint = f"as in {name}={value or next(iter(key.choices), 'VALUE')}"
    return SettingError(f"{flag}: no such flag; a setting is key=value without dashes, {hint}")


def without_config_dir(arguments: list[str]) -> list[str]:
    """Replaces `--config-dir DIR` by the equivalent override, `hydra.searchpath=[file://DIR]`.

    Raises:
        SettingError: there is no such folder.
    """
    left, found = iter(arguments), []
    for argument in left:
        flag, equals, folder = argument.partition("=")
        if flag in CONFIG_DIR:
            folder = expanded(folder if equals else next(left, ""))
            if not Path(folder).is_dir():
                raise SettingError(f"{flag} {folder}: no such folder")
            url = f"file://{Path(folder).resolve()}"
            plain = re.fullmatch(r"[\w./:-]+", url, re.ASCII)
            argument = f"hydra.searchpath=[{url if plain else QuotedString(url, Quote.single).with_quotes()}]"
        found.append(argument)
    return found
