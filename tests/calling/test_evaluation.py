"""The evaluation of a model: its files, its tables, and the calibration of its qualities."""

from __future__ import annotations

import csv
import json
from collections import Counter

import numpy as np
import pytest

from basecaller.calling.files import signals, some_reads
from basecaller.config.composition import compose_config
from basecaller.runs.job import resolve_job
from basecaller.runs.training import train
from tests.conftest import TINY, Command
from tests.helpers.reads import make_source


def test_an_evaluation_reports_that_nothing_was_called(silent, tmp_path, run: Command, monkeypatch):
    pytest.importorskip("mappy")
    make_source(tmp_path / "reads", count=3)
    (tmp_path / "genome.fasta").write_text(f">g\n{'ACGTTGCA' * 500}\n", encoding="utf-8")
    told = run("evaluate", "model=silent", "reads=reads", "reference=genome.fasta", "decoder=greedy")
    assert "calls only blanks" in told.stdout
    told = run("evaluate", "model=silent", "decoder=greedy", *(line for line in TINY if line.startswith("data.")))
    assert "calls only blanks" in told.stdout


def test_an_evaluation_of_reads_is_limited_to_a_random_choice(silent, tmp_path, run: Command, monkeypatch):
    pytest.importorskip("mappy")
    made = [read for seed in range(3) for read in make_source(tmp_path / f"reads/{seed}", count=4, seed=seed)[2]]
    (tmp_path / "genome.fasta").write_text(f">g\n{'ACGTTGCA' * 500}\n", encoding="utf-8")
    run("evaluate", "model=silent", "reads=reads", "reference=genome.fasta", "decoder=greedy", "limit=5")
    assert json.loads((tmp_path / "silent/evaluation/evaluation.json").read_text())["reads"] == 5
    files = sorted((tmp_path / "reads").rglob("*.pod5"))
    some = some_reads(files, 5)
    assert some == some_reads(reversed(files), 5)
    assert some != [read.read_id for read in made[:5]]
    taken = [read_id for file in files for read_id, _ in signals(file, Counter(), chosen=some)]
    assert sorted(taken) == sorted(some)
    assert sorted(some_reads(files, 100)) == sorted(read.read_id for read in made)


def test_a_model_is_evaluated_and_its_qualities_are_fitted(tmp_path, run: Command, monkeypatch):
    monkeypatch.chdir(tmp_path)
    small = [line for line in TINY if not line.startswith("search.")]
    train(resolve_job(compose_config([*small, "train.epochs=6", "optimizer.lr=0.01"]), tmp_path / "run"))
    told = run("evaluate", "model=run", "decoder=greedy")
    facts = json.loads((tmp_path / "run/evaluation/evaluation.json").read_text())
    assert len(facts["identities"]) == facts["chunks"]
    assert not facts.keys() & {"scores", "quality", "reads_from", "reference"}
    assert facts["identity_mean"] == pytest.approx(np.mean(facts["identities"]), abs=1e-3)
    assert f"{facts['identity_mean']:.2%}" in told.stdout
    assert (tmp_path / "run/evaluation/evaluation.png").stat().st_size > 5000
    with (tmp_path / "run/evaluation/tables/summary.csv").open(newline="", encoding="utf-8") as file:
        numbers = {row["metric"]: row["value"] for row in csv.DictReader(file)}
    assert sum(identity > 0 for identity in facts["identities"]) <= int(numbers["alignments"]) <= facts["chunks"]
    assert json.loads((tmp_path / "run/calibration.json").read_text()) == facts["calibration"]
    own_data = [line for line in small if line.startswith("data.")]
    other = run("evaluate", "model=run", "decoder=greedy", "split=all", "data.simulator_seed=9", *own_data)
    assert "all split of" in " ".join(other.stdout.split())
    assert json.loads((tmp_path / "run/calibration.json").read_text()) == facts["calibration"]  # fitted on its own data only
