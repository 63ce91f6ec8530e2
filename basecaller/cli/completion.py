"""Completion in bash of commands, config groups, keys and their choices; files are left to bash."""

from __future__ import annotations

from basecaller.cli.commands import COMMANDS
from basecaller.cli.keys import groups_of, keys_of

BASH = "complete -o default -o nospace -C 'basecaller completion' basecaller"
"""What tells bash to ask `candidates`."""

WORDBREAKS = "=:"
"""Characters at which bash begins a new word inside one of ours (part of its default COMP_WORDBREAKS)."""

SOURCE = "simulated"
"""The source of data whose keys are offered until the line has another."""


def candidates(line: str) -> list[str]:
    """Candidates to replace the last word of a line.

    Args:
        line: the line up to the cursor.
    Returns:
        Candidates, less what stands before the last character of `WORDBREAKS` in the word: bash keeps that. One that is a whole
        word ends with a blank.
    """
    before, word = line.split()[1:], ""
    if before and not line[-1].isspace():
        word = before.pop()
    kept = max(word.rfind(character) for character in WORDBREAKS) + 1
    return [whole[kept:] for whole in _whole(before, word) if whole.startswith(word)]


def _whole(before: list[str], word: str) -> list[str]:
    """All words that can stand after some others, those that the beginning of this one makes possible."""
    if not before:
        return [f"{name} " for name in (*COMMANDS, "completion", "--help", "--version")]
    if before[0] == "completion":
        return ["bash "]
    command = COMMANDS.get(before[0])
    if command is None:
        return []
    groups = groups_of(command)
    source = next((argument.removeprefix("data=") for argument in reversed(before) if argument.startswith("data=")), SOURCE)
    keys = {key.name: key for key in keys_of(command, source)}
    name, equals, typed = word.partition("=")
    if equals:
        # several values are a sweep: each is completed
        given = typed[: typed.rfind(",") + 1]
        choices = keys[name].choices if name in keys else groups.get(name, [])
        return [f"{name}={given}{choice} " for choice in choices if choice not in given.split(",")]
    if "." in word:
        return [f"{name}=" for name in keys]
    sections = sorted({name.partition(".")[0] for name in keys if "." in name})
    flags = [flag.rpartition(", ")[2] for flag, _ in command.flags]
    return [
        *(f"{name}=" for name in (*groups, *keys) if "." not in name),
        *(f"{each}." for each in sections),
        *(f"{each} " for each in flags),
    ]
