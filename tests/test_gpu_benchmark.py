"""What `python -m benchmarks --only gpu` measures, on a CPU and with small networks."""

import dataclasses
import time

import pytest
import torch

from basecaller.common.errors import SettingError
from benchmarks import gpu

TINY = gpu.Trial(dataclasses.replace(gpu.SMALL, channels=8, skip_channels=8, max_dilation=2), 8, 4, 2, 4, samples=80, bases=6)


def test_a_machine_without_a_gpu_gives_one_message(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(SettingError, match="needs a GPU"):
        next(gpu.measure())


@pytest.mark.slow
def test_steps_are_compared_with_the_rate_of_a_product(monkeypatch):
    monkeypatch.setattr(gpu, "trials_an_hour", lambda device, count, *rest: 100.0 * count)
    rows = list(gpu.measure("cpu", TINY, 64, 40, 2, dataclasses.replace(TINY.size, stride=1), (1, 2)))
    assert [unit for *_, unit in rows] == ["s", "s", "trials/h", "trials/h"]
    assert all(ours > theirs > 0 for _, ours, theirs, unit in rows if unit == "s")
    assert [ours / theirs for _, ours, theirs, unit in rows if unit == "trials/h"] == [1.0, 2.0]


def test_a_process_runs_its_trials_from_the_moment_at_which_all_begin():
    start = time.time() + 0.5
    gpu.run_trials("cpu", TINY, 2, start)
    assert time.time() > start
