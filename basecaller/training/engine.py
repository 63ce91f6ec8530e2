"""The engines that compute a network, native code and PyTorch, and their precision.

A training gets the gradients of a batch from its engine; a validation gets scores and losses. Both engines compute the same.
"""

from __future__ import annotations

import logging
from abc import ABC, abstractmethod
from dataclasses import dataclass
from functools import cache

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from basecaller.common.errors import SettingError
from basecaller.common.geometry import Model
from basecaller.data.batches import Batch
from basecaller.native.build import UnavailableError, load
from basecaller.native.step import Library, Step
from basecaller.networks.base import Network
from basecaller.networks.named import Named
from basecaller.networks.rawctcnet import RawCTCNet
from basecaller.training.device import autocast_type

log = logging.getLogger(__name__)


def ctc_nats(scores: Tensor, batch: Batch, network: Network) -> Tensor:
    """CTC negative log-likelihood summed over a batch, in nats (Graves et al., ICML 2006).

    Args:
        scores: [batch, frames, labels], any float type; the loss is computed in float32.
        batch: true lengths and targets.
        network: gives the output length of each signal length.
    """
    log_probs = F.log_softmax(scores.float(), 2).transpose(0, 1)
    frames = network.frames(torch.from_numpy(batch.lengths))
    targets = torch.from_numpy(batch.targets).to(scores.device)
    return F.ctc_loss(log_probs, targets, frames, torch.from_numpy(batch.target_lengths), reduction="sum")


BLANK_WEIGHT, LETTER_WEIGHT = 0.4, 0.1
"""Bonito's weights in label smoothing: of the blank, and of all letters together."""


def smoothing_nats(scores: Tensor, batch: Batch, network: Network) -> Tensor:
    """Bonito's label smoothing for CTC: weighted negative log-probabilities, in nats, averaged over frames and labels.

    Args:
        scores, batch, network: see `ctc_nats`; frames beyond a read's end do not count.
    """
    frames = network.frames(torch.from_numpy(batch.lengths)).to(scores.device)
    valid = torch.arange(scores.shape[1], device=scores.device) < frames[:, None]
    log_probs = F.log_softmax(scores.float(), 2)[valid]
    letters = log_probs.shape[1] - 1
    weights = torch.tensor([BLANK_WEIGHT, *[LETTER_WEIGHT / letters] * letters], device=scores.device)
    return -(log_probs * weights).mean()


class Engine(ABC):
    """Computes a network.

    Args:
        network: the network on its device. Its parameters become views of one vector.

    Attributes:
        parameter: this vector, for the optimizer.
        gradient: gradient of the vector.
    """

    def __init__(self, network: Network) -> None:
        self.network = network
        self.parameter = nn.Parameter(network.flatten())
        self.gradient = self.parameter.grad = torch.zeros_like(self.parameter)

    @abstractmethod
    def gradients(self, batch: Batch, masked: bool) -> float:
        """The CTC loss of a training batch in nats per base. `gradient` gets the gradient of the training loss, which may
        include label smoothing, unless it is not finite.

        Args:
            batch: cropped or padded to one rectangle.
            masked: hide the padding beyond a read's end; else it passes through like signal.
        """

    @abstractmethod
    def scores(self, batch: Batch) -> Tensor:
        """Scores of whole reads, each as if alone, in evaluation mode: float [batch, frames, labels].

        Frames beyond a read's end are meaningless. The batch's targets are ignored.
        """

    @abstractmethod
    def nats(self, batch: Batch) -> tuple[float, Tensor]:
        """The loss of `scores`, summed over the batch, and the scores."""


class TorchEngine(Engine):
    """PyTorch, on any device.

    Args:
        network: the network on its device.
        autocast: type of the matrix products; None for float32.
        label_smoothing: weight of `smoothing_nats` in the training loss.
    """

    def __init__(self, network: Network, autocast: torch.dtype | None = None, label_smoothing: float = 0.0) -> None:
        super().__init__(network)
        self.device, self.autocast, self.label_smoothing = self.parameter.device, autocast, label_smoothing
        parts = self.gradient.split([p.numel() for p in network.parameters()])
        for parameter, part in zip(network.parameters(), parts, strict=True):
            parameter.grad = part.view_as(parameter)

    def _scores(self, batch: Batch, masked: bool) -> Tensor:
        signal = torch.from_numpy(batch.signal).to(self.device)
        lengths = torch.from_numpy(batch.lengths).to(self.device) if masked else None
        with torch.autocast(self.device.type, self.autocast, enabled=self.autocast is not None):
            scores: Tensor = self.network(signal, lengths)
        return scores

    def gradients(self, batch: Batch, masked: bool) -> float:
        self.network.train()
        scores = self._scores(batch, masked)
        loss = ctc_nats(scores, batch, self.network) / len(batch.targets)
        value = loss.item()
        if self.label_smoothing:
            loss = loss + self.label_smoothing * smoothing_nats(scores, batch, self.network)
        self.gradient.zero_()
        loss.backward()
        return value

    @torch.inference_mode()
    def scores(self, batch: Batch) -> Tensor:
        self.network.eval()
        alike = bool((batch.lengths == batch.signal.shape[1]).all())  # if so, there is no padding to hide
        return self._scores(batch, not alike)

    @torch.inference_mode()
    def nats(self, batch: Batch) -> tuple[float, Tensor]:
        scores = self.scores(batch)
        return ctc_nats(scores, batch, self.network).item(), scores


class NativeEngine(Engine):
    """Native code, on the CPU.

    Args:
        library: the native library.
        network: see `native.step.Step`.
        half: matrix products in bfloat16.
    """

    def __init__(self, library: Library, network: RawCTCNet, half: bool = False) -> None:
        super().__init__(network)
        self._step = Step(library, network, half)
        self.gradient = self.parameter.grad = self._step.gradient

    def gradients(self, batch: Batch, masked: bool) -> float:
        return self._step.gradients(batch.signal, batch.lengths, batch.targets, batch.target_lengths, masked)

    def scores(self, batch: Batch) -> Tensor:
        return torch.from_numpy(self._step.scores(batch.signal, batch.lengths))

    def nats(self, batch: Batch) -> tuple[float, Tensor]:
        nats, scores = self._step.nats(batch.signal, batch.lengths, batch.targets, batch.target_lengths)
        return nats, torch.from_numpy(scores)


@dataclass(frozen=True)
class Path:
    """The engine and its precision: part of a result, since they decide its last digits.

    Attributes:
        library: the native code; None: PyTorch.
        half: matrix products in bfloat16; sums and everything else are float32.
    """

    library: Library | None
    half: bool

    def __str__(self) -> str:
        return f"{'native' if self.library else 'torch'} {self.precision}"

    @property
    def precision(self) -> str:
        return "bfloat16" if self.half else "float32"

    def engine(self, network: Network, label_smoothing: float = 0.0) -> Engine:
        """The engine of a network; native code has no label smoothing."""
        if self.library and isinstance(network, RawCTCNet):
            return NativeEngine(self.library, network, self.half)
        return TorchEngine(network, torch.bfloat16 if self.half else None, label_smoothing)


@cache
def _say_once(reason: str) -> None:
    log.warning("PyTorch is used, which is several times slower than native code: %s (train.native=off silences this)", reason)


def choose_path(
    size: Model | Named,
    device: torch.device,
    native: str = "auto",
    precision: str = "float32",
    labels: int = 5,
    label_smoothing: float = 0.0,
) -> Path:
    """The path of a network on a device.

    Args:
        size: size of the network.
        device: device of the network.
        native: `auto`: native code if available, `on`: only native code, `off`: PyTorch.
        precision: precision of matrix products: `float32`, `bfloat16`, or `auto`: the faster one that is no worse.
        labels: number of labels that the network scores.
        label_smoothing: weight of label smoothing, which needs PyTorch.
    Raises:
        SettingError: `native` is `on`, but native code is not available; the message says why.
    """
    library: Library | None = None
    reason = ""
    channels = size.channels if isinstance(size, Model) else 0
    if native != "off":
        try:
            if not isinstance(size, Model):
                reason = f"it computes RawCTCNet, not {size.target}"
            elif label_smoothing:
                reason = f"it has no label smoothing (train.label_smoothing={label_smoothing:g})"
            elif device.type != "cpu":
                reason = f"it runs on the processor, not on device={device}"
            elif (code := load()).fits(size, labels):
                library = code
            else:
                reason = (
                    f"model.channels={size.channels} and model.skip_channels={size.skip_channels} must be multiples of "
                    f"{code.vector_length} on this processor"
                )
        except UnavailableError as error:
            reason = str(error)
            if native == "auto":
                _say_once(reason)
        if native == "on" and library is None:
            raise SettingError(f"train.native=on: {reason}; use train.native=auto")
    if library and isinstance(size, Model) and precision != "float32":
        half = library.fits_half(size)
        if precision == "auto":
            precision = "bfloat16" if half else "float32"
        elif not half and native == "on":
            raise SettingError(
                f"train.native=on: no bfloat16 products for model.channels={size.channels} and "
                f"model.skip_channels={size.skip_channels} on this processor; use train.precision=float32"
            )
        elif not half:
            library = None
    return Path(library, autocast_type(precision, device, channels) is not None)


def engine_of(network: Network, native: str = "auto", precision: str = "float32") -> Engine:
    """The engine of a network, by the path of `choose_path`; PyTorch for parameters other than float32.

    Raises:
        SettingError: see `choose_path`.
    """
    if next(network.parameters()).dtype != torch.float32:
        native = "off"
    return choose_path(network.settings, network.device, native, precision, 1 + len(network.alphabet)).engine(network)
