"""The facts of a stage: its choices, its measure, and the contest of the optimizers."""

from __future__ import annotations

import dataclasses

import pytest

from basecaller.hpo.records import StudyRecord, trials_of
from basecaller.hpo.standing import standing
from basecaller.hpo.storage import open_study
from basecaller.reporting.contests import Optimizers, optimizers
from basecaller.reporting.facts import optimizer_facts
from basecaller.reporting.stage_contents import ChoiceFacts
from basecaller.reporting.stage_facts import choice_facts, stage_facts, unequal_chunks
from basecaller.search_plan.stages import hydra_app
from basecaller.task import run_job
from tests.helpers.reporting import GIVEN
from tests.helpers.stages import lr_stage, study_of
from tests.helpers.sweeping import URL

pytestmark = pytest.mark.usefixtures("folder")


@pytest.mark.slow
def test_the_optimizer_has_its_own_verdict():
    adam = {0.004: [1.00, 1.10, 1.05], 0.002: [1.10, 1.21, 1.14], 0.001: [1.3]}
    adamax = {0.008: [1.20, 1.31, 1.25], 0.004: [1.30, 1.41, 1.35], 0.001: [1.4]}
    made = {"lr_adam": lr_stage("lr_adam{o}", adam), "lr_adamax": lr_stage("lr_adamax{o}", adamax)}
    stands = {name: standing(study) for name, study in made.items()}
    found = optimizers(stands)
    assert isinstance(found, Optimizers)
    assert (found.contest.found.kind, found.contest.found.winner, found.contest.found.rival) == (
        "clear", "Adam at 0.004", "Adamax at 0.008",
    )  # fmt: skip
    facts = [stage_facts(name, made[name], stand) for name, stand in stands.items()]
    assert optimizer_facts(stands, facts).text.startswith("A clear winner: Adam at 0.004 is better than Adamax at 0.008")
    guessed = [dataclasses.replace(stage, guessing="Too short to tell.") for stage in facts]
    assert optimizer_facts(stands, guessed).text.endswith(
        "But lr_adam, lr_adamax compared networks that had hardly begun to learn."
    )
    assert "fewer than two optimizers" in optimizers({"lr_adam": stands["lr_adam"]})
    # asked again for the best alone: the first asking still compares them
    again = stands | {"lr_adam.2": standing(lr_stage("lr_adam{2}", {0.004: [0.9, 0.8, 0.7], 0.002: [1.0, 0.9, 0.8]}))}
    assert optimizers(again).stages == ("lr_adam", "lr_adamax")
    other = lr_stage("lr_adagrad{o}", adamax, config={"data": {"batch_size": 4}})
    assert optimizers(stands | {"lr_adagrad": standing(other)}) == "the optimizers were tried under different settings"


@pytest.mark.slow
def test_a_stage_about_speed_compares_areas_and_reports_losses(folder):
    given = ("stage=batch_norm", "padding=on", "search.replicates=2", "threads=1")
    with hydra_app() as app:
        name = app.multirun("config", run_job, [*GIVEN, *given], with_log_configuration=False)
    study = open_study(URL, name)
    stand = standing(study)
    areas = {p: [t.facts["area_under_curve"] for t in stand.trials_of(p)] for p in stand.points}
    means = {p: sum(of) / len(of) for p, of in areas.items()}
    assert stand.conclusion.winner == min(means, key=means.get)
    assert stand.conclusion.mean == pytest.approx(min(means.values()))
    facts = stage_facts("batch_norm", study, stand)
    losses = [t.value for t in stand.trials_of(stand.conclusion.winner)]
    assert facts.value == StudyRecord.of(study).concluded.mean == pytest.approx(sum(losses) / len(losses))
    assert "nats per base of mean loss along the way (area under the curve)" in facts.verdict.text
    assert "may go unseen" in facts.verdict.text or facts.verdict.kind == "clear"


def test_every_choice_is_compared_with_the_winner_over_shared_seeds():
    values = {"off": [1.0, 1.1, 1.2], "on": [1.1, 1.3, 1.2], "masked": [1.5]}
    params = {name: {"padding": 1.0 + place} for place, name in enumerate(values)}
    study = study_of("choices", values, params, "padding")
    stand = standing(study)
    off, on, masked = choice_facts(stand)
    assert off == ChoiceFacts("1", wins=True, nearest=False, difference=0.0, low=None, high=None, seeds=3)
    assert (on.difference, on.nearest, on.seeds) == (pytest.approx(0.1), True, 3)
    assert (on.difference, on.low, on.high) == (stand.conclusion.margin, *stand.conclusion.interval)  # as the verdict says
    assert (masked.difference, masked.nearest, masked.seeds) == (pytest.approx(0.5), False, 1)
    assert masked.high - masked.low > on.high - on.low  # fewer shared seeds give a wider interval
    alone = study_of("choices at one seed", {"off": [1.0], "on": [1.1]}, {"off": params["off"], "on": params["on"]}, "padding")
    assert [(choice.low, choice.high) for choice in choice_facts(standing(alone))] == [(None, None)] * 2


def test_choices_are_compared_by_what_the_stage_measures(folder):
    values, params = {"off": [1.0, 1.1], "on": [1.2, 1.3]}, {name: {"padding": name} for name in ("off", "on")}
    stand = dataclasses.replace(standing(study_of("speed", values, params, "padding")), measure="area_under_curve")
    for entry, trial in stand.complete.items():
        area = 3.0 - trial.value  # the slower one ends lower
        stand.complete[entry] = dataclasses.replace(trial, facts=trial.facts | {"area_under_curve": area})
    off, on = choice_facts(stand)
    assert (on.wins, off.nearest, off.difference) == (True, True, pytest.approx(0.2))


def test_strides_that_were_validated_on_other_chunks_are_reported(folder):
    """Each seed draws its own chunks, so seeds may differ, but the trials of a seed may not."""
    params = {"a": {"model.stride": 3.0}, "b": {"model.stride": 5.0}}
    trials = trials_of(study_of("strides", {"a": [1.0, 1.1], "b": [1.2, 1.3]}, params, "model.stride"))
    for fewer, told in ((0, False), (2, True)):
        numbers = [256 - trial.seed - (fewer if trial.params["model.stride"] == 5.0 else 0) for trial in trials]
        validated = [
            dataclasses.replace(trial, facts=trial.facts | {"validation_chunks": number})
            for trial, number in zip(trials, numbers, strict=True)
        ]
        text = unequal_chunks(validated)
        assert bool(text) == told
        assert f"{min(numbers)} to {max(numbers)} chunks" in text or not told


def test_without_a_choice_every_point_is_a_choice(folder):
    params = {"a": {"x": 1.0, "y": 2.0}, "b": {"x": 3.0, "y": 2.0}}
    stand = standing(study_of("points", {"a": [1.0, 1.1], "b": [1.2, 1.3]}, params, None))
    assert [choice.label for choice in choice_facts(stand)] == ["x 1 y 2", "x 3 y 2"]


def test_a_stage_without_a_result_yet_is_running(folder):
    study = study_of("begun", {"off": [1.0], "on": [1.1]}, {"off": {"x": 1.0}, "on": {"x": 2.0}}, "x")
    stand = dataclasses.replace(standing(study), complete={})
    assert stand.open
    facts = stage_facts("begun", study, stand)
    assert (facts.state, facts.verdict.kind) == ("running", "running")
