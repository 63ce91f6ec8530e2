"""Basecalls of files: FASTQ and BAM, and what is called again."""

from __future__ import annotations

import gzip
import json
import os
import re
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import numpy as np
import pysam
import pytest
import torch
from omegaconf import OmegaConf
from rich.console import Console

from basecaller.calling.basecalling import basecall
from basecaller.calling.caller import Call, decode
from basecaller.calling.files import signals, write_alignments, write_fastq
from basecaller.calling.model import load_model
from basecaller.calling.quality import Calibration
from basecaller.cli.arguments import options
from basecaller.common.errors import DataError, SettingError
from basecaller.common.files import shared_lock
from basecaller.config.composition import compose_config
from basecaller.config.schema import BasecallOptions
from basecaller.data.signal import normalise
from basecaller.networks.decode import greedy
from basecaller.runs.job import resolve_job
from basecaller.runs.signals import Signals
from basecaller.runs.training import train
from tests.conftest import TINY, Command
from tests.helpers.models import network
from tests.helpers.reads import bonito_directory, fastq, make_reads, make_source, unaligned, write_bam, write_pod5


def test_a_wrong_file_is_one_line_and_makes_no_output(model, folder, call: Command):
    (folder / "reads.fastq").write_text("@r\nACGT\n+\nIIII\n", encoding="utf-8")
    (line,) = call("basecall", f"model={model}", "reads=reads.fastq", "output=calls", code=2).stderr.splitlines()
    assert line.startswith("error: reads: cannot read reads.fastq")
    assert not (folder / "calls").exists()


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
    assert basecall(of["a"], console).files == 1
    assert basecall(of["a"], console).files_before == 1
    with pytest.raises(SettingError, match=r"reads\.fastq has the calls of another POD5 file, not of .*b/reads\.pod5; give"):
        basecall(of["b"], console)
    log.write_text(json.dumps(json.loads(log.read_text()) | {"files": {}}))  # as an earlier version wrote it
    assert basecall(of["b"], console).files_before == 1
    (tmp_path / "calls/reads.fastq").unlink()
    assert basecall(of["b"], console).files == 1
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


@pytest.mark.parametrize("form", ["fastq", "sam", "bam"])
def test_reads_without_a_base_are_counted_and_not_written(silent, tmp_path, run: Command, form):
    _, _, reads = make_source(tmp_path / "reads", count=3)
    told = run("basecall", "model=silent", "reads=reads", "decoder=greedy", f"format={form}")
    assert "3 reads not written: without a base" in told.stderr
    assert "calls only blanks" in told.stderr
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


@pytest.mark.parametrize(("kit", "rna", "told"), [
    ("SQK-RNA004", False, "2 reads are direct RNA by their sequencing kit, but the model was trained on DNA"),
    ("SQK-LSK114", True, "2 reads are DNA by their sequencing kit, but the model was trained on direct RNA"),
    ("SQK-RNA004", None, "2 reads are direct RNA by their sequencing kit, but nothing says that the model was trained on it"),
    ("SQK-LSK114", None, ""), ("SQK-LSK114", False, ""), ("SQK-RNA004", True, ""), ("genomic_dna", True, ""),
])  # fmt: skip
def test_reads_of_another_kind_than_the_models_are_reported(tmp_path, caplog, kit, rna, told):
    path = write_pod5(tmp_path / "reads.pod5", make_reads(2, bases=50), kit=kit)
    assert len(list(signals(path, Counter(), Signals(rna=rna)))) == 2
    assert told in caplog.text
    assert bool(told) == bool(caplog.records)


@pytest.mark.slow
def test_a_model_records_its_sample_rate_and_reads_at_another_are_reported(folder, call: Command, caplog):
    """In basecalls, and in an evaluation on another data set."""
    reads = make_reads(12, bases=100)
    given = {}
    for rate in (4000, 5000):
        pod5 = write_pod5(folder / f"{rate}.pod5", reads, rates=(rate,))
        bam = write_bam(folder / f"{rate}.bam", [unaligned(read) for read in reads])
        given[rate] = ["data=pod5", f"data.pod5={pod5}", f"data.bam={bam}", "data.chunk_samples=300", "data.split=read"]
    small = [line for line in TINY if not line.startswith(("data.", "search."))]
    train(resolve_job(compose_config([*given[4000], "data.validation=0.3", "data.test=0.3", *small]), folder / "model"))
    assert load_model("model").sample_rates == (4000,)
    for rate, expected in (
        (4000, []),
        (5000, ["reads were sampled at 5,000 Hz, and the model was trained on reads at 4,000 Hz"] * 2),
    ):
        caplog.clear()
        call("basecall", "model=model", f"reads={rate}.pod5", f"output=calls{rate}")
        call("evaluate", "model=model", *given[rate], "limit=3")
        told = [record.message for record in caplog.records if "Hz" in record.message]
        assert len(told) == len(expected)
        assert all(words in message for words, message in zip(expected, told, strict=True))


def test_a_damaged_pod5_is_named_and_a_damaged_signal_costs_its_read_only(model, tmp_path, run: Command):
    path, _, _ = make_source(tmp_path / "reads", count=3)
    whole = path.read_bytes()
    path.write_bytes(whole[:2000])
    found = run("basecall", f"model={model}", "reads=reads", code=2).stderr
    assert f"cannot read {Path('reads/reads.pod5')}" in found
    assert "Traceback" not in found
    assert not (tmp_path / "calls").exists()
    place = len(whole) // 3
    path.write_bytes(whole[:place] + bytes(400) + whole[place + 400 :])
    assert "1 reads not written: signal cannot be decoded" in run("basecall", f"model={model}", "reads=reads").stderr
    assert len(fastq(tmp_path / "calls/reads.fastq")) == 2


def test_the_folder_of_an_experiment_is_answered_with_its_winner(tmp_path):
    (tmp_path / "tiny/winner").mkdir(parents=True)
    (tmp_path / "tiny/winner/best.pt").touch()
    with pytest.raises(DataError, match=r"tiny: has no best\.pt; give the folder of a training, such as .*tiny/winner"):
        load_model(str(tmp_path / "tiny"), "cpu")


def test_other_alphabets_reach_fastq(tmp_path, monkeypatch, run: Command):
    monkeypatch.chdir(tmp_path)
    path = bonito_directory(tmp_path / "b", 60)
    references, rng = np.load(path / "references.npy"), np.random.default_rng(0)
    np.save(path / "references.npy", np.where((references == 2) & (rng.random(references.shape) < 0.5), 5, references))
    small = [line for line in TINY if not line.startswith(("data.", "search."))]
    given = ["data=bonito", f"data.path={path}", "data.alphabet=ACGTM", "data.validation=0.2", "data.test=0.2", *small]
    train(resolve_job(compose_config([*given, "train.epochs=8", "optimizer.lr=0.02"]), tmp_path / "run"))
    make_source(tmp_path / "reads", count=3)
    run("basecall", "model=run", "reads=reads", "decoder=beam")
    letters = Counter("".join(bases for bases, _ in fastq(tmp_path / "calls/reads.fastq").values()))
    assert letters
    assert set(letters) <= set("ACGTM"), letters
    told = run("basecall", "model=run", "reads=reads", "format=bam", "output=bam", code=2)
    assert "format=bam: SAM and BAM cannot hold the model's letters ACGTM" in " ".join(told.stderr.split())
    told = run("evaluate", "model=run")
    assert "identity" in told.stdout
    assert OmegaConf.load("run/config.yaml").data.alphabet == "ACGTM"
    with pytest.raises(SettingError, match=r"data\.alphabet=ACGA: must be distinct letters"):
        train(resolve_job(compose_config([*given[:2], "data.alphabet=ACGA"]), tmp_path / "y"))
