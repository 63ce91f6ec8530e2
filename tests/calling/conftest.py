"""Models without any training."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from tests.helpers.models import network, save_model


@pytest.fixture
def model(tmp_path: Path) -> Path:
    return save_model(tmp_path / "model", network())


@pytest.fixture
def silent(tmp_path: Path) -> Path:
    """A model that has learned nothing: it calls blanks only."""
    made = network()
    with torch.no_grad():
        made.scores.bias[0] += 1000
    return save_model(tmp_path / "silent", made)
