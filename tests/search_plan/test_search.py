"""The search around the stages: questions that are asked again, finalists, and the gain of the winner."""

from __future__ import annotations

import dataclasses
import io
import json
import math
import shlex
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from omegaconf import DictConfig, OmegaConf
from rich.console import Console

from basecaller.config import compose_config
from basecaller.data import Dataset
from basecaller.data.dataset import Chunk, DatasetWriter
from basecaller.errors import SettingError
from basecaller.facts import to_json
from basecaller.hpo.best import Standing, setting_of
from basecaller.hpo.designs import EVERY
from basecaller.hpo.grid import as_text, parse_overrides
from basecaller.hpo.records import TrialRecord, store_study
from basecaller.hpo.storage import open_storage, open_study
from basecaller.reporting.stage_contents import StageFacts
from basecaller.scores import HeldOutReads, Homopolymers
from basecaller.search_plan.finalists import Candidates, combined_candidates, contender_candidates, finalist_candidates, leaves
from basecaller.search_plan.incumbent import Asked, Incumbent, asking_again, decided_keys, neighbours
from basecaller.search_plan.search import Search
from basecaller.search_plan.stages import composed_settings, read_stage
from basecaller.search_plan.winner import gain
from tests.conftest import TINY, Command
from tests.helpers.reads import tensors

SETTINGS = {
    "padding": "off", "optimizer": "adam", "data.batch_size": 4, "model.batch_norm": True, "model.max_dilation": 32,
    "model.stacks": 3, "optimizer.lr": 0.004,
}  # fmt: skip
INCUMBENT = Incumbent(SETTINGS, "study", 0, 1.0)


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


def search(*overrides: str) -> Search:
    return Search(compose_config(list(overrides)), list(overrides), Console(quiet=True))


def test_a_plan_without_stages_that_it_needs_is_refused_before_anything_runs(folder):
    with pytest.raises(SettingError, match=r"winners of padding, batch_norm: .*'plan=\[padding,batch_norm,lr_adam\]'"):
        search("plan=[lr_adam,padding]")
    with pytest.raises(SettingError) as needed:
        search("plan=[stacks]")
    search(str(needed.value).split("'")[1])  # the plan of the message is complete
    with pytest.raises(SettingError, match=r"winners of batch_norm: .*', or set model\.batch_norm=\.\.\.$"):
        search("plan=[padding,lr_adam]")
    assert not list(folder.iterdir())
    assert search("plan=[padding,lr_adam]", "model.batch_norm=true").plan == ["padding", "lr_adam"]
    open_study("sqlite:///outputs/optuna.db", "tiny/batch_norm/earlier")
    assert search("plan=[padding,lr_adam]").plan == ["padding", "lr_adam"]


def test_a_plan_with_an_unknown_stage_or_none_is_refused(folder):
    with pytest.raises(SettingError, match="plan: there is no stage nonesuch; stages are batch_norm, "):
        search("plan=[padding,nonesuch]")
    with pytest.raises(SettingError, match=r"plan: there is no stage paddin; did you mean padding\? Stages are batch_norm, "):
        search("plan=[paddin]")
    for own in ("sweep", "finalists", "combined", "contenders", "headline"):
        with pytest.raises(SettingError, match=f"plan: there is no stage {own}; (?!.*{own})"):
            search(f"plan=[padding,{own}]")
    with pytest.raises(SettingError, match="plan: must name at least one stage"):
        search("plan=[]")


@pytest.mark.parametrize("key", ["stage.name=mine", "trial.number=3", "stage.candidates={a:1}"])
def test_keys_that_a_search_sets_itself_are_refused(folder, key):
    with pytest.raises(SettingError, match=r"^(stage|trial)\.\w+: a search sets this key itself; leave it out$"):
        search(key)


def test_of_stages_that_answer_one_question_only_the_winners_is_asked_again(folder, monkeypatch):
    """Asked again, the others would have the winner's optimizer."""
    made, again = search("plan=[padding,batch_norm,lr_adam,lr_adamax,lr_adagrad,batch_size]"), []

    def run_stage(name: str) -> None:
        made.history.append(Asked(name, 1, 1, "", name, {}, {}, name != "batch_size", {}))

    def ask_again(name: str, number: int, why: str) -> None:
        again.append(name)
        made.history.append(Asked(name, 2, number, why, name, {}, {}, False, {}))

    monkeypatch.setattr(made, "run_stage", run_stage)
    monkeypatch.setattr(made, "ask_again", ask_again)
    monkeypatch.setattr(made, "_take", lambda contest: None)
    monkeypatch.setattr(made, "_holder", lambda contest: "lr_adamax" if "lr_adamax" in contest else contest[0])
    monkeypatch.setattr(made, "_stale", lambda name, budget: "" if name in again else "the rate has changed")
    made.first_round()
    assert again == ["padding", "batch_norm", "lr_adamax"]


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


def scores(loss: float, *identities: float) -> HeldOutReads:
    named = {f"read{i}": identity for i, identity in enumerate(identities)}
    return HeldOutReads(
        identity_mean=float(np.mean(identities)), identity_median=0.5, mismatch_rate=0.1, insertion_rate=0.05,
        deletion_rate=0.05, identity_floor=0.4, length_ratio=1.0, blank_fraction=0.5, chunks=len(named), bases=100, loss=loss,
        homopolymers=[Homopolymers(1, 10, 0.5)], reads=len(named), identities=named,
        chunks_of=dict.fromkeys(named, 1),
    )  # fmt: skip


TUNED = Candidates({"winner": SETTINGS, "defaults": SETTINGS | {"padding": "on"}}, ("data.reads=300",))


def test_the_gain_names_what_it_is_relative_to():
    ours, theirs = {1001: scores(0.5, 0.8, 0.9)}, {1001: scores(0.7, 0.7, 0.8)}
    assert "against the untuned defaults, trained alike" in gain(ours, theirs, TUNED).text  # data is not a setting
    given = ("experiment=x", "data.reads=300", "optimizer=sgd", "data.batch_size=2")
    text = gain(ours, theirs, dataclasses.replace(TUNED, given=given)).text
    assert "against the untuned defaults with your optimizer=sgd, data.batch_size=2, trained alike" in text
    many = ("optimizer=sgd", "model.stacks=4", "padding=on", "train.clip=1")
    shortened = gain(ours, theirs, dataclasses.replace(TUNED, given=("train.chunks=320",)), ["train.chunks=null"]).text
    assert "against the untuned defaults, trained alike" in shortened  # the long trainings take all chunks
    assert "the untuned defaults with what you set" in gain(ours, theirs, dataclasses.replace(TUNED, given=many)).text
    same = Candidates({"winner": SETTINGS, "defaults": SETTINGS}, ())
    text = gain(ours, ours, same).text
    assert text == "Tuning changed nothing: the untuned defaults are the best settings found, with an identity of 85.0%."
    assert (
        "the untuned defaults with your optimizer=sgd gave no model"
        in gain(ours, {}, dataclasses.replace(TUNED, given=("optimizer=sgd",))).text
    )


def test_the_gain_is_paired_by_seed_and_read():
    ours = [scores(0.5, 0.8, 0.9, 0.7), scores(0.6, 0.82, 0.88, 0.74)]
    theirs = [scores(0.7, 0.7, 0.8, 0.65), scores(0.9, 0.72, 0.82, 0.64)]
    ours, theirs = (dict(zip([1001, 1002], of, strict=True)) for of in (ours, theirs))
    found = gain(ours, theirs, TUNED)
    differences = np.array([[10, 10, 5], [10, 6, 10]])
    assert found.identity_points == pytest.approx(differences.mean())
    assert found.loss == pytest.approx(0.25)
    reads, seeds = differences.mean(0).var(ddof=1) / 3, differences.mean(1).var(ddof=1) / 2
    assert found.error == pytest.approx(math.sqrt(reads + seeds))
    assert found.text.startswith("Tuning gained 8.5 ± ")
    assert [each.loss for each in found.defaults] == [0.7, 0.9]
    assert gain(theirs, ours, TUNED).text.startswith("Tuning lost 8.5 ± ")
    one = gain(ours, {1002: theirs[1002]}, TUNED)  # at the other seed the defaults failed
    assert one.seeds == [1002]
    assert math.isfinite(one.error)
    assert "(3 reads that no stage has seen, 2 new seeds; " in found.text
    of_positions = gain(ours, theirs, TUNED, new_reads=False).text
    assert "(3 chunks that no stage has seen, of 3 reads, 2 new seeds; " in of_positions
    none = gain(ours, {}, TUNED)
    assert to_json(none).keys() == {"seeds", "text"}
    assert "not known" in none.text


def test_one_read_and_one_seed_show_no_noise_of_the_gain():
    ours, theirs = ({seed: scores(0.5, mean) for seed in (1001, 1002)} for mean in (0.8, 0.7))
    one = gain({1001: ours[1001]}, {1001: theirs[1001]}, TUNED)
    assert one.error is None
    assert one.text.startswith("Tuning gained 10.0 points of identity against ")
    assert "(1 read that no stage has seen, 1 new seed, which do not show the noise)." in one.text
    assert "2 new seeds; ± is one standard error, between seeds only)." in gain(ours, theirs, TUNED).text


def test_the_gain_is_the_difference_of_the_identities_beside_it_if_reads_have_unequal_numbers_of_chunks():
    chunks = {"read0": 1, "read1": 3}
    ours, theirs = (
        {1: dataclasses.replace(scores(0.5, *of), identity_mean=mean, chunks_of=chunks)}
        for of, mean in (((0.6, 0.9), 0.825), ((0.5, 0.7), 0.65))
    )
    found = gain(ours, theirs, TUNED)
    assert found.identity_points == pytest.approx(17.5)
    assert "17.5 ± " in found.text
    assert "65.0% to 82.5%" in found.text
    apart = np.array([1, 3]) / 4 * (np.array([10, 20]) - 17.5)
    assert found.error == pytest.approx(math.sqrt((apart**2).sum() * 2))


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


def test_no_batch_is_larger_than_the_padding_allows(folder):
    """Without base starts, padding=off needs batches of one length: found at the start, not in the stage of batch sizes."""
    with DatasetWriter(folder / "set", {}) as writer:
        for number in range(50):
            split = "train" if number < 48 else "validation" if number < 49 else "test"
            writer.add(Chunk(f"read-{number}", np.ones(20 + number % 2), np.array([1, 2]), None, split))
    small, large = (search("model.batch_norm=true", f"plan=[{plan}]") for plan in (
        "padding,lr_adam", "padding,lr_adam,lr_adamax,lr_adagrad,batch_size",
    ))  # fmt: skip
    for made in (small, large):
        made.dataset = Dataset(folder / "set")
        made.incumbent = INCUMBENT
    assert small._choices_left("padding")[1] == []  # off and on, at batch 8
    scheduled = search("train.batch_schedule=[32,8]", "model.batch_norm=true", "plan=[padding,lr_adam]")
    scheduled.dataset = large.dataset
    assert scheduled._choices_left("padding")[1] == ["masked", "on"]
    assert large._choices_left("padding")[1] == ["masked", "on"]  # batch_size tries 32
    assert [size for size in (8, 16, 32, 64) if large._allows("batch_size", "data.batch_size", size)] == [8, 16]


def test_no_batch_sizes_are_compared_if_a_schedule_sets_the_batches(folder, monkeypatch):
    """All of them would train alike; the rates that belong to the question are still compared."""
    made, given = search("train.batch_schedule=[8,1]"), list[str]()

    def sweep(name: str, asking: int, overrides: list[str], skipped: str, note: str) -> None:
        given.extend([*overrides, skipped])
        raise InterruptedError

    monkeypatch.setattr(made, "_sweep", sweep)
    with pytest.raises(InterruptedError):
        made.run_stage("batch_size")
    assert given[-2:] == ["data.batch_size=8", "train.batch_schedule=[8,1] sets the size of every batch"]
    made.history.append(Asked("batch_size", 1, 1, "", "batch_size", {}, {}, True))
    made.incumbent = INCUMBENT
    assert made._stale("batch_size", []) == ""


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


@pytest.mark.parametrize(("budget", "scheduled"), [("epochs", True), ("updates", False), ("samples", False)])
def test_a_finalist_has_a_batch_schedule_only_if_the_winner_trains_for_epochs(folder, monkeypatch, budget, scheduled):
    """Others cannot have one: the search would fail after all its stages."""
    made, compared = search(f"search.winner.train.budget={budget}"), list[Candidates]()
    made.incumbent = INCUMBENT
    made.dataset = None  # type: ignore[assignment]

    def compare(stage: str, own: list[str], candidates: Candidates) -> None:
        compared.append(candidates)
        raise InterruptedError

    monkeypatch.setattr(made, "_compare", compare)
    with pytest.raises(InterruptedError):
        made.run_finalists()
    assert ("batches_32_8_1" in compared[0].settings) is scheduled


def test_a_winners_training_that_is_invalid_is_found_before_anything_runs(folder):
    made = search("search.winner.train.batch_schedule=[8,1]", "search.winner.train.budget=updates")
    with pytest.raises(SettingError, match=r"search\.winner: train\.batch_schedule=\[8, 1\]: needs train\.budget=epochs"):
        made.run()
    with pytest.raises(SettingError, match=r"search\.winner\.seed: unknown key"):
        search("search.winner.seed=7")
    with pytest.raises(SettingError, match=r"padding\.mode: is set by its group; give search\.winner\.padding=on"):
        search("search.winner.padding.mode=on")
    assert not list(folder.iterdir())


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ([], {"optimizer.weight_decay": 0.05}),
        (["optimizer.weight_decay=0.1"], {}),  # the user's stays
        (["optimizer.weight_decay=0.1", "search.winner.optimizer.weight_decay=0.2"], {"optimizer.weight_decay": 0.2}),
        (["optimizer.lr=0.1", "search.winner.optimizer.lr=1"], {"optimizer.weight_decay": 0.05, "optimizer.lr": 1.0}),
    ],
)
def test_the_users_optimizer_settings_stay_unless_the_winner_has_its_own(folder, given, expected):
    found = search("plan=[padding]", *given).recipe
    assert {key: value for key, value in found.items() if key.startswith("optimizer.")} == expected
    assert all(isinstance(value, float) for key, value in found.items() if key in expected)


def test_a_wrong_batch_schedule_of_a_finalist_is_found_at_the_start(folder):
    with pytest.raises(SettingError, match=r"search\.batch_schedule=\[8, 0\]: must be batch sizes of at least 1"):
        search("search.batch_schedule=[8,0]")


def asked(stage: str, choice: str, losses: dict[Any, dict[float, float]], simple_first: bool = True) -> tuple[Asked, Standing]:
    """A question about a choice with some losses by learning rate, at one seed."""
    points = {f"{value}/{rate}": (value, rate, loss) for value, of in losses.items() for rate, loss in of.items()}
    trials = {
        (point, 1): TrialRecord(0, 0, "complete", loss, {choice: value}, None, config={"optimizer": {"lr": rate}})
        for point, (value, rate, loss) in points.items()
    }
    settings = {point: {choice: value} for point, (value, _, _) in points.items()}
    stand = Standing(list(points), [1], EVERY, trials, {}, choice, list(losses) if simple_first else None, settings)
    won = stand.winner
    assert won is not None
    answer = {choice: won.params[choice], "optimizer.lr": setting_of(won, "optimizer.lr")}
    return Asked(stage, 1, 1, "", stage, {}, answer, False), stand


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
    stands = [asked(stage, key, {2: {0.004: 1.0}, 4: {0.004: 1.1}}) for stage, key in
              (("dilation", "a.width"), ("stacks", "b.width"))]  # fmt: skip
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


def test_the_best_settings_also_train_in_full_with_a_larger_batch():
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
        "defaults": finalists.settings["defaults"],
    }
    assert contenders("incumbent")["incumbent_and_batch_times_4"] == finalists.settings["batch_times_4"]
    for other_batches in ("batch_times_4", "batches_8_1", "defaults"):
        assert list(contenders(other_batches)) == [other_batches]
    alone = Candidates({"incumbent": base, "defaults": base}, ())
    assert list(contender_candidates(alone, "incumbent").settings) == ["incumbent"]


def test_a_search_asks_again_compares_finalists_and_repeats_nothing(tmp_path: Path, run: Command):
    command = [*TINY, "padding=off", "data.reads=120", "train.chunks=20", "plan=[batch_norm,lr_adam]", "search.workers=1",
               "stage.extend=0", "search.finalist_share=0.5", "search.round_budget=2", "search.rounds=2",
               "search.finalists=6", "search.combined=2", "search.headline_seeds=2"]  # fmt: skip
    shown = run("search", *command).stdout
    where = tmp_path / "outputs/tiny"
    facts = json.loads((where / "report.json").read_text())
    names = [stage["name"] for stage in facts["stages"]]
    assert names[:2] == ["batch_norm", "lr_adam"]
    assert [name for name in names if name != "combined"][-2:] == ["finalists", "headline"]
    assert {"batch_norm.2", "lr_adam.2"} <= set(names)
    assert "asked again: " in shown
    stages = {stage["name"]: stage for stage in facts["stages"]}
    for name, stage in stages.items():
        assert stage["study"].startswith(f"tiny/{name}/")
        assert bool(stage["again"]) == (name.count(".") == 1)
    finalists = {point["settings"]["stage.candidate"] for point in stages["finalists"]["points"]}
    assert {"incumbent", "defaults"} <= finalists
    best = {point["settings"]["stage.candidate"]: point["mean"] for point in stages["finalists"]["points"]}
    first = stages["finalists"]["winner"]["stage.candidate"]
    assert first == min(best, key=best.get)
    if "combined" in stages:  # a change helped
        again = {point["settings"]["stage.candidate"]: point["mean"] for point in stages["combined"]["points"]}
        assert again.pop(first) == best[first]
        assert 1 <= len(again) <= 2
    headline = stages["headline"]
    assert {t["seed"] for t in headline["trials"]} == {1001, 1002}
    assert len({t["updates"] for t in headline["trials"] if "winner" in t["point"]}) == 1  # alike at every seed
    winner = facts["winner"]
    assert winner["gain"]["text"] in (where / "report.html").read_text()
    assert winner["gain"]["text"] in (where / "report.md").read_text()
    assert winner["gain"]["seeds"] == [1001, 1002]
    trained = {folder.name for folder in (where / "runs").iterdir()}
    files = {path: path.stat().st_mtime_ns for path in (where / "runs").glob("*/test.json")}
    assert len(files) == 4
    page = (where / "report.html").stat().st_mtime_ns
    run("search", *command)
    assert (where / "report.html").stat().st_mtime_ns == page  # no new output
    assert {folder.name for folder in (where / "runs").iterdir()} == trained
    assert {path: path.stat().st_mtime_ns for path in files} == files  # tested once
    assert json.loads((where / "report.json").read_text())["winner"] == winner


SHORT = [*TINY, "model.batch_norm=true", "plan=[padding,lr_adam]", "stage.extend=0", "search.finalists=5",
         "search.finalist_share=0.5"]  # fmt: skip


@pytest.mark.slow
def test_the_winner_is_written_down_as_it_trained(folder, monkeypatch):
    """`search.winner` overrides two answers of the plan, and the defaults have the same values. No candidate is pruned."""
    own = ["search.winner.padding=on", "search.winner.optimizer.lr=0.03"]
    given = [*SHORT, *own, "search.workers=1", "search.pruner=ThresholdPruner", "search.pruner_args={upper: 100}"]
    made = search(*given)
    commands, compare = dict[str, str](), made._compare

    def compared(stage: str, *of: Any) -> StageFacts:
        facts = compare(stage, *of)
        commands[stage] = facts.command
        return facts

    monkeypatch.setattr(made, "_compare", compared)
    facts = made.run()
    winner = json.loads((folder / "outputs/tiny/winner/winner.json").read_text())
    config = OmegaConf.load(folder / "outputs/tiny/winner/config.yaml")
    assert (winner["settings"]["padding"], winner["settings"]["optimizer.lr"]) == ("on", 0.03)
    assert (config.padding.mode, config.optimizer.lr) == ("on", 0.03)
    assert winner["fixed"] == ["padding", "optimizer.lr"]
    assert winner["command"].count("padding=") == winner["command"].count("optimizer.lr=") == 1
    assert compose_config(shlex.split(winner["command"])[3:]).optimizer.lr == 0.03
    told = {of.key: (of.untuned, of.stages) for of in facts.decisions if of.key in winner["fixed"]}
    assert told == {"padding": ("on", []), "optimizer.lr": (0.03, [])}
    assert "| `padding` | on | on | `search.winner` |" in (folder / "outputs/tiny/report.md").read_text()
    assert all("search.pruner=null" in command for command in commands.values())


@pytest.mark.slow
def test_the_headline_takes_the_trainings_of_contenders(folder):
    """The better of the best settings with and without a larger batch is the winner, and nothing is trained twice."""
    given = [*SHORT, "plan=[padding,batch_size]", "optimizer=adam", "search.rounds=1", "search.combined=0",
             "search.batch_margin=100", "search.workers=1"]  # fmt: skip
    facts = search(*given, "optimizer.lr=0.004").run()
    contenders, headline = facts.stages[-2:]
    assert (contenders.name, headline.name) == ("contenders", "headline")
    found = {point.settings["stage.candidate"]: point.mean for point in contenders.points}
    best, larger, _ = found
    assert larger == f"{best}_and_batch_times_4"
    assert facts.winner is not None
    assert facts.winner.val_loss == min(found[best], found[larger])
    assert {trial.folder for trial in headline.trials} < {trial.folder for trial in contenders.trials}


@pytest.mark.slow
def test_the_number_of_workers_changes_neither_finalists_nor_winner(tmp_path, monkeypatch):
    found = []
    for workers in (1, 2):
        (tmp_path / str(workers)).mkdir()
        monkeypatch.chdir(tmp_path / str(workers))
        open_storage.cache_clear()
        facts = search(*SHORT, f"search.workers={workers}").run()
        candidates = [stage.axes["stage.candidate"] for stage in facts.stages if stage.name in ("finalists", "combined")]
        values = [point.values for stage in facts.stages for point in stage.points]
        assert facts.winner is not None
        found.append((candidates, values, facts.winner.settings))
    assert found[0] == found[1]


def test_a_finalist_that_the_data_does_not_allow_is_skipped_with_a_line(tmp_path, folder):
    """With `padding=off`, chunks of unknown base starts need batches of one length."""
    path, _ = tensors(tmp_path / "tensors", 40)  # of as many lengths
    given = ["data=rawctcnet", f"data.path={path}", "data.validation=0.2", "data.test=0.2", "padding=off", "plan=[batch_norm]"]
    made = Search(compose_config(given), given, Console(file=io.StringIO(), width=1000))
    assert made._can_train("incumbent", {"data.batch_size": 1})
    assert not made._can_train("batch_times_4", {"data.batch_size": 4})
    assert not made._can_train("batches_4_1", {"data.batch_size": 1, "train.batch_schedule": [4, 1]})
    assert "skipped: batch_times_4: padding=off: " in made.console.file.getvalue()


@pytest.mark.slow
def test_the_forecast_knows_a_finalist_before_one_runs(folder):
    made = search(*SHORT)
    made.incumbent = INCUMBENT
    agenda = made.progress.agenda
    for stage in ("finalists", "combined", "headline"):
        agenda.ask(stage, stage)
        store_study(open_study(made.url, f"tiny/{stage}/x"), asked=time.time(), points=["a", "b"], seeds=[1])
        state = agenda.state()
        assert (state.ended, state.running) == (0, 0)
        assert state.expected >= 2
