"""From a model to bases: stitching, FASTQ and BAM, evaluation, calibration, fine-tuning, other alphabets, export."""

from __future__ import annotations

import csv
import dataclasses
import gzip
import json
import os
import re
import subprocess
import sys
import time
import warnings
from collections import Counter
from itertools import pairwise
from pathlib import Path

import numpy as np
import pysam
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from omegaconf import OmegaConf
from rich.console import Console

from basecaller.basecall import basecall
from basecaller.calling.caller import Call, Caller, cut, decode, margin
from basecaller.calling.evaluating import evaluate_chunks, evaluate_reads, homopolymers, seed_length
from basecaller.calling.files import signals, some_reads, write_alignments, write_fastq
from basecaller.calling.model import load_model
from basecaller.calling.plain import Plain
from basecaller.calling.quality import Calibration, calibrate, mean_quality, raw_quality
from basecaller.calling.tables import event_rates
from basecaller.commandline import options
from basecaller.config import compose_config
from basecaller.data.signal import normalise
from basecaller.decode import greedy
from basecaller.errors import DataError, SettingError
from basecaller.export import metadata
from basecaller.files import shared_lock
from basecaller.geometry import output_length
from basecaller.network import RawCTCNet
from basecaller.runs.job import resolve_job
from basecaller.runs.training import train
from basecaller.schema import BasecallOptions
from basecaller.training import checkpoint
from tests.conftest import TINY, Command
from tests.helpers.models import SIZE, network
from tests.helpers.reads import bonito_directory, make_source

RNG = np.random.default_rng(0)


@pytest.fixture
def model(tmp_path) -> Path:
    folder = tmp_path / "model"
    checkpoint.save(folder / "best.pt", checkpoint.network_content(network()))
    return folder


@given(st.integers(1, 5000), st.integers(1, 40), st.integers(0, 10))
def test_chunks_cover_every_sample_once(samples, spare, edge):
    chunk = 2 * edge + spare
    pieces = cut(samples, chunk, edge)
    kept = [(keep, until) for _, _, keep, until in pieces]
    assert kept[0][0] == 0
    assert kept[-1][1] == samples
    assert all(before[1] == after[0] for before, after in pairwise(kept))
    assert all(first <= keep <= until <= stop and stop - first <= chunk for first, stop, keep, until in pieces)


@pytest.mark.parametrize("stride", [1, 4])
def test_a_stitched_read_has_the_scores_of_the_whole_read(stride):
    made = network(stride=stride)
    reads = [(str(n), normalise(RNG.normal(size=n)).astype(np.float32)) for n in (37, 1501, 900, 3000, 5)]
    caller = Caller(made, 3 * margin(made) + 2 * stride, 4, "greedy")
    for (read_id, signal), (found_id, found) in zip(reads, caller.probabilities(reads), strict=True):
        with torch.inference_mode():
            whole = made(torch.from_numpy(signal)[None]).softmax(2)[0].numpy()
        assert found_id == read_id
        assert found.shape == (output_length(len(signal), stride), 5)
        np.testing.assert_allclose(found, whole, atol=2e-5)


def test_reads_with_the_same_id_are_all_called():
    signals = [("twice", normalise(np.random.default_rng(7).normal(size=n)).astype(np.float32)) for n in (900, 1500)]
    calls = list(Caller(network(), None, 8, "greedy").calls(signals))
    assert [(call.read_id, call.samples) for call in calls] == [("twice", 900), ("twice", 1500)]


def test_chunks_that_are_too_short_are_refused():
    with pytest.raises(SettingError, match="chunk_samples=10: must be at least"):
        Caller(network(), 10, 4, "greedy")


def fastq(path: Path) -> dict[str, tuple[str, str]]:
    lines = path.read_text().splitlines()
    assert all(line[0] == "@" for line in lines[::4])
    return {
        name[1:].split()[0]: (bases, quality) for name, bases, quality in zip(lines[::4], lines[1::4], lines[3::4], strict=True)
    }


def test_pod5_reads_become_fastq_and_bam_and_are_not_called_again(model, tmp_path, run: Command):
    path, _, reads = make_source(tmp_path / "reads/sub", count=6)
    told = run("basecall", f"model={model}", "reads=reads", "decoder=greedy", "output=calls")
    assert "6 reads" in told.stderr
    assert "samples per second" in told.stderr
    assert "not calibrated" in told.stderr
    called = fastq(tmp_path / "calls/sub/reads.fastq")
    made = network()
    for read in reads:
        bases, quality = called[read.read_id]
        with torch.inference_mode():
            scores = made(torch.from_numpy(normalise(read.adc))[None])[0]
        assert bases == greedy(scores.argmax(1).numpy())
        assert len(bases) == len(quality) > 0
        assert {ord(letter) - 33 for letter in quality} <= set(range(1, 51))
    before = (tmp_path / "calls/sub/reads.fastq").stat().st_mtime_ns
    again = run("basecall", f"model={model}/best.pt", "reads=reads", "decoder=greedy", "output=calls")
    assert "1 there before" in " ".join(again.stderr.split())
    assert (tmp_path / "calls/sub/reads.fastq").stat().st_mtime_ns == before
    refused = run("basecall", f"model={model}", "reads=reads", "decoder=beam", "output=calls", code=2)
    assert "output=calls: has basecalls of" in refused.stderr
    assert "which differs in decoder" in " ".join(refused.stderr.split())
    run("basecall", f"model={model}", f"reads={path}", "decoder=greedy", "output=bam", "format=bam")
    records = list(pysam.AlignmentFile(str(tmp_path / "bam/reads.bam"), "rb", check_sq=False))
    assert len(records) == 6
    for record in records:
        moves = np.array(record.get_tag("mv"))
        assert record.query_sequence == called[record.query_name][0]
        assert moves[0] == 4
        assert moves[1:].sum() == record.query_length
        assert record.get_tag("ns") == len(next(r.adc for r in reads if r.read_id == record.query_name))


def test_files_of_one_name_are_not_taken_for_each_other(model, tmp_path):
    console, log = Console(quiet=True), tmp_path / "calls/basecaller.json"
    for seed, folder in enumerate(("a", "b")):
        make_source(tmp_path / folder, count=2, bases=50, seed=seed)
    given = [f"model={model}", f"output={tmp_path / 'calls'}", "decoder=greedy", "device=cpu", "threads=1"]
    of = {
        folder: options("basecall", [*given, f"reads={tmp_path / folder / 'reads.pod5'}"], BasecallOptions) for folder in "ab"
    }
    assert basecall(of["a"], console)["files"] == 1
    assert basecall(of["a"], console)["files there already"] == 1
    with pytest.raises(SettingError, match=r"reads\.fastq has the calls of another POD5 file, not of .*b/reads\.pod5; give"):
        basecall(of["b"], console)
    log.write_text(json.dumps(json.loads(log.read_text()) | {"files": {}}))  # as an earlier version wrote it
    assert basecall(of["b"], console)["files there already"] == 1
    (tmp_path / "calls/reads.fastq").unlink()
    assert basecall(of["b"], console)["files"] == 1
    with pytest.raises(SettingError, match=r"not of .*a/reads\.pod5"):
        basecall(of["a"], console)


@pytest.mark.slow
def test_two_processes_with_one_output_call_each_read_once(model, tmp_path):
    make_source(tmp_path / "reads", count=6)
    line = [sys.executable, "-m", "basecaller.basecall", f"model={model}", "reads=reads", "decoder=greedy"]
    (tmp_path / "calls").mkdir()
    told = [tmp_path / "first.log", tmp_path / "second.log"]
    with shared_lock(tmp_path / "calls/.lock"):  # like a third process at work
        both = []
        for file in told:
            with file.open("w", encoding="utf-8") as stderr:
                both.append(subprocess.Popen(line, cwd=tmp_path, stderr=stderr, env=os.environ | {"COLUMNS": "160"}))
        while not all("waiting for another process that writes basecalls to calls" in file.read_text() for file in told):
            assert [process.poll() for process in both] == [None, None]
            time.sleep(0.05)
    assert [process.wait() for process in both] == [0, 0]
    counted = [re.search(r"(\d+) reads, .* (\d+) files in calls, (\d+) there before", file.read_text()) for file in told]
    assert sorted(found.groups() for found in counted) == [("0", "0", "1"), ("6", "1", "0")]


@pytest.fixture
def silent(tmp_path) -> Path:
    """A model that has learned nothing: it calls blanks only."""
    made = network()
    with torch.no_grad():
        made.scores.bias[0] += 1000
    checkpoint.save(tmp_path / "silent/best.pt", checkpoint.network_content(made))
    return tmp_path / "silent"


@pytest.mark.parametrize("form", ["fastq", "sam", "bam"])
def test_reads_without_a_base_are_counted_and_not_written(silent, tmp_path, run: Command, form):
    _, _, reads = make_source(tmp_path / "reads", count=3)
    told = run("basecall", "model=silent", "reads=reads", "decoder=greedy", f"format={form}")
    assert "3 reads without a base: not written" in told.stderr
    assert "calls nothing but blanks" in told.stderr
    file = tmp_path / f"calls/reads.{form}"
    content = gzip.decompress(file.read_bytes()) if form == "bam" else file.read_bytes()
    assert form == "fastq" or b"@PG\tID:basecaller" in content  # a header alone is a complete file
    assert not any(read.read_id.encode() in content for read in reads)


@pytest.mark.parametrize("form", ["fastq", "bam"])
def test_a_call_without_a_base_does_not_affect_others(tmp_path, form):
    """Writers skip it, but yield it so that it is counted."""
    calls = [Call(name, "ACG"[:n], np.arange(n), np.full(n, 0.9), 40) for name, n in (("a", 3), ("b", 0), ("c", 1))]
    path = tmp_path / "calls"
    if form == "fastq":
        written = list(write_fastq(path, calls, Calibration()))
        names = list(fastq(path))
    else:
        written = list(write_alignments(path, calls, Calibration(), 4, True, "x"))
        names = [record.query_name for record in pysam.AlignmentFile(str(path), check_sq=False)]
    assert (written, names) == (calls, ["a", "c"])


def test_an_evaluation_reports_that_nothing_was_called(silent, tmp_path, run: Command, monkeypatch):
    pytest.importorskip("mappy")
    make_source(tmp_path / "reads", count=3)
    (tmp_path / "genome.fasta").write_text(f">g\n{'ACGTTGCA' * 500}\n", encoding="utf-8")
    told = run("evaluate", "model=silent", "reads=reads", "reference=genome.fasta", "decoder=greedy")
    assert "calls nothing but blanks" in told.stdout
    told = run("evaluate", "model=silent", "decoder=greedy", *(line for line in TINY if line.startswith("data.")))
    assert "calls nothing but blanks" in told.stdout


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


def test_a_model_of_rna_reads_signals_from_the_other_end(model, tmp_path, run: Command):
    _, _, reads = make_source(tmp_path / "reads", count=2)
    (model / "config.yaml").write_text("data:\n  rna: true\n")
    for form in ("fastq", "bam"):
        run("basecall", f"model={model}", "reads=reads", "decoder=greedy", f"format={form}")
    called, made = fastq(tmp_path / "calls/reads.fastq"), network()
    for read in reads:
        with torch.inference_mode():
            scores = made(torch.from_numpy(normalise(read.adc)[::-1].copy())[None])[0]
        assert called[read.read_id][0] == greedy(scores.argmax(1).numpy())
    (record, *_) = pysam.AlignmentFile(str(tmp_path / "calls/reads.bam"), "rb", check_sq=False)
    read = next(r for r in reads if r.read_id == record.query_name)
    with torch.inference_mode():
        probabilities = made(torch.from_numpy(normalise(read.adc)[::-1].copy())[None]).softmax(2)[0].numpy()
    begins = decode(read.read_id, probabilities, "greedy", "ACGT", len(read.adc)).frames
    ends = np.append(begins[1:], len(probabilities))
    moves = np.array(record.get_tag("mv"))[1:]  # in measured order, in which a base begins where it ends in the call
    np.testing.assert_array_equal(np.flatnonzero(moves), (len(probabilities) - ends)[::-1])


def test_a_damaged_pod5_leaves_no_partial_file(model, tmp_path, run: Command):
    path, _, _ = make_source(tmp_path / "reads", count=3)
    path.write_bytes(path.read_bytes()[:2000])
    told = run("basecall", f"model={model}", "reads=reads", code=2)
    assert f"cannot read {Path('reads/reads.pod5')}" in told.stderr
    assert "Traceback" not in told.stderr
    assert {file.name for file in (tmp_path / "calls").rglob("*")} == {".lock", "basecaller.json"}


@pytest.mark.parametrize(
    ("command", "arguments", "words"),
    [
        ("basecall", ["reads=x"], "model: must be given"),
        ("basecall", ["model=nowhere", "reads=nowhere"], "reads: nowhere does not exist"),
        ("basecall", ["model=nowhere", "reads=.", "format=gif"], "format=gif: must be one of fastq, sam, bam"),
        ("basecall", ["model=nowhere", "reads=x", "colour=red"], "colour"),
        ("basecall", ["model"], "model: must be key=value"),
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


def test_the_folder_of_an_experiment_is_answered_with_its_winner(tmp_path):
    (tmp_path / "tiny/winner").mkdir(parents=True)
    (tmp_path / "tiny/winner/best.pt").touch()
    with pytest.raises(DataError, match=r"tiny: has no best\.pt; give the folder of a training, such as .*tiny/winner"):
        load_model(str(tmp_path / "tiny"), "cpu")


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
    genome = "".join("ACGT"[i] for i in RNG.integers(0, 4, 20_000))
    (tmp_path / "genome.fasta").write_text(f">g\n{genome}\n")

    def call(name: str, sequence: str) -> Call:
        return Call(name, sequence, np.arange(len(sequence)), np.where(np.arange(len(sequence)) % 20, 0.99, 0.9), 0)

    exact = [call(str(i), genome[i * 3000 : i * 3000 + 2000]) for i in range(4)]
    exact.append(call("backwards", mappy.revcomp(genome[12_000:14_000])))
    worse = list(genome[15_000:17_000])
    worse[::20] = ["A" if base != "A" else "C" for base in worse[::20]]
    foreign = call("x", "".join("ACGT"[i] for i in RNG.integers(0, 4, 2000)))
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
    at = RNG.random(2000) < 0.3
    poor[at] = RNG.choice(list("ACGT"), at.sum())
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


def test_qualities_are_fitted_to_observed_errors():
    fitted = calibrate({raw: [10_000, round(10_000 * 10 ** (-(0.5 * raw + 3) / 10))] for raw in range(2, 30, 2)})
    assert fitted.slope == pytest.approx(0.5, abs=0.02)
    assert fitted.offset == pytest.approx(3, abs=0.3)
    quality = fitted.calibration(np.array([0.9, 0.99]))
    assert quality == pytest.approx([8, 13], abs=0.4)
    assert raw_quality(np.array([0.9, 1.0])).round(3).tolist() == [10, 50]
    assert mean_quality(np.array([10.0, 20.0])) == pytest.approx(12.6, abs=0.01)
    assert calibrate({}).slope == 1


@pytest.mark.parametrize(("batch_norm", "projection"), [(False, False), (True, True)])
def test_the_plain_network_computes_the_same(batch_norm, projection):
    made = network(batch_norm=batch_norm, projection=projection)
    signal = torch.randn(3, 403)
    with torch.inference_mode():
        torch.testing.assert_close(Plain(made).eval()(signal), made(signal).log_softmax(2), atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("kind", ["torchscript", "onnx"])
def test_an_exported_model_gives_the_same_calls(model, tmp_path, run: Command, kind):
    if kind == "onnx":
        pytest.importorskip("onnxruntime")
    make_source(tmp_path / "reads", count=4)
    told = run("export", f"model={model}", f"format={kind}", "reads=reads", f"output=out.{kind}")
    assert "the same calls for 4 of 4 reads" in told.stdout
    meta = json.loads((tmp_path / "out.json").read_text())
    assert (meta["alphabet"], meta["stride"]) == ("ACGT", 4)
    if kind == "torchscript":
        extra = {"basecaller.json": ""}
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)  # of TorchScript
            torch.jit.load(str(tmp_path / "out.torchscript"), _extra_files=extra)
        assert json.loads(extra["basecaller.json"]) == meta


def test_an_exported_model_of_rna_tells_that_signals_are_reversed():
    assert metadata(network(), "median_mad", rna=True)["direction"].startswith("last sample first")
    assert metadata(network(), "median_mad")["direction"] == "as measured"


def test_training_starts_from_a_checkpoint_and_maps_its_letters(tmp_path):
    old = network("ACGT")
    checkpoint.save(tmp_path / "best.pt", checkpoint.network_content(old))
    new = RawCTCNet(SIZE, "GATmC", seed=5)
    fresh = new.scores.weight[4].clone()
    checkpoint.start_from(new, tmp_path / "best.pt")
    assert torch.equal(new.stem.weight, old.stem.weight)
    assert torch.equal(new.tower.gate, old.tower.gate)
    for label, letter in ((0, "-"), (1, "G"), (2, "A"), (3, "T"), (5, "C")):
        assert torch.equal(new.scores.weight[label], old.scores.weight[("-ACGT").index(letter)])
    assert torch.equal(new.scores.weight[4], fresh)
    with pytest.raises(DataError, match=r"was trained with model\.stride=4"):
        checkpoint.start_from(RawCTCNet(dataclasses.replace(SIZE, stride=2)), tmp_path / "best.pt")


@pytest.mark.slow
def test_fine_tuning_is_a_separate_run(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    small = [line for line in TINY if not line.startswith("search.")]
    first = train(resolve_job(compose_config(small), tmp_path / "first"))
    tuned = compose_config([*small, "train.init=first/best.pt"])
    result = train(resolve_job(tuned, tmp_path / "tuned"))
    assert result.curve[0].train_loss < first.curve[0].train_loss
    ids = {resolve_job(cfg, Path()).run_id for cfg in (compose_config(small), tuned)}
    (tmp_path / "first/best.pt").rename(tmp_path / "moved.pt")
    ids.add(resolve_job(compose_config([*small, "train.init=moved.pt"]), Path()).run_id)
    assert len(ids) == 2
    with pytest.raises((DataError, SettingError), match=r"train\.init=gone\.pt: cannot be read"):
        train(resolve_job(compose_config([*small, "train.init=gone.pt"]), tmp_path / "x"))


def test_other_alphabets_reach_fastq(tmp_path, monkeypatch, run: Command):
    monkeypatch.chdir(tmp_path)
    path = bonito_directory(tmp_path / "b", 60)
    references = np.load(path / "references.npy")
    np.save(path / "references.npy", np.where((references == 2) & (RNG.random(references.shape) < 0.5), 5, references))
    small = [line for line in TINY if not line.startswith(("data.", "search."))]
    given = ["data=bonito", f"data.path={path}", "data.alphabet=ACGTM", "data.validation=0.2", "data.test=0.2", *small]
    train(resolve_job(compose_config([*given, "train.epochs=8", "optimizer.lr=0.02"]), tmp_path / "run"))
    make_source(tmp_path / "reads", count=3)
    run("basecall", "model=run", "reads=reads", "decoder=beam")
    letters = Counter("".join(bases for bases, _ in fastq(tmp_path / "calls/reads.fastq").values()))
    assert set(letters) <= set("ACGTM")
    told = run("basecall", "model=run", "reads=reads", "format=bam", "output=bam", code=2)
    assert "format=bam: SAM and BAM cannot hold the model's letters ACGTM" in " ".join(told.stderr.split())
    told = run("evaluate", "model=run")
    assert "identity" in told.stdout
    assert OmegaConf.load("run/config.yaml").data.alphabet == "ACGTM"
    with pytest.raises(SettingError, match=r"data\.alphabet=ACGA: must be distinct letters"):
        train(resolve_job(compose_config([*given[:2], "data.alphabet=ACGA"]), tmp_path / "y"))
