"""When two configurations are the same, and when a result belongs to other code."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

import basecaller
from basecaller.common.source_code import meaning
from basecaller.config.composition import compose_config
from basecaller.hpo.identity import without
from basecaller.runs.code_version import TRAINING_CODE, code_version
from basecaller.runs.job import resolve_job

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


def identity(*overrides: str) -> str:
    return resolve_job(compose_config(list(overrides)), Path()).run_id


@pytest.mark.slow
@pytest.mark.parametrize(
    "same",
    [
        ("train.clip=2", "train.clip=2.0", "train.clip=20e-1"),
        ("optimizer.weight_decay=0", "optimizer.weight_decay=0.0"),
        ("model.batch_norm=yes", "model.batch_norm=true", "model.batch_norm=on", "model.batch_norm=1"),
        ("model.projection=no", "model.projection=false"),
        ("data.validation=1e-1", "data.validation=0.1"),
        ("train.epochs=3", "train.epochs='3'"),
        ("padding.mode=off", "padding.mode='off'", "padding=off"),
        ("model.name=mine", "model.name=theirs"),
        ("experiment=a", "experiment=b", "storage=sqlite:///x.db", "threads=1", "data.folder=d", "device=cpu"),
    ],
)
def test_a_training_has_one_identity_however_it_is_written(same):
    assert len({identity(override) for override in same}) == 1


def test_settings_that_change_a_result_change_the_identity():
    others = [(), ("seed=2",), ("optimizer.lr=0.1",), ("data.reads=100",), ("train.epochs=2",), ("padding=on",),
              ("train.clip=null",), ("model.batch_norm=yes",)]  # fmt: skip
    assert len({identity(*overrides) for overrides in others}) == len(others)


def test_without_leaves_the_original_alone():
    config = {"a": {"b": 1, "c": 2}, "d": 3}
    assert without(config, ("a.b", "d", "x.y")) == {"a": {"c": 2}}
    assert config == {"a": {"b": 1, "c": 2}, "d": 3}


CODE = '''"""A module."""
import logging

from somewhere import thing

log = logging.getLogger(__name__)


def step(loss: float, rate: float = 0.5) -> float:
    """One step."""
    if loss != loss:
        raise ValueError(f"the loss is {loss}")
    log.info("a step of %s", rate)
    return loss * rate  # as published
'''

SILENT = {
    "comment": ("  # as published", ""),
    "docstring": ('"""One step."""', '"""One more step."""'),
    "message": ('f"the loss is {loss}"', '"diverged: " + str(loss)'),
    "log line": ('log.info("a step of %s", rate)', 'log.debug("stepped")'),
    "no log line": ('    log.info("a step of %s", rate)\n', ""),
    "annotation": ("loss: float", 'loss: "np.float64"'),
    "import": ("from somewhere import thing", "from elsewhere import thing"),
    "layout": ("return loss * rate", "return (\n        loss * rate\n    )"),
}

TELLING = {
    "number": ("0.5", "0.25"),
    "operator": ("loss * rate", "loss + rate"),
    "condition": ("loss != loss", "loss == loss"),
    "kind of error": ("ValueError", "KeyError"),
}


@pytest.mark.parametrize("kind", SILENT)
def test_rewording_leaves_the_version_of_the_code(kind):
    old, new = SILENT[kind]
    assert old in CODE
    assert meaning(CODE.replace(old, new)) == meaning(CODE)


@pytest.mark.parametrize("kind", TELLING)
def test_changes_that_may_affect_numbers_change_the_version_of_the_code(kind):
    old, new = TELLING[kind]
    assert meaning(CODE.replace(old, new)) != meaning(CODE)
    assert meaning(CODE.replace(old, new), "step") != meaning(CODE, "step")


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
