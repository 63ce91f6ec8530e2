"""Python source code, reduced to what can change a result."""

from __future__ import annotations

import ast
import hashlib
import json
from pathlib import Path
from typing import Any

SILENT_FIELDS = ("annotation", "returns", "ctx", "kind", "type_comment", "type_params")
"""Parts of Python's syntax trees that change no number, or differ between versions of Python."""


def file_version(path: Path) -> str:
    """Digest of a Python file's code, ten hex digits."""
    return hashlib.sha256(json.dumps(meaning(path.read_text(encoding="utf-8"))).encode()).hexdigest()[:10]


def meaning(source: str, function: str = "") -> Any:
    """Source code as plain values, without comments, docstrings, annotations, imports, log lines and error messages.

    Args:
        source: source code of a module.
        function: a function at its top level; empty for the whole module.
    Raises:
        LookupError: the module has no such function.
    """
    tree: ast.AST = ast.parse(source)
    if function:
        found = [node for node in ast.iter_child_nodes(tree) if isinstance(node, ast.FunctionDef) and node.name == function]
        if not found:
            raise LookupError(f"no function {function}")
        tree = found[0]
    return _values(tree)


def _values(node: Any) -> Any:
    if isinstance(node, list):
        return [_values(each) for each in node if not _is_silent(each)]
    if not isinstance(node, ast.AST):
        return repr(node)
    if isinstance(node, ast.Raise):
        return ["Raise", _values(node.exc.func if isinstance(node.exc, ast.Call) else node.exc)]
    parts = {
        name: _values(value) for name, value in ast.iter_fields(node) if name not in SILENT_FIELDS and value not in (None, [])
    }
    return [type(node).__name__, parts]


def _is_silent(node: Any) -> bool:
    """Whether a statement changes no number."""
    if isinstance(node, ast.Import | ast.ImportFrom):
        return True
    if not isinstance(node, ast.Expr):
        return False
    called = node.value.func if isinstance(node.value, ast.Call) else None
    logs = isinstance(called, ast.Attribute) and isinstance(called.value, ast.Name) and called.value.id == "log"
    return logs or (isinstance(node.value, ast.Constant) and isinstance(node.value.value, str))
