"""RawCTCNet: gated, dilated residual convolutions from a raw signal to label scores, trained with CTC.

The shipped form computes what the published, plain one does (`tests/reference.py`), in fewer and larger matrix products:
tanh and sigmoid halves of a gate as one product, and every skip path of the network as one product at its end.
Activations are channels-last, [batch, frames, channels].
"""

from __future__ import annotations

import hashlib
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from basecaller.geometry import Model, dilations, output_length, stem_kernel


class MaskedBatchNorm(nn.BatchNorm1d):
    """Batch normalisation over [batch, frames, channels], its statistics over the valid frames only.

    Zero wherever a frame is not valid, so that a convolution after it sees what its own zero padding would give.
    """

    def forward(self, x: Tensor, valid: Tensor | None = None) -> Tensor:  # type: ignore[override]
        """x: [batch, frames, channels]; valid: bool [batch, frames], or None where all are."""
        if valid is None:
            return super().forward(x.flatten(0, 1)).view_as(x)
        inside: Tensor = super().forward(x[valid])
        return torch.zeros_like(x, dtype=inside.dtype).masked_scatter(valid[..., None], inside)


class GatedUnit(torch.autograd.Function):
    """tanh(a) * sigmoid(b) of a dilated convolution to (a, b): one matrix product, and its gradient by hand.

    Autograd would make, clear and add a whole tensor for every tap of the kernel; on a CPU that costs as much as the
    product. tanh(a) is computed as 2 sigmoid(2a) - 1, since PyTorch's sigmoid is many times faster there than its tanh.
    """

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor, dilation: int) -> Tensor:
        """x: [batch, frames, channels]; weight: [2 channels, kernel * channels], inputs ordered (tap, channel)."""
        batch, frames, channels = x.shape
        kernel = weight.shape[1] // channels
        reach = dilation * (kernel // 2)
        padded = F.pad(x, (0, 0, reach, reach))
        taps = torch.cat([padded[:, k * dilation : k * dilation + frames] for k in range(kernel)], 2).flatten(0, 1)
        both = torch.addmm(bias, taps, weight.t())
        both[:, :channels] *= 2
        both.sigmoid_()
        tanh = both[:, :channels].mul_(2).sub_(1)
        ctx.save_for_backward(taps, both, weight)
        ctx.shape, ctx.dilation = x.shape, dilation
        return (tanh * both[:, channels:]).view(batch, frames, -1)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, Tensor, Tensor, None]:
        """d tanh = 1 - tanh^2, d sigmoid = sigmoid (1 - sigmoid); a tap's gradient goes back to the frame it was taken from."""
        taps, both, weight = ctx.saved_tensors
        batch, frames, channels = ctx.shape
        g = gradients[0].reshape(-1, channels)
        tanh, sigmoid = both[:, :channels], both[:, channels:]
        g_sigmoid = g * sigmoid
        g_both = torch.empty_like(both)
        torch.addcmul(g_sigmoid, g_sigmoid * tanh, tanh, value=-1, out=g_both[:, :channels])
        g_sigmoid *= tanh
        torch.addcmul(g_sigmoid, g_sigmoid, sigmoid, value=-1, out=g_both[:, channels:])
        g_taps = (g_both @ weight).view(batch, frames, -1)
        g_x = g_taps.new_zeros(ctx.shape)
        for k in range(weight.shape[1] // channels):
            shift = (k - weight.shape[1] // channels // 2) * ctx.dilation  # the tap of frame t came from frame t + shift
            if abs(shift) < frames:
                to, of = slice(max(0, shift), frames + min(0, shift)), slice(max(0, -shift), frames - max(0, shift))
                g_x[:, to] += g_taps[:, of, k * channels : (k + 1) * channels]
        return g_x, g_both.t() @ taps, g_both.sum(0), None


class GatedBlock(nn.Module):
    """A residual block: its gated unit, and the next residual path."""

    def __init__(self, channels: int, kernel: int, dilation: int, batch_norm: bool, projection: bool) -> None:
        super().__init__()
        self.kernel, self.dilation = kernel, dilation
        self.norm = MaskedBatchNorm(channels) if batch_norm else None
        self.gate = nn.Linear(kernel * channels, 2 * channels)  # inputs ordered (tap, channel)
        self.residual = nn.Linear(channels, channels)
        self.projection = nn.Linear(channels, channels, bias=False) if projection else None

    def forward(self, x: Tensor, valid: Tensor | None) -> tuple[Tensor, Tensor]:
        """x: [batch, frames, channels]. Returns the next x and the gated unit, both of x's shape."""
        if self.norm is not None:
            x = self.norm(x, valid)
        elif valid is not None:
            x = x * valid[..., None]
        weight: Tensor = self.gate.weight
        bias: Tensor = self.gate.bias
        if torch.is_autocast_enabled(x.device.type):
            kind = torch.get_autocast_dtype(x.device.type)
            x, weight, bias = x.to(kind), weight.to(kind), bias.to(kind)
        gated: Tensor = GatedUnit.apply(x, weight, bias, self.dilation)
        through = x if self.projection is None else self.projection(x)
        return through + self.residual(gated), gated


class RawCTCNet(nn.Module):
    """The network.

    Args:
        settings: its size.
        labels: number of output labels, the CTC blank (index 0) included.
        seed: of the initial weights. Each weight is drawn by seed and name, so that networks of other sizes
            share the weights of all layers whose shapes agree: trials of one seed are paired.
    """

    def __init__(self, settings: Model, labels: int = 5, seed: int = 0) -> None:
        super().__init__()
        c, s = settings.channels, settings.skip_channels
        self.settings = settings
        width = stem_kernel(settings.stride)
        self.stem = nn.Conv1d(1, c, width, stride=settings.stride, padding=width // 2)
        self.mix = nn.Linear(c, c)
        rungs = dilations(settings.max_dilation, settings.stacks)
        self.blocks = nn.ModuleList(GatedBlock(c, settings.kernel, d, settings.batch_norm, settings.projection) for d in rungs)
        self.skip = nn.Linear(len(rungs) * c, s)
        self.head = nn.Linear(s, s)
        self.scores = nn.Linear(s, labels)
        self._initialise(seed)

    def _initialise(self, seed: int) -> None:
        """Kaiming-uniform weights (He et al., ICCV 2015), zero biases."""
        for name, module in self.named_modules():
            if isinstance(module, nn.Linear | nn.Conv1d):
                digest = hashlib.sha256(f"{seed}/{name}".encode()).digest()
                generator = torch.Generator().manual_seed(int.from_bytes(digest[:7], "big"))
                nn.init.kaiming_uniform_(module.weight, nonlinearity="linear", generator=generator)
                if module.bias is not None:
                    nn.init.zeros_(module.bias)

    def frames(self, lengths: Tensor) -> Tensor:
        """Output frames for signals of `lengths` samples: int64 [batch]."""
        return output_length(lengths, self.settings.stride)

    def forward(self, signal: Tensor, lengths: Tensor | None = None) -> Tensor:
        """Scores of every label at every frame.

        Args:
            signal: float [batch, samples], zero beyond each read's end.
            lengths: int64 [batch]. Given, what lies beyond a read's end is hidden from every layer, and a read's
                scores are those it has alone; without, zeros beyond the end pass through like signal.
        Returns:
            Unnormalised scores [batch, frames, labels]; frames beyond a read's end mean nothing.
        """
        x = F.elu(self.mix(F.elu(self.stem(signal[:, None])).transpose(1, 2)))
        valid = None
        if lengths is not None:
            valid = torch.arange(x.shape[1], device=x.device) < self.frames(lengths)[:, None]
        units = []
        for block in self.blocks:
            x, gated = block(x, valid)
            units.append(gated)
        skip = self.skip(torch.cat(units, 2))
        scores: Tensor = self.scores(F.leaky_relu(self.head(F.leaky_relu(skip))))
        return scores
