"""The report: of a finished search, a running one, one with failed stages, and one that is watched."""

from __future__ import annotations

import dataclasses
import itertools
import json
import math
import re
import shutil
import socket
import urllib.request
from html import unescape
from xml.etree import ElementTree

import pytest

import basecaller.report
from basecaller.hpo.records import StudyRecord, store_study, trials_of
from basecaller.hpo.storage import current_study
from basecaller.report import watch
from basecaller.search_plan.stages import hydra_app
from basecaller.task import run_job
from tests.conftest import Command
from tests.helpers.reporting import GIVEN, PLAN, report, search
from tests.helpers.sweeping import RATES, URL, sweep

pytestmark = pytest.mark.usefixtures("folder")


def figures(html: str) -> list[ElementTree.Element]:
    return [ElementTree.fromstring(svg) for svg in re.findall(r"<svg.*?</svg>", html, re.DOTALL)]


def test_a_finished_search_is_reported_completely(searched, folder, run: Command):
    shutil.copytree(searched, folder, dirs_exist_ok=True)
    plan = PLAN[:2]
    facts, html, markdown = report(folder, plan)
    assert [stage["name"] for stage in facts["stages"]] == [*plan, "headline"]
    for stage in facts["stages"]:
        assert stage["state"] == "complete"
        assert stage["verdict"]["text"] in unescape(html)
        assert stage["verdict"]["text"] in markdown
        assert stage["guessing"] or stage["value"] < math.log(4)
        assert stage["guessing"] in html
        assert stage["guessing"] in markdown
        if stage["edges"] and stage["guessing"]:
            assert '<span class="edge">at the edge, no better than guessing</span>' in html
        complete = [p for p in stage["points"] if p["seeds"] == stage["verdict"]["seeds"]]
        for point in complete:
            assert point["mean"] == pytest.approx(sum(point["values"].values()) / len(point["values"]))
        assert len(complete) > 1
        assert {"updates", "samples", "seconds"} <= stage["points"][0].keys()
    winner = facts["winner"]
    assert winner["command"] in markdown
    assert f"{winner['test']['identity_mean']:.1%}" in html
    assert winner["gain"]["text"] in html
    assert winner["gain"]["text"] in markdown
    taken = [t for stage in facts["stages"] for t in stage["trials"] if t["reused"]]
    assert len(facts["reused"]) == len(taken) >= 2  # padding's winner is half of the batch-norm stage
    asked_of_choices = [stage for stage in facts["stages"] if len(stage["choices"]) > 1]
    assert len(figures(html)) == len(asked_of_choices) + 2 + len(plan)  # how the winner learned, and the stages
    assert "http://" not in html.replace("http://www.w3.org", "").replace("http://purl.org", "").replace(
        "http://creativecommons.org", ""
    )
    assert "src=" not in html  # one file, nothing fetched
    assert any(stage["guessing"] for stage in facts["stages"])  # a network learns nothing from so few chunks
    (line,) = facts["data"]
    assert "chunks to train on: a network memorises so few" in line
    assert line in html
    assert line in markdown
    shown = run("report").stdout
    assert f"data: {line}" in " ".join(shown.split())
    assert "padding" in shown
    assert "no better than guessing" in " ".join(shown.split())
    assert "report.html" in shown
    trials = trials_of(current_study(URL, "tiny", "padding"))
    samples = facts["stages"][0]["convergence"]["samples"]
    assert samples.keys() == {str(trial.number) for trial in trials}
    assert all(trial.facts["area_under_curve"] for trial in trials)


@pytest.mark.slow
def test_a_running_search_says_what_is_open(folder):
    made = search()
    made.run_stage("padding")
    study = current_study(URL, "tiny", "padding")
    design = dataclasses.replace(StudyRecord.of(study).design, budget=10, look=0)
    store_study(study, seeds=[1, 2, 3, 4, 5], design=design)
    facts, html, markdown = report(folder)
    assert facts["stages"][0]["state"] == "running"
    assert facts["stages"][0]["open"] == 4
    assert facts["stages"][0]["verdict"]["text"].startswith("So far: ")
    assert facts["not_run"] == ["batch_norm", "lr_adam"]
    assert facts["winner"] == {}
    assert "No winner yet" in html
    assert ", 4 trials open |" in markdown
    assert "4 trials open</span>" in html


@pytest.mark.slow
def test_a_sweep_after_a_search_decides_none_of_its_settings(searched, folder):
    shutil.copytree(searched, folder, dirs_exist_ok=True)
    before, *_ = report(folder, PLAN[:2])
    assert {"padding", "batch_norm"} == {stage for of in before["decisions"] for stage in of["stages"]}
    sweep("padding=off,on")
    after, *_ = report(folder, PLAN[:2])
    assert [stage["name"] for stage in after["stages"]] == [*PLAN[:2], "headline", "sweep"]
    assert after["decisions"] == before["decisions"]
    search = folder / "outputs/tiny/search.json"
    search.write_text(json.dumps(json.loads(search.read_text()) | {"compared": {}}))  # the search runs again, not to its end
    again, *_ = report(folder, PLAN[:2])
    assert not any(of["stages"] for of in again["decisions"])


@pytest.mark.slow
def test_a_sweep_outside_a_search_is_reported_without_a_plan(folder, call: Command):
    sweep("optimizer=adam,adamax", RATES)
    shown = call("report").stdout
    facts = json.loads((folder / "outputs/tiny/report.json").read_text())
    assert [stage["name"] for stage in facts["stages"]] == ["sweep"]
    (stage,) = facts["stages"]
    pages = [(folder / f"outputs/tiny/report.{kind}").read_text() for kind in ("md", "html")]
    for page in (shown, *pages):
        for of_a_search in ("not run", "o winner yet", "basecaller.search", "Which optimizer", "the search"):
            assert of_a_search not in page
    for page in pages:
        assert "tiny: what the sweep found" in page
        assert page.count(stage["verdict"]["text"]) == 2  # at the top, and with its points
    markdown, _ = pages
    assert all(before == "" for before, line in itertools.pairwise(markdown.splitlines()) if line.startswith("| point |"))
    assert "\n\nConvergence" in markdown
    sweep("stage=padding")
    assert re.search("batch_norm +not run yet", call("report").stdout)  # of the plan that padding belongs to


@pytest.mark.slow
def test_failures_are_shown_with_their_reason(folder):
    with hydra_app() as app:
        given = [
            *GIVEN,
            "stage=lr_adam",
            "padding=on",
            "model.batch_norm=true",
            "optimizer=sgd",
            "train.clip=null",
            "threads=1",
        ]
        app.multirun("config", run_job, [*given, "optimizer.lr=1e30,0.001", "stage.extend=0"], with_log_configuration=False)
    facts, html, _ = report(folder)
    states = {p["point"]: p["state"] for p in facts["stages"][0]["points"]}
    assert states["optimizer.lr=1e+30"].startswith("diverged")
    assert "the loss is" in html
    assert "lower optimizer.lr" in html


def test_a_report_of_nothing_is_one_message_and_makes_no_file(tmp_path, run: Command):
    done = run("report", "experiment=nonesuch", code=2)
    assert "experiment=nonesuch" in done.stderr
    assert not (tmp_path / "outputs").exists()


@pytest.mark.slow
def test_a_watched_report_follows_the_search_and_ends_with_it(folder, monkeypatch):
    made = search()
    made.runner.save(report=False)
    made.run_stage("padding")
    where, seen = folder / "outputs/tiny", []

    def slept(seconds: float) -> None:
        seen.append(seconds)
        page = (where / "report.html").read_text()
        assert '<meta http-equiv="refresh" content="10">' in page
        assert "The search is running: 2 of about" in page or len(seen) > 1
        assert 'id="padding"' in page
        if len(seen) == 2:
            made.runner.save(report=False, state="finished")

    (where / "progress.json").write_text('{"text": "2 of about 30 trials, 0 running"}')
    monkeypatch.setattr(basecaller.report.time, "sleep", slept)
    facts = watch(URL, "tiny", where, PLAN, 3.0)
    assert seen == [3.0, 3.0]
    assert facts.state == "finished"
    assert 'http-equiv="refresh"' not in (where / "report.html").read_text()


@pytest.mark.slow
def test_a_served_report_stays_after_the_search_has_ended(call: Command, monkeypatch):
    """An open page reloads itself once more, up to ten seconds later."""
    made = search()
    made.run_stage("padding")
    made.runner.save(report=False, state="finished")
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    pages = []

    class Event:
        def wait(self) -> None:
            with urllib.request.urlopen(f"http://127.0.0.1:{port}/") as answer:
                pages.append(answer.read().decode())
            raise KeyboardInterrupt

    monkeypatch.setattr(basecaller.report, "Event", Event)
    assert "the search has ended; press Ctrl-C to stop" in call("report", f"serve={port}").stdout
    assert 'id="padding"' in pages[0]
    assert 'http-equiv="refresh"' not in pages[0]


@pytest.mark.slow
def test_a_failing_search_ends_the_watching(folder, monkeypatch):
    made = search()
    monkeypatch.setattr(made, "first_round", lambda: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        made.run()
    assert json.loads((folder / "outputs/tiny/search.json").read_text())["state"] == "stopped"
