"""The network in native code: one call computes the loss and gradients of a batch, or its scores, without Python's lock."""

from __future__ import annotations

import ctypes
import itertools
from concurrent.futures import ThreadPoolExecutor
from ctypes import POINTER, byref, c_double, c_float, c_int32, c_int64, c_void_p
from dataclasses import dataclass
from functools import cache
from typing import cast

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from basecaller.common.geometry import Model, dilations, output_length
from basecaller.networks.rawctcnet import RawCTCNet

LABELS = 16
"""Largest number of labels, including the blank, in a row of scores."""

ENOUGH = 480
"""Number of frames in a part, see `Step._parts`."""


class _Size(ctypes.Structure):
    """`Size` in step.c."""

    _fields_ = [
        *((name, c_int32) for name in ("channels", "skips", "kernel", "blocks", "labels", "stride")),
        *((name, c_int32) for name in ("norm", "projection", "half")),
        ("dilations", POINTER(c_int32)),
    ]


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
        path: path of the shared library.
    """

    def __init__(self, path: str) -> None:
        self._code = ctypes.CDLL(path)
        for name, gives, takes in (
            ("vector_length", c_int32, []),
            ("half_width", c_int32, []),
            ("ctc_fallbacks", c_int64, []),
            ("ctc_workspace", c_int64, [c_int32] * 2),
            ("ctc", c_double, [*[c_int32] * 3, c_void_p, c_void_p, c_void_p, c_float, c_void_p]),
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
        self._half_width: int = self._code.half_width()

    def ctc(self, scores: np.ndarray, targets: np.ndarray) -> tuple[float, np.ndarray]:
        """The CTC loss of one read in nats, and its gradient with respect to the scores.

        Args:
            scores: float [frames, labels].
            targets: int [bases], labels 1, 2, ...
        """
        frames, labels = scores.shape
        rows, gradient = np.zeros((frames, LABELS), np.float32), np.zeros((frames, LABELS), np.float32)
        rows[:, :labels] = scores
        targets = np.ascontiguousarray(targets, np.int64)
        work = np.empty(self._code.ctc_workspace(frames, len(targets)), np.float32)
        address = [array.ctypes.data for array in (rows, targets, gradient, work)]
        nats = self._code.ctc(frames, len(targets), labels, *address[:3], 1.0, address[3])
        return float(nats), gradient[:, :labels]

    def fits(self, size: Model, labels: int) -> bool:
        """Whether the code can compute a network of this size: its widths must be multiples of a vector."""
        return not (size.channels % self.vector_length or size.skip_channels % self.vector_length) and labels <= LABELS

    @property
    def has_half(self) -> bool:
        """Whether this processor multiplies bfloat16 faster than float32."""
        return self._half_width > 0

    def fits_half(self, size: Model) -> bool:
        """Whether the code can compute a network of this size with bfloat16 products."""
        return self.has_half and not (size.channels % self._half_width or size.skip_channels % self._half_width)


@dataclass(frozen=True)
class _Reads:
    """A batch as input of the native code; without a loss, some fields are None.

    Attributes:
        signal: float32 [batch, samples].
        frames, scored: int64 [batch], output frames of each read that the network computes, and that the loss covers.
        targets, target_lengths: int64 [bases of the batch], [batch].
    """

    signal: np.ndarray
    frames: np.ndarray
    scored: np.ndarray | None = None
    targets: np.ndarray | None = None
    target_lengths: np.ndarray | None = None

    def batch(self, part: slice) -> _Batch:
        """The C struct of some of the reads; valid as long as these arrays live."""
        targets = None
        if self.targets is not None and self.target_lengths is not None:
            targets = self.targets[int(self.target_lengths[: part.start].sum()) :]
        each = (self.signal, self.frames, self.scored, targets, self.target_lengths)
        address = [
            None if array is None else array.ctypes.data if array is targets else array[part].ctypes.data for array in each
        ]
        return _Batch(part.stop - part.start, self.signal.shape[1], *address)


class _Place:
    """The memory of one thread, reused because new memory costs a page fault for each 4 KiB."""

    def __init__(self) -> None:
        self.work = np.empty(0, np.float32)
        self._gradient: Tensor | None = None

    def room(self, floats: int) -> int:
        """The address of memory for `floats` floats, aligned to a cache line."""
        if floats + LABELS > len(self.work):
            self.work = np.empty(int(floats * 1.2) + LABELS, np.float32)
        at = self.work.ctypes.data
        return at + -at % 64

    def gradient_like(self, gradient: Tensor) -> Tensor:
        if self._gradient is None:
            self._gradient = torch.empty_like(gradient)
        return self._gradient


@cache
def _threads(count: int) -> ThreadPoolExecutor:
    return ThreadPoolExecutor(count, "basecaller-native")


class Step:
    """Computes a network natively.

    Args:
        library: the compiled code.
        network: a float32 network on the CPU whose size `library.fits`. Its parameters become views of one vector.
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
            size.channels,
            size.skip_channels,
            size.kernel,
            len(rungs),
            self._labels,
            size.stride,
            size.batch_norm,
            size.projection,
            half,
            self._dilations,
        )
        self._places: list[_Place] = []

    def _parts(self, frames: np.ndarray, together: bool) -> list[slice]:
        """Splits the reads into parts of about `ENOUGH` frames, so that the activations of a part stay in the caches."""
        if together:
            return [slice(0, len(frames))]
        ends, count = [0], 0
        for read, of in enumerate(frames.tolist(), 1):
            count += of
            if count >= ENOUGH or read == len(frames):
                ends.append(read)
                count = 0
        return [slice(*pair) for pair in itertools.pairwise(ends)]

    def _part(
        self, place: _Place, reads: _Reads, part: slice, share: float, gradient: Tensor | None, scores: np.ndarray | None
    ) -> float:
        """The loss of one part, in nats."""
        batch, back = reads.batch(part), gradient is not None
        work = place.room(self._library.workspace(byref(self._size), byref(batch), back))
        return float(
            self._library.step(
                byref(self._size),
                byref(batch),
                self.weights.data_ptr(),
                *self._statistics,
                share,
                None if gradient is None else gradient.data_ptr(),
                None if scores is None else scores[part].ctypes.data,
                0 if scores is None else scores.shape[1],
                work,
            )
        )

    def _run(self, reads: _Reads, share: float, back: bool, scores: np.ndarray | None) -> float:
        """The loss of all reads in nats, with as many parts in parallel as PyTorch has threads.

        The parts and the order of their sums do not depend on the number of threads, so results are bit-equal.
        """
        parts = self._parts(reads.frames, together=back and bool(self._size.norm))
        at_once = min(len(parts), torch.get_num_threads())
        self._places += [_Place() for _ in range(at_once - len(self._places))]
        nats = 0.0
        for first in range(0, len(parts), at_once):
            calls = []
            for place, part in zip(self._places, parts[first : first + at_once], strict=False):
                into = None if not back else self.gradient if part.start == 0 else place.gradient_like(self.gradient)
                calls.append((place, reads, part, share, into, scores))
            found = (
                [self._part(*calls[0])]
                if len(calls) == 1
                else list(_threads(at_once).map(self._part, *zip(*calls, strict=True)))
            )
            nats = sum(found, nats)
            for *_, into, _ in calls:
                if into is not None and into is not self.gradient:
                    np.add(self.gradient.numpy(), into.numpy(), out=self.gradient.numpy())  # on this thread alone
        return nats

    def gradients(
        self,
        signal: np.ndarray,
        lengths: np.ndarray,
        targets: np.ndarray,
        target_lengths: np.ndarray,
        masked: bool,
        scores: np.ndarray | None = None,
    ) -> float:
        """Mean loss of a batch in nats per base; writes its gradient to `gradient`. Batch normalisation is in training mode.

        Args:
            signal: float32 [batch, samples], zero after the end of each read.
            lengths: int64 [batch], samples of each read.
            targets: int64 [bases of the batch], labels 1, 2, ...
            target_lengths: int64 [batch].
            masked: hide the frames after the end of each read; otherwise the network sees whole rows.
            scores: float32 [batch, frames, labels] to write the scores to; None: do not keep them.
        """
        scored = output_length(lengths, self.stride)
        frames = scored if masked else np.full(len(signal), output_length(signal.shape[1], self.stride))
        return self._run(_Reads(signal, frames, scored, targets, target_lengths), 1 / len(targets), True, scores) / len(targets)

    def scores(self, signal: np.ndarray, lengths: np.ndarray) -> np.ndarray:
        """Scores of reads, each computed as if alone: float32 [batch, frames, labels]. Frames after the end of a read are
        undefined. Batch normalisation uses its running statistics.
        """
        frames = output_length(lengths, self.stride)
        out = np.empty((len(signal), int(frames.max()), self._labels), np.float32)
        self._run(_Reads(signal, frames), 1.0, False, out)
        return out

    def nats(
        self, signal: np.ndarray, lengths: np.ndarray, targets: np.ndarray, target_lengths: np.ndarray
    ) -> tuple[float, np.ndarray]:
        """The summed loss of a batch in nats, and its `scores`."""
        frames = output_length(lengths, self.stride)
        out = np.empty((len(signal), int(frames.max()), self._labels), np.float32)
        return self._run(_Reads(signal, frames, frames, targets, target_lengths), 1.0, False, out), out


TOLERANCES = {False: (1e-5, 1e-4), True: (0.01, 0.5)}
"""Largest relative errors of loss and gradient that the self-test accepts, without and with bfloat16 products. A gradient's
error is relative to the largest entry of its tensor: about 0.1 in bfloat16, and about 1 if the code is wrong."""


def self_test(library: Library) -> str:
    """Compares native code with PyTorch on a small batch, in every precision that the code has.

    Returns:
        Description of the differences; empty if there are none.
    """
    with torch.inference_mode(False), torch.enable_grad(), torch.random.fork_rng(devices=[]):
        return _self_test(library)


def _self_test(library: Library) -> str:
    width = 2 * library.vector_length
    size = Model("test", width, width, 3, 4, 1, batch_norm=True, stride=2, projection=True)
    rng = np.random.default_rng(0)
    lengths, target_lengths = np.array([61, 40]), np.array([9, 5])
    signal = rng.standard_normal((2, 61)).astype(np.float32)
    signal[1, 40:] = 0
    targets = rng.integers(1, 5, 14)
    exact = RawCTCNet(size, seed=1).double().train()
    scores = exact(torch.from_numpy(signal).double(), torch.from_numpy(lengths))
    of = (torch.from_numpy(targets), exact.frames(torch.from_numpy(lengths)), torch.from_numpy(target_lengths))
    loss = F.ctc_loss(F.log_softmax(scores, 2).transpose(0, 1), *of, reduction="sum") / len(targets)
    loss.backward()
    for half in (False, True)[: 1 + library.has_half]:
        step = Step(library, RawCTCNet(size, seed=1), half)
        value = step.gradients(signal, lengths, targets, target_lengths, True)
        parts = step.gradient.split([p.numel() for p in exact.parameters()])
        errors = [
            float((found - true).abs().max() / true.abs().max())
            for parameter, found in zip(exact.parameters(), parts, strict=True)
            if (true := cast(Tensor, parameter.grad).flatten()).numel() and float(true.abs().max()) > SMALL
        ]
        of_loss, of_gradient = abs(value / loss.item() - 1), float(np.max(errors))
        if not (of_loss <= TOLERANCES[half][0] and of_gradient <= TOLERANCES[half][1]):  # also catches NaN
            kind = "bfloat16" if half else "float32"
            return f"its self-test failed: off by {of_loss:.1e} in the loss, {of_gradient:.1e} in a gradient, in {kind}"
    return ""


SMALL = 1e-9
"""Smaller gradients are zero up to rounding, such as that of a bias before batch normalisation."""
