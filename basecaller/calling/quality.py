"""Qualities of called bases: the network's confidence, calibrated to observed errors."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from basecaller.common.errors import DataError
from basecaller.common.facts import from_json
from basecaller.common.files import read_json

LEAST_QUALITY, MOST_QUALITY = 1.0, 50.0

FEWEST = 20
"""Number of bases of a quality below which it is ignored in fits."""


@dataclass(frozen=True)
class Calibration:
    """Maps the network's confidence to qualities that match the share of errors: phred = slope x raw + offset, where raw is the
    phred of the network's own probability. Fitted by `calibrate`.
    """

    slope: float = 1.0
    offset: float = 0.0

    def __call__(self, probabilities: np.ndarray) -> np.ndarray:
        """Phred qualities of bases: float [bases]."""
        return self.written(raw_quality(probabilities))

    def written(self, raw: Any) -> np.ndarray:
        """Written qualities for raw qualities."""
        return np.clip(self.slope * raw + self.offset, LEAST_QUALITY, MOST_QUALITY)


UNCALIBRATED = Calibration()


@dataclass(frozen=True)
class QualityBin:
    """Called bases of one raw quality.

    Attributes:
        raw: phred of the network's own probability, rounded.
        bases: number of bases.
        observed: phred of the share of wrong bases.
        written: phred given by a calibration.
    """

    raw: int
    bases: int
    observed: float
    written: float | None = None


@dataclass(frozen=True)
class CalibrationFit:
    """The contents of `calibration.json`: a calibration, and the data that it was fitted to."""

    slope: float
    offset: float
    bins: list[QualityBin] = field(default_factory=list)

    @property
    def calibration(self) -> Calibration:
        return Calibration(self.slope, self.offset)


@dataclass(frozen=True)
class QualityScores:
    """Written qualities compared with observed errors.

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


def observed_qualities(seen: dict[int, list[int]]) -> list[QualityBin]:
    """Observed errors of the bases of each raw quality.

    Args:
        seen: raw phred, rounded -> [bases, errors].
    """
    return [
        # the rule of succession, so that no quality is free of errors
        QualityBin(raw, bases, round(float(-10 * np.log10((errors + 1) / (bases + 2))), 3))
        for raw, (bases, errors) in sorted(seen.items())
    ]


def calibrate(seen: dict[int, list[int]]) -> CalibrationFit:
    """Fits a line from raw to observed qualities, by least squares weighted with the number of bases.

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
    """Compares written qualities with observed errors.

    Args:
        seen: raw phred, rounded -> [bases, errors].
        calibration: calibration of the written qualities.
    """
    found = [
        replace(each, written=round(float(calibration.written(each.raw)), 3))
        for each in observed_qualities(seen)
        if each.bases >= FEWEST
    ]
    off = [abs(each.written - each.observed) for each in found if each.written is not None]
    return QualityScores(found, float(np.average(off, weights=[each.bases for each in found])) if found else 0.0)


def calibration_from(place: Path) -> Calibration:
    """The calibration that `basecaller.evaluate output=...` wrote, from its file or the file's folder.

    Raises:
        DataError: the file is missing or cannot be read.
    """
    file = place / "calibration.json" if place.is_dir() else place
    try:
        return from_json(CalibrationFit, read_json(file)).calibration
    except ValueError:
        raise DataError(f"calibration={place}: neither a calibration.json of basecaller.evaluate nor its folder") from None


def read_calibration(folder: Path) -> Calibration | None:
    """The calibration that `basecaller.evaluate` fitted for a model; None if it has not run.

    Raises:
        DataError: it cannot be read.
    """
    file = folder / "calibration.json"
    found = read_json(file)
    try:
        return from_json(CalibrationFit, found).calibration if found else None
    except ValueError as error:
        raise DataError(f"{file}: {error}; remove it, and run basecaller evaluate to write it again") from error
