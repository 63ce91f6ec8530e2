"""What decided each setting of the winner, and what candidates changed."""

from __future__ import annotations

import dataclasses
from collections.abc import Collection
from typing import Any

import pytest

from basecaller.hpo.standing import Standing, standing
from basecaller.hpo.task import CANDIDATE
from basecaller.reporting.contents import Decision, OptimizerFacts, WinnerFacts
from basecaller.reporting.decisions import changes, decisions
from tests.helpers.stages import study_of

pytestmark = pytest.mark.usefixtures("folder")

SETTINGS = {
    "optimizer": "adam",
    "optimizer.lr": 0.004,
    "model.stacks": 3,
    "model.max_dilation": 16,
    "train.batch_schedule": None,
}


def nested(settings: dict[str, Any]) -> dict[str, Any]:
    """The config of a training with some settings."""
    made: dict[str, Any] = {"optimizer": {"name": settings["optimizer"]}, "model": {}, "train": {}}
    for key, value in settings.items():
        group, _, name = key.partition(".")
        if name:
            made[group][name] = value
    return made


def asked(name: str, choice: str, losses: dict[Any, float], **points: dict[str, Any]) -> Standing:
    """A finished stage at one seed: the loss of each choice; `points` are settings of choices that differ from `SETTINGS`."""
    numbers = {str(choice): {"place": float(place)} for place, choice in enumerate(losses, 1)}
    study = study_of(name, {str(choice): [loss] for choice, loss in losses.items()}, numbers, "place")
    stand = dataclasses.replace(standing(study), choice=choice, settings={str(value): {choice: value} for value in losses})
    candidates = {point: nested({"optimizer": "adam"} | of) for point, of in points.items()}
    for (point, seed), trial in stand.complete.items():
        own = SETTINGS | ({} if choice == CANDIDATE else {choice: stand.settings[point][choice]}) | points.get(point, {})
        config = nested(own) | {"stage": {"candidates": candidates}}
        stand.complete[point, seed] = dataclasses.replace(trial, config=config)
    return stand


def decided(
    settings: dict[str, Any],
    stands: dict[str, Standing],
    optimizer: OptimizerFacts,
    fixed: Collection[str] = (),
    fallback: bool = False,
) -> dict[str, Decision]:
    unknown = dict.fromkeys(field.name for field in dataclasses.fields(WinnerFacts))
    winner = WinnerFacts(**unknown | {"settings": settings, "fixed": list(fixed), "fallback": fallback})
    return {of.key: of for of in decisions(winner, stands, optimizer, stands.get("headline"))}


def test_a_setting_is_decided_by_the_stage_that_asked_last_or_by_candidates_that_changed_it():
    schedule = {"train.batch_schedule": [32, 8, 1]}
    stands = {
        "lr_adam": asked("lr_adam", "optimizer.lr", {0.004: 1.0, 0.002: 1.1}),
        "stacks": asked("stacks", "model.stacks", {3: 1.0, 6: 1.1}),
        "dilation": asked("dilation", "model.max_dilation", {16: 1.0, 32: 1.1}),
        "stacks.2": asked("stacks2", "model.stacks", {3: 0.9, 2: 1.1}),
        "finalists": asked(
            "finalists", CANDIDATE, {"incumbent": 0.8, "max_dilation_32": 0.7, "batches_32_8_1": 0.9},
            incumbent={}, max_dilation_32={"model.max_dilation": 32}, batches_32_8_1=schedule,
        ),
        "headline": asked("headline", CANDIDATE, {"winner": 0.5, "defaults": 0.6}, defaults={"model.max_dilation": 64}),
    }  # fmt: skip
    of = decided(
        SETTINGS | {"model.max_dilation": 32}, stands, OptimizerFacts("undecided", "Adam", "", ["lr_adam", "lr_adamax"])
    )
    assert of["model.stacks"] == Decision("model.stacks", 3, 3, ["stacks.2"], "one seed")
    assert of["model.max_dilation"] == Decision("model.max_dilation", 32, 64, ["finalists"], "one seed")
    assert of["train.batch_schedule"].stages == ["finalists"]  # tried there only
    assert of["optimizer.lr"].stages == ["lr_adam"]
    assert (of["optimizer"].stages, of["optimizer"].kind) == (["lr_adam", "lr_adamax"], "undecided")
    told = [changes(stands["finalists"], name) for name in stands["finalists"].points]
    assert told == ["", "max_dilation 32", "batch_schedule [32,8,1]"]
    assert changes(stands["stacks"], "6") == ""


def test_no_stage_has_decided_what_the_winners_training_sets():
    stands = {"stacks": asked("stacks", "model.stacks", {3: 1.0, 6: 1.1})}
    of = decided(SETTINGS | {"model.stacks": 9}, stands, OptimizerFacts(None, None, "", []), fixed=["model.stacks"])
    assert of["model.stacks"] == Decision("model.stacks", 9, None, [], None)


def test_a_rate_that_was_tuned_along_with_another_setting_has_no_verdict_of_its_own():
    stands = {
        "lr_adam": asked("lr_adam", "optimizer.lr", {0.004: 1.0, 0.002: 1.1}),
        "lr_adamax": asked("lr_adamax", "optimizer.lr", {0.008: 1.2}, **{"0.008": {"optimizer": "adamax"}}),
        "stacks": asked("stacks", "model.stacks", {3: 1.1, 6: 1.0}, **{"6": {"optimizer.lr": 0.0028284}}),
    }
    of = decided(SETTINGS | {"optimizer.lr": 0.00282842, "model.stacks": 6}, stands, OptimizerFacts(None, None, "", []))
    assert of["optimizer.lr"] == Decision("optimizer.lr", 0.00282842, None, ["stacks"], None)
    assert of["optimizer"].stages == []


def test_no_stage_has_decided_the_untuned_defaults():
    stands = {"stacks": asked("stacks", "model.stacks", {3: 1.0, 6: 1.1})}
    of = decided(SETTINGS, stands, OptimizerFacts("clear", "Adam", "", ["lr_adam", "lr_adamax"]), fallback=True)
    assert not any(decision.stages or decision.kind for decision in of.values())
