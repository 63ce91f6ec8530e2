"""CONTRIBUTING.md is right: its steps work in a copy of the project."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from omegaconf import OmegaConf

import basecaller
from tests.conftest import TINY

ROOT = Path(basecaller.__file__).parents[1]
BLOCK = re.compile(r"^```(\w*)\n(.*?)^```", re.MULTILINE | re.DOTALL)

SMALL = [line for line in TINY if not line.startswith(("data.", "search."))]
SIMULATED = [line for line in TINY if line.startswith("data.")]


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A copy of the program."""
    for folder in ("basecaller", "conf"):
        shutil.copytree(ROOT / folder, tmp_path / folder, ignore=shutil.ignore_patterns("__pycache__"))
    return tmp_path


def follow(title: str, project: Path, page: str = "CONTRIBUTING.md") -> None:
    """Writes the files and makes the changes of a section: a block belongs to the last file named before it."""
    section = (ROOT / page).read_text(encoding="utf-8").partition(f"\n## {title}\n")[2].partition("\n## ")[0]
    assert section, title
    for block in BLOCK.finditer(section):
        kind, content = block.groups()
        if not kind:  # commands
            continue
        file = project / re.findall(r"`([\w/]+\.(?:py|yaml))`", section[: block.start()])[-1]
        if kind == "diff":
            lines = content.splitlines(keepends=True)
            old, new = ("".join(line[1:] for line in lines if line[0] in kept) for kept in (" -", " +"))
            before = file.read_text(encoding="utf-8")
            assert before.count(old) == 1, f"{file.name} has this not once:\n{old}"
            file.write_text(before.replace(old, new), encoding="utf-8")
        else:
            assert not file.exists()
            file.write_text(content, encoding="utf-8")


def works(project: Path, command: str, *arguments: str) -> str:
    """Runs a command of the copy, and returns its output."""
    environment = os.environ | {"PYTHONPATH": str(project), "COLUMNS": "160"}
    done = subprocess.run(
        [sys.executable, "-m", "basecaller", command, *arguments],
        cwd=project,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout + done.stderr


def test_hooks_run_what_ci_runs_and_download_nothing():
    config = OmegaConf.load(ROOT / ".pre-commit-config.yaml")
    assert [repo.repo for repo in config.repos] == ["local"]
    hooks = [hook.entry.removeprefix("python -m ") for hook in config.repos[0].hooks]
    lines = [line.removeprefix("python -m ") for line in (ROOT / ".ci/run").read_text(encoding="utf-8").splitlines()]
    assert hooks == [line for line in lines if line.startswith(("ruff check", "ruff format", "mypy"))]


def test_a_stage_is_added(project):
    follow("Add a stage", project)
    assert "warmup train.warmup=0.1 seed=1: val_loss" in works(project, "train", "-m", "stage=warmup", *SMALL, *SIMULATED)
    planned = works(project, "search", "search.preview=true", "plan=[padding,batch_norm,warmup]", *TINY)
    assert "warmup=0.1" in planned
    assert "first round: 6 trials" in planned


def test_a_model_size_is_added(project):
    follow("Add a model size", project)
    assert "model.channels: a whole number, at least 1; default 64" in works(
        project, "train", "model=rawctcnet_medium", "--help"
    )
    smaller = [line for line in SMALL if not line.startswith("model.")]
    assert "val_loss" in works(project, "train", "model=rawctcnet_medium", *smaller, *SIMULATED)


def test_an_optimizer_is_added(project):
    follow("Add an optimizer", project)
    assert "val_loss" in works(project, "train", "optimizer=rmsprop", *SMALL, *SIMULATED)
    assert "rmsprop" in works(project, "train", "-m", "optimizer=adam,rmsprop", *SMALL, *SIMULATED)


def test_a_data_source_is_added(project):
    follow("Add a data source", project)
    rng = np.random.default_rng(0)
    (project / "reads").mkdir()
    for number in range(30):
        labels = rng.integers(1, 5, 40)
        np.savez(project / f"reads/{number}.npz", signal=np.repeat(labels, 12) + rng.normal(0, 0.1, 480), labels=labels)
    np.savez(project / "reads/empty.npz", signal=np.zeros(0), labels=np.zeros(0))
    given = ["data=npz", "data.path=reads", "data.validation=0.2", "data.test=0.2"]
    shown = works(project, "prepare", *given)
    assert "reads kept" in shown
    assert "no signal or no labels" in shown
    assert "val_loss" in works(project, "train", *given, *SMALL)
    assert "data.path: a path; required" in works(project, "prepare", "data=npz", "--help")
