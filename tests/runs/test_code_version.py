"""The version of the training code covers all code that decides a result."""

from __future__ import annotations

import ast
from pathlib import Path

import basecaller
from basecaller.runs.code_version import TRAINING_CODE, code_version

PACKAGE = Path(basecaller.__file__).parent

DECIDES_NOTHING = {
    "__init__", "common.errors", "common.files", "training.scores",
    "training.progress", "config.settings", "training.settings",  # settings are part of a run's config
    "training.device", "training.checkpoint",  # the functions that decide numbers are listed
    "data.__init__", "training.__init__",
    # these make the data set, whose fingerprint is part of a run's config
    "data.audit", "data.labels", "data.pore", "data.signal", "data.sources", "data.splits",
    # these bring a job to `runs.training._fit`
    "common.provenance", "runs.findings", "runs.folder", "runs.job", "runs.loggers", "hpo.records",
    "common.checking", "common.source_code",  # these describe a named network
}  # fmt: skip


def test_the_version_covers_all_modules_that_training_uses():
    files = [entry.partition(":")[0] for entry in TRAINING_CODE]
    listed = {file.removesuffix(".py").replace("/", ".") for file in files if file.endswith(".py")}
    assert {file.partition("/")[2] for file in files if not file.endswith(".py")} == {
        path.name for path in (PACKAGE / "native").iterdir() if path.suffix in (".c", ".h")
    }
    used = {name for module in listed for name in imports(module)}
    assert used - listed - DECIDES_NOTHING == set()
    assert len(code_version()) == 10


def imports(module: str) -> set[str]:
    """The modules of this package that a module imports, anywhere in it."""
    names = set()
    for node in ast.walk(ast.parse(PACKAGE.joinpath(*module.split(".")).with_suffix(".py").read_text())):
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("basecaller"):
            home = (node.module or "").removeprefix("basecaller").removeprefix(".")
            for alias in node.names:
                inner = f"{home}.{alias.name}".removeprefix(".")
                names.add(inner if PACKAGE.joinpath(*inner.split(".")).with_suffix(".py").exists() else home or "__init__")
    return names
