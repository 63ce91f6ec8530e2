"""Weights on disk: written to a temporary file and renamed, read without unpickling anything but tensors and plain values."""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch

from basecaller.common.errors import DataError
from basecaller.common.files import replacing
from basecaller.common.geometry import Model
from basecaller.data.dataset import ALPHABET
from basecaller.networks.adapted import build
from basecaller.networks.base import Network
from basecaller.networks.named import TARGET, Named, check_allowed, model_settings
from basecaller.networks.rawctcnet import RawCTCNet

FORMAT = 1


def save(path: Path, content: dict[str, Any]) -> None:
    """Writes tensors and plain values, whole or not at all.

    Raises:
        OSError: the file cannot be written; the old one stays.
    """
    whole = io.BytesIO()  # because PyTorch's own errors do not report a full disk
    torch.save({"format": FORMAT, **content}, whole)
    with replacing(path) as partial:
        partial.write_bytes(whole.getbuffer())


def load(path: Path) -> dict[str, Any]:
    """Reads what `save` wrote, onto the CPU.

    Raises:
        DataError: the file is missing, truncated or no checkpoint.
    """
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # a damaged file may raise anything; PyTorch's message advises to trust it
        reason = error.strerror if isinstance(error, OSError) else "is it truncated, or another kind of file?"
        raise DataError(f"{path}: cannot be read as a checkpoint ({reason})") from error
    if not isinstance(content, dict) or content.get("format") != FORMAT:
        raise DataError(f"{path}: not a checkpoint of this program")
    return content


def network_section(settings: Model | Named) -> dict[str, Any]:
    """The `model` section of a network, as plain values."""
    return asdict(settings) if isinstance(settings, Model) else settings.section()


def network_content(network: Network) -> dict[str, Any]:
    """The content to build a network again: its settings, letters and weights."""
    return {
        "model": network_section(network.settings),
        "alphabet": network.alphabet,
        "network": network.state_dict(),
    }


def load_network(path: Path, networks: Sequence[str] = ()) -> Network:
    """The network of a checkpoint, on the CPU.

    Args:
        path: path of the checkpoint.
        networks: modules that may be imported for it; a checkpoint cannot allow modules itself.
    Raises:
        DataError: the file cannot be read, or its weights do not fit its settings.
        SettingError: its network must not or cannot be imported.
    """
    content = load(path)
    try:
        section = content["model"]
        if TARGET in section:
            check_allowed(str(section[TARGET]), networks, f"{path}: model.{TARGET}")
        settings = model_settings(section, networks) if TARGET in section else Model(**section)
        network = build(settings, content.get("alphabet", ALPHABET))  # the first checkpoints had none
        network.load_state_dict(content["network"])
    except (KeyError, TypeError, RuntimeError) as error:
        raise DataError(f"{path}: its weights do not fit its settings ({error})") from error
    return network


def check_start(settings: Model | Named, path: Path, networks: Sequence[str] = ()) -> None:
    """Checks that a network of these settings can start from a checkpoint, whatever its letters.

    Raises:
        BasecallerError: see `start_from`.
    """
    start_from(build(settings, load_network(path, networks).alphabet), path, networks)


def start_from(network: Network, path: Path, networks: Sequence[str] = ()) -> None:
    """Loads the weights of a checkpoint into a network, to continue training from them. In the last layer of RawCTCNet, letters
    that the checkpoint lacks keep their new weights.

    Raises:
        DataError: the file cannot be read, its network has another shape, or a network other than RawCTCNet has other letters.
        SettingError: see `load_network`.
    """
    other = load_network(path, networks)
    mine, theirs = network_section(network.settings), network_section(other.settings)
    differing = [f"model.{key}={value}" for key, value in theirs.items() if key != "name" and mine.get(key) != value]
    if differing:
        raise DataError(f"train.init={path}: it was trained with {', '.join(differing)}; use the same")
    if not isinstance(network, RawCTCNet) or not isinstance(other, RawCTCNet):
        if network.alphabet != other.alphabet:
            raise DataError(
                f"train.init={path}: its letters are {other.alphabet}, those of the data {network.alphabet}; only RawCTCNet "
                "can begin from other letters"
            )
        network.load_state_dict(other.state_dict())
        return
    weights, last = other.state_dict(), {"scores.weight", "scores.bias"}
    network.load_state_dict({key: value for key, value in weights.items() if key not in last}, strict=False)
    with torch.no_grad():
        for label, letter in enumerate("-" + network.alphabet):
            if letter in "-" + other.alphabet:
                source = ("-" + other.alphabet).index(letter)
                network.scores.weight[label] = other.scores.weight[source]
                network.scores.bias[label] = other.scores.bias[source]
