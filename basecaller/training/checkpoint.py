"""Weights on disk: written beside and renamed, read without unpickling anything but tensors and plain values."""

from __future__ import annotations

import dataclasses
import io
from pathlib import Path
from typing import Any

import torch

from basecaller.data.dataset import ALPHABET
from basecaller.errors import DataError
from basecaller.files import replacing
from basecaller.geometry import Model
from basecaller.network import RawCTCNet

FORMAT = 1


def save(path: Path, content: dict[str, Any]) -> None:
    """Writes tensors and plain values, whole or not at all."""
    whole = io.BytesIO()  # PyTorch's own errors do not say that a disk is full
    torch.save({"format": FORMAT, **content}, whole)
    with replacing(path) as partial:
        partial.write_bytes(whole.getbuffer())


def load(path: Path) -> dict[str, Any]:
    """Reads what `save` wrote, onto the CPU.

    Raises:
        DataError: no such file, a foreign one, or one cut short.
    """
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # a damaged file may raise anything; PyTorch's words advise to trust it
        reason = error.strerror if isinstance(error, OSError) else "is it cut short, or of another kind?"
        raise DataError(f"{path}: cannot be read as a checkpoint ({reason})") from error
    if not isinstance(content, dict) or content.get("format") != FORMAT:
        raise DataError(f"{path}: not a checkpoint of this program")
    return content


def network_content(network: RawCTCNet) -> dict[str, Any]:
    """What is needed to build a network again: its settings, letters and weights."""
    return {
        "model": dataclasses.asdict(network.settings),
        "alphabet": network.alphabet,
        "network": network.state_dict(),
    }


def load_network(path: Path) -> RawCTCNet:
    """The network of a checkpoint, on the CPU.

    Raises:
        DataError: the file cannot be read, or its weights do not fit its settings.
    """
    content = load(path)
    try:
        network = RawCTCNet(Model(**content["model"]), content.get("alphabet", ALPHABET))  # the first checkpoints had none
        network.load_state_dict(content["network"])
    except (KeyError, TypeError, RuntimeError) as error:
        raise DataError(f"{path}: its weights do not fit its settings ({error})") from error
    return network


def start_from(network: RawCTCNet, path: Path) -> None:
    """Gives a network the weights of a checkpoint, to go on training from. Letters that the checkpoint has not keep the
    network's own, fresh weights in the last layer.

    Raises:
        DataError: the file cannot be read, or its network has another shape.
    """
    other = load_network(path)
    mine, theirs = dataclasses.asdict(network.settings), dataclasses.asdict(other.settings)
    differing = [f"model.{key}={theirs[key]}" for key in mine if key != "name" and mine[key] != theirs[key]]
    if differing:
        raise DataError(f"train.init={path}: it was trained with {', '.join(differing)}; use the same")
    weights, last = other.state_dict(), {"scores.weight", "scores.bias"}
    network.load_state_dict({key: value for key, value in weights.items() if key not in last}, strict=False)
    with torch.no_grad():
        for label, letter in enumerate("-" + network.alphabet):
            if letter in "-" + other.alphabet:
                source = ("-" + other.alphabet).index(letter)
                network.scores.weight[label] = other.scores.weight[source]
                network.scores.bias[label] = other.scores.bias[source]
