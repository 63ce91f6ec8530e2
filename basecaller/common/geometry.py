"""The network's size and the lengths that follow from it, for model, loss and data audit alike. Does not import torch."""

from dataclasses import dataclass, field
from typing import Any, TypeVar

import numpy as np

BLOCK = 4096
"""Number of targets that `frames_needed` counts at once."""

Lengths = TypeVar("Lengths", bound=Any)  # an int, an array or a tensor of integers


@dataclass(frozen=True)
class Model:
    """Settings of `conf/model/rawctcnet*.yaml`.

    Attributes:
        name: Name of the model size. Set by `model=...`.
        channels: Number of channels of the residual path.
        skip_channels: Number of channels of the skip path.
        kernel: Width of the dilated convolutions, in frames.
        max_dilation: Largest dilation of a stack, in frames; its blocks have dilations 1, 2, 4, ... up to it.
        stacks: Number of stacks of residual blocks.
        batch_norm: Apply batch normalisation before each residual block.
        stride: Number of samples per output frame, the stride of the first convolution; 1 as published.
        projection: Apply a 1x1 convolution to each block's residual path, as published. false: the path is the identity.
    """

    name: str
    channels: int = field(metadata={"least": 1})
    skip_channels: int = field(metadata={"least": 1})
    kernel: int = field(metadata={"least": 1, "odd": True})
    max_dilation: int = field(metadata={"least": 1, "power_of_two": True})
    stacks: int = field(metadata={"least": 1})
    batch_norm: bool
    stride: int = field(metadata={"least": 1})
    projection: bool


def stem_kernel(stride: int) -> int:
    """Width in samples of the first convolution: 1 as published; with a stride, wide enough for windows to overlap."""
    return 1 if stride == 1 else 2 * stride + 1


def output_length(samples: Lengths, stride: int) -> Lengths:
    """Frames that the network gives for a signal of `samples` samples (odd kernels, 'same' padding): ceil(samples / stride)."""
    return (samples + (stride - 1)) // stride


def dilations(max_dilation: int, stacks: int) -> list[int]:
    """Dilation of every residual block: the input block's 1, then `stacks` times 1, 2, 4, ... `max_dilation`."""
    return [1] + [1 << i for i in range(max_dilation.bit_length())] * stacks


def receptive_field(kernel: int, max_dilation: int, stacks: int, stride: int) -> int:
    """Samples of signal that one output frame sees."""
    frames = 1 + sum((kernel - 1) * d for d in dilations(max_dilation, stacks))
    return (frames - 1) * stride + stem_kernel(stride)


def frames_needed(labels: np.ndarray, offsets: np.ndarray) -> np.ndarray:
    """Fewest frames with which CTC can emit each target: its length, and one blank between every two equal neighbours.

    Args:
        labels: uint8 [total bases], the targets concatenated.
        offsets: int64 [N + 1], where each target starts and the last one ends.
    Returns:
        int64 [N]. (Graves et al., Connectionist Temporal Classification, ICML 2006.)
    """
    repeats = np.zeros(len(offsets) - 1, np.int64)
    for first in range(0, len(repeats), BLOCK):  # the counts of a large data set do not fit into memory at once
        cuts = np.asarray(offsets[first : first + BLOCK + 1])
        part = np.asarray(labels[cuts[0] : cuts[-1]])
        equal = np.concatenate([[False], part[1:] == part[:-1]])[: len(part)]  # equal[j]: whether j equals j - 1
        before = np.concatenate([[0], np.cumsum(equal)])  # before[i]: number of such j < i
        starts, stops = cuts[:-1] - cuts[0], cuts[1:] - cuts[0]
        repeats[first : first + BLOCK] = before[stops] - before[np.minimum(starts + 1, stops)]
    return np.diff(offsets) + repeats
