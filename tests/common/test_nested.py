"""Values of nested dicts by dotted key."""

from __future__ import annotations

from basecaller.common.nested import value_at, without


def test_without_leaves_the_original_alone():
    config = {"a": {"b": 1, "c": 2}, "d": 3}
    assert without(config, ("a.b", "d", "x.y")) == {"a": {"c": 2}}
    assert config == {"a": {"b": 1, "c": 2}, "d": 3}


def test_a_missing_key_has_no_value():
    config = {"a": {"b": 1}, "d": 3}
    assert (value_at(config, "a.b"), value_at(config, "d")) == (1, 3)
    assert (value_at(config, "a.x"), value_at(config, "d.b"), value_at(config, "x.y")) == (None, None, None)
