"""The commands as a user types them: their output, files and errors, and how they continue."""

from __future__ import annotations

import dataclasses
import json
import os
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest
from rich.console import Console

from basecaller.calling.scoring import evaluate_chunks
from basecaller.data import Dataset, simulator
from basecaller.data.dataset import Chunk
from basecaller.data.sources import SOURCES
from basecaller.hpo.records import StudyRecord
from basecaller.hpo.storage import open_study
from basecaller.search_plan.request import Request
from basecaller.search_plan.search import Search
from basecaller.training import checkpoint
from basecaller.training.engine import engine_of
from basecaller.training.evaluate import evaluate
from basecaller.training.fit import choose
from tests.conftest import TINY, Command
from tests.helpers import reads as files

PLAN = ["plan=[padding,lr_adam,lr_adagrad]", "model.batch_norm=true", "search.workers=1", "stage.extend=0"]


def test_a_single_training_writes_its_folder_and_is_not_repeated(tmp_path, run: Command):
    first = run("train", *TINY)
    assert "val_loss" in first.stderr
    (folder,) = (tmp_path / "outputs/tiny/runs").iterdir()
    assert {"best.pt", "last.pt", "metrics.csv", "config.yaml", "result.json"} <= {p.name for p in folder.iterdir()}
    before = (folder / "best.pt").stat().st_mtime_ns
    assert "trained before" in run("train", *TINY).stderr
    assert (folder / "best.pt").stat().st_mtime_ns == before
    assert "trained before" not in run("train", *TINY, "train.resume=false").stderr
    assert (folder / "best.pt").stat().st_mtime_ns > before


def test_a_killed_training_continues_from_its_checkpoint(tmp_path, run: Command):
    command = [*TINY, "train.epochs=30", "train.validations=1", "model.channels=16"]
    process = subprocess.Popen(
        [sys.executable, "-m", "basecaller.train", *command], cwd=tmp_path, stderr=subprocess.DEVNULL, start_new_session=True
    )
    for _ in range(600):
        if list(tmp_path.glob("outputs/tiny/runs/*/last.pt")):
            break
        time.sleep(0.05)
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    (folder,) = (tmp_path / "outputs/tiny/runs").iterdir()
    assert not (folder / "result.json").exists()
    run("train", *command)
    killed = json.loads((folder / "result.json").read_text())["curve"]
    run("train", *command, "train.resume=false")
    whole = json.loads((folder / "result.json").read_text())["curve"]
    assert [p["val_loss"] for p in killed] == [p["val_loss"] for p in whole]


def test_a_search_runs_its_plan_reports_and_runs_nothing_again(tmp_path, run: Command):
    command = [*TINY, *PLAN, "stage.rate_factor=1.0"]
    first = run("search", *command, "search.winner.train.chunks=40")
    assert f"python -m basecaller.train -m stage=lr_adagrad {' '.join(TINY[:3])}" in first.stdout
    assert "chunks that no stage has seen" in first.stdout
    report = json.loads((tmp_path / "outputs/tiny/report.json").read_text())
    assert [stage["name"] for stage in report["stages"]] == ["padding", "lr_adam", "lr_adagrad", "headline"]
    *stages, headline = report["stages"]
    for stage in stages:
        assert stage["study"].startswith(f"tiny/{stage['name']}/")
        assert stage["value"] == min(trial["value"] for trial in stage["trials"])
    assert {point["settings"]["stage.candidate"] for point in headline["points"]} == {"winner", "defaults"}
    winner = report["winner"]
    best = min(stages[1:], key=lambda stage: stage["value"])
    assert winner["settings"]["optimizer"] == best["name"].removeprefix("lr_")
    assert winner["settings"]["optimizer.lr"] == best["winner"]["optimizer.lr"]
    (prepared,) = (tmp_path / "outputs/data").glob("simulated-*")
    dataset, network = Dataset(prepared), checkpoint.load_network(tmp_path / "outputs/tiny/winner/best.pt")
    chunks = choose(dataset, "test", None, network.settings.stride, 1.0)
    assert winner["test"]["loss"] == pytest.approx(evaluate(engine_of(network), dataset, chunks, basecall=False).loss, rel=1e-4)
    scored, _ = evaluate_chunks(network, dataset, chunks, "beam")
    for key in ("identity_mean", "identity_median"):
        assert winner["test"][key] == pytest.approx(getattr(scored, key), rel=1e-4)
    again = run("search", *command, "search.winner.train.chunks=40")
    after = json.loads((tmp_path / "outputs/tiny/report.json").read_text())
    assert after["winner"] == winner
    assert after["stages"] == report["stages"]
    assert "trained before" in again.stdout


def test_a_search_killed_anywhere_ends_with_every_point_once(tmp_path, run: Command):
    command = [*TINY, *PLAN, "train.epochs=4", "model.channels=16"]
    for _ in range(2):
        process = subprocess.Popen(
            [sys.executable, "-m", "basecaller.search", *command],
            cwd=tmp_path,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        done = len(list(tmp_path.glob("outputs/tiny/runs/*/result.json")))
        while len(list(tmp_path.glob("outputs/tiny/runs/*/result.json"))) == done:
            assert process.poll() is None
            time.sleep(0.02)
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
    run("search", *command)
    report = json.loads((tmp_path / "outputs/tiny/report.json").read_text())
    for stage in report["stages"]:
        complete = [trial["point"] for trial in stage["trials"] if trial["state"] == "complete"]
        assert len(complete) == len(set(complete)) == {"padding": 2, "headline": 2}.get(stage["name"], 4)
        assert not {"running", "waiting"} & {trial["state"] for trial in stage["trials"]}


def test_commands_are_printed_as_they_are_typed(tmp_path, run: Command):
    path, bam, _ = files.make_source(tmp_path / "run", count=40)
    source = ["data=pod5", f"data.pod5=[{path}]", f"data.bam=[{bam}]", "data.validation=0.2", "data.test=0.2"]
    small = ["model.channels=4", "model.skip_channels=4", "train.validations=1", "search.winner.train.epochs=1"]
    small += ["search.rounds=1", "search.finalists=0", "search.headline_seeds=1"]
    shown = run("search", *source, *small, "plan=[padding]", "padding=on,off", "search.workers=1").stdout
    assert shown.count(f"'data.pod5=[{path}]'") >= 3  # of every stage, and of the winner


def test_a_preview_lists_every_trial_and_runs_nothing(tmp_path, run: Command):
    shown = run("search", "search.preview=true").stdout
    assert "173 trials" in shown  # 66 points, the better ones again
    assert "up to 7 finalists" in shown
    assert "66 trials" in run("search", "search.preview=true", "search.replicates=1").stdout
    assert "<best of padding>" in shown
    assert "optimizer=<best of lr_adam|lr_adamax|lr_adagrad>" in shown
    assert not (tmp_path / "outputs").exists()


def test_prepare_prints_the_audit_and_training_reuses_the_data_set(tmp_path, run: Command):
    path, bam, _ = files.make_source(tmp_path / "run", count=40)
    source = ["data=pod5", f"data.pod5={path}", f"data.bam={bam}", "data.validation=0.2", "data.test=0.2"]
    shown = run("prepare", *source, "data.chunk_samples=1000").stdout
    for words in ("reads kept", "validation", "samples/base", "base composition", "too dense"):
        assert words in shown
    (prepared,) = (tmp_path / "outputs/data").glob("pod5-*")
    written = (prepared / "meta.json").stat().st_mtime_ns
    small = ["model.channels=4", "model.skip_channels=4", "train.validations=1"]
    run("train", *source, "data.chunk_samples=1000", *small)
    assert (prepared / "meta.json").stat().st_mtime_ns == written
    run("train", *source, "data.chunk_samples=800", *small)
    assert len(list((tmp_path / "outputs/data").glob("pod5-*"))) == 2


BAD = {
    "unknown group": (["modle=small"], "modle"),
    "unknown key": (["train.epoch=1"], "train.epoch"),
    "unknown stage": (["stage=nonesuch"], "nonesuch"),
    "zero batch": (["data.batch_size=0"], "data.batch_size=0"),
    "negative rate": (["optimizer.lr=-1"], "optimizer.lr=-1"),
    "no such file": (["data=pod5", "data.pod5=no.pod5", "data.bam=no.bam"], "no.pod5"),
    "no file named": (["data=pod5"], "data.pod5"),
    "too few reads": (["data.reads=2", "data.genome_bases=5000"], "data.reads=2: must be at least 3"),
    "too dense": (["model.stride=20", "data.reads=60", "data.genome_bases=5000"], "model.stride"),
    "stage without -m": (["stage=lr_adam"], "add -m"),
    "a trial of its own": (["trial.study=abc"], "trial.study=abc: the sweeper sets the trial of a job; leave it out"),
    "no such device": (["device=abacus", "data.reads=60", "data.genome_bases=5000"], "device=abacus"),
}


@pytest.mark.parametrize("kind", BAD)
def test_bad_input_gives_one_clear_message(tmp_path, run: Command, kind):
    overrides, words = BAD[kind]
    done = run("train", *overrides, code=2)
    assert words in done.stderr
    assert "Traceback" not in done.stderr
    assert len([line for line in done.stderr.splitlines() if line.startswith("error:")]) == 1
    assert not (tmp_path / "outputs/optuna.db").exists()
    assert not list(Path(tmp_path).glob("outputs/data/*.partial-*"))


SURFACES = {
    "search, unknown key": ("search", ["serach.workers=1"], "serach"),
    "search, replicates": ("search", ["search.replicates=0"], "search.replicates=0"),
    "search, pruner": ("search", ["search.pruner=Nonesuch"], "search.pruner=Nonesuch"),
    "search, budget": ("search", ["train.budget=time"], "train.budget=time"),
    "search, storage": ("search", ["storage=nonesuch:///x"], "storage=nonesuch:///x"),
    "search, grammar": ("search", ["optimizer.lr=0.1,,"], "optimizer.lr"),
    "report, unknown key": ("report", ["experimant=x"], "experimant"),
    "report, nothing run": ("report", ["experiment=x"], "experiment=x"),
    "report, no such stage": ("report", ["plan=[padding,nonesuch]"], "there is no stage nonesuch; stages are batch_norm, "),
    "report, no assignment": ("report", ["x"], "x"),
    "prepare, no such file": ("prepare", ["data=pod5", "data.pod5=no.pod5", "data.bam=no.bam"], "no.pod5"),
    "prepare, no such source": ("prepare", ["data=fast5"], "fast5"),
    "prepare, split": ("prepare", ["data.validation=0.9", "data.test=0.2"], "data.validation + data.test"),
}


@pytest.mark.slow
@pytest.mark.parametrize("kind", SURFACES)
def test_every_command_refuses_bad_input_with_one_message(tmp_path, call: Command, kind):
    module, overrides, words = SURFACES[kind]
    done = call(module, *overrides, code=2)
    assert words in done.stderr
    assert "Traceback" not in done.stderr
    assert not (tmp_path / "outputs/optuna.db").exists()
    assert not list(tmp_path.glob("outputs/*/report.*"))


def test_bad_search_input_gives_one_clear_message(run: Command):
    assert "nonesuch" in run("search", "plan=[nonesuch]", code=2).stderr
    assert "search.workers=0" in run("search", "search.workers=0", code=2).stderr
    missing = run("train", "-m", "stage=stacks", code=2).stderr
    assert "python -m basecaller.train -m stage=padding" in missing
    assert "Traceback" not in missing


def test_a_file_that_is_not_a_database_is_left_unchanged(tmp_path, run: Command):
    (tmp_path / "notes.db").write_text("not a database, but somebody's notes" * 20)
    before = (tmp_path / "notes.db").read_bytes()
    done = run("train", "-m", *TINY, "storage=sqlite:///notes.db", "optimizer.lr=0.1,0.2", code=2)
    assert "storage=sqlite:///notes.db" in done.stderr
    assert (tmp_path / "notes.db").read_bytes() == before


@pytest.mark.slow
def test_the_padding_stage_is_skipped_if_all_chunks_have_one_length(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    real = simulator.simulate

    def equal(chosen: simulator.Settings, counts: Counter[str]) -> Iterator[Chunk]:
        for chunk in real(chosen, counts):
            fits = chunk.starts < 200
            yield dataclasses.replace(chunk, signal=chunk.signal[:200], labels=chunk.labels[fits], starts=chunk.starts[fits])

    monkeypatch.setitem(SOURCES, "simulated", dataclasses.replace(SOURCES["simulated"], chunks=equal))
    overrides = [*TINY, "data.min_bases=60", "data.max_bases=60", "plan=[padding]", "search.workers=1", "train.infeasible=0.5"]
    search = Search(Request(overrides), Console(markup=False))
    search.run_stage("padding")
    study = open_study(search.request.url, search.questions.latest["padding"].study)
    assert StudyRecord.of(study).skipped == "every chunk has 200 samples, so there is nothing to pad; padding=off is kept"
    assert len(study.trials) == 1


@pytest.mark.parametrize(
    ("command", "arguments", "words"),
    [
        ("basecall", ["reads=x"], "model: must be given"),
        ("basecall", ["model=nowhere", "reads=nowhere"], "reads: nowhere does not exist"),
        ("basecall", ["model=nowhere", "reads=.", "format=gif"], "format=gif: must be one of fastq, sam, bam"),
        ("basecall", ["model=nowhere", "reads=x", "colour=red"], "colour"),
        ("basecall", ["model"], "model: must be key=value"),
        ("basecall", ["nowhere"], "nowhere: must be key=value; --help lists the keys"),
        ("evaluate", ["model=nowhere"], "model=nowhere: has no best.pt"),
        ("evaluate", ["model=nowhere", "reads=a"], "reads and reference: give both"),
        ("evaluate", ["model=x", "reads=a", "reference=b", "data.limit=3"], "data.limit=3: chooses a data set, but reads=a"),
        ("evaluate", ["model=nowhere", "split=none"], "split=none: must be one of"),
        ("export", ["model=nowhere"], "model=nowhere: has no best.pt"),
        ("export", ["model=nowhere", "format=caffe"], "format=caffe: must be one of torchscript, onnx"),
    ],
)
def test_wrong_arguments_give_one_message(call: Command, command, arguments, words):
    told = call(command, *arguments, code=2)
    assert words in told.stderr
    assert "Traceback" not in told.stderr
