"""Weights on disk: written beside and renamed, read without unpickling anything but tensors and plain values."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import torch

from basecaller.errors import DataError
from basecaller.files import replacing
from basecaller.geometry import Model
from basecaller.network import RawCTCNet

FORMAT = 1


def save(path: Path, content: dict[str, Any]) -> None:
    """Writes tensors and plain values, whole or not at all."""
    with replacing(path) as partial:
        torch.save({"format": FORMAT, **content}, partial)


def load(path: Path) -> dict[str, Any]:
    """Reads what `save` wrote, onto the CPU.

    Raises:
        DataError: no such file, a foreign one, or one cut short.
    """
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # a damaged file may raise anything
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise DataError(f"{path}: cannot be read as a checkpoint ({reason})") from error
    if not isinstance(content, dict) or content.get("format") != FORMAT:
        raise DataError(f"{path}: not a checkpoint of this program")
    return content


def network_content(network: RawCTCNet) -> dict[str, Any]:
    """What is needed to build a network again: its settings and weights."""
    labels = network.scores.out_features
    return {"model": dataclasses.asdict(network.settings), "labels": labels, "network": network.state_dict()}


def load_network(path: Path) -> RawCTCNet:
    """The network of a checkpoint, on the CPU.

    Raises:
        DataError: the file cannot be read, or its weights do not fit its settings.
    """
    content = load(path)
    try:
        network = RawCTCNet(Model(**content["model"]), content["labels"])
        network.load_state_dict(content["network"])
    except (KeyError, TypeError, RuntimeError) as error:
        raise DataError(f"{path}: its weights do not fit its settings ({error})") from error
    return network
