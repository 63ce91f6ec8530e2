"""Sweeps in separate processes, which tests kill, starve, and start side by side."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

from tests.conftest import TINY

SLOW = ["train.epochs=200", "train.validations=1", "model.channels=16"]
"""Ten seconds and more, with a checkpoint in each epoch: long enough to be there when something happens."""


def start(folder: Path, *overrides: str, **environment: str) -> subprocess.Popen:
    """Starts a sweep of tiny trainings in a folder."""
    return subprocess.Popen(
        [sys.executable, "-m", "basecaller.train", "-m", *TINY, *overrides],
        cwd=folder,
        start_new_session=True,
        stderr=subprocess.PIPE,
        text=True,
        env=os.environ | environment,
    )


def wait_until(condition: Callable[[], bool], process: subprocess.Popen) -> None:
    """Waits until a condition holds, for three minutes at most; fails when the process ends first."""
    for _ in range(3600):
        if condition():
            return
        assert process.poll() is None, process.stderr.read() if process.stderr else "the process ended too early"
        time.sleep(0.05)
    raise AssertionError("nothing happened in three minutes")


def hooked(folder: Path, code: str) -> str:
    """A PYTHONPATH with which every process runs some code first."""
    (folder / "hook").mkdir()
    (folder / "hook/sitecustomize.py").write_text(code, encoding="utf-8")
    return os.pathsep.join([str(folder / "hook"), *os.environ.get("PYTHONPATH", "").split(os.pathsep)])
