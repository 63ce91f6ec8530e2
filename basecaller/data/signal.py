"""Letters as labels, and the normalisation of signals, for the simulator and the importers."""

import numpy as np

CODES = np.zeros(256, np.uint8)  # letter -> label; 0 for anything but A, C, G, T, and U, which is RNA's T
for _label, _letter in (*enumerate("ACGT", 1), (4, "U")):
    CODES[ord(_letter)] = CODES[ord(_letter.lower())] = _label

CLIP = 5.0
"""Normalised signals are clipped to +-CLIP: R9.4 levels lie within about +-3; beyond are spikes of the electronics."""

MEDIAN_MAD, QUANTILE = NORMALISATIONS = ("median_mad", "quantile")
"""Shift and scale are median and MAD, or Bonito's quantile scaling of a signal in pA."""

QUANTILES, SHIFT, SCALE = (0.2, 0.9), 0.51, 0.53
"""Bonito's published quantiles, and its factors on their sum and their difference."""

SHIFT_LEAST, SCALE_LEAST = 10.0, 1.0
"""Bonito's bounds, in pA."""

MAD_TO_STD = 1.4826
"""A normal distribution's standard deviation over its median absolute deviation."""

IN_WORDS = {
    MEDIAN_MAD: f"(x - median) / ({MAD_TO_STD} x median absolute deviation)",
    QUANTILE: f"(x - max({SHIFT_LEAST:g}, {SHIFT} (a + b))) / max({SCALE_LEAST:g}, {SCALE} (b - a)), x in pA with quantiles "
    f"a ({QUANTILES[0]}) and b ({QUANTILES[1]}),",
}
"""The formula of each of `NORMALISATIONS`, for other programs."""


def encode(sequence: str) -> np.ndarray:
    """Labels of a DNA or RNA string: uint8 [len], 1=A 2=C 3=G 4=T or U, 0 for any other letter."""
    return CODES[np.frombuffer(sequence.encode("ascii", "replace"), np.uint8)]


def reverse_complement(labels: np.ndarray) -> np.ndarray:
    """The other strand, read 5' to 3': labels 1..4 become 4..1, in reverse order; 0 stays 0."""
    return np.where(labels > 0, 5 - labels, 0)[::-1].astype(np.uint8)


def normalise(signal: np.ndarray, normalisation: str = MEDIAN_MAD) -> np.ndarray:
    """(signal - shift) / scale, clipped to +-CLIP: float32 [samples].

    Args:
        signal: any unit for `MEDIAN_MAD`, pA for `QUANTILE`.
        normalisation: one of `NORMALISATIONS`. With `MEDIAN_MAD`, a constant signal gives zeros.
    """
    signal = np.asarray(signal, np.float32)
    if normalisation == QUANTILE:
        low, high = np.quantile(signal, QUANTILES)
        shift = max(SHIFT_LEAST, SHIFT * (low + high))
        scale = max(SCALE_LEAST, SCALE * (high - low))
    else:
        shift = np.median(signal)
        scale = MAD_TO_STD * np.median(np.abs(signal - shift))
    centred = signal - np.float32(shift)
    if scale == 0:
        return np.zeros_like(centred)
    normalised: np.ndarray = np.clip(centred / np.float32(scale), -CLIP, CLIP)
    return normalised
