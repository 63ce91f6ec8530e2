"""The pore's levels and the normalisation of signals: what the simulator and the importers share."""

from functools import cache
from importlib.resources import files

import numpy as np

CODES = np.zeros(256, np.uint8)  # letter -> label; 0 for anything but A, C, G, T, and U, which is RNA's T
for _label, _letter in (*enumerate("ACGT", 1), (4, "U")):
    CODES[ord(_letter)] = CODES[ord(_letter.lower())] = _label

CLIP = 5.0
"""Normalised signals are clipped to +-CLIP: R9.4 levels lie within about +-3; beyond are spikes of the electronics."""

MAD_TO_STD = 1.4826
"""A normal distribution's standard deviation over its median absolute deviation."""

KMER_OFFSET = 2
"""Base i of a read sits under the k-mer seq[i - 2 : i + 4] of the R9.4 table (best correlation on real event means)."""


def encode(sequence: str) -> np.ndarray:
    """Labels of a DNA or RNA string: uint8 [len], 1=A 2=C 3=G 4=T or U, 0 for any other letter."""
    return CODES[np.frombuffer(sequence.encode("ascii", "replace"), np.uint8)]


def reverse_complement(labels: np.ndarray) -> np.ndarray:
    """The other strand, read 5' to 3': labels 1..4 become 4..1, in reverse order; 0 stays 0."""
    return np.where(labels > 0, 5 - labels, 0)[::-1].astype(np.uint8)


def normalise(signal: np.ndarray) -> np.ndarray:
    """(signal - median) / (1.4826 MAD), clipped to +-CLIP: float32 [samples]. All zeros for a constant signal."""
    signal = np.asarray(signal, np.float32)
    centred = signal - np.median(signal)
    scale = MAD_TO_STD * np.median(np.abs(centred))
    if scale == 0:
        return np.zeros_like(centred)
    normalised: np.ndarray = np.clip(centred / scale, -CLIP, CLIP)
    return normalised


@cache
def pore_levels() -> tuple[np.ndarray, np.ndarray]:
    """R9.4 450 bases/s 6-mer table, rows in the order AAAAAA .. TTTTTT.

    Returns:
        Level mean and level standard deviation in picoampere: float32 [4096] each.
        (Oxford Nanopore Technologies, 2016, MPL 2.0: see `pore_models/`.)
    """
    path = files("basecaller.data") / "pore_models" / "r9.4_450bps_6mer.tsv"
    with path.open() as file:
        table = np.loadtxt(file, skiprows=1, usecols=(1, 2), dtype=np.float32)
    return table[:, 0], table[:, 1]


def kmer_indices(labels: np.ndarray, k: int = 6) -> np.ndarray:
    """Row in the pore's table of every k-mer of labels 1..4: int64 [len - k + 1]."""
    powers = 4 ** np.arange(k - 1, -1, -1)
    indices: np.ndarray = np.lib.stride_tricks.sliding_window_view(labels.astype(np.int64) - 1, k) @ powers
    return indices
