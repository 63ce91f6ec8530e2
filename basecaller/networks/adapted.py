"""Adapts a network of any class to training, and checks that it follows the protocol of `networks.base.Network`."""

from __future__ import annotations

import torch
from torch import Tensor

from basecaller.common.errors import SettingError
from basecaller.common.geometry import Model, output_length
from basecaller.networks.base import Network
from basecaller.networks.named import Named
from basecaller.networks.rawctcnet import RawCTCNet

TOLERANCE = 1e-3
"""Largest difference of a log-probability between a padded read and the same read alone, due to the order of rounding."""


class Adapted(Network):
    """A named network.

    Args:
        settings: the network's class and arguments.
        alphabet: the letters of output labels 1, 2, ...
        seed: seed of the initial weights.
    """

    def __init__(self, settings: Named, alphabet: str, seed: int = 0) -> None:
        super().__init__()
        self.settings, self.alphabet = settings, alphabet
        self.stride, self.receptive_field = settings.stride, settings.receptive_field
        self.module = settings.module(1 + len(alphabet), seed)

    def forward(self, signal: Tensor, lengths: Tensor | None = None) -> Tensor:
        """See `Network.forward`."""
        scores: Tensor = self.module(signal, lengths)
        return scores


def build(settings: Model | Named, alphabet: str, seed: int = 0) -> Network:
    """The network of a checked `model` section, on the CPU.

    Raises:
        SettingError: its class rejects its arguments.
    """
    return RawCTCNet(settings, alphabet, seed) if isinstance(settings, Model) else Adapted(settings, alphabet, seed)


@torch.inference_mode()
def check_protocol(network: Network) -> None:
    """Checks the protocol before any training: scores a read alone, and padded in a batch with another read.

    Raises:
        SettingError: shapes do not follow the protocol, or padding changes a read's scores.
    """
    if not isinstance(network, Adapted):
        return
    where, labels = f"model._target_={network.settings.target}", 1 + len(network.alphabet)
    lengths = torch.tensor([60 * network.stride + 1, 33 * network.stride])
    signal = torch.randn(2, int(lengths[0]), generator=torch.Generator().manual_seed(0))
    signal[1, lengths[1] :] = 0
    training = network.training
    network.eval()
    padded, alone = network(signal, lengths), network(signal[1:, : lengths[1]], None)
    network.train(training)
    for scores, samples, reads in ((padded, lengths[0], 2), (alone, lengths[1], 1)):
        expected = (reads, output_length(int(samples), network.stride), labels)
        if tuple(scores.shape) != expected:
            raise SettingError(
                f"{where}: returns {tuple(scores.shape)} for {reads} signals of {samples} samples, but must return {expected}: "
                f"[batch, frames, labels] with ceil(samples / {network.stride}) frames"
            )
    difference = (padded[1:, : alone.shape[1]].log_softmax(2) - alone.log_softmax(2)).abs().max()
    if not difference < TOLERANCE:
        raise SettingError(
            f"{where}: padding changes a read's log-probabilities by {difference:.2g}; hide what lies beyond `lengths` from "
            "every layer, see basecaller.networks.masking.hide"
        )
