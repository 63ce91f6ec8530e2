"""What a sweep asks for: override lines as fixed values, axes, and spaces to sample."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

from basecaller.common.errors import SettingError
from basecaller.config.composition import compose_config
from basecaller.hpo.grid import Keys, Point, Space, as_override, as_text, parse_overrides, read_space, widened
from basecaller.task import TASK

GROUPS = {"optimizer": ["adam", "sgd"], "padding": ["off", "on"]}
KEYS = Keys(lambda key: GROUPS.get(key, []), TASK, compose_config([]))


def space(*lines: str, sampled: bool = False) -> Space:
    return read_space(parse_overrides(lines), KEYS, sampled)


def test_swept_and_fixed_overrides_are_separated():
    made = space("train.epochs=3", "optimizer=adam,sgd", "+optimizer.lr=0.1,1", "data.batch_size=4,8", "seed=2,3")
    assert made.fixed == {"train.epochs": "train.epochs=3"}
    assert made.axes == {"optimizer": ["adam", "sgd"], "optimizer.lr": [0.1, 1.0], "data.batch_size": [4, 8]}
    assert made.seeds == [2, 3]
    assert made.is_grid
    assert [point.key for point in made.points()][:2] == [
        "optimizer=adam optimizer.lr=0.1 data.batch_size=4", "optimizer=adam optimizer.lr=0.1 data.batch_size=8",
    ]  # fmt: skip
    assert len(made.points()) == 8
    assert made.overrides(made.points()[0])[1] == "+optimizer.lr=0.1"  # as typed


def test_the_later_of_two_overrides_of_a_key_counts_at_its_place():
    assert list(parse_overrides(["a=1", "b=2", "a=3"])) == ["b", "a"]
    assert parse_overrides(["a=1", "a=3"])["a"].value() == 3
    assert list(parse_overrides(["g@x=1", "g@y=1"])) == ["g@x", "g@y"]


def test_nothing_swept_is_one_empty_point():
    assert space("train.epochs=3").points() == [Point({})]
    assert Point({}).key == ""


def test_the_distribution_of_an_axis_can_grow_with_it():
    found = space(
        "optimizer=sgd,adam", "optimizer.lr=0.5,1", "data.batch_size=8,4", "model.batch_norm=true,false", "train.clip=null,2"
    ).distributions
    assert found == {
        "optimizer": CategoricalDistribution(["adam", "sgd"]),
        "optimizer.lr": FloatDistribution(0.5, 1.0),
        "data.batch_size": IntDistribution(4, 8),
        "model.batch_norm": CategoricalDistribution([False, True]),
        "train.clip": CategoricalDistribution([None, 2.0]),
    }
    assert widened(found["data.batch_size"], 16) == IntDistribution(4, 16)
    assert widened(found["optimizer.lr"], 0.25) == FloatDistribution(0.25, 1.0)


def test_an_interval_makes_a_space_to_sample():
    made = space("optimizer.lr=tag(log,interval(1e-4,1e-1))", "data.batch_size=interval(1,8)", "optimizer=adam,sgd", "seed=4")
    assert not made.is_grid
    assert made.distributions == {
        "optimizer.lr": FloatDistribution(1e-4, 1e-1, log=True),
        "data.batch_size": IntDistribution(1, 8),
        "optimizer": CategoricalDistribution(["adam", "sgd"]),
    }
    assert made.axes == {}
    assert not space("optimizer=adam,sgd", sampled=True).is_grid


@pytest.mark.parametrize(
    ("lines", "words"),
    [
        (["optimizer=adam,nonesuch"], "optimizer=nonesuch: no such option; options are adam, sgd"),
        (["optimizer.lr=0,1"], r"optimizer\.lr=0\.0: must be above 0"),
        (["data.batch_size=1,1.5"], r"data\.batch_size=1\.5: must be a whole number"),
        (["data.batch_size=range(1,1)"], "gives no values"),
        (["stage=lr_adam,stacks"], "one stage at a time"),
        (["search.workers=1,2"], r"search\.workers=1,2: cannot be swept; search\.workers is not a setting of a training"),
        (["storage=a,b"], "cannot be swept"),
        (["optimizer=interval(1,2)"], "only numbers have an interval"),
        (["model.kernel=interval(1,5)"], "must be odd; give the values"),
        (["data.batch_size=interval(1,2.5)"], "must be whole numbers"),
        (["optimizer.lr=interval(0,1)"], r"optimizer\.lr=0\.0: must be above 0"),
        (["optimizer.lr=interval(0.2,0.1)"], r"optimizer\.lr=interval\(0\.2,0\.1\): "),
        (["optimizer.lr=interval(0.1,0.2)", "seed=1,2"], "sampled points run at one seed"),
    ],
)
def test_errors_of_a_sweep_name_the_override(lines, words):
    with pytest.raises(SettingError, match=words):
        space(*lines)


def test_rate_factors_may_be_swept_though_no_training_has_them():
    assert space("stage.rate_factor=0.5,1").axes == {"stage.rate_factor": [0.5, 1.0]}


TEXT = st.text("aB1 ,='\"\\[{(:é~").filter(lambda text: not text.startswith(("[", "{")))
"""Text, but for what is a list or a mapping in Hydra's grammar already."""

VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | TEXT,
    lambda inner: st.lists(inner, max_size=3),
    max_leaves=4,
)


@given(VALUES)
def test_a_value_is_read_back_as_it_was_written(value):
    assert read_back(value) == value


def read_back(value: object) -> object:
    def plain(found: object) -> object:
        if isinstance(found, list):
            return [plain(each) for each in found]
        return getattr(found, "text", found)

    return plain(parse_overrides([f"key={as_text(value)}"])["key"].value())


@pytest.mark.parametrize(
    ("key", "value", "expected"),
    [
        ("optimizer.lr", [0.1, 0.2], "0.1,0.2"),
        ("optimizer.lr", "0.1,0.2", "0.1,0.2"),
        ("plan", ["a", "b"], "[a,b]"),  # one value: the key wants a list
        ("plan", [["a"], ["b"]], "[a],[b]"),
        ("train.clip", None, "null"),
        ("data.folder", "${oc.env:X}/y", "'${oc.env:X}/y'"),
    ],
)
def test_values_of_a_stages_file_in_hydras_grammar(key, value, expected):
    assert as_override(key, value, str(value), KEYS) == expected
