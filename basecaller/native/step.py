"""The network in native code: loss and gradients of a batch, or its scores, in one call that holds no lock of Python's."""

from __future__ import annotations

import ctypes
from ctypes import POINTER, byref, c_double, c_float, c_int32, c_int64, c_void_p
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from basecaller.geometry import Model, dilations, output_length
from basecaller.network import RawCTCNet

LABELS = 16
"""Labels, the blank included, that fit a row of scores in native code."""


class _Size(ctypes.Structure):
    """`Size` in step.c."""

    _fields_ = [
        *((name, c_int32) for name in ("channels", "skips", "kernel", "blocks", "labels", "stride", "norm", "projection", "half")),
        ("dilations", POINTER(c_int32)),
    ]  # fmt: skip


class _Batch(ctypes.Structure):
    """`Batch` in step.c."""

    _fields_ = [
        ("reads", c_int32),
        ("samples", c_int64),
        *((name, c_void_p) for name in ("signal", "frames", "scored", "targets", "target_lengths")),
    ]


class Library:
    """The compiled code.

    Args:
        path: of the shared library.
    """

    def __init__(self, path: str) -> None:
        self._code = ctypes.CDLL(path)
        for name, gives, takes in (
            ("vector_length", c_int32, []),
            ("has_half", c_int32, []),
            ("ctc_fallbacks", c_int64, []),
            ("workspace", c_int64, [POINTER(_Size), POINTER(_Batch), c_int32]),
            (
                "step",
                c_double,
                [POINTER(_Size), POINTER(_Batch), *[c_void_p] * 3, c_double, c_void_p, c_void_p, c_int64, c_void_p],
            ),
        ):
            function = getattr(self._code, name)
            function.restype, function.argtypes = gives, takes
        self.workspace, self.step, self.ctc_fallbacks = self._code.workspace, self._code.step, self._code.ctc_fallbacks
        self.vector_length: int = self._code.vector_length()
        self.has_half = bool(self._code.has_half())

    def fits(self, size: Model, labels: int) -> bool:
        """Whether the code can compute a network of this size: its widths are whole vectors."""
        return not (size.channels % self.vector_length or size.skip_channels % self.vector_length) and labels <= LABELS


@dataclass(frozen=True)
class Scored:
    """What the forward pass of a batch gives.

    Attributes:
        nats: CTC's, summed over the batch; 0 without targets.
        scores: float32 [batch, frames, labels]; frames beyond a read's end mean nothing. None where they were not asked for.
    """

    nats: float
    scores: np.ndarray | None


class Step:
    """A network's computations.

    Args:
        library: the code.
        network: in float32, on the processor, of a size that `library.fits`. Its parameters become views of one vector, `weights`.
        half: multiply the residual blocks' matrices in bfloat16, with float32 sums.
    """

    def __init__(self, library: Library, network: RawCTCNet, half: bool = False) -> None:
        size, self._library, self.stride = network.settings, library, network.settings.stride
        self.weights = network.flatten()
        self.gradient = torch.zeros_like(self.weights)
        tower = network.tower
        mean, variance = (tower.get_buffer(name) if size.batch_norm else None for name in ("mean", "variance"))
        self._kept = mean, variance
        self._statistics = tuple(None if t is None else t.data_ptr() for t in (mean, variance))
        rungs = dilations(size.max_dilation, size.stacks)
        self._labels = 1 + len(network.alphabet)
        self._dilations = (c_int32 * len(rungs))(*rungs)
        self._size = _Size(
            size.channels, size.skip_channels, size.kernel, len(rungs), self._labels, size.stride, size.batch_norm,
            size.projection, half, self._dilations,
        )  # fmt: skip
        self._work = np.zeros(0, np.float32)

    def _run(
        self,
        signal: np.ndarray,
        frames: np.ndarray,
        scored: np.ndarray | None,
        targets: np.ndarray | None,
        target_lengths: np.ndarray | None,
        share: float,
        back: bool,
        scores: np.ndarray | None,
    ) -> float:
        address = [None if array is None else array.ctypes.data for array in (signal, frames, scored, targets, target_lengths)]
        batch = _Batch(len(signal), signal.shape[1], *address)
        floats = self._library.workspace(byref(self._size), byref(batch), back) + LABELS
        if floats > len(self._work):  # kept and reused: fresh memory costs a page fault each 4 KiB
            self._work = np.empty(int(floats * 1.2), np.float32)
        at = self._work.ctypes.data
        return float(
            self._library.step(
                byref(self._size), byref(batch), self.weights.data_ptr(), *self._statistics, share,
                self.gradient.data_ptr() if back else None, None if scores is None else scores.ctypes.data,
                0 if scores is None else scores.shape[1], at + -at % 64,
            )
        )  # fmt: skip

    def gradients(
        self,
        signal: np.ndarray,
        frames: np.ndarray,
        lengths: np.ndarray,
        targets: np.ndarray,
        target_lengths: np.ndarray,
        scores: np.ndarray | None = None,
    ) -> float:
        """Mean loss of a batch in nats per base; `gradient` is given its gradient. Batch normalisation is in training.

        Args:
            signal: float32 [batch, samples], zero beyond each read's end.
            frames: int64 [batch], output frames that the network sees of each read.
            lengths: int64 [batch], samples of each read, of whose frames the loss is.
            targets: int64 [bases of the batch], labels 1, 2, ...
            target_lengths: int64 [batch].
            scores: float32 [batch, frames, labels], given the scores, if not None.
        """
        scored = output_length(lengths, self.stride)
        return self._run(signal, frames, scored, targets, target_lengths, 1 / len(targets), True, scores) / len(targets)

    def forward(
        self, signal: np.ndarray, lengths: np.ndarray, targets: np.ndarray | None = None,
        target_lengths: np.ndarray | None = None, scores: bool = True,
    ) -> Scored:  # fmt: skip
        """Scores of reads, each as if alone, and their loss where targets are given. Batch normalisation takes its running statistics.

        Args:
            signal, lengths, targets, target_lengths: see `gradients`.
            scores: whether to give them.
        """
        frames = output_length(lengths, self.stride)
        out = np.empty((len(signal), int(frames.max()), self._labels), np.float32) if scores else None
        return Scored(self._run(signal, frames, frames, targets, target_lengths, 1.0, False, out), out)


def arrays(*tensors: Tensor) -> list[np.ndarray]:
    """Tensors as contiguous arrays."""
    return [np.ascontiguousarray(t.numpy()) for t in tensors]
