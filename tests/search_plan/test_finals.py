"""The end of a search: finalists, contenders and the headline."""

from __future__ import annotations

import io
import json
import math
import shlex
from typing import Any

import pytest
from omegaconf import OmegaConf
from rich.console import Console

from basecaller.common.errors import DivergedError
from basecaller.config.composition import compose_config
from basecaller.reporting.stage_contents import StageFacts
from basecaller.runs import trial as life
from basecaller.runs.folder import Result
from basecaller.runs.job import Job
from basecaller.search_plan.candidates import Candidates
from basecaller.search_plan.finals import larger_batch_won
from basecaller.search_plan.request import Request
from basecaller.search_plan.search import Search
from tests.conftest import TINY
from tests.helpers.reads import tensors
from tests.helpers.searching import INCUMBENT, SETTINGS, SHORT, search


@pytest.mark.slow
@pytest.mark.parametrize(("budget", "scheduled"), [("epochs", True), ("updates", False), ("samples", False)])
def test_a_finalist_has_a_batch_schedule_only_if_the_winner_trains_for_epochs(folder, monkeypatch, budget, scheduled):
    """Others cannot have one: the search would fail after all its stages."""
    made, compared = search(f"search.winner.train.budget={budget}", "search.finalist_share=0.5"), list[Candidates]()
    made.questions.incumbent = INCUMBENT
    made.request.dataset = None  # type: ignore[assignment]

    def compare(stage: str, own: list[str], candidates: Candidates) -> None:
        compared.append(candidates)
        raise InterruptedError

    monkeypatch.setattr(made.finals, "compare", compare)
    with pytest.raises(InterruptedError):
        made.finals.finalists()
    assert ("batches_32_8_1" in compared[0].settings) is scheduled


def test_a_finalist_that_the_data_does_not_allow_is_skipped_with_a_line(tmp_path, folder):
    """With `padding=off`, chunks of unknown base starts need batches of one length."""
    path, _ = tensors(tmp_path / "tensors", 40)  # of as many lengths
    given = ["data=rawctcnet", f"data.path={path}", "data.validation=0.2", "data.test=0.2", "padding=off", "plan=[batch_norm]"]
    made = Search(Request(given), Console(file=io.StringIO(), width=1000))
    assert made.finals.can_train("incumbent", {"data.batch_size": 1})
    assert not made.finals.can_train("batch_times_4", {"data.batch_size": 4})
    assert not made.finals.can_train("batches_4_1", {"data.batch_size": 1, "train.batch_schedule": [4, 1]})
    assert "skipped: batch_times_4: padding=off: " in made.console.file.getvalue()


def test_a_note_says_which_batches_were_compared_and_by_how_much_the_larger_is_better():
    larger = SETTINGS | {"data.batch_size": 16, "optimizer.lr": 0.008}
    pair = Candidates({"stacks_6": SETTINGS, "stacks_6_and_batch_times_4": larger}, ())
    behind = {"stacks_6_and_batch_times_4": 0.01, "stacks_6": 0.0345}
    assert larger_batch_won(pair, *pair.settings, behind) == (
        "In this longer training, stacks_6_and_batch_times_4 (batch_size 16, lr 0.008) is better than stacks_6 "
        "(batch_size 4, lr 0.004) by 0.0245 nats per base"
    )
    del behind["stacks_6"]
    assert "since stacks_6 (batch_size 4, lr 0.004) gave no value" in larger_batch_won(pair, *pair.settings, behind)


@pytest.mark.slow
@pytest.mark.parametrize("at_the_end", [False, True], ids=["finalists", "and the winner"])
def test_a_search_whose_finalists_diverge_ends_with_a_winner(folder, monkeypatch, at_the_end):
    """With the settings that won in short trials or, if these diverge in the headline too, with the untuned defaults."""
    train, untuned = life.train, compose_config([]).optimizer.lr

    def diverging(job: Job, *of: Any) -> Result:
        of_finalist, tuned = job.settings.seed < 1000, job.settings.optimizer.lr != untuned
        if job.settings.train.schedule == "cosine" and (of_finalist or (at_the_end and tuned)):
            raise DivergedError(3, math.nan)
        return train(job, *of)

    monkeypatch.setattr(life, "train", diverging)
    given = [*TINY, "model.batch_norm=true", "padding=on", "plan=[lr_adam]", "optimizer.lr=0.002,0.004", "search.finalists=3",
             "search.finalist_share=0.5", "search.workers=1"]  # fmt: skip
    made = Search(Request(given), Console(file=io.StringIO(), width=1000))
    facts = made.run()
    shown = made.console.file.getvalue()
    assert "No finalist gave a value, so the search keeps the settings that won in short trials." in shown
    finalists, headline = facts.stages[-2:]
    assert (finalists.name, finalists.state, finalists.winner) == ("finalists", "failed", {})
    assert finalists.note.startswith("No finalist gave a value")
    assert facts.winner is not None
    assert facts.winner.fallback is at_the_end
    assert (facts.winner.settings["optimizer.lr"] == untuned) is at_the_end
    assert (folder / "outputs/tiny/winner/best.pt").exists()
    if at_the_end:
        told = facts.winner.gain.text
        assert told.startswith("Tuning gained nothing: no training of the winner gave a value, so the untuned defaults ")
        assert headline.note + "." == told
        assert shown.count(told) == 1
        assert not any(of.stages for of in facts.decisions)


@pytest.mark.slow
def test_the_winner_is_written_down_as_it_trained(folder, monkeypatch):
    """`search.winner` overrides two answers of the plan, and the defaults have the same values. No candidate is pruned."""
    own = ["search.winner.padding=on", "search.winner.optimizer.lr=0.03"]
    given = [*SHORT, *own, "search.workers=1", "search.pruner=ThresholdPruner", "search.pruner_args={upper: 100}"]
    made = search(*given)
    commands, compare = dict[str, str](), made.finals.compare

    def compared(stage: str, *of: Any) -> StageFacts:
        facts = compare(stage, *of)
        commands[stage] = facts.command
        return facts

    monkeypatch.setattr(made.finals, "compare", compared)
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
def test_the_better_of_the_contenders_wins(folder):
    """The best settings with and without a larger batch train longer than finalists, at a seed that is not the headline's."""
    given = [*SHORT, "plan=[padding,batch_size]", "optimizer=adam", "search.rounds=1", "search.combined=0",
             "search.batch_margin=100", "search.winner.train.epochs=2",
             "search.finalist_share=0.25", "search.contender_share=0.5", "search.workers=1"]  # fmt: skip
    made = search(*given, "optimizer.lr=0.004")
    facts = made.run()
    contenders, headline = facts.stages[-2:]
    assert (contenders.name, headline.name) == ("contenders", "headline")
    found = {point.settings["stage.candidate"]: point.mean for point in contenders.points}
    best, larger = found
    assert larger == f"{best}_and_batch_times_4"
    assert facts.winner is not None
    larger_won = found[larger] < found[best]
    sizes = made.questions.incumbent
    assert sizes is not None
    assert facts.winner.settings["data.batch_size"] == sizes.settings["data.batch_size"] * (4 if larger_won else 1)
    samples = [max(trial.samples or 0 for trial in stage.trials) for stage in (contenders, headline)]
    assert samples[0] == samples[1] / 2
    assert not {trial.folder for trial in headline.trials} & {trial.folder for trial in contenders.trials}
