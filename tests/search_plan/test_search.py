"""Whole searches, and their forecast."""

from __future__ import annotations

import json
import threading
import time
from pathlib import Path

import pytest

from basecaller.common.errors import StageError
from basecaller.hpo.records import store_study
from basecaller.hpo.storage import open_storage, open_study
from basecaller.reporting.contents import ReportFacts
from basecaller.search_plan import runner
from basecaller.search_plan.candidates import Candidates
from basecaller.search_plan.pool import shut_down
from tests.conftest import TINY, Command
from tests.helpers.searching import INCUMBENT, SHORT, search


def test_a_search_asks_again_compares_finalists_and_repeats_nothing(tmp_path: Path, run: Command):
    command = [*TINY, "padding=off", "data.reads=120", "train.chunks=20", "plan=[batch_norm,lr_adam]", "search.workers=1",
               "stage.extend=0", "search.finalist_share=0.5", "search.round_budget=2", "search.rounds=2",
               "search.finalists=6", "search.combined=2", "search.headline_seeds=2"]  # fmt: skip
    done = run("search", *command)
    shown = done.stdout
    where = tmp_path / "outputs/tiny"
    facts = json.loads((where / "report.json").read_text())
    names = [stage["name"] for stage in facts["stages"]]
    assert names[:2] == ["batch_norm", "lr_adam"]
    assert [name for name in names if name != "combined"][-2:] == ["finalists", "headline"]
    assert {"batch_norm.2", "lr_adam.2"} <= set(names)
    assert "asked again: " in shown
    stages = {stage["name"]: stage for stage in facts["stages"]}
    for words in {stage["verdict"]["text"][:30] for stage in facts["stages"]}:
        told = [stage for stage in facts["stages"] if stage["verdict"]["text"].startswith(words)]
        assert (shown + done.stderr).count(words) == len(told)  # each verdict once
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


@pytest.mark.slow
def test_the_number_of_workers_changes_neither_finalists_nor_winner(tmp_path, monkeypatch):
    found = []
    for workers in (1, 2):
        (tmp_path / str(workers)).mkdir()
        monkeypatch.chdir(tmp_path / str(workers))
        open_storage.cache_clear()
        shut_down()  # workers stay in the folder in which they start
        facts = search(*SHORT, f"search.workers={workers}").run()
        candidates = [stage.axes["stage.candidate"] for stage in facts.stages if stage.name in ("finalists", "combined")]
        values = [point.values for stage in facts.stages for point in stage.points]
        assert facts.winner is not None
        found.append((candidates, values, facts.winner.settings))
    assert found[0] == found[1]


@pytest.mark.slow
def test_the_forecast_knows_a_finalist_before_one_runs(folder):
    made = search(*SHORT)
    made.questions.incumbent = INCUMBENT
    agenda = made.runner.progress.agenda
    for stage in ("finalists", "combined", "headline"):
        agenda.ask(stage, stage)
        store_study(open_study(made.request.url, f"tiny/{stage}/x"), asked=time.time(), points=["a", "b"], seeds=[1])
        state = agenda.state()
        assert (state.ended, state.running) == (0, 0)
        assert state.expected >= 2


@pytest.mark.slow
def test_the_report_is_written_while_the_next_step_trains(folder, monkeypatch):
    """At the start and at the end it is written at once. A report that cannot be written does not end the search."""
    made = search(*SHORT, "search.workers=1")
    threads, report, told = list[bool](), made.runner.report, list[str]()

    def reported(pages: bool = True) -> ReportFacts:
        threads.append(threading.current_thread() is threading.main_thread())
        if len(threads) == 2:
            raise OSError("disk full")
        return report(pages)

    monkeypatch.setattr(made.runner, "report", reported)
    monkeypatch.setattr(runner.log, "warning", lambda words, *of: told.append(words % of))  # Hydra replaces log handlers
    made.run()
    assert threads[0]
    assert threads[-1]
    assert not any(threads[1:-1])
    assert len(threads) > 3
    assert told == ["the report is not up to date: disk full"]


@pytest.mark.slow
def test_the_report_of_a_search_that_ends_early_has_all_its_stages(folder, monkeypatch):
    made = search(*SHORT, "search.finalists=0", "search.workers=1")

    def headline(candidates: Candidates) -> None:
        raise StageError("no model")

    monkeypatch.setattr(made.finals, "headline", headline)
    with pytest.raises(StageError, match="no model"):
        made.run()
    report = json.loads((folder / "outputs/tiny/report.json").read_text())
    assert report["state"] == "stopped"
    assert [stage["name"] for stage in report["stages"]][:2] == ["padding", "lr_adam"]
