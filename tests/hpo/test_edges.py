"""Winners at the edge of their grid, and the values beyond it."""

from __future__ import annotations

import pytest

from basecaller.hpo.edges import edges, outward


@pytest.mark.parametrize(
    ("values", "end", "beyond"),
    [
        ([0.001, 0.0005, 0.0001], "highest", 0.002),
        ([0.001, 0.0005, 0.0001], "lowest", 0.00002),
        ([1, 4, 8], "highest", 16),
        ([1, 4, 8], "lowest", None),
        ([16, 32, 64, 128], "highest", 256),
        ([0, 1], "highest", None),
    ],
)
def test_axes_grow_by_their_own_ratio(values, end, beyond):
    assert outward(values, end) == beyond


def test_only_numbers_have_edges():
    axes = {"a": [1, 2, 3], "b": ["x", "y"], "c": [False, True], "d": [0.1]}
    assert edges({"a": 3, "b": "y", "c": True, "d": 0.1}, axes) == {"a": "highest"}
    assert edges({"a": 2}, axes) == {}
