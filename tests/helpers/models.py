"""Networks that call bases without any training, and their files."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import torch

from basecaller.common.geometry import Model
from basecaller.networks.rawctcnet import RawCTCNet
from basecaller.training import checkpoint

SIZE = Model(
    "test", channels=8, skip_channels=8, kernel=3, max_dilation=4, stacks=2, batch_norm=True, stride=4, projection=True
)


def network(alphabet: str = "ACGT", **changed: object) -> RawCTCNet:
    """A network that calls bases: random weights, blanks made rare."""
    made = RawCTCNet(dataclasses.replace(SIZE, **changed), alphabet, seed=1)
    with torch.no_grad():
        made.scores.weight *= 3
        if made.tower.norm is not None:
            made.tower.mean += 0.1
            made.tower.variance *= 1.5
    return made.eval()


def save_model(folder: Path, made: RawCTCNet) -> Path:
    """Writes a network as a training would. Returns the folder."""
    checkpoint.save(folder / "best.pt", checkpoint.network_content(made))
    return folder
