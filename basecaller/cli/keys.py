"""The keys and config groups that a command takes."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, fields

from basecaller.cli.commands import EVERY, Command
from basecaller.common.checking import kind_in_words, meaning_of, rules_of, type_of
from basecaller.common.geometry import Model
from basecaller.config.composition import group_options
from basecaller.config.schema import GROUPS, PATHS, SECTIONS, source_keys


@dataclass(frozen=True)
class Key:
    """One key of a command.

    Attributes:
        name: name as typed, such as `optimizer.lr`.
        kind: dataclass that describes it.
        field: name of its field there.
    """

    name: str
    kind: type
    field: str

    @property
    def meaning(self) -> str:
        """The key's meaning, in one or more sentences."""
        return meaning_of(self.kind, self.field)

    @property
    def values(self) -> str:
        """The key's possible values in words."""
        words = kind_in_words(self.kind, self.field)
        return words.replace("text", "a path").replace("a list", "a path or a list of them") if self.name in PATHS else words

    @property
    def choices(self) -> tuple[str, ...]:
        """All possible values; empty if there are too many to list."""
        wanted, nullable = type_of(self.kind, self.field)
        listed = ("true", "false") if wanted is bool else tuple(rules_of(self.kind, self.field).get("choices", ()))
        return (*listed, "null") if listed and nullable else listed


def own_and_others(overrides: list[str], options: type | None) -> tuple[list[str], list[str]]:
    """Overrides of a command's own options, and those of keys of `conf/config.yaml`.

    Args:
        overrides: as typed.
        options: dataclass of the command's own keys, see `Command`.
    """
    names = {f.name for f in fields(options)} if options else set()
    own = [line for line in overrides if line.partition("=")[0] in names]
    return own, [line for line in overrides if line not in own]


def keys_of(command: Command, source: str, model: type = Model) -> list[Key]:
    """The keys of a command.

    Args:
        command: the command.
        source: `data.name`, which decides the keys of the `data` section.
        model: dataclass that describes the `model` section.
    """
    own = [Key(f.name, command.options, f.name) for f in fields(command.options)] if command.options else []
    return own + [key for key in _config_keys(source, model) if _is_used(key.name, command)]


def _config_keys(source: str, model: type) -> Iterator[Key]:
    for where, kind in SECTIONS.items():
        kinds = [kind, *filter(None, [source_keys(source)])] if where == "data" else [model if where == "model" else kind]
        for each in kinds:
            for f in fields(each):
                yield Key(f"{where}.{f.name}" if where else f.name, each, f.name)


def _is_used(key: str, command: Command) -> bool:
    if key in command.without:
        return False
    return command.uses == EVERY or any(key == used or key.startswith(f"{used}.") for used in command.uses)


def groups_of(command: Command, overrides: list[str]) -> dict[str, list[str]]:
    """The config groups of a command, each with its options, including those of folders in `hydra.searchpath`."""
    used = [group for group in (*GROUPS, "stage", "recipe", "logger", "debug") if _is_used(group, command)]
    return {group: group_options(group, overrides) for group in used}
