"""Devices: each process has its own GPU, and a missing device is a clear error."""

import encodings.ascii  # noqa: F401  # file locks need it, and another user may not read Python's own folder
import multiprocessing
import os
import tempfile
from collections.abc import Iterator
from multiprocessing.synchronize import Event
from pathlib import Path
from unittest.mock import patch

import pytest
import torch

from basecaller.common.errors import SettingError
from basecaller.training import device


def _own_gpu(folder: str) -> str:
    with patch("torch.cuda.device_count", return_value=2), patch("tempfile.gettempdir", return_value=folder):
        return device.own_gpu()


@pytest.fixture
def folder(tmp_path) -> Iterator[str]:
    yield str(tmp_path)
    device.own_gpu.cache_clear()
    while device._held:
        held = device._held.pop()
        os.close(held) if isinstance(held, int) else held.release()


@pytest.mark.slow
def test_processes_take_different_gpus_and_share_when_all_are_taken(folder):
    context = multiprocessing.get_context("spawn")
    assert _own_gpu(folder) == _own_gpu(folder) == "cuda:0"
    with context.Pool(1) as second:
        assert second.apply(_own_gpu, (folder,)) == "cuda:1"
        with context.Pool(1) as third:
            assert third.apply(_own_gpu, (folder,)) == f"cuda:{third.apply(os.getpid) % 2}"
    with context.Pool(1) as later:  # the second process is gone, and its GPU free again
        assert later.apply(_own_gpu, (folder,)) == "cuda:1"
    assert {path.name for path in Path(folder).iterdir()} == {"basecaller-gpu-0.lock", "basecaller-gpu-1.lock"}


def _other_users_gpu(folder: str, user: int, release: Event, taken: Event) -> None:
    os.umask(0o077)
    os.setuid(user)
    assert _own_gpu(folder) == "cuda:0"
    taken.set()
    release.wait(60)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can be another user")
def test_users_of_one_machine_share_its_gpus():
    with tempfile.TemporaryDirectory() as folder:
        Path(folder).chmod(0o1777)  # as /tmp
        context = multiprocessing.get_context("fork")
        release, taken = context.Event(), context.Event()
        other = context.Process(target=_other_users_gpu, args=(folder, 65534, release, taken))
        other.start()
        assert taken.wait(60)
        with multiprocessing.get_context("fork").Pool(1, os.setuid, (1234,)) as mine:
            assert mine.apply(_own_gpu, (folder,)) == "cuda:1"
        release.set()
        other.join()
        assert other.exitcode == 0  # the first GPU is free now, and its file belongs to the other user
        with multiprocessing.get_context("fork").Pool(1, os.setuid, (1234,)) as mine:
            assert mine.apply(_own_gpu, (folder,)) == "cuda:0"
        (Path(folder) / "basecaller-gpu-0.lock").chmod(0o600)
        with multiprocessing.get_context("fork").Pool(1, os.setuid, (1234,)) as mine:  # not readable: counts as taken
            assert mine.apply(_own_gpu, (folder,)) == "cuda:1"


def test_a_missing_device_is_refused():
    with pytest.raises(SettingError, match=r"device=abacus: .*use device=auto or device=cpu"):
        device.choose_device("abacus")
    if not torch.cuda.is_available():
        with pytest.raises(SettingError, match="device=cuda"):
            device.choose_device("cuda")
        assert device.choose_device("auto") == torch.device("cpu")
