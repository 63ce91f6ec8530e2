"""The single place that decides how many trainings run at once, and how many threads each has.

Two processes with two threads each on two cores are a hundred times slower than with one thread each: cores are divided,
never oversubscribed.
"""

from __future__ import annotations

import os
import subprocess
from dataclasses import dataclass

from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode


def cores() -> int:
    """Cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def gpus() -> int:
    """NVIDIA GPUs that are visible, without importing torch."""
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    if visible is not None:
        return len([device for device in visible.split(",") if device.strip() not in ("", "-1")])
    try:
        listed = subprocess.run(
            ["nvidia-smi", "-L"], capture_output=True, text=True, encoding="utf-8", errors="replace", check=False, timeout=30
        )
    except (OSError, subprocess.TimeoutExpired):
        return 0
    return sum(line.startswith("GPU ") for line in listed.stdout.splitlines())


@dataclass(frozen=True)
class Workers:
    """A division of this machine.

    Attributes:
        count: number of parallel trainings.
        threads: threads of each training.
    """

    count: int
    threads: int

    @property
    def overrides(self) -> list[str]:
        """Overrides that make a sweep use this division."""
        if self.count == 1:
            return [f"threads={self.threads}"]
        return [
            "hydra/launcher=joblib",
            f"hydra.launcher.n_jobs={self.count}",
            f"hydra.launcher.inner_max_num_threads={self.threads}",
            "hydra.launcher.batch_size=1",  # else joblib groups trials that are short, such as reused ones, with long ones
            f"threads={self.threads}",
        ]


def divide(workers: int | None, device: str = "auto", threads: int | None = None) -> Workers:
    """The machine divided among `workers` trainings; None: one for each GPU if GPUs are used, else one for each core. Each has
    `threads` threads; None: its share of the cores."""
    if workers is None:
        workers = (gpus() if device == "auto" or device.startswith("cuda") else 0) or cores()
    return Workers(workers, threads or max(1, cores() // workers))


def job_threads(threads: int | None) -> int:
    """Threads of Hydra's job: `threads`; None: its share of the cores among the launcher's jobs."""
    if threads:
        return threads
    hydra = HydraConfig.get()
    at_once = hydra.launcher.get("n_jobs", 1) if hydra.mode == RunMode.MULTIRUN else 1
    return max(1, cores() // (at_once if at_once > 0 else cores()))  # joblib's -1 is one job for each core
