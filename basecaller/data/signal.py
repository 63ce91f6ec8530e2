"""Letters as labels, and the normalisation of signals, for the simulator and the importers."""

from __future__ import annotations

from dataclasses import dataclass, field, fields
from typing import Any

import numpy as np

from basecaller.common.errors import SettingError

CODES = np.zeros(256, np.uint8)  # letter -> label; 0 for anything but A, C, G, T, and U, which is RNA's T
for _label, _letter in (*enumerate("ACGT", 1), (4, "U")):
    CODES[ord(_letter)] = CODES[ord(_letter.lower())] = _label

CLIP = 5.0
"""Normalised signals are clipped to +-CLIP: R9.4 levels lie within about +-3; beyond are spikes of the electronics."""

MEDIAN_MAD, QUANTILE, STANDARDISE = NORMALISATIONS = ("median_mad", "quantile", "standardise")
"""Shift and scale are median and MAD, Bonito's quantile scaling of a signal in pA, or constants in pA."""

QUANTILES, SHIFT, SCALE = (0.2, 0.9), 0.51, 0.53
"""Bonito's published quantiles, and its factors on their sum and their difference."""

SHIFT_LEAST, SCALE_LEAST = 10.0, 1.0
"""Bonito's bounds, in pA."""

MAD_TO_STD = 1.4826
"""A normal distribution's standard deviation over its median absolute deviation."""


@dataclass(frozen=True, kw_only=True)
class Normalisation:
    """How signals are normalised: a part of the settings of a source.

    Attributes:
        normalisation: How signals are shifted and scaled: by a read's median and 1.4826 MAD (`median_mad`), by its quantiles in
            pA as Bonito does (`quantile`), or by `data.mean` and `data.stdev` (`standardise`). Basecalls of the model normalise
            reads in the same way.
        mean: Shift in pA for `data.normalisation=standardise`, as in `[standardisation]` of a Bonito model's config.toml.
        stdev: Scale in pA for `data.normalisation=standardise`, as in the same section.
    """

    normalisation: str = field(default=MEDIAN_MAD, metadata={"choices": NORMALISATIONS})
    mean: float | None = None
    stdev: float | None = field(default=None, metadata={"above": 0})

    def check_keys(self, where: str) -> None:
        """Checks that `mean` and `stdev` are given if signals are standardised by them, and only then."""
        for key in ("mean", "stdev"):
            value, needed = getattr(self, key), self.normalisation == STANDARDISE
            if needed and value is None:
                raise SettingError(
                    f"{where}.{key}: must be given in pA for {where}.normalisation={STANDARDISE}, as in [standardisation] of a "
                    "Bonito model's config.toml"
                )
            if value is not None and not needed:
                raise SettingError(f"{where}.{key}={value:g}: is for {where}.normalisation={STANDARDISE} only")

    @property
    def in_picoampere(self) -> bool:
        """Whether it needs a signal in pA; median and MAD remove the unit."""
        return self.normalisation != MEDIAN_MAD

    @property
    def formula(self) -> str:
        """The formula, for other programs."""
        if self.normalisation == STANDARDISE:
            return f"(x - {self.mean}) / {self.stdev}, x in pA,"
        if self.normalisation == QUANTILE:
            return (
                f"(x - max({SHIFT_LEAST:g}, {SHIFT} (a + b))) / max({SCALE_LEAST:g}, {SCALE} (b - a)), x in pA with quantiles "
                f"a ({QUANTILES[0]}) and b ({QUANTILES[1]}),"
            )
        return f"(x - median) / ({MAD_TO_STD} x median absolute deviation)"

    def told(self, where: str) -> str:
        """The keys of a source in this section, such as `data`, as typed."""
        values = {f.name: getattr(self, f.name) for f in fields(Normalisation)}
        return " ".join(f"{where}.{key}={str(value).removesuffix('.0')}" for key, value in values.items() if value is not None)


def normalisation_of(source: Any) -> Normalisation:
    """How the signals of a source are normalised, by its settings; sources without the keys use median and MAD."""
    if not isinstance(source, Normalisation):
        return Normalisation()
    return Normalisation(normalisation=source.normalisation, mean=source.mean, stdev=source.stdev)


def encode(sequence: str) -> np.ndarray:
    """Labels of a DNA or RNA string: uint8 [len], 1=A 2=C 3=G 4=T or U, 0 for any other letter."""
    return CODES[np.frombuffer(sequence.encode("ascii", "replace"), np.uint8)]


def reverse_complement(labels: np.ndarray) -> np.ndarray:
    """The other strand, read 5' to 3': labels 1..4 become 4..1, in reverse order; 0 stays 0."""
    return np.where(labels > 0, 5 - labels, 0)[::-1].astype(np.uint8)


BY_MEDIAN_MAD = Normalisation()


def normalise(signal: np.ndarray, by: Normalisation = BY_MEDIAN_MAD) -> np.ndarray:
    """(signal - shift) / scale, clipped to +-CLIP: float32 [samples].

    Args:
        signal: in pA if the normalisation needs it, else in any unit.
        by: how to normalise it. With `MEDIAN_MAD`, a constant signal gives zeros.
    """
    signal = np.asarray(signal, np.float32)
    shift: Any
    scale: Any
    if by.normalisation == STANDARDISE:
        shift, scale = by.mean, by.stdev
    elif by.normalisation == QUANTILE:
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
