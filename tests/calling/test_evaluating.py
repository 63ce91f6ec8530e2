"""What an evaluation counts."""

from __future__ import annotations

import pytest

from basecaller.calling.evaluating import spread


@pytest.mark.parametrize(
    ("cigar", "called", "true"),
    [
        ([[5, 0]], "ACGTA", "ACGTA"),
        ([[2, 7], [1, 8], [2, 7]], "ACTTA", "ACGTA"),
        ([[2, 0], [1, 1], [3, 0]], "ACCGTA", "AC-GTA"),
        ([[2, 0], [2, 2], [1, 0]], "AC--A", "ACGTA"),
    ],
)
def test_an_alignment_is_spread_into_its_columns(cigar, called, true):
    assert spread(called.replace("-", ""), true.replace("-", ""), cigar) == (called, true)
