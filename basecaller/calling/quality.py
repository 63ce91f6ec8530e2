"""Qualities of called bases: what the network says, fitted to what is observed."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from basecaller.errors import DataError
from basecaller.facts import from_json
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
        return self.written(raw_quality(probabilities))

    def written(self, raw: Any) -> np.ndarray:
        """What is written for raw qualities."""
        return np.clip(self.slope * raw + self.offset, LEAST_QUALITY, MOST_QUALITY)


UNCALIBRATED = Calibration()


@dataclass(frozen=True)
class QualityBin:
    """Called bases of one raw quality.

    Attributes:
        raw: phred of the network's own probability, rounded.
        bases: how many there were.
        observed: phred of the share of them that was wrong.
        written: phred that a calibration gives them.
    """

    raw: int
    bases: int
    observed: float
    written: float | None = None


@dataclass(frozen=True)
class CalibrationFit:
    """What `calibration.json` holds: a calibration, and what it was fitted to."""

    slope: float
    offset: float
    bins: list[QualityBin] = field(default_factory=list)

    @property
    def calibration(self) -> Calibration:
        return Calibration(self.slope, self.offset)


@dataclass(frozen=True)
class QualityScores:
    """How written qualities compare with observed errors.

    Attributes:
        qualities: bins of `FEWEST` bases or more.
        quality_error: mean over bases of the difference between written and observed, in phred.
    """

    qualities: list[QualityBin]
    quality_error: float


def raw_quality(probabilities: np.ndarray) -> np.ndarray:
    """-10 log10(1 - p), at most `MOST_QUALITY`."""
    quality: np.ndarray = -10 * np.log10(np.maximum(1 - np.asarray(probabilities, float), 10 ** (-MOST_QUALITY / 10)))
    return quality


def mean_quality(qualities: np.ndarray) -> float:
    """Of a read: the phred of its mean error probability, as Dorado's and Guppy's `qs`; 0 for no base."""
    return float(-10 * np.log10(np.mean(10 ** (-qualities / 10)))) if len(qualities) else 0.0


def observed_qualities(seen: dict[int, list[int]]) -> list[QualityBin]:
    """What was observed of bases of each raw quality.

    Args:
        seen: raw phred, rounded -> [bases, errors].
    """
    return [
        # the rule of succession: no quality is free of error
        QualityBin(raw, bases, round(float(-10 * np.log10((errors + 1) / (bases + 2))), 3))
        for raw, (bases, errors) in sorted(seen.items())
    ]


def calibrate(seen: dict[int, list[int]]) -> CalibrationFit:
    """A line from raw qualities to those observed, by least squares weighted with the number of bases.

    Args:
        seen: raw phred, rounded -> [bases, errors].
    """
    bins = observed_qualities(seen)
    used = [each for each in bins if each.bases >= FEWEST]
    slope, offset = 1.0, 0.0
    if len(used) > 1:
        x, y, w = np.array([(each.raw, each.observed, each.bases) for each in used], float).T
        slope, offset = np.polyfit(x, y, 1, w=np.sqrt(w))
    elif used:
        offset = used[0].observed - used[0].raw
    return CalibrationFit(round(float(slope), 5), round(float(offset), 5), bins)


def quality_scores(seen: dict[int, list[int]], calibration: Calibration) -> QualityScores:
    """How written qualities compare with observed errors.

    Args:
        seen: raw phred, rounded -> [bases, errors].
        calibration: what is written by.
    """
    found = [
        replace(each, written=round(float(calibration.written(each.raw)), 3))
        for each in observed_qualities(seen)
        if each.bases >= FEWEST
    ]
    off = [abs(each.written - each.observed) for each in found if each.written is not None]
    return QualityScores(found, float(np.average(off, weights=[each.bases for each in found])) if found else 0.0)


def calibration_from(place: Path) -> Calibration:
    """What `basecaller.evaluate output=...` wrote: its file, or the folder that it is in.

    Raises:
        DataError: it is not there, or cannot be read.
    """
    file = place / "calibration.json" if place.is_dir() else place
    try:
        return from_json(CalibrationFit, read_json(file)).calibration
    except ValueError:
        raise DataError(f"calibration={place}: is no calibration.json of basecaller.evaluate, and has none in it") from None


def read_calibration(folder: Path) -> Calibration | None:
    """What `basecaller.evaluate` found for a model; None where it has not run.

    Raises:
        DataError: it cannot be read.
    """
    file = folder / "calibration.json"
    found = read_json(file)
    try:
        return from_json(CalibrationFit, found).calibration if found else None
    except ValueError as error:
        raise DataError(f"{file}: {error}; remove it, and run basecaller evaluate to write it again") from error
