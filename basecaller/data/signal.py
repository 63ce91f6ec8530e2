"""Letters as labels, and the normalisation of signals, for the simulator and the importers."""

import numpy as np

CODES = np.zeros(256, np.uint8)  # letter -> label; 0 for anything but A, C, G, T, and U, which is RNA's T
for _label, _letter in (*enumerate("ACGT", 1), (4, "U")):
    CODES[ord(_letter)] = CODES[ord(_letter.lower())] = _label

CLIP = 5.0
"""Normalised signals are clipped to +-CLIP: R9.4 levels lie within about +-3; beyond are spikes of the electronics."""

MAD_TO_STD = 1.4826
"""A normal distribution's standard deviation over its median absolute deviation."""


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
