"""The job that Hydra runs."""

from __future__ import annotations

import subprocess
import sys


def test_a_training_starts_without_what_only_sweeps_and_reports_need():
    """PyTorch too: a sweep, which only starts trainings, needs none."""
    names = ("torch", "optuna", "matplotlib", "sqlalchemy")
    code = f"import basecaller.train, sys; print([name for name in {names} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
