"""Small networks: one of Bonito's kind, and one in a separate module."""

from __future__ import annotations

from typing import Any

from basecaller.config.composition import compose_config
from basecaller.config.settings import settings
from basecaller.networks.adapted import Adapted, build
from tests.conftest import TINY

BONITO = ["model=bonito_ctc_small", "model.width=0.02", "model.repeats=[1,1,1,1,1,1,1,1]"]


DATA = [line for line in TINY if not line.startswith("model.")]


def bonito(*overrides: str, seed: int = 1) -> Adapted:
    built = build(settings(compose_config([*BONITO, *overrides])).model, "ACGT", seed)
    assert isinstance(built, Adapted)
    return built


SMALLEST = """
from torch import nn

class Net(nn.Module):
    def __init__(self, labels: int, width: int):
        super().__init__()
        self.stride, self.receptive_field = 2, 5
        self.first, self.scores = nn.Conv1d(1, width, 5, 2, 2), nn.Conv1d(width, labels, 1)

    def forward(self, signal, lengths=None):
        return self.scores(self.first(signal[:, None]).relu()).transpose(1, 2)
"""


def section(target: str, **keys: Any) -> dict[str, Any]:
    return {"_target_": target, "name": "mine", "width": 4, **keys}
