"""The layers of `docs/design.md`: every import, also inside a function, is from the same layer or a lower one, and no files and
no folders import each other in a circle.
"""

from __future__ import annotations

import ast
from functools import cache
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

import basecaller

PACKAGE = Path(basecaller.__file__).parent

LAYERS: tuple[set[str], ...] = (
    {"common"},
    {"data", "networks", "loggers"},
    {"hpo", "training", "native"},
    {"config"},
    {"cli"},
    {"runs", "calling", "reporting"},
    {"task"},
    {"search_plan"},
    {"api", "train", "search", "report", "prepare", "basecall", "evaluate", "export", "__main__"},
)
"""Packages and modules, lowest layer first."""

LAYER = {name: number for number, names in enumerate(LAYERS) for name in names}

FORBIDDEN = {
    "data": {"hydra", "optuna"},
    "training": {"hydra", "optuna", "basecaller.hpo"},
    "hpo": {"torch", "basecaller.training", "basecaller.data", "basecaller.networks"},
}
"""What a package must not import, whatever the layers say."""


def room(path: Path) -> str:
    """The package or the module of the top level that a file belongs to."""
    return path.relative_to(PACKAGE).parts[0].removesuffix(".py")


@cache
def imported(path: Path) -> tuple[str, ...]:
    """What a file imports anywhere in it, by full name: modules, and names in modules."""
    found: list[str] = []
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found += (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            found += (f"{node.module}.{alias.name}" for alias in node.names if alias.name != "__version__")
    return tuple(found)


FILES = [path for path in sorted(PACKAGE.rglob("*.py")) if path != PACKAGE / "__init__.py"]


def test_every_module_has_a_layer():
    assert {room(path) for path in FILES} == set(LAYER)


def imports_of(name: str) -> set[tuple[str, str]]:
    """The file and the module of every import in a room."""
    return {(path.name, module) for path in FILES if room(path) == name for module in imported(path)}


def own_imports_of(name: str) -> set[tuple[str, str]]:
    """`imports_of` that are of this package."""
    return {(file, module) for file, module in imports_of(name) if module.startswith(f"{PACKAGE.name}.")}


@pytest.mark.parametrize("name", sorted(LAYER))
def test_imports_go_downwards(name):
    assert [each for each in own_imports_of(name) if LAYER[each[1].split(".")[1]] > LAYER[name]] == []


@pytest.mark.parametrize("name", FORBIDDEN)
def test_packages_keep_to_their_subject(name):
    outside = tuple(f"{prefix}." for prefix in FORBIDDEN[name])
    assert [each for each in imports_of(name) if f"{each[1]}.".startswith(outside)] == []


@pytest.mark.parametrize("path", [PACKAGE / "__init__.py", *FILES], ids=lambda path: str(path.relative_to(PACKAGE)))
def test_an_import_inside_a_function_says_why(path):
    source = path.read_text(encoding="utf-8")
    functions = [node for node in ast.walk(ast.parse(source)) if isinstance(node, ast.FunctionDef)]
    imports = {node.lineno for of in functions for node in ast.walk(of) if isinstance(node, ast.Import | ast.ImportFrom)}
    lines = source.splitlines()
    assert [lines[number - 1] for number in sorted(imports) if "  # here: " not in lines[number - 1]] == []


def module_of(path: Path) -> str:
    """The full name of a file's module."""
    return ".".join((PACKAGE.name, *path.relative_to(PACKAGE).with_suffix("").parts)).removesuffix(".__init__")


def test_no_files_import_each_other_in_a_circle():
    modules = {module_of(path): path for path in FILES}
    names = {module: set(imported(path)) for module, path in modules.items()}
    graph = {
        module: {name if name in modules else name.rpartition(".")[0] for name in of} & modules.keys()
        for module, of in names.items()
    }
    assert graph["basecaller.hpo.sweep"] >= {"basecaller.hpo.queue", "basecaller.hpo.standing"}
    TopologicalSorter(graph).prepare()  # raises an error that names the circle


def test_no_folders_import_each_other_in_a_circle():
    """A module of the top level counts as a folder of its own."""
    graph = {name: {module.split(".")[1] for _, module in own_imports_of(name)} - {name} for name in LAYER}
    assert graph["runs"] >= {"training", "networks"}
    TopologicalSorter(graph).prepare()
