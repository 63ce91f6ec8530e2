"""Bonito's CTC network of 2020: QuartzNet's time-channel separable convolutions (Kriman et al., arXiv:1910.10261, 2019)."""

from __future__ import annotations

from itertools import pairwise
from typing import Annotated, Literal

from torch import Tensor, nn

from basecaller.networks.masking import MaskedBatchNorm, hide, valid_frames

EPSILON = 1e-3
"""Published epsilon of batch normalisation."""

Positive = Annotated[float, {"above": 0}]


def _convolution(channels: int, filters: int, kernel: int, stride: int = 1, separable: bool = False) -> nn.Module:
    """A convolution with 'same' padding; a separable one is depthwise along time, then pointwise over channels."""
    if not separable:
        return nn.Conv1d(channels, filters, kernel, stride, kernel // 2, bias=False)
    depthwise = nn.Conv1d(channels, channels, kernel, stride, kernel // 2, groups=channels, bias=False)
    return nn.Sequential(depthwise, nn.Conv1d(channels, filters, 1, bias=False))


class Block(nn.Module):
    """Convolutions, each with batch normalisation, activation and dropout.

    Args:
        channels, filters: input and output channels.
        kernel: width of the convolutions, in frames; odd.
        repeat: number of convolutions.
        stride: stride of the first convolution.
        separable: see `_convolution`.
        residual: add a pointwise convolution of the input before the last activation.
        activation: applied after each convolution.
        dropout: dropout probability.
    """

    def __init__(
        self,
        channels: int,
        filters: int,
        kernel: int,
        repeat: int,
        stride: int,
        separable: bool,
        residual: bool,
        activation: nn.Module,
        dropout: float,
    ) -> None:
        super().__init__()
        sizes = [channels, *[filters] * repeat]
        self.convolutions = nn.ModuleList(
            _convolution(before, after, kernel, stride if i == 0 else 1, separable)
            for i, (before, after) in enumerate(pairwise(sizes))
        )
        self.norms = nn.ModuleList(MaskedBatchNorm(filters, eps=EPSILON) for _ in range(repeat))
        self.shortcut = _convolution(channels, filters, 1) if residual else None
        self.shortcut_norm = MaskedBatchNorm(filters, eps=EPSILON) if residual else None
        self.activation, self.dropout = activation, nn.Dropout(dropout)

    def forward(self, x: Tensor, lengths: Tensor | None, stride: int) -> Tensor:
        """Activations [batch, filters, frames] from inputs [batch, channels, input frames].

        Args:
            x: inputs, zero beyond each read's end.
            lengths: int64 [batch], samples of each read; None: nothing is hidden.
            stride: samples per frame of the result.
        """
        through, valid = x, None
        last = len(self.convolutions) - 1
        for i, (convolution, norm) in enumerate(zip(self.convolutions, self.norms, strict=True)):
            through = convolution(through)
            valid = valid_frames(lengths, stride, through.shape[2])
            through = norm(through, valid)
            if i == last and self.shortcut is not None and self.shortcut_norm is not None:
                through = through + self.shortcut_norm(self.shortcut(x), valid)
            through = hide(self.dropout(self.activation(through)), valid)
        return through


class BonitoCTC(nn.Module):
    """Bonito's network. The first and the last block are plain convolutions. The blocks in between are separable; all but the
    last of these have a residual path.

    Args:
        filters: Number of channels of each block, before `width` scales them.
        kernels: Widths of each block's convolutions, in frames, before `kernel` scales them.
        repeats: Number of convolutions in each block.
        width: Factor of all channels, which are rounded to multiples of 8.
        kernel: Factor of the kernels after the first block, which are rounded to odd numbers.
        stride: Number of samples per output frame, the stride of the first convolution.
        dropout: Probability of dropout after every activation.
        activation: Activation function.
    """

    def __init__(
        self,
        labels: int,
        filters: tuple[int, ...],
        kernels: tuple[int, ...],
        repeats: tuple[int, ...],
        width: Positive,
        kernel: Positive,
        stride: Annotated[int, {"least": 1}],
        dropout: Annotated[float, {"least": 0, "below": 1}],
        activation: Literal["swish", "relu"],
    ) -> None:
        super().__init__()
        count = len(filters)
        if count < 3 or not count == len(kernels) == len(repeats) or min(*filters, *kernels, *repeats) < 1:
            raise ValueError("filters, kernels and repeats must have the same length, at least 3, and values of at least 1")
        scaled = [max(8, 8 * round(width * each / 8)) for each in filters]
        odd = [kernels[0] // 2 * 2 + 1, *(2 * round(kernel * (each - 1) / 2) + 1 for each in kernels[1:])]
        function = {"swish": nn.SiLU, "relu": nn.ReLU}[activation]()
        self.stride = stride
        self.blocks = nn.ModuleList()
        for i, (before, after) in enumerate(pairwise([1, *scaled])):
            first, separable, residual = i == 0, 0 < i < count - 1, 0 < i < count - 2
            self.blocks.append(
                Block(before, after, odd[i], repeats[i], stride if first else 1, separable, residual, function, dropout)
            )
        self.scores = nn.Conv1d(scaled[-1], labels, 1)
        frames = sum((size - 1) * repeat for size, repeat in zip(odd[1:], repeats[1:], strict=True))
        frames += (odd[0] - 1) * (repeats[0] - 1)
        self.receptive_field = frames * stride + odd[0]

    def forward(self, signal: Tensor, lengths: Tensor | None = None) -> Tensor:
        """Scores [batch, frames, labels] of signals [batch, samples]; see `networks.base.Network.forward`."""
        x = signal[:, None]
        for block in self.blocks:
            x = block(x, lengths, self.stride)
        scores: Tensor = self.scores(x)
        return scores.transpose(1, 2)
