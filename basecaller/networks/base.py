"""The interface of a network for training, validation and basecalling."""

from __future__ import annotations

from abc import abstractmethod
from typing import Any

import torch
from torch import Tensor, nn

from basecaller.common.geometry import output_length


class Network(nn.Module):
    """A network from signals to label scores, with one output frame for every `stride` samples.

    Attributes:
        settings: the checked `model` section: `geometry.Model` or `networks.named.Named`.
        alphabet: the letters of output labels 1, 2, ...; label 0 is the CTC blank.
        stride: samples per output frame; a signal has ceil(samples / stride) frames.
        receptive_field: samples of signal that one output frame sees.
    """

    settings: Any
    alphabet: str
    stride: int
    receptive_field: int
    _flat: Tensor | None = None

    @abstractmethod
    def forward(self, signal: Tensor, lengths: Tensor | None = None) -> Tensor:
        """Scores of every label at every frame.

        Args:
            signal: float [batch, samples], zero beyond each read's end.
            lengths: int64 [batch]. If given, the padding beyond a read's end is hidden from every layer, and a read has the
                same scores as alone; if None, zeros beyond the end pass through like signal.
        Returns:
            Unnormalised scores or log-probabilities [batch, frames, labels]; frames beyond a read's end are meaningless.
        """

    @property
    def device(self) -> torch.device:
        """The device of the weights."""
        return next(self.parameters()).device

    def frames(self, lengths: Tensor) -> Tensor:
        """Output frames for signals of `lengths` samples: int64 [batch]."""
        return output_length(lengths, self.stride)

    @torch.no_grad()
    def flatten(self) -> Tensor:
        """All parameters as one vector, float [parameters], in the order of `parameters()`. They become views of it.
        A network that is moved to another device or type has new parameters and needs another call.
        """
        parameters = list(self.parameters())
        flat = self._flat
        at = 0 if flat is None else flat.data_ptr()
        for p in parameters:
            if flat is None or p.data_ptr() != at or p.dtype != flat.dtype:
                flat = None
                break
            at += p.numel() * p.element_size()
        if flat is None:
            flat = torch.cat([p.detach().reshape(-1) for p in parameters])
            for p, part in zip(parameters, flat.split([p.numel() for p in parameters]), strict=True):
                p.data = part.view_as(p)
            self._flat = flat
        return flat
