"""Other people's machines: without git, in other locales, shared with other users and other programs."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import basecaller
from basecaller.provenance import commit
from tests.conftest import TINY, Command
from tests.test_faults import start

PACKAGE = Path(basecaller.__file__).parent


def git(folder: Path, *arguments: str) -> None:
    own = ["-c", "user.name=x", "-c", "user.email=x@example.org"]
    subprocess.run(["git", "-C", str(folder), *own, *arguments], check=True, capture_output=True)


@pytest.mark.skipif(not shutil.which("git"), reason="git is not installed")
@pytest.mark.parametrize(
    ("kind", "known"),
    [
        ("a checkout", True),
        ("no repository", False),
        ("inside another's", False),
        ("beside tracked files", False),
    ],
)
def test_the_commit_is_that_of_the_programs_own_checkout(tmp_path, kind, known, monkeypatch):
    commit.cache_clear()
    package = tmp_path / {"inside another's": ".venv/site-packages/basecaller"}.get(kind, "basecaller")
    package.mkdir(parents=True)
    (package / "__init__.py").touch()
    if kind != "no repository":
        git(tmp_path, "init")
        (tmp_path / "theirs.txt").touch()
        git(tmp_path, "add", "." if kind == "a checkout" else "theirs.txt")
        git(tmp_path, "commit", "-m", "x")
    assert (commit(package) is not None) == known
    commit.cache_clear()
    monkeypatch.setenv("GIT_DIR", str(PACKAGE.parent / ".git"))  # as inside a hook
    assert (commit(package) is not None) == known


def test_without_git_a_training_ends_and_its_commit_is_unknown(tmp_path, run: Command, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    run("train", *TINY)
    (result,) = tmp_path.glob("outputs/tiny/runs/*/result.json")
    assert '"commit": null' in result.read_text(encoding="utf-8")


def test_configs_are_the_programs_own_whatever_lies_beside_it(tmp_path):
    site = tmp_path / "site-packages"
    (site / "basecaller/conf").mkdir(parents=True)
    for name in ("__init__.py", "places.py"):
        shutil.copy(PACKAGE / name, site / "basecaller")
    (site / "conf").mkdir()
    (site / "conf/config.yaml").touch()
    code = "from basecaller.places import conf_dir; print(conf_dir())"
    found = subprocess.run(
        [sys.executable, "-c", code], cwd=site, env=os.environ | {"PYTHONPATH": str(site)}, capture_output=True, text=True,
        encoding="utf-8", check=True,
    )  # fmt: skip
    assert Path(found.stdout.strip()) == site / "basecaller/conf"


HOOK = """
import os, sys

class Noting:
    def find_spec(self, name, path=None, target=None):
        if name == "torch":
            with open(os.environ["SEEN"], "a", encoding="utf-8") as file:
                print(os.getpid(), os.environ.get("GOMP_SPINCOUNT"), file=file)
            sys.meta_path.remove(self)

sys.meta_path.insert(0, Noting())
"""
"""What a process's environment says at the moment it begins to import torch."""

LAUNCHERS = {
    "joblib": ["hydra/launcher=joblib", "hydra.launcher.n_jobs=2"],
    "submitit": ["hydra/launcher=submitit_local", "hydra.launcher.timeout_min=5", "hydra.launcher.cpus_per_task=1"],
    "ray": ["hydra/launcher=ray", "+hydra.launcher.ray.init.num_cpus=1", "+hydra.launcher.ray.remote.num_cpus=1"],
}


def spin_counts(folder: Path, *overrides: str, **environment: str) -> set[str]:
    """What processes saw as they loaded torch, the sweep's own among them."""
    (folder / "hook").mkdir()
    (folder / "hook/sitecustomize.py").write_text(HOOK, encoding="utf-8")
    path = os.pathsep.join([str(folder / "hook"), *os.environ.get("PYTHONPATH", "").split(os.pathsep)])
    process = start(folder, "seed=1,2", *overrides, PYTHONPATH=path, SEEN=str(folder / "seen"), **environment)
    _, errors = process.communicate(timeout=300)
    assert process.returncode == 0, errors
    seen = dict(line.split() for line in (folder / "seen").read_text(encoding="utf-8").splitlines())
    return set(seen.values())


@pytest.mark.parametrize("launcher", LAUNCHERS)
def test_threads_of_every_worker_stop_spinning(tmp_path, launcher, monkeypatch):
    monkeypatch.delenv("GOMP_SPINCOUNT", raising=False)
    monkeypatch.delenv("OMP_WAIT_POLICY", raising=False)
    if launcher != "joblib":
        pytest.importorskip(f"hydra_plugins.hydra_{launcher}_launcher")
    assert spin_counts(tmp_path, *LAUNCHERS[launcher]) == {"10000"}


@pytest.mark.parametrize(("given", "expected"), [({"GOMP_SPINCOUNT": "7"}, "7"), ({"OMP_WAIT_POLICY": "active"}, "None")])
def test_how_the_user_lets_threads_wait_is_left_alone(tmp_path, given, expected, monkeypatch):
    monkeypatch.delenv("GOMP_SPINCOUNT", raising=False)
    monkeypatch.delenv("OMP_WAIT_POLICY", raising=False)
    code = "import basecaller, os; print(os.environ.get('GOMP_SPINCOUNT'))"
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, env=os.environ | given, capture_output=True, text=True, check=True,
        encoding="utf-8",
    )  # fmt: skip
    assert done.stdout.strip() == expected
