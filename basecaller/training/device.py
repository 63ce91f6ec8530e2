"""Where a training runs, and how precisely."""

from __future__ import annotations

import torch

from basecaller.errors import SettingError


def choose_device(name: str) -> torch.device:
    """`auto` is a GPU where there is one, else the processor.

    Raises:
        SettingError: an unknown device, or one that this machine has not.
    """
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    try:
        device = torch.device(name)
        torch.zeros(1, device=device)
    except (RuntimeError, AssertionError) as error:
        raise SettingError(f"device={name}: {str(error).splitlines()[0]}; use cpu, cuda, cuda:N or auto") from error
    return device


def autocast_type(precision: str, device: torch.device) -> torch.dtype | None:
    """The type of autocast matrix products; None for plain float32."""
    if precision == "auto":
        precision = "bfloat16" if device.type == "cuda" and torch.cuda.is_bf16_supported() else "float32"
    return torch.bfloat16 if precision == "bfloat16" else None
