"""OmegaConf's nodes become plain values, and its errors this program's."""

from __future__ import annotations

import pytest
from omegaconf import OmegaConf

from basecaller.common.errors import DataError, SettingError
from basecaller.common.resolving import resolve, user_error


def test_a_section_becomes_plain_and_its_interpolations_values():
    config = OmegaConf.create({"a": {"b": "${c}", "d": ["${c}", None]}, "c": 2, "e": "???"})
    assert resolve(config.a) == {"b": 2, "d": [2, None]}
    assert resolve({"b": "${c}"}) == {"b": "${c}"}  # plain already


def test_keys_that_are_left_out_are_not_resolved():
    config = OmegaConf.create({"a": "${nonesuch}", "b": {"c": "${d}"}, "d": 3, "e": "???"})
    assert resolve(config, without=["a"]) == {"b": {"c": 3}, "d": 3, "e": "???"}
    with pytest.raises(SettingError, match="a: Interpolation key 'nonesuch' not found"):
        resolve(config)


def test_the_error_about_a_missing_section_names_its_place():
    with pytest.raises(SettingError, match="data=5: must be a section of keys"):
        resolve(5, "data")


def test_errors_of_a_resolver_stay_unchanged():
    def fail() -> None:
        raise DataError("reads.pod5: is empty")

    OmegaConf.register_resolver("failing", fail, replace=True)
    try:
        with pytest.raises(DataError, match=r"^reads\.pod5: is empty$"):
            resolve(OmegaConf.create({"a": "${failing:}"}))
    finally:
        OmegaConf.clear_resolver("failing")


def test_the_error_of_a_user_is_found_below_others():
    inner, outer = DataError("x"), ValueError("y")
    outer.__context__ = KeyError("z")
    outer.__context__.__cause__ = inner
    assert user_error(outer) is inner
    assert user_error(inner) is inner
    assert user_error(ValueError("y")) is None
    assert user_error(None) is None
