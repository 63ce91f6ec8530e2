"""Completion in bash of commands, config groups, keys and their choices; files are left to bash."""

from __future__ import annotations

import shlex

from hydra.errors import HydraException

from basecaller.cli.commands import COMMANDS
from basecaller.cli.flags import CONFIG_DIR, without_config_dir
from basecaller.cli.keys import groups_of, keys_of
from basecaller.common.errors import BasecallerError
from basecaller.config.composition import composed
from basecaller.data.sources import SOURCES

BASH = "complete -o default -o nospace -C 'basecaller completion' basecaller"
"""The line that makes bash call `candidates`."""

WORDBREAKS = "=:"
"""Characters at which bash begins a new word inside one of ours (part of its default COMP_WORDBREAKS)."""

FOLDERS = (*CONFIG_DIR, "--experimental-rerun")
"""Flags before a folder."""

SOURCE = "simulated"
"""The source of data whose keys are offered until the line has another."""


def candidates(line: str) -> list[str]:
    """Candidates to replace the last word of a line.

    Args:
        line: the line up to the cursor.
    Returns:
        Candidates without the part of the word up to the last character of `WORDBREAKS`, which bash keeps. A candidate that
        completes the word ends with a space.
    """
    try:
        before, word = shlex.split(line)[1:], ""
        if before and not line[-1].isspace():
            word = before.pop()
        found = _whole(before, word)
    except ValueError:  # inside quotes
        return []
    kept = max(word.rfind(character) for character in WORDBREAKS) + 1
    return [whole[kept:] for whole in found if whole.startswith(word)]


def _whole(before: list[str], word: str) -> list[str]:
    """The words that may follow those before; the beginning of the current word decides whether they are keys or values."""
    if not before:
        return [f"{name} " for name in (*COMMANDS, "completion", "--help", "--version")]
    if before[0] == "completion":
        return ["bash "]
    command = COMMANDS.get(before[0])
    if command is None or before[-1] in FOLDERS:
        return []
    try:
        lines = [line for line in without_config_dir(before[1:]) if line.startswith(("hydra.searchpath=", "data="))]
        groups = groups_of(command, lines)
        source = next((line.removeprefix("data=") for line in reversed(lines) if line.startswith("data=")), SOURCE)
        if source not in SOURCES and source in groups.get("data", []):  # one of the user's own
            source = str(composed(lines).data.name)
    except (BasecallerError, HydraException):  # the line cannot be run as it stands
        return []
    keys = {key.name: key for key in keys_of(command, source)}
    name, equals, typed = word.partition("=")
    if equals:
        # complete each of several values, as in a sweep
        given = typed[: typed.rfind(",") + 1]
        choices = keys[name].choices if name in keys else groups.get(name, [])
        return [f"{name}={given}{choice} " for choice in choices if choice not in given.split(",")]
    if "." in word:
        return [f"{name}=" for name in keys]
    sections = sorted({name.partition(".")[0] for name in keys if "." in name})
    flags = [flag.rpartition(", ")[2].removesuffix(" DIR") for flag, _ in command.flags]
    return [
        *(f"{name}=" for name in (*groups, *keys) if "." not in name),
        *(f"{each}." for each in sections),
        *(f"{each} " for each in flags),
    ]
