"""Which questions a search asks, and with which choices."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from basecaller.data import Dataset
from basecaller.data.dataset import Chunk, DatasetWriter
from basecaller.reporting.search_state import Asked
from basecaller.search_plan.questions import Questions
from basecaller.search_plan.request import Request
from tests.helpers.searching import INCUMBENT, search


def test_of_stages_that_answer_one_question_only_the_winners_is_asked_again(folder, monkeypatch):
    """Asked again, the others would have the winner's optimizer."""
    made, again = search("plan=[padding,batch_norm,lr_adam,lr_adamax,lr_adagrad,batch_size]"), []

    questions = made.questions

    def run_stage(name: str) -> None:
        questions.history.append(Asked(name, 1, 1, "", name, {}, {}, name != "batch_size", {}))

    def ask_again(name: str, why: str) -> None:
        again.append(name)
        questions.history.append(Asked(name, 2, 1, why, name, {}, {}, False, {}))

    monkeypatch.setattr(made, "run_stage", run_stage)
    monkeypatch.setattr(made, "ask_again", ask_again)
    monkeypatch.setattr(questions, "take", lambda contest: None)
    monkeypatch.setattr(questions, "holder", lambda contest: "lr_adamax" if "lr_adamax" in contest else contest[0])
    monkeypatch.setattr(questions, "stale", lambda name: "" if name in again else "the rate has changed")
    made.first_round()
    assert again == ["padding", "batch_norm", "lr_adamax"]


@pytest.mark.slow
def test_no_batch_is_larger_than_the_padding_allows(folder):
    """Without base starts, padding=off needs batches of one length: found at the start, not in the stage of batch sizes."""
    with DatasetWriter(folder / "set", {}) as writer:
        for number in range(50):
            split = "train" if number < 48 else "validation" if number < 49 else "test"
            writer.add(Chunk(f"read-{number}", np.ones(20 + number % 2), np.array([1, 2]), None, split))
    short, long = "plan=[padding,lr_adam]", "plan=[padding,lr_adam,lr_adamax,lr_adagrad,batch_size]"
    small, large, scheduled = (
        Questions(Request(["model.batch_norm=true", *own])) for own in ([short], [long], [short, "train.batch_schedule=[32,8]"])
    )
    for made in (small, large, scheduled):
        made.request.dataset = Dataset(folder / "set")
        made.incumbent = INCUMBENT
    assert small.choices_left("padding")[1] == []  # off and on, at batch 8
    assert scheduled.choices_left("padding")[1] == ["masked", "on"]
    assert large.choices_left("padding")[1] == ["masked", "on"]  # batch_size tries 32
    assert [size for size in (8, 16, 32, 64) if large.allows("batch_size", "data.batch_size", size)] == [8, 16]


def test_no_batch_sizes_are_compared_if_a_schedule_sets_the_batches(folder):
    """All of them would train alike; the rates that belong to the question are still compared."""
    made = Questions(Request(["train.batch_schedule=[8,1]"]))
    step = made.first("batch_size")
    assert step.overrides[-1] == "data.batch_size=8"
    assert step.skipped == "train.batch_schedule=[8,1] sets the size of every batch"
    made.history.append(Asked("batch_size", 1, 1, "", "batch_size", {}, {}, True))
    made.incumbent = INCUMBENT
    assert made.stale("batch_size") == ""


@pytest.mark.slow
def test_the_padding_is_not_asked_again_for_batches_of_one_chunk(folder):
    made = Questions(Request([]))
    made.history.append(Asked("padding", 1, 1, "", "padding", {}, {}, False))
    for batch in (4, 1):
        made.incumbent = dataclasses.replace(INCUMBENT, settings=INCUMBENT.settings | {"data.batch_size": batch})
        assert bool(made.stale("padding")) == (batch > 1)
