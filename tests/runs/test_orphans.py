"""Worker processes end with their sweep, however it ends."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from multiprocessing import get_context
from pathlib import Path

import pytest

from basecaller.runs.orphans import watch
from tests.conftest import TINY

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not Path("/proc/self/task").exists(), reason="finds the workers in /proc"),
]

SWEEP = ["hydra/launcher=joblib", "hydra.launcher.n_jobs=2", "optimizer.lr=" + ",".join(str(i / 1000) for i in range(1, 60))]


@pytest.mark.parametrize(("sent", "code"), [(signal.SIGKILL, -9), (signal.SIGTERM, 143)])
def test_workers_end_soon_after_their_sweep(folder, sent, code):
    command = [sys.executable, "-m", "basecaller.train", "-m", *TINY, *SWEEP]
    sweep = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    assert sweep.stdout is not None
    while "val_loss" not in sweep.stdout.readline():  # the first trial has ended
        assert sweep.poll() is None
    workers = _children(sweep.pid)
    assert len(workers) >= 2
    os.kill(sweep.pid, sent)
    said, _ = sweep.communicate(timeout=60)
    assert sweep.returncode == code
    assert ("terminated; the same command continues" in said) == (code == 143)
    until = time.monotonic() + 60
    while any(_is_alive(worker) for worker in workers):
        assert time.monotonic() < until
        time.sleep(0.2)


def test_a_process_of_a_fork_server_goes_on():
    """The system's parent of such a process is the server, not the one that Python names."""
    process = get_context("forkserver").Process(target=_work)
    process.start()
    process.join(60)
    assert process.exitcode == 7


def _work() -> None:
    watch()
    time.sleep(0.5)
    sys.exit(7)


def _children(pid: int) -> list[int]:
    return [int(p) for file in Path(f"/proc/{pid}/task").glob("*/children") for p in file.read_text().split()]


def _is_alive(pid: int) -> bool:
    try:
        return "\nState:\tZ" not in Path(f"/proc/{pid}/status").read_text()
    except OSError:
        return False
