"""The version of the training code: a digest of all code that decides a training's numbers, and of nothing else."""

from __future__ import annotations

import ast
import hashlib
import json
import re
from functools import cache
from pathlib import Path
from typing import Any

TRAINING_CODE = (
    "geometry.py",
    "network.py",
    "tower.py",
    "networks/base.py",
    "networks/adapted.py",
    "networks/named.py:_made",
    "networks/masking.py",
    "decode.py",
    "metrics.py",
    "data/batches.py",
    "data/dataset.py",
    "data/mixture.py",
    "training/batch_plan.py",
    "training/fit.py",
    "training/engine.py",
    "training/optim.py",
    "training/evaluate.py",
    "training/checkpoint.py:start_from",
    "training/device.py:autocast_type",
    "runs/training.py:_fit",
    "native/build.py",  # its flags
    "native/step.py",
    "native/step.c",
    "native/block.h",
    "native/ctc.h",
)
"""Files of the package, or functions in them, that decide a training's result. `tests/hpo/test_identity.py` fails if one of
them uses a module that is neither listed here nor known to have no influence."""

COMMENT = re.compile(r"/\*.*?\*/|//[^\n]*", re.DOTALL)
"""A comment in C."""

SILENT_FIELDS = ("annotation", "returns", "ctx", "kind", "type_comment", "type_params")
"""Parts of Python's syntax trees that change no number, or differ between versions of Python."""


@cache
def code_version() -> str:
    """Digest of the training code, ten hex digits; results of other code are not reused."""
    package = Path(__file__).resolve().parents[1]
    told = []
    for entry in TRAINING_CODE:
        file, _, function = entry.partition(":")
        text = (package / file).read_text(encoding="utf-8")
        told.append(meaning(text, function) if file.endswith(".py") else COMMENT.sub("", text).split())
    return hashlib.sha256(json.dumps(told).encode()).hexdigest()[:10]


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
    told = {
        name: _values(value) for name, value in ast.iter_fields(node) if name not in SILENT_FIELDS and value not in (None, [])
    }
    return [type(node).__name__, told]


def _is_silent(node: Any) -> bool:
    """Whether a statement changes no number."""
    if isinstance(node, ast.Import | ast.ImportFrom):
        return True
    if not isinstance(node, ast.Expr):
        return False
    called = node.value.func if isinstance(node.value, ast.Call) else None
    logs = isinstance(called, ast.Attribute) and isinstance(called.value, ast.Name) and called.value.id == "log"
    return logs or (isinstance(node.value, ast.Constant) and isinstance(node.value.value, str))
