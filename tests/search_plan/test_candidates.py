"""Which whole configurations a search compares, and the sweep that compares them."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest
from omegaconf import DictConfig, OmegaConf

from basecaller.config.composition import compose_config
from basecaller.hpo.grid import as_text
from basecaller.reporting.search_state import Asked
from basecaller.search_plan.candidates import (
    Candidates,
    combined_candidates,
    contender_candidates,
    finalist_candidates,
    leaves,
)
from basecaller.search_plan.stages import composed_settings, read_stage
from tests.helpers.searching import INCUMBENT, SETTINGS, asked


def resolve(config: DictConfig) -> DictConfig:
    keys = ["padding", "optimizer", "model", "stage", "data"]
    config.data.fingerprint = None
    return OmegaConf.create(OmegaConf.to_container(OmegaConf.masked_copy(config, keys), resolve=True))


@pytest.mark.slow
def test_a_sweep_over_candidates_gives_each_of_them_its_own_settings():
    given = ["data.batch_size=2", "train.chunks=40"]
    found = {
        "incumbent": {"padding": "off", "optimizer": "adamax", "optimizer.lr": 0.008, "model.batch_norm": True},
        "batch_norm_off": {"padding": "off", "optimizer": "adamax", "optimizer.lr": 0.004, "model.batch_norm": False},
        "defaults": composed_settings(given, ["padding", "optimizer", "optimizer.lr", "model.batch_norm"]),
    }
    candidates = Candidates(found, tuple(given))
    lines = [line for line in candidates.sweep() if not line.startswith("stage.candidate=")]
    for name in found:
        swept = compose_config([*given, *lines, f"stage.candidate={name}"])
        alone = compose_config([*given, *candidates.lines(name)])
        for key in ("padding", "optimizer", "model", "data.batch_size"):
            assert OmegaConf.select(resolve(swept), key) == OmegaConf.select(resolve(alone), key)
    assert leaves(given, ["padding"]) == {"padding.mode": "off"}


def test_overrides_compose_to_the_settings_they_were_made_from():
    value = {"a": {"b": 1, "c": [True, None, "it's"]}, "d": 0.001}
    config = compose_config([f"stage.candidates={as_text(value)}"])
    assert OmegaConf.to_container(config.stage.candidates) == value


def test_the_incumbent_is_a_finalist_with_half_its_rate_and_with_a_larger_batch():
    found = finalist_candidates(INCUMBENT, [], {}, {}, [], 6, (32, 8, 1)).settings
    assert list(found) == ["incumbent", "batches_32_8_1", "rate_halved", "batch_times_4", "defaults"]
    assert found["rate_halved"] == found["incumbent"] | {"optimizer.lr": 0.002}
    batch = 4 * found["incumbent"]["data.batch_size"]
    assert found["batch_times_4"] == found["incumbent"] | {"data.batch_size": batch, "optimizer.lr": 0.008}


@pytest.mark.parametrize(
    ("count", "expected"),
    [
        (1, ["winner", "defaults"]),  # none trains before the headline
        (2, ["incumbent", "defaults"]),
        (3, ["incumbent", "batches_32_8_1", "defaults"]),
        (4, ["incumbent", "batches_32_8_1", "rate_halved", "defaults"]),
    ],
)
def test_there_are_no_more_finalists_than_asked_for(count, expected):
    assert list(finalist_candidates(INCUMBENT, [], {}, {}, [], count, (32, 8, 1)).settings) == expected


def test_no_finalist_changes_what_the_winners_training_sets():
    """It would train like the incumbent under another name."""
    fixed = {"data.batch_size": 16, "train.batch_schedule": None, "train.epochs": 11}
    found = finalist_candidates(INCUMBENT, [], {}, {}, [], 6, (32, 8, 1), fixed).settings
    assert list(found) == ["incumbent", "rate_halved", "defaults"]
    assert {of["data.batch_size"] for of in found.values()} == {16}  # the incumbent's is 4


def test_what_the_winners_training_sets_is_a_setting_of_all_candidates():
    rate = {"optimizer.lr": 0.001}
    found = finalist_candidates(INCUMBENT, [], {}, {}, [], 6, (32, 8, 1), rate).settings
    assert list(found) == ["incumbent", "batches_32_8_1", "batch_times_4", "defaults"]
    assert {of["optimizer.lr"] for of in found.values()} == {0.001}
    assert finalist_candidates(INCUMBENT, [], {}, {}, [], 1, None, rate).settings["winner"] == SETTINGS | rate


def test_no_finalist_has_a_larger_batch_if_a_schedule_sets_the_batches():
    """It would train like the incumbent: the rate is scaled from `data.batch_size` to the sizes of the schedule."""
    assert list(finalist_candidates(INCUMBENT, [], {}, {}, [], 6, scheduled=True).settings) == [
        "incumbent", "rate_halved", "defaults",
    ]  # fmt: skip


def test_a_finalist_that_cannot_train_leaves_its_place_to_the_next():
    asked_for = []

    def can_train(name: str, settings: dict[str, Any]) -> bool:
        asked_for.append((name, settings["data.batch_size"]))
        return name != "batch_times_4"

    stands = [asked("batch_norm", "model.batch_norm", {True: {0.004: 1.0}, False: {0.004: 1.01}}, simple_first=False)]
    files = {"batch_norm": read_stage("batch_norm", [])}
    found = finalist_candidates(INCUMBENT, stands, files, {}, [], 4, None, can_train=can_train).settings
    assert list(found) == ["incumbent", "rate_halved", "batch_norm_off", "defaults"]
    assert asked_for == [("rate_halved", 4), ("batch_times_4", 16), ("batch_norm_off", 4)]
    pair = Candidates({"incumbent": SETTINGS, "rate_halved": SETTINGS | {"optimizer.lr": 0.002}}, ())
    assert list(combined_candidates(pair, list(pair.settings)[::-1], {}, 3, can_train=lambda *_: False).settings) == [
        "rate_halved"
    ]


def test_the_next_larger_networks_are_finalists_before_rivals():
    stages = ("batch_norm", "dilation", "stacks")
    files = {name: read_stage(name, []) for name in stages}
    stands = [
        asked("batch_norm", "model.batch_norm", {True: {0.004: 1.0}, False: {0.004: 1.01}}, simple_first=False),
        asked("dilation", "model.max_dilation", {32: {0.004: 1.0, 0.002: 1.1}, 64: {0.004: 1.2, 0.001: 1.1}}),
        asked("stacks", "model.stacks", {3: {0.004: 1.0}, 6: {0.004: 2.0}}),
    ]
    axes = {"model.max_dilation": [16, 32, 64, 128], "model.stacks": [3, 6, 9]}

    def found(count: int) -> dict[str, dict[str, Any]]:
        return finalist_candidates(INCUMBENT, stands, files, axes, [], count).settings

    best = found(9)["incumbent"]
    assert found(9)["max_dilation_64"] == best | {"model.max_dilation": 64, "optimizer.lr": 0.001}  # the rate it was best at
    assert found(9)["stacks_6"] == best | {"model.stacks": 6}  # although it loses clearly in trials
    assert found(9)["batch_norm_off"] == best | {"model.batch_norm": False}
    assert "batch_norm_off" not in found(6)
    assert {"max_dilation_64", "stacks_6"} < found(6).keys()
    at_the_edge = finalist_candidates(INCUMBENT, stands, files, {"model.stacks": [1, 3]}, [], 9).settings
    assert at_the_edge["stacks_9"] == best | {"model.stacks": 9}  # beyond the grid


@pytest.mark.parametrize(("now", "other"), [("none", "small"), ("small", "large"), ("large", "none")])
def test_a_choice_without_numbers_grows_by_one_step(now, other):
    """In the order of its stage, from simple to complex; at its end, the nearest rival is a finalist."""
    kept = dataclasses.replace(INCUMBENT, settings=SETTINGS | {"model.name": now})
    file = dataclasses.replace(read_stage("dilation", []), name="name")
    file.stage.choice = "model.name"
    losses = {value: {0.004: 1.0 if value == now else 2.0} for value in ("none", "small", "large")}
    stands = [asked("name", "model.name", losses)]
    found = finalist_candidates(kept, stands, {"name": file}, {"model.name": list(losses)}, [], 9).settings
    assert {name for name in found if name.startswith("name_")} == {f"name_{other}"}


def test_the_rate_of_a_rival_is_that_of_its_point_with_the_most_seeds():
    """A point that ran at few seeds may look better only because these were easy."""
    _, stand = asked("dilation", "model.max_dilation", {32: {0.004: 1.0}, 64: {0.004: 1.1, 0.001: 1.05}})
    first = next(trial for (point, _), trial in stand.complete.items() if point == "64/0.004")
    complete = stand.complete | {("64/0.004", 2): first, ("32/0.004", 2): stand.complete["32/0.004", 1]}
    stand = dataclasses.replace(stand, seeds=[1, 2], complete=complete)
    question = Asked("dilation", 1, 1, "", "dilation", {}, {"model.max_dilation": 32, "optimizer.lr": 0.004}, False)
    files = {"dilation": read_stage("dilation", [])}
    found = finalist_candidates(INCUMBENT, [(question, stand)], files, {"model.max_dilation": [32, 64]}, [], 9).settings
    assert found["max_dilation_64"]["optimizer.lr"] == 0.004


def test_rivals_of_settings_with_one_name_are_told_apart():
    files = {stage: read_stage(stage, []) for stage in ("dilation", "stacks")}
    kept = dataclasses.replace(INCUMBENT, settings=SETTINGS | {"a.width": 2, "b.width": 2})
    for stage, key in (("dilation", "a.width"), ("stacks", "b.width")):
        files[stage].stage.choice = key
    stands = [
        asked(stage, key, {2: {0.004: 1.0}, 4: {0.004: 1.1}}) for stage, key in (("dilation", "a.width"), ("stacks", "b.width"))
    ]
    axes = {"a.width": [2, 4], "b.width": [2, 4]}
    assert {"a_width_4", "b_width_4"} <= finalist_candidates(kept, stands, files, axes, [], 9).settings.keys()


def test_changes_that_helped_are_combined_and_taken_further():
    base = {"data.batch_size": 1, "optimizer.lr": 0.004, "model.stacks": 3, "padding": "on", "train.batch_schedule": None}
    finalists = Candidates({
        "incumbent": base,
        "rate_halved": base | {"optimizer.lr": 0.002},
        "batch_times_4": base | {"data.batch_size": 4, "optimizer.lr": 0.008},
        "stacks_6": base | {"model.stacks": 6, "optimizer.lr": 0.002},
        "padding_off": base | {"padding": "off"},
        "batches_32_8_1": base | {"train.batch_schedule": [32, 8, 1]},
        "defaults": base | {"data.batch_size": 8},
    }, ("seed=3",))  # fmt: skip
    both = base | {"data.batch_size": 4, "model.stacks": 6, "optimizer.lr": 0.004}

    def combined(*ranked: str, count: int = 9) -> dict[str, dict]:
        found = combined_candidates(finalists, list(ranked), {"model.stacks": [3, 6, 9]}, count)
        assert found.given == finalists.given
        assert found.settings.pop(ranked[0]) == finalists.settings[ranked[0]]
        return found.settings

    assert combined("stacks_6", "batch_times_4", "defaults", "incumbent", "rate_halved") == {
        "stacks_6_and_batch_times_4": both,
        "stacks_6_twice": base | {"model.stacks": 9, "optimizer.lr": 0.001},
    }
    assert list(combined("stacks_6", "batch_times_4", "padding_off", "incumbent")) == [
        "stacks_6_and_batch_times_4", "stacks_6_twice", "stacks_6_and_batch_times_4_and_padding_off",
    ]  # fmt: skip
    assert list(combined("stacks_6", "batch_times_4", "incumbent", count=1)) == ["stacks_6_and_batch_times_4"]
    larger = base | {"data.batch_size": 16, "optimizer.lr": 0.016}
    assert combined("batch_times_4", "batches_32_8_1", "incumbent") == {"batch_times_4_twice": larger}  # one or the other
    assert combined("rate_halved", "incumbent") == {"rate_halved_twice": base | {"optimizer.lr": 0.001}}
    halved = base | {"model.stacks": 6, "optimizer.lr": 0.001}
    assert combined("stacks_6", "rate_halved", "incumbent")["stacks_6_and_rate_halved"] == halved
    assert combined("padding_off", "incumbent", "stacks_6") == {}  # no step along an axis
    assert combined("incumbent", "batch_times_4", "stacks_6") == {}
    assert combined("defaults", "incumbent", "batch_times_4") == {}


def test_the_best_settings_also_train_longer_with_a_larger_batch():
    base = {"data.batch_size": 1, "optimizer.lr": 0.004, "model.stacks": 3, "train.batch_schedule": None}
    finalists = Candidates({
        "incumbent": base, "batch_times_4": base | {"data.batch_size": 4, "optimizer.lr": 0.008},
        "stacks_6": base | {"model.stacks": 6, "optimizer.lr": 0.002}, "batches_8_1": base | {"train.batch_schedule": [8, 1]},
        "defaults": base | {"optimizer.lr": 0.001},
    }, ("train.chunks=20",))  # fmt: skip

    def contenders(best: str) -> dict[str, dict]:
        return contender_candidates(finalists, best).settings

    assert contenders("stacks_6") == {
        "stacks_6": finalists.settings["stacks_6"],
        "stacks_6_and_batch_times_4": base | {"model.stacks": 6, "data.batch_size": 4, "optimizer.lr": 0.004},
    }
    assert contenders("incumbent")["incumbent_and_batch_times_4"] == finalists.settings["batch_times_4"]
    for other_batches in ("batch_times_4", "batches_8_1", "defaults"):
        assert list(contenders(other_batches)) == [other_batches]
    alone = Candidates({"incumbent": base, "defaults": base}, ())
    assert list(contender_candidates(alone, "incumbent").settings) == ["incumbent"]
