"""Engines: the choice for a network, and label smoothing."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from basecaller.common.errors import SettingError
from basecaller.config.composition import compose_config
from basecaller.config.settings import settings
from basecaller.data.batches import Batch
from basecaller.training.engine import TorchEngine, choose_path, smoothing_nats
from tests.helpers.networks import BONITO, bonito


def test_native_code_supports_only_rawctcnet():
    size = settings(compose_config(BONITO)).model
    assert str(choose_path(size, torch.device("cpu"))) == "torch float32"
    with pytest.raises(SettingError, match=r"native=on: it computes RawCTCNet, not basecaller.networks.bonito.BonitoCTC"):
        choose_path(size, torch.device("cpu"), "on")
    own = settings(compose_config([])).model
    assert str(choose_path(own, torch.device("cpu"), label_smoothing=0.5)).startswith("torch")
    with pytest.raises(SettingError, match="native=on: it has no label smoothing"):
        choose_path(own, torch.device("cpu"), "on", label_smoothing=0.5)


def smoothed_by_hand(scores: torch.Tensor) -> float:
    """Bonito's formula for one read, over all its frames."""
    weights = torch.tensor([0.4, *[0.1 / 4] * 4])
    return float(-(scores.log_softmax(2) * weights).mean())


def test_label_smoothing_is_added_to_the_gradient_and_not_to_the_loss():
    made = bonito("model.dropout=0.0")
    signal = np.random.default_rng(0).standard_normal((1, 90)).astype(np.float32)
    batch = Batch(signal, np.array([90]), np.array([1, 2, 3]), np.array([3]))
    plain = TorchEngine(made)
    value, gradient = plain.gradients(batch, False), plain.gradient.clone()
    smooth = TorchEngine(made, label_smoothing=1.0)
    assert smooth.gradients(batch, False) == pytest.approx(value, rel=1e-6)
    made.zero_grad()
    scores = made(torch.from_numpy(signal))
    term = smoothing_nats(scores, batch, made)
    assert term.item() == pytest.approx(smoothed_by_hand(scores.detach()), rel=1e-6)
    expected = torch.cat([g.flatten() for g in torch.autograd.grad(term, list(made.parameters()))])
    torch.testing.assert_close(smooth.gradient - gradient, expected, atol=1e-6, rtol=1e-4)
    padded = Batch(np.pad(signal, ((0, 0), (0, 30))), batch.lengths, batch.targets, batch.target_lengths)
    longer = torch.cat([scores, torch.randn(1, 10, 5)], 1)
    assert smoothing_nats(longer, padded, made).item() == pytest.approx(term.item(), rel=1e-6)
