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


def test_a_bound_of_a_setting_is_not_an_edge():
    rules = {"a": {"least": 1}}.get
    axes = {"a": [1, 2], "b": [1, 2]}
    assert edges({"a": 1, "b": 1}, axes, lambda key: rules(key, {})) == {"b": "lowest"}
    assert edges({"a": 2, "b": 2}, axes, lambda key: rules(key, {})) == {"a": "highest", "b": "highest"}


def test_an_axis_does_not_grow_to_values_that_its_setting_cannot_have():
    assert outward([1, 2, 4], "highest", lambda value: value <= 8) == 8
    assert outward([2, 4, 8], "highest", lambda value: value <= 8) is None
    assert outward([0.25, 0.5], "highest", lambda value: value < 1) is None
    assert outward([2, 3], "lowest") == 1  # rounded: 4/3
    assert outward([-1, 0.5], "lowest") is None
