"""Normalisation of signals and encoding of letters, against cases computed by hand."""

from __future__ import annotations

import numpy as np
import pytest

from basecaller.data.signal import BY_MEDIAN_MAD, Normalisation, encode, normalise, reverse_complement
from basecaller.networks.decode import to_string

TENS = np.arange(0, 101, 10)
"""Median 50, MAD 30, quantiles 0.2 and 0.9 at 20 and 90."""

BY_QUANTILE = Normalisation(normalisation="quantile")
BY_CONSTANTS = Normalisation(normalisation="standardise", mean=93.7, stdev=23.5)


@pytest.mark.parametrize(
    ("by", "signal", "shift", "scale"),
    [
        (BY_MEDIAN_MAD, TENS, 50, 44.478),
        (BY_QUANTILE, TENS, 56.1, 37.1),
        (BY_CONSTANTS, TENS, 93.7, 23.5),
        (BY_CONSTANTS, np.full(3, 100), 93.7, 23.5),  # also a constant
        (BY_QUANTILE, np.linspace(9, 9.5, 11), 10, 1),  # 0.51 (9.1 + 9.45) and 0.53 (9.45 - 9.1) are below Bonito's bounds
    ],
)
def test_shift_and_scale_follow_the_formula(by, signal, shift, scale):
    found = normalise(signal, by)
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, (signal - shift) / scale, rtol=1e-5)


@pytest.mark.parametrize("by", [BY_MEDIAN_MAD, BY_QUANTILE, BY_CONSTANTS])
def test_spikes_are_clipped(by):
    spiked = normalise(np.append(TENS, [10_000, -10_000]), by)
    assert spiked[-2:].tolist() == [5, -5]
    assert np.abs(spiked[:-2]).max() < 5


@pytest.mark.parametrize("by", [BY_MEDIAN_MAD, BY_QUANTILE, BY_CONSTANTS])
def test_only_median_and_mad_remove_the_unit(by):
    assert np.allclose(normalise(3 * TENS + 7, by), normalise(TENS, by), rtol=1e-5) == (not by.in_picoampere)


def test_encode_knows_the_projects_label_order():
    assert encode("ACGTNacgtUu").tolist() == [1, 2, 3, 4, 0, 1, 2, 3, 4, 4, 4]  # U is T of RNA
    assert to_string(reverse_complement(encode("AACGT"))) == "ACGTT"
