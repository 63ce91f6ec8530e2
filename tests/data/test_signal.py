"""Normalisation of signals and encoding of letters, against cases computed by hand."""

from __future__ import annotations

import numpy as np
import pytest

from basecaller.data.signal import MEDIAN_MAD, QUANTILE, encode, normalise, reverse_complement
from basecaller.decode import to_string

TENS = np.arange(0, 101, 10)
"""Median 50, MAD 30, quantiles 0.2 and 0.9 at 20 and 90."""


@pytest.mark.parametrize(
    ("normalisation", "signal", "shift", "scale"),
    [
        (MEDIAN_MAD, TENS, 50, 44.478),
        (QUANTILE, TENS, 56.1, 37.1),
        (QUANTILE, np.linspace(9, 9.5, 11), 10, 1),  # 0.51 (9.1 + 9.45) and 0.53 (9.45 - 9.1) are below Bonito's bounds
    ],
)
def test_shift_and_scale_follow_the_formula(normalisation, signal, shift, scale):
    found = normalise(signal, normalisation)
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, (signal - shift) / scale, rtol=1e-5)


@pytest.mark.parametrize("normalisation", [MEDIAN_MAD, QUANTILE])
def test_spikes_are_clipped(normalisation):
    spiked = normalise(np.append(TENS, [10_000, -10_000]), normalisation)
    assert spiked[-2:].tolist() == [5, -5]
    assert np.abs(spiked[:-2]).max() < 2


def test_only_quantiles_depend_on_the_unit():
    np.testing.assert_allclose(normalise(3 * TENS + 7), normalise(TENS), rtol=1e-5)
    assert not np.allclose(normalise(3 * TENS + 7, QUANTILE), normalise(TENS, QUANTILE))


def test_encode_knows_the_projects_label_order():
    assert encode("ACGTNacgtUu").tolist() == [1, 2, 3, 4, 0, 1, 2, 3, 4, 4, 4]  # U is T of RNA
    assert to_string(reverse_complement(encode("AACGT"))) == "ACGTT"
