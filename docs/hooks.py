"""Pages of the site that are not files in docs/: every key, from the program itself; CONTRIBUTING.md and CHANGELOG.md."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import groupby
from pathlib import Path
from typing import Any

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files

from basecaller.cli.commands import COMMANDS
from basecaller.cli.help import REQUIRED, keys_and_defaults
from basecaller.cli.keys import Key, groups_of
from basecaller.config.schema import SECTIONS, DataShared

ROOT = Path(__file__).resolve().parents[1]

ABOVE = {"CONTRIBUTING.md": "contributing.md", "CHANGELOG.md": "changelog.md", "README.md": "index.md"}
"""Files beside docs/ that pages link to, and the pages that stand for them on the site."""

VARIED = ("model", "optimizer")
"""Config groups whose options are shown in tables, one table for all options that set the same keys."""


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Adds the pages."""
    files.append(File.generated(config, "keys.md", content="\n".join(keys_page())))
    for name in ("CONTRIBUTING.md", "CHANGELOG.md"):
        text = (ROOT / name).read_text(encoding="utf-8").replace("](docs/", "](")
        files.append(File.generated(config, ABOVE[name], content=text))
    return files


def on_page_markdown(markdown: str, **_: Any) -> str:
    """Turns links to files beside docs/ into links to their pages."""
    for file, page in ABOVE.items():
        markdown = markdown.replace(f"](../{file}", f"]({page}")
    return markdown


def keys_page() -> Iterator[str]:
    """The reference of every key, line by line."""
    groups = groups_of(COMMANDS["train"], [])
    yield "# Every key"
    yield ""
    yield "Keys are set as `key=value` on the command line and in the [Python API](python.md). Their defaults are in `conf/`."
    yield "`basecaller COMMAND --help` lists the keys of one command. Config groups, the folders of `conf/`, are chosen as"
    yield "`group=option`:"
    yield ""
    yield from _table("group", "options", rows=[[f"`{group}`", _listed(options)] for group, options in groups.items()])
    yield "## search, train, report, prepare"
    yield ""
    used = _listed(COMMANDS["report"].uses)
    yield "`train` takes all of these keys, `search` all but those that it sets itself, `prepare` those of `data`, and `report`"
    yield f"{used} and [its own](#report)."
    yield ""
    every = keys_and_defaults("train", [])
    pairs = [(key, default) for key, default in every if key.kind is DataShared or _section(key) != "data"]
    for section, of_section in groupby(pairs, lambda pair: _section(pair[0])):
        if section in VARIED:
            yield from _varied(section, groups[section], list(of_section))
        else:
            yield from _keys(section or "general", of_section)
    for source in groups["data"]:
        given = keys_and_defaults("train", [f"data={source}"])
        own = [(key, default) for key, default in given if _section(key) == "data" and key.kind is not DataShared]
        yield from _keys(f"data={source}", own)
    for name, command in COMMANDS.items():
        if command.options:
            yield f"## {name}"
            yield ""
            if "data" in command.uses:
                yield "The keys of `data` choose the data set. The other keys are:"
                yield ""
            yield from _entries((key, default) for key, default in keys_and_defaults(name, []) if key.kind is command.options)


def _section(key: Key) -> str:
    return key.name.rpartition(".")[0]


def _varied(group: str, options: list[str], usual: list[tuple[Key, str]]) -> Iterator[str]:
    """Sections of a config group: one for each set of keys, with the defaults of each option that has them.

    Args:
        group: name of the group.
        options: its options.
        usual: keys and defaults of the default option.
    """
    alike: dict[tuple[Key, ...], dict[str, dict[Key, str]]] = {}
    for option in options:
        of = {key: default for key, default in keys_and_defaults("train", [f"{group}={option}"]) if _section(key) == group}
        alike.setdefault(tuple(of), {})[option] = of
    for keys, columns in sorted(alike.items(), key=lambda each: each[0][0].kind is not SECTIONS[group]):
        if keys[0].kind is SECTIONS[group]:
            yield from _keys(group, usual)
        else:
            first = next(iter(columns))
            yield from _keys(f"{group}={first}", columns[first].items())
        rows = [[f"`{key.name}`", *(f"`{of[key]}`" for of in columns.values())] for key in keys]
        yield from _table("default with", *(f"`{group}={option}`" for option in columns), rows=rows)


def _keys(title: str, pairs: Iterable[tuple[Key, str]]) -> Iterator[str]:
    """A section: its keys with their defaults."""
    yield f"### {title}"
    yield ""
    yield from _entries(pairs)


def _entries(pairs: Iterable[tuple[Key, str]]) -> Iterator[str]:
    for key, default in pairs:
        yield f"`{key.name}`: {key.values}; {'required' if default == REQUIRED else f'default `{default}`'}"
        yield f":   {key.meaning}"
        yield ""


def _listed(names: Iterable[str]) -> str:
    return ", ".join(f"`{name}`" for name in names)


def _table(*titles: str, rows: list[list[str]]) -> Iterator[str]:
    for row in (titles, ["---"] * len(titles), *rows):
        yield f"| {' | '.join(cell.replace('|', '&#124;') for cell in row)} |"
    yield ""
