"""What optuna-dashboard shows: a note and a figure of each study, what each question was worth, and no bookkeeping. Where there
is Chromium, it is asked too.
"""

from __future__ import annotations

import json
import shutil
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import optuna
import pytest
from optuna_dashboard import get_note

from basecaller.config.schema import OBJECTIVE
from basecaller.hpo.designs import HALVING, rounds
from basecaller.hpo.optuna_private import study_attributes
from basecaller.hpo.records import StudyRecord, store_study, trial_attributes
from basecaller.hpo.standing import standing
from basecaller.hpo.storage import current_study, open_storage, open_study
from basecaller.reporting import dashboard
from basecaller.reporting.dashboard import MOST, note_of, show_study, stage_figure, worth_figure
from basecaller.reporting.stage_facts import stage_facts
from tests.helpers.sweeping import URL, sweep

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")

WORTH = "What each question was worth"


def study_of(name: str, values: dict[tuple, list[float]], keys: tuple[str, ...], **record) -> optuna.Study:
    """A finished study: losses of each point by seed.

    Args:
        name: name of the stage.
        values: losses at seeds 1, 2, ... by the point's values.
        keys: the swept keys.
        record: further fields of the study's record.
    """
    open_storage.cache_clear()
    study = open_study(URL, f"tiny/{name}/x")
    settings = {" ".join(f"{k}={v}" for k, v in zip(keys, of, strict=True)): dict(zip(keys, of, strict=True)) for of in values}
    axes = {key: list(dict.fromkeys(of[key] for of in settings.values())) for key in keys}
    seeds = list(range(1, max(map(len, values.values())) + 1))
    store_study(study, points=list(settings), settings=settings, seeds=seeds, axes=axes, design=HALVING, **record)
    distributions = {key: optuna.distributions.CategoricalDistribution(of) for key, of in axes.items()}
    for (point, params), losses in zip(settings.items(), values.values(), strict=True):
        for seed, loss in enumerate(losses, 1):
            fields = {"point": point, "seed": seed, "outcome": "complete", "area_under_curve": loss + 1, "identity_mean": 0.5,
                      "identity_floor": 0.3, "config": {"data": {}, "optimizer": {"lr": 0.001}}}  # fmt: skip
            user, system = trial_attributes(fields)
            given = {"params": params, "distributions": distributions, "user_attrs": user, "system_attrs": system}
            study.add_trial(optuna.trial.create_trial(value=loss, **given))
    return study


def facts_of(study: optuna.Study):
    return stage_facts(study.study_name.split("/")[1], study, standing(study))


def figure_of(study: optuna.Study, name: str) -> dict:
    """A figure as the dashboard reads it."""
    parts = study_attributes(study).system
    prefix = f"dashboard:plot_data:{name}:"
    return json.loads("".join(parts[f"{prefix}{i}"] for i in range(sum(key.startswith(prefix) for key in parts))))


CLEAR = {("off",): [1.20, 1.30, 1.25], ("on",): [1.00, 1.101, 1.05]}


def test_a_figure_has_means_with_errors_single_runs_and_the_verdict(folder):
    study = study_of("padding", CLEAR, ("padding",), choice="padding", question="Does <it> hurt?")
    facts = facts_of(study)
    figure = stage_figure(facts).to_plotly_json()
    runs, means = figure["data"]
    assert list(runs["x"]) == ["off"] * 3 + ["on"] * 3
    assert list(runs["y"]) == [1.2, 1.3, 1.25, 1.0, 1.101, 1.05]
    assert runs["marker"]["opacity"] < 0.5
    assert list(means["x"]) == ["off", "on"]
    assert list(means["y"]) == pytest.approx([1.25, 1.05033], abs=1e-5)
    assert list(means["error_y"]["array"]) == pytest.approx([facts.verdict.noise / 3**0.5] * 2, abs=1e-5)
    assert list(means["marker"]["symbol"]) == ["circle", "star"]
    title = figure["layout"]["title"]["text"]
    assert "<b>Does &lt;it&gt; hurt?</b>" in title
    assert facts.verdict.text in title.replace("<br>", " ")
    assert figure["layout"]["yaxis"]["range"][0] > 0.9


def test_a_grid_has_a_mark_for_each_point_and_fills_each_choice_at_its_best(folder):
    losses = {(size, factor): [1.0 + size / 100 + abs(factor - 1), 1.1] for size in (32, 4) for factor in (2.0, 1.0)}
    keys = ("data.batch_size", "stage.rate_factor")
    design = rounds([size for size, _ in losses], 2, stops=False)
    study = study_of("batch_size", losses, keys, choice="data.batch_size")
    store_study(study, design=design)
    figure = stage_figure(facts_of(study)).to_plotly_json()
    named = {trace["name"]: trace for trace in figure["data"] if trace.get("name")}
    assert set(named) == {"rate_factor 2", "rate_factor 1"}
    assert list(named["rate_factor 1"]["marker"]["symbol"]) == ["circle", "star"]
    assert set(named["rate_factor 2"]["marker"]["symbol"]) == {"circle-open"}
    assert figure["layout"]["xaxis"]["categoryarray"] == ["4", "32"]  # from small to large, whatever the order of the grid


def test_the_figure_of_a_stage_about_speed_shows_areas(folder):
    study = study_of("batch_norm", CLEAR, ("padding",), choice="padding", measure="area_under_curve")
    figure = stage_figure(facts_of(study)).to_plotly_json()
    assert figure["layout"]["yaxis"]["title"]["text"] == "mean loss along the way (nats per base)"
    assert list(figure["data"][1]["y"]) == pytest.approx([2.25, 2.05033], abs=1e-5)


def test_a_figure_of_many_points_shows_the_best(folder):
    study = study_of("sweep", {(i / 1000,): [1 + i / 100] for i in range(1, MOST + 5)}, ("optimizer.lr",))
    figure = stage_figure(facts_of(study)).to_plotly_json()
    assert len(figure["layout"]["xaxis"]["categoryarray"]) == MOST
    assert f"the best {MOST} of {MOST + 4}" in figure["layout"]["xaxis"]["title"]["text"]
    assert max(figure["data"][1]["y"]) == pytest.approx(1 + MOST / 100)


def test_points_of_a_grid_without_a_choice_are_called_by_their_settings(folder):
    study = study_of("sweep", {("adam", 0.001): [1.0], ("sgd", 0.002): [1.1]}, ("optimizer", "optimizer.lr"))
    figure = stage_figure(facts_of(study)).to_plotly_json()
    assert list(figure["layout"]["xaxis"]["categoryarray"]) == ["optimizer adam lr 0.001", "optimizer sgd lr 0.002"]


def test_only_the_nearest_choice_to_an_answer_has_a_bar(folder):
    three = {(rate,): [1 + rate, 1.1 + rate, 1.05 + 1.1 * rate] for rate in (0.1, 0.2, 0.4)}
    facts = facts_of(study_of("lr_adam", three, ("optimizer.lr",), choice="optimizer.lr"))
    figure = worth_figure([facts], "It gained.").to_plotly_json()
    bars = {trace["name"]: trace.get("error_x") for trace in figure["data"] if list(trace["x"])}
    assert len(bars) == 2
    assert [name for name, bar in bars.items() if bar] == [name for name in bars if name.startswith("nearest choice")]


def test_a_note_has_question_answer_certainty_and_command(folder):
    fixed = {"model.batch_norm": "model.batch_norm=true", "optimizer": "optimizer=adam", "threads": "threads=1",
             "seed": "seed=1", "experiment": "experiment=x",
             "optimizer.lr": "optimizer.lr='${rate:0.1,${stage.rate_factor}}'"}  # fmt: skip
    more = {"choice": "padding", "question": "Does it hurt?", "fixed": fixed, "edges": {"padding": "highest"},
            "injected": {"optimizer": ["optimizer=adam from trial 3 of tiny/lr/x"]},
            "arguments": ["padding=off,on"]}  # fmt: skip
    told = note_of(facts_of(study_of("padding", CLEAR, ("padding",), **more)))
    assert told.startswith("**Does it hurt?**\n\n**Answer:** padding on\n\n")
    assert "**In detail:** A clear winner: padding on is better than padding off" in told
    assert "**How sure:** Choices of equal worth show such a lead in fewer than 5 of 100 stages" in told
    assert "At the edge: padding on is the highest of its grid" in told
    assert "**Held fixed:** batch_norm on; optimizer adam; at each seed" in told
    assert "- optimizer=adam from trial 3 of tiny/lr/x" in told
    assert told.endswith("**Run it again:** `python -m basecaller.train -m stage=padding padding=off,on`")
    one = study_of("one", {of: losses[:1] for of, losses in CLEAR.items()}, ("padding",), choice="padding")
    assert "**How sure:** Not known: a single seed does not show the noise." in note_of(facts_of(one))


def test_unchanged_notes_and_figures_are_not_written_again(folder, monkeypatch):
    study = study_of("padding", CLEAR, ("padding",), choice="padding", question="Does it hurt?")
    show_study(study)
    first = study_attributes(study)
    written = []
    real = dashboard.store_study
    monkeypatch.setattr(dashboard, "store_study", lambda *args, **fields: (written.append(fields), real(*args, **fields)))
    show_study(study)
    assert written == []
    assert study_attributes(study) == first
    store_study(study, note="a new note")
    show_study(study)
    assert len(written) == 1
    assert "**Note:** a new note" in get_note(study)
    assert figure_of(study, "stage") == json.loads(stage_figure(facts_of(study)).to_json())


@pytest.mark.parametrize("url", [URL, "journal:///outputs/journal.log"])
def test_a_shorter_figure_leaves_nothing_of_a_longer_one(folder, url, monkeypatch):
    monkeypatch.setattr("tests.reporting.test_dashboard.URL", url)
    study = study_of("padding", CLEAR, ("padding",), choice="padding", question="long " * 1000)
    show_study(study)
    store_study(study, question="short")
    show_study(study)
    parts = [part for key, part in study_attributes(study).system.items() if key.startswith("dashboard:plot_data:stage:")]
    assert len(parts) > 2
    assert json.loads("".join(parts)) == json.loads(stage_figure(facts_of(study)).to_json())
    assert "long" not in get_note(study)


@pytest.mark.slow
def test_a_sweep_shows_its_study_without_bookkeeping(folder):
    study = sweep("stage=padding", "search.replicates=2")
    assert study.metric_names == [str(OBJECTIVE)]
    assert set(study.user_attrs) == {"question"}
    assert "Does zero-padding" in get_note(study)
    assert figure_of(study, "stage")["data"]
    read = {"seed", "outcome", "folder", "taken_over", "identity_mean", "updates", "samples", "seconds", "parameters"}
    assert {key for trial in study.trials for key in trial.user_attrs} == read


@pytest.mark.slow
def test_a_finished_search_shows_what_each_question_was_worth_with_each_study(searched, monkeypatch):
    monkeypatch.chdir(searched)
    open_storage.cache_clear()
    studies = [current_study(URL, "tiny", name) for name in ("padding", "batch_norm", "headline")]
    assert all(StudyRecord.of(study).shown.keys() == {"note", "stage", "search"} for study in studies)
    shown = [figure_of(study, "search") for study in studies]
    assert shown[0] == shown[1] == shown[2]
    facts = json.loads((searched / "outputs/tiny/report.json").read_text())
    assert WORTH in shown[0]["layout"]["title"]["text"]
    assert facts["winner"]["gain"]["text"] in shown[0]["layout"]["title"]["text"].replace("<br>", " ")
    rows = shown[0]["layout"]["yaxis"]["categoryarray"]
    assert [row.split(":")[0] for row in rows] == ["padding", "batch_norm", "headline"]
    margins = {row: x for trace in shown[0]["data"][1:] for row, x in zip(trace["y"], trace["x"], strict=True)}
    for stage, row in zip(facts["stages"], rows, strict=True):
        assert margins[row] == pytest.approx(stage["verdict"]["margin"], abs=1e-4)
        (nearest,) = [choice for choice in stage["choices"] if choice["nearest"]]
        assert nearest["difference"] == stage["verdict"]["margin"]


@pytest.fixture
def server(searched: Path) -> Iterator[str]:
    """optuna-dashboard on loopback, over the search's storage."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [str(Path(sys.executable).parent / "optuna-dashboard"), URL, "--port", str(port), "--server", "wsgiref", "-q"]
    process = subprocess.Popen(command, cwd=searched, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    address = f"http://127.0.0.1:{port}"
    try:
        until = time.monotonic() + 120
        while True:
            try:
                urllib.request.urlopen(f"{address}/api/studies", timeout=10).close()
                break
            except OSError:
                assert process.poll() is None
                assert time.monotonic() < until
                time.sleep(0.2)
        yield address
    finally:
        process.terminate()
        process.wait()


@pytest.mark.slow
@pytest.mark.skipif(CHROMIUM is None, reason="no Chromium in PATH")
def test_a_browser_shows_figures_and_note(searched, server, tmp_path, monkeypatch):
    monkeypatch.chdir(searched)
    open_storage.cache_clear()
    study = current_study(URL, "tiny", "padding")
    page = f"{server}/dashboard/studies/{study._study_id}"
    seen = rendered(page, tmp_path, WORTH)
    assert "Does zero-padding signals of unequal length" in seen  # the title of the study's own figure
    assert str(OBJECTIVE) in seen
    assert "Objective 0" not in seen
    note = rendered(f"{page}/note", tmp_path, "Held fixed")
    for text in ("Does zero-padding signals of unequal length", "Answer:", "How sure:", "Run it again:"):
        assert text in note


def rendered(page: str, folder: Path, awaited: str) -> str:
    """A page as the browser has it after its scripts have run; a loaded machine may need several attempts."""
    for attempt in range(4):
        command = [str(CHROMIUM), "--headless", "--no-sandbox", "--disable-gpu", f"--user-data-dir={folder}/{attempt}",
                   f"--virtual-time-budget={5000 * 2**attempt}", "--dump-dom", page]  # fmt: skip
        try:
            done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=30 * 2**attempt)
        except subprocess.TimeoutExpired:
            continue
        if awaited in done.stdout:
            return done.stdout
    pytest.fail(f"{page} does not show {awaited!r}")
