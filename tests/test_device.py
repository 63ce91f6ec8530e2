"""Devices: each process its own GPU, and a clear refusal of what is not there."""

import multiprocessing
import tempfile
from collections.abc import Iterator
from pathlib import Path
from unittest.mock import patch

import pytest
import torch

from basecaller.errors import SettingError
from basecaller.training import device


def _own_gpu(folder: str) -> str:
    with patch("torch.cuda.device_count", return_value=2), patch("tempfile.gettempdir", return_value=folder):
        return device.own_gpu()


@pytest.fixture
def folder(tmp_path) -> Iterator[str]:
    yield str(tmp_path)
    device.own_gpu.cache_clear()
    while device._held:
        device._held.pop().release()


def test_processes_take_different_gpus_and_share_when_all_are_taken(folder):
    context = multiprocessing.get_context("spawn")
    assert _own_gpu(folder) == _own_gpu(folder) == "cuda:0"
    with context.Pool(1) as second:
        assert second.apply(_own_gpu, (folder,)) == "cuda:1"
        with context.Pool(1) as third:
            assert third.apply(_own_gpu, (folder,)) in ("cuda:0", "cuda:1")
    with context.Pool(1) as later:  # the second process is gone, and its GPU free again
        assert later.apply(_own_gpu, (folder,)) == "cuda:1"
    assert {p.name for p in Path(folder).iterdir()} >= {"basecaller-gpu-0.lock"}
    assert tempfile.gettempdir() != folder


def test_a_device_that_is_not_there_is_refused():
    with pytest.raises(SettingError, match="device=abacus"):
        device.choose_device("abacus")
    if not torch.cuda.is_available():
        with pytest.raises(SettingError, match="device=cuda"):
            device.choose_device("cuda")
        assert device.choose_device("auto") == torch.device("cpu")
