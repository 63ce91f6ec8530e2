"""The device and the precision of a training."""

from __future__ import annotations

import os
import tempfile
from functools import cache
from pathlib import Path
from typing import Any

import torch
from filelock import FileLock, Timeout

from basecaller.common.errors import SettingError
from basecaller.common.files import shared_lock


@cache
def own_gpu() -> str:
    """A GPU that no other process of this program on this machine uses, such as `cuda:1`, held until this process ends.

    If all are taken, processes share them evenly.
    """
    count = torch.cuda.device_count()
    for number in range(count):
        if _take(Path(tempfile.gettempdir()) / f"basecaller-gpu-{number}.lock"):
            return f"cuda:{number}"
    return f"cuda:{os.getpid() % count}"


_held: list[FileLock | int] = []
"""Locks and locked open files, held until this process ends."""


def _take(path: Path) -> bool:
    """Locks a file until this process ends; False if another process holds the lock, or this user may not read the file."""
    lock = shared_lock(path)
    try:
        lock.acquire(timeout=0)
    except Timeout:
        return False
    except OSError:
        return _take_of_another_user(path)
    _held.append(lock)
    return True


def _take_of_another_user(path: Path) -> bool:
    """Locks a file that this user may not write to, such as another user's file in the shared folder /tmp: the kernel can also
    lock a file that is open for reading."""
    import fcntl  # here: only POSIX systems have it

    try:
        file = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError:
        return False
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        os.close(file)
        return False
    _held.append(file)
    return True


def check_gpu(name: str) -> None:
    """Checks that this machine has a GPU of that name, without taking it.

    Raises:
        SettingError: it has none.
    """
    count, number = torch.cuda.device_count(), int(name.partition(":")[2] or 0)
    if number >= count:
        raise SettingError(f"device={name}: this machine has {count} GPUs that PyTorch can use; use device=auto or device=cpu")


def choose_device(name: str) -> torch.device:
    """The device by name: `auto` and `cuda` take a GPU for this process alone; `auto` takes the CPU if there is no GPU.

    Raises:
        SettingError: the device is unknown, or this machine lacks it.
    """
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    if name == "cuda" and torch.cuda.is_available():
        name = own_gpu()
    try:
        device = torch.device(name)
        torch.zeros(1, device=device)
    except (RuntimeError, AssertionError) as error:
        raise SettingError(f"device={name}: {str(error).splitlines()[0]}; use device=auto or device=cpu") from error
    return device


WIDE = 128
"""Number of channels from which PyTorch's bfloat16 products are faster on a CPU (`docs/performance.md`)."""


def autocast_type(precision: str, device: torch.device, channels: int) -> torch.dtype | None:
    """The type of autocast matrix products; None for plain float32.

    Args:
        precision: `float32`, `bfloat16`, or `auto`: bfloat16 if the hardware multiplies it faster, on a GPU, or on a CPU for
            wide networks.
        device: device of the network.
        channels: width of the network.
    """
    if precision == "auto":
        wide = channels >= WIDE and processor_can("avx512_bf16", "amx_bf16")
        fast = torch.cuda.is_bf16_supported() if device.type == "cuda" else wide
        precision = "bfloat16" if fast else "float32"
    return torch.bfloat16 if precision == "bfloat16" else None


def processor_can(*features: str) -> bool:
    """Whether the CPU has any of these instruction sets."""
    known: dict[str, Any] = getattr(torch.cpu, "get_capabilities", dict)()  # from PyTorch 2.10 on
    return any(known.get(feature) for feature in features)
