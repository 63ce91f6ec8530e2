"""Masking for convolutional networks, so that a padded read has the same scores as alone."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from basecaller.common.geometry import output_length


def valid_frames(lengths: Tensor | None, stride: int, frames: int) -> Tensor | None:
    """Mask of the frames that belong to a read: bool [batch, frames]; None if all do.

    Args:
        lengths: int64 [batch], samples of each read; None: nothing is hidden.
        stride: samples per frame.
        frames: number of frames of the longest read.
    """
    if lengths is None:
        return None
    return torch.arange(frames, device=lengths.device) < output_length(lengths, stride)[:, None]


def hide(x: Tensor, valid: Tensor | None) -> Tensor:
    """Sets activations beyond each read's end to zero, like a convolution's padding of a read alone.

    Args:
        x: [batch, channels, frames].
        valid: bool [batch, frames]; None: nothing is hidden.
    """
    return x if valid is None else x.masked_fill(~valid[:, None], 0)


class MaskedBatchNorm(nn.BatchNorm1d):
    """Batch normalisation (Ioffe & Szegedy, ICML 2015) whose statistics ignore hidden frames."""

    def forward(self, x: Tensor, valid: Tensor | None = None) -> Tensor:  # type: ignore[override]
        """Normalised activations.

        Args:
            x: [batch, channels, frames].
            valid: bool [batch, frames]; None: nothing is hidden.
        """
        if valid is None or not self.training:
            return super().forward(x)
        assert self.running_mean is not None
        assert self.momentum is not None
        normalised = F.batch_norm(
            x.transpose(1, 2)[valid], self.running_mean, self.running_var, self.weight, self.bias, True, self.momentum, self.eps
        )
        return torch.zeros_like(x).transpose(1, 2).index_put((valid,), normalised).transpose(1, 2)
