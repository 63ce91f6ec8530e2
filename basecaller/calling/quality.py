"""Qualities of called bases: what the network says, fitted to what is observed."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from basecaller.files import read_json

LEAST_QUALITY, MOST_QUALITY = 1.0, 50.0

FEWEST = 20
"""Bases of one quality below which nothing is fitted to it."""


@dataclass(frozen=True)
class Calibration:
    """From the network's confidence to qualities that tell the share of errors: phred = slope x raw + offset, raw being that of
    the network's own probability. Fitted by `calibrate`.
    """

    slope: float = 1.0
    offset: float = 0.0

    def __call__(self, probabilities: np.ndarray) -> np.ndarray:
        """Phred qualities of bases: float [bases]."""
        return np.clip(self.slope * raw_quality(probabilities) + self.offset, LEAST_QUALITY, MOST_QUALITY)


def raw_quality(probabilities: np.ndarray) -> np.ndarray:
    """-10 log10(1 - p), at most `MOST_QUALITY`."""
    quality: np.ndarray = -10 * np.log10(np.maximum(1 - np.asarray(probabilities, float), 10 ** (-MOST_QUALITY / 10)))
    return quality


def mean_quality(qualities: np.ndarray) -> float:
    """Of a read: the phred of its mean error probability, as Dorado's and Guppy's `qs`; 0 for no base."""
    return float(-10 * np.log10(np.mean(10 ** (-qualities / 10)))) if len(qualities) else 0.0


def calibrate(seen: dict[int, list[int]]) -> dict[str, Any]:
    """A line from raw qualities to those observed, by least squares weighted with the number of bases.

    Args:
        seen: raw phred, rounded -> [bases, errors].
    Returns:
        `slope`, `offset`, and `bins`: raw phred, bases, observed phred.
    """
    bins = []
    for raw, (bases, errors) in sorted(seen.items()):
        observed = -10 * np.log10((errors + 1) / (bases + 2))  # the rule of succession: no bin is free of error
        bins.append({"raw": raw, "bases": bases, "observed": round(float(observed), 3)})
    used = [each for each in bins if each["bases"] >= FEWEST]
    slope, offset = 1.0, 0.0
    if len(used) > 1:
        x, y, w = (np.array([each[key] for each in used], float) for key in ("raw", "observed", "bases"))
        slope, offset = np.polyfit(x, y, 1, w=np.sqrt(w))
    elif used:
        offset = used[0]["observed"] - used[0]["raw"]
    return {"slope": round(float(slope), 5), "offset": round(float(offset), 5), "bins": bins}


def read_calibration(folder: Path) -> Calibration | None:
    """What `basecaller.evaluate` found for a model; None where it has not run."""
    found = read_json(folder / "calibration.json")
    return Calibration(float(found["slope"]), float(found["offset"])) if found else None
