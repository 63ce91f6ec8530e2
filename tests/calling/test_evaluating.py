"""What an evaluation counts."""

from __future__ import annotations

import csv
import json
from collections import Counter

import numpy as np
import pytest

from basecaller.calling import evaluating
from basecaller.calling.caller import Call
from basecaller.calling.evaluating import evaluate_chunks, evaluate_reads, homopolymers, seed_length, spread
from basecaller.calling.files import signals, some_reads
from basecaller.calling.tables import event_rates
from basecaller.config import compose_config
from basecaller.errors import DataError, SettingError
from basecaller.evaluate import own_and_data
from basecaller.runs.job import resolve_job
from basecaller.runs.training import train
from tests.conftest import TINY, Command
from tests.helpers.models import network
from tests.helpers.reads import make_source


@pytest.mark.parametrize(
    ("cigar", "called", "true"),
    [
        ([[5, 0]], "ACGTA", "ACGTA"),
        ([[2, 7], [1, 8], [2, 7]], "ACTTA", "ACGTA"),
        ([[2, 0], [1, 1], [3, 0]], "ACCGTA", "AC-GTA"),
        ([[2, 0], [2, 2], [1, 0]], "AC--A", "ACGTA"),
    ],
)
def test_an_alignment_is_spread_into_its_columns(cigar, called, true):
    assert spread(called.replace("-", ""), true.replace("-", ""), cigar) == (called, true)


def test_every_chunk_has_its_own_identity(dataset, monkeypatch):
    """Chunks are scored in order of length, which is not their order in the data set."""

    def call(read_id, probabilities, *_):
        bases = len(probabilities) // 2
        return Call(read_id, ("ACGT" * bases)[:bases], np.arange(bases), np.full(bases, 0.9), 0)

    monkeypatch.setattr(evaluating, "decode", call)
    made, indices = network(), dataset.indices("test")
    _, together = evaluate_chunks(made, dataset, indices, "greedy")
    alone = [evaluate_chunks(made, dataset, np.array([index]), "greedy")[1].identities for index in indices]
    read_ids = [read_id.decode() for read_id in dataset.read_ids[indices]]
    assert sorted(zip(together.read_ids, together.identities, strict=True)) == sorted(
        (read_id, identity) for read_id, (identity,) in zip(read_ids, alone, strict=True)
    )
    assert together.read_ids != read_ids
    assert len(set(together.identities)) > 2


def test_a_folder_of_configs_alone_chooses_no_data():
    places = "hydra.searchpath=[file:///mine]"
    assert own_and_data(["model=x", places, "decoder=greedy"]) == (["model=x", "decoder=greedy"], [])
    assert own_and_data(["model=x", places, "data=lab"]) == (["model=x"], [places, "data=lab"])


@pytest.mark.parametrize(
    ("override", "words"),
    [("seed=2", "seed: evaluate has no such key; known keys are"), ("limt=3", "limt: .* did you mean limit")],
)
def test_keys_that_would_choose_the_default_data_set_are_refused(override, words):
    with pytest.raises(SettingError, match=words):
        own_and_data(["model=x", override])


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


def test_reads_are_evaluated_against_a_reference(model, tmp_path, run: Command, monkeypatch):
    mappy = pytest.importorskip("mappy")
    rng = np.random.default_rng(0)
    genome = "".join("ACGT"[i] for i in rng.integers(0, 4, 20_000))
    (tmp_path / "genome.fasta").write_text(f">g\n{genome}\n")

    def call(name: str, sequence: str) -> Call:
        return Call(name, sequence, np.arange(len(sequence)), np.where(np.arange(len(sequence)) % 20, 0.99, 0.9), 0)

    exact = [call(str(i), genome[i * 3000 : i * 3000 + 2000]) for i in range(4)]
    exact.append(call("backwards", mappy.revcomp(genome[12_000:14_000])))
    worse = list(genome[15_000:17_000])
    worse[::20] = ["A" if base != "A" else "C" for base in worse[::20]]
    foreign = call("x", "".join("ACGT"[i] for i in rng.integers(0, 4, 2000)))
    # reversed: the wrong bases have the low probabilities only if the probabilities are reversed too
    wrong = Call("w", mappy.revcomp("".join(worse)), np.arange(2000), call("", "A" * 2000).probabilities[::-1], 0)
    scores, tally = evaluate_reads([*exact, wrong, foreign], tmp_path / "genome.fasta")
    assert (scores.reads, scores.aligned) == (7, 6)
    assert tally.read_ids == ["0", "1", "2", "3", "backwards", "w"]
    assert tally.identities[:5] == [1.0] * 5
    assert tally.identities[5] == pytest.approx(0.95, abs=0.01)
    assert scores.identity_median == 1.0
    assert scores.length_ratio == pytest.approx(1, abs=0.002)
    assert scores.mismatch_rate == pytest.approx(100 / 12_000, abs=0.002)
    assert tally.quality[20][1] == 0
    assert 90 <= tally.quality[10][1] <= 100
    assert [each.length for each in scores.homopolymers][:3] == [1, 2, 3]
    assert scores.homopolymers[0].correct > 0.95
    poor = np.array(list(genome[2000:4000]))
    at = rng.random(2000) < 0.3
    poor[at] = rng.choice(list("ACGT"), at.sum())
    scores, _ = evaluate_reads([call("poor", "".join(poor))], tmp_path / "genome.fasta")
    assert scores.read_coverage_mean > 0.9  # a small genome allows short seeds, so whole reads align
    assert seed_length(3_000_000_000) == 15
    with pytest.raises(DataError, match="cannot be read as FASTA"):
        evaluate_reads(exact, tmp_path / "nothing.fasta")


def test_every_chunk_is_scored_under_the_name_of_its_read(dataset):
    """Chunks are scored in order of length, which is not their order in the data set."""
    made, indices = network(), dataset.indices("test")
    scores, tally = evaluate_chunks(made, dataset, indices, "greedy")
    _, *errors = event_rates(tally.counts.reads)
    assert [each.rate for each in errors] == [scores.mismatch_rate, scores.insertion_rate, scores.deletion_rate]
    alone = {}
    for index in indices:
        alone[dataset.read_ids[index].decode()] = evaluate_chunks(made, dataset, np.array([index]), "greedy")[1].alignments[0]
    assert dict(zip(tally.read_ids, tally.alignments, strict=True)) == alone
    assert tally.read_ids != list(alone)
    assert len(set(alone.values())) > 3


@pytest.mark.parametrize(
    ("called", "true", "expected"),
    [
        ("CAAAG", "CAAAG", [(3, True)]),
        ("CAA-G", "CAAAG", [(3, False)]),
        ("CAAAAG", "CAAA-G", [(3, False)]),
        ("CAAATG", "CAAA-G", [(3, True)]),  # the inserted letter is another one
        ("CTAAG", "CAAAG", [(3, False)]),
        ("AACGG", "AACGG", [(1, True)]),  # runs at the ends may continue
    ],
)
def test_homopolymers_are_correct_if_their_length_is_called(called, true, expected):
    assert homopolymers(called, true) == expected
