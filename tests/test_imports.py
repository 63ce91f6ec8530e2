"""Every name of the project that its benchmarks, tests and documents import exists, also in code that they hold as text."""

from __future__ import annotations

import ast
import importlib
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
OWN = ("basecaller", "benchmarks", "tests")


def trees(path: Path) -> Iterator[ast.AST]:
    """The code of a file: a Python file and each of its strings that is code, or a document's blocks of Python."""
    text = path.read_text(encoding="utf-8")
    if path.suffix == ".md":
        blocks = re.findall(r"^```python[^\n]*\n(.*?)^```", text, re.DOTALL | re.MULTILINE)
    else:
        yield (tree := ast.parse(text))
        blocks = [node.value for node in ast.walk(tree) if isinstance(node, ast.Constant) and isinstance(node.value, str)]
    for block in blocks:
        if "import" in block:
            try:
                yield ast.parse(block)
            except SyntaxError:  # words, or a part of a program
                continue


def missing(path: Path) -> list[str]:
    """The project's modules and names that a file imports and that do not exist."""
    found = []
    for node in (node for tree in trees(path) for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)):
        if node.level or (node.module or "").split(".")[0] not in OWN:
            continue
        for alias in node.names:
            try:
                if not hasattr(importlib.import_module(node.module or ""), alias.name):
                    importlib.import_module(f"{node.module}.{alias.name}")
            except ImportError:
                found.append(f"line {node.lineno}: from {node.module} import {alias.name}")
    return found


FOLDERS = ("basecaller", "benchmarks", "docs", "tests")
FILES = [
    *sorted(ROOT.glob("*.md")),
    *(path for folder in FOLDERS for path in sorted((ROOT / folder).rglob("*")) if path.suffix in {".py", ".md"}),
]


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_names_exist(path: Path):
    assert not missing(path)


def test_a_stale_name_in_a_program_held_as_text_is_found(tmp_path: Path):
    (file := tmp_path / "file.py").write_text('CHILD = """\nfrom basecaller.runs import gone, trial\n"""\n')
    assert missing(file) == ["line 2: from basecaller.runs import gone"]
