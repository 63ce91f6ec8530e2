"""Qualities of called bases: what the network says, fitted to what is observed."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from basecaller.errors import DataError
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

    @classmethod
    def of(cls, found: dict[str, Any]) -> Calibration:
        """From what `calibrate` gave."""
        return cls(float(found["slope"]), float(found["offset"]))

    def __call__(self, probabilities: np.ndarray) -> np.ndarray:
        """Phred qualities of bases: float [bases]."""
        return self.written(raw_quality(probabilities))

    def written(self, raw: Any) -> np.ndarray:
        """What is written for raw qualities."""
        return np.clip(self.slope * raw + self.offset, LEAST_QUALITY, MOST_QUALITY)


def raw_quality(probabilities: np.ndarray) -> np.ndarray:
    """-10 log10(1 - p), at most `MOST_QUALITY`."""
    quality: np.ndarray = -10 * np.log10(np.maximum(1 - np.asarray(probabilities, float), 10 ** (-MOST_QUALITY / 10)))
    return quality


def mean_quality(qualities: np.ndarray) -> float:
    """Of a read: the phred of its mean error probability, as Dorado's and Guppy's `qs`; 0 for no base."""
    return float(-10 * np.log10(np.mean(10 ** (-qualities / 10)))) if len(qualities) else 0.0


def observed_qualities(seen: dict[int, list[int]]) -> list[dict[str, Any]]:
    """Of bases of each raw quality, how many there were and the phred of the share that was wrong: `raw`, `bases`, `observed`.

    Args:
        seen: raw phred, rounded -> [bases, errors].
    """
    return [
        # the rule of succession: no quality is free of error
        {"raw": raw, "bases": bases, "observed": round(float(-10 * np.log10((errors + 1) / (bases + 2))), 3)}
        for raw, (bases, errors) in sorted(seen.items())
    ]


def calibrate(seen: dict[int, list[int]]) -> dict[str, Any]:
    """A line from raw qualities to those observed, by least squares weighted with the number of bases.

    Args:
        seen: raw phred, rounded -> [bases, errors].
    Returns:
        `slope`, `offset`, and `bins`: see `observed_qualities`.
    """
    bins = observed_qualities(seen)
    used = [each for each in bins if each["bases"] >= FEWEST]
    slope, offset = 1.0, 0.0
    if len(used) > 1:
        x, y, w = (np.array([each[key] for each in used], float) for key in ("raw", "observed", "bases"))
        slope, offset = np.polyfit(x, y, 1, w=np.sqrt(w))
    elif used:
        offset = used[0]["observed"] - used[0]["raw"]
    return {"slope": round(float(slope), 5), "offset": round(float(offset), 5), "bins": bins}


def quality_facts(seen: dict[int, list[int]], calibration: Calibration) -> dict[str, Any]:
    """How written qualities compare with observed errors.

    Args:
        seen: raw phred, rounded -> [bases, errors].
        calibration: what is written by.
    Returns:
        `qualities`: what `observed_qualities` gives, and `written`, without those of fewer than `FEWEST` bases;
        `quality_error`: the mean over bases of the difference between written and observed, in phred.
    """
    found = [each for each in observed_qualities(seen) if each["bases"] >= FEWEST]
    for each in found:
        each["written"] = round(float(calibration.written(each["raw"])), 3)
    off = [abs(each["written"] - each["observed"]) for each in found]
    return {
        "qualities": found,
        "quality_error": float(np.average(off, weights=[each["bases"] for each in found])) if found else 0.0,
    }


def calibration_from(place: Path) -> Calibration:
    """What `basecaller.evaluate output=...` wrote: its file, or the folder that it is in.

    Raises:
        DataError: it is not there, or cannot be read.
    """
    file = place / "calibration.json" if place.is_dir() else place
    try:
        return Calibration.of(read_json(file) or {})
    except (KeyError, TypeError, ValueError):
        raise DataError(f"calibration={place}: is no calibration.json of basecaller.evaluate, and has none in it") from None


def read_calibration(folder: Path) -> Calibration | None:
    """What `basecaller.evaluate` found for a model; None where it has not run."""
    found = read_json(folder / "calibration.json")
    return Calibration.of(found) if found else None
