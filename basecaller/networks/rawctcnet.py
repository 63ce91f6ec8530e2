"""RawCTCNet: gated, dilated residual convolutions from a raw signal to label scores, trained with CTC.

It computes the same function as the published network (`tests/helpers/reference.py`) with fewer and larger matrix products:
one for the tanh and sigmoid halves of a gate, and one at the end for all skip paths.
Activations are channels-last, [batch, frames, channels]; the residual blocks are in `tower.py`.
"""

from __future__ import annotations

import hashlib

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from basecaller.common.geometry import Model, dilations, receptive_field, stem_kernel
from basecaller.data.dataset import ALPHABET
from basecaller.networks.base import Network
from basecaller.networks.tower import Tower


class RawCTCNet(Network):
    """The network.

    Args:
        settings: its size.
        alphabet: the letters of output labels 1, 2, ...; label 0 is the CTC blank.
        seed: seed of the initial weights. Each weight is drawn by seed and name, so networks of different sizes share the
            weights of all layers with equal shapes: trials of one seed are paired.
    """

    def __init__(self, settings: Model, alphabet: str = ALPHABET, seed: int = 0) -> None:
        super().__init__()
        c, s = settings.channels, settings.skip_channels
        self.settings, self.alphabet, self.stride = settings, alphabet, settings.stride
        self.receptive_field = receptive_field(settings.kernel, settings.max_dilation, settings.stacks, settings.stride)
        width = stem_kernel(settings.stride)
        self.stem = nn.Conv1d(1, c, width, stride=settings.stride, padding=width // 2)
        self.mix = nn.Linear(c, c)
        rungs = dilations(settings.max_dilation, settings.stacks)
        self.tower = Tower(c, settings.kernel, rungs, settings.batch_norm, settings.projection)
        self.skip = nn.Linear(len(rungs) * c, s)
        self.head = nn.Linear(s, s)
        self.scores = nn.Linear(s, 1 + len(alphabet))
        self._initialise(seed)

    @torch.no_grad()
    def _initialise(self, seed: int) -> None:
        """Kaiming-uniform weights (He et al., ICCV 2015), zero biases."""
        modules = ("stem", "mix", "skip", "head", "scores")
        drawn = {name: getattr(self, name).weight for name in modules}
        for kind in ("gate", "residual", "projection"):
            stacked = getattr(self.tower, kind)
            if stacked is not None:
                drawn |= {f"tower.{i}.{kind}": weight for i, weight in enumerate(stacked)}
        for name, weight in drawn.items():
            digest = hashlib.sha256(f"{seed}/{name}".encode()).digest()
            generator = torch.Generator().manual_seed(int.from_bytes(digest[:7], "big"))
            nn.init.kaiming_uniform_(weight, nonlinearity="linear", generator=generator)
        for name in modules:
            nn.init.zeros_(getattr(self, name).bias)

    def forward(self, signal: Tensor, lengths: Tensor | None = None) -> Tensor:
        """Unnormalised scores [batch, frames, labels] of signals [batch, samples]; see `Network.forward`."""
        x = F.elu(self.mix(F.elu(self.stem(signal[:, None])).transpose(1, 2)))
        valid = None
        if lengths is not None:
            valid = torch.arange(x.shape[1], device=x.device) < self.frames(lengths)[:, None]
        skip = self.skip(self.tower(x, valid))
        scores: Tensor = self.scores(F.leaky_relu(self.head(F.leaky_relu(skip))))
        return scores
