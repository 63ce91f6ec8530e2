"""A question that is asked again around the incumbent."""

from __future__ import annotations

import dataclasses

import pytest

from basecaller.hpo.grid import parse_overrides
from basecaller.search_plan.candidates import Candidates, combined_candidates, finalist_candidates
from basecaller.search_plan.incumbent import asking_again, decided_keys, neighbours
from basecaller.search_plan.stages import read_stage
from tests.helpers.searching import INCUMBENT, SETTINGS, asked


@pytest.mark.parametrize(
    ("values", "incumbent", "expected"),
    [
        ([16, 32, 64, 128], 32, [16, 32, 64]),
        ([16, 32, 64, 128], 16, [8, 16, 32]),  # one step beyond the end
        ([16, 32, 64, 128], 128, [64, 128, 256]),
        ([1, 4, 8], 1, [1, 4]),  # no batch is smaller
        ([3, 6, 9], 3, [2, 3, 6]),
        ([1, 4, 8], 2, [1, 2, 4]),  # found beyond the grid
        ([False, True], True, [False, True]),
        (["off", "on"], "on", ["off", "on"]),
        ([], 5, [5]),
    ],
)
def test_a_narrowed_axis_is_the_incumbent_and_its_neighbours(values, incumbent, expected):
    assert neighbours(values, incumbent) == expected


def test_a_narrowed_axis_ends_at_the_last_value_that_its_key_can_have():
    assert neighbours([5, 7, 9], 9, lambda value: value % 2 == 1) == [7, 9]
    file = dataclasses.replace(read_stage("dilation", []), name="kernel")
    assert file.allows("model.kernel", 9)
    assert not file.allows("model.kernel", 12)
    file.stage.choice, kernel = "model.kernel", dataclasses.replace(INCUMBENT, settings=SETTINGS | {"model.kernel": 9})
    lines = parse_overrides(asking_again(file, kernel, {"model.kernel": [5, 7, 9]}, ()))
    assert str(lines["model.kernel"].input_line) == "model.kernel=7,9"
    stands = [asked("kernel", "model.kernel", {7: {0.004: 1.1}, 9: {0.004: 1.0}})]
    finalists = finalist_candidates(kernel, stands, {"kernel": file}, {"model.kernel": [5, 7, 9]}, [], 9).settings
    assert {of["model.kernel"] for name, of in finalists.items() if name != "defaults"} == {7, 9}  # only the rival
    found = Candidates({"kernel_9": kernel.settings, "incumbent": SETTINGS | {"model.kernel": 7}}, ())
    assert len(combined_candidates(found, list(found.settings), {}, 3, file.allows).settings) == 1


def again(stage: str, given: tuple[str, ...] = (), axes: dict | None = None) -> dict[str, str]:
    lines = asking_again(read_stage(stage, []), INCUMBENT, axes or {}, given)
    return {key: str(override.input_line) for key, override in parse_overrides(lines).items()}


def test_a_question_is_asked_again_around_the_incumbent_with_the_rate_co_tuned():
    lines = again("dilation", axes={"model.max_dilation": [16, 32, 64, 128]})
    assert lines["model.max_dilation"] == "model.max_dilation=16,32,64"
    assert lines["stage.rate_factor"] == "stage.rate_factor=2.0,1.0,0.5"
    assert lines["optimizer.lr"] == "optimizer.lr='${rate:0.004,${stage.rate_factor}}'"
    assert lines["model.stacks"] == "model.stacks=3"
    assert lines["padding"] == "padding=off"
    assert not set(read_stage("dilation", []).params) - set(lines)  # no setting is taken from an earlier stage


def test_the_rate_is_scaled_with_the_batch_if_that_is_swept():
    lines = again("batch_size", axes={"data.batch_size": [1, 4, 8, 16, 32]})
    assert lines["data.batch_size"] == "data.batch_size=1,4,8"
    assert lines["optimizer.lr"] == "optimizer.lr='${rate:0.004,${stage.rate_factor},${data.batch_size},4}'"


def test_a_rate_is_asked_again_by_its_values():
    lines = again("lr_adam")
    assert lines["optimizer.lr"] == "optimizer.lr=0.016,0.008,0.004,0.002,0.001"
    assert "stage.rate_factor" not in lines


def test_the_users_settings_stay():
    lines = again("dilation", given=("optimizer.lr", "model.stacks"), axes={"model.max_dilation": [16, 32]})
    assert not {"optimizer.lr", "model.stacks", "stage.rate_factor"} & set(lines)


def test_a_setting_of_the_training_that_a_stage_asks_about_is_decided_by_the_search():
    asked_about, length = read_stage("dilation", []), read_stage("padding", [])
    asked_about.stage.choice = "train.clip"
    asked_about.params["train.clip"] = "1.0,2.0"
    keys = decided_keys([length, asked_about])
    assert "train.clip" in keys
    assert "train.validations" not in keys
    kept = dataclasses.replace(INCUMBENT, settings=SETTINGS | {"train.clip": 2.0})
    lines = asking_again(asked_about, kept, {"train.clip": [1.0, 2.0]}, ())
    assert "train.clip=1.0,2.0,4.0" in lines
    assert {"train.clip=2.0", "train.validations=8"} <= set(asking_again(length, kept, {}, ()))
