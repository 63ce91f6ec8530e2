"""Files from elsewhere: bad reads are dropped, damaged files are named, links are followed, duplicates are imported once."""

from __future__ import annotations

import array
import dataclasses
import re
from collections.abc import Callable

import numpy as np
import pysam
import pytest
import torch
from omegaconf import OmegaConf, open_dict

from basecaller import Basecaller
from basecaller.calling.model import Trained, load_model
from basecaller.config import compose_config
from basecaller.data import pod5_parts, sources
from basecaller.data.audit import audit
from basecaller.data.signal import normalise
from basecaller.data.splits import SPLITS, splits_of_places
from basecaller.decode import greedy, to_string
from basecaller.errors import DataError, SettingError
from basecaller.runs.job import resolve_job
from basecaller.runs.signals import Signals
from basecaller.runs.training import train
from basecaller.settings import data_settings
from tests.conftest import TINY, Command
from tests.helpers import reads as files
from tests.helpers.importing import dropped, load, settings
from tests.helpers.reads import CONTIG, SimulatedRead, aligned_read

Record = pysam.AlignedSegment


def tagged(name: str, value: object, kind: str | None = None) -> Callable[[Record], None]:
    return lambda record: record.set_tag(name, value, kind)


def twice(name: str, *values: tuple[object, str]) -> Callable[[Record], None]:
    """Sets tags of one name and of several types, in this order."""

    def change(record: Record) -> None:
        others = [tag for tag in record.get_tags() if tag[0] != name]
        record.set_tags([*((name, value, kind) for value, kind in values), *others])

    return change


def without_sequence(record: Record) -> None:
    record.query_sequence = None


def with_qualities_of(phred: int) -> Callable[[Record], None]:
    def change(record: Record) -> None:
        record.query_qualities = array.array("B", [phred] * record.query_length)

    return change


def part_of_itself(record: Record) -> None:
    record.set_tag("pi", record.query_name)


def part_of_another(record: Record) -> None:
    """Its samples are counted in that read."""
    record.set_tag("pi", "11111111-2222-4333-8444-555555555555")
    record.set_tag("sp", 10)


MOVES = array.array("b", [5, *[1, 0] * 100])

BAD_RECORDS: dict[str, tuple[Callable[[Record], None], str]] = {
    "mv as text": (tagged("mv", "5,1,0,1"), "tag mv is not an array of whole numbers"),
    "mv as a number": (tagged("mv", 5), "tag mv is not an array of whole numbers"),
    "mv of fractions": (tagged("mv", array.array("f", [5, 1, 0, 1])), "tag mv is not an array of whole numbers"),
    "mv with other entries": (tagged("mv", array.array("b", [5, *[2, 0] * 100])), "entries other than 0 and 1"),
    "mv without its stride": (tagged("mv", array.array("b", [0, *MOVES])), "stride below 1"),
    "a negative stride": (tagged("mv", array.array("b", [-5, *[1] * 100])), "stride below 1"),
    "an empty mv": (tagged("mv", array.array("b", [5])), "empty move table"),
    "mv longer than the signal": (tagged("mv", array.array("b", [60, *MOVES[1:]])), "move table longer than the signal"),
    "mv that goes on after the last base": (
        tagged("mv", array.array("b", [*MOVES, *[0] * 10_000])),
        "move table longer than the signal",
    ),
    "mv of other length": (tagged("mv", array.array("b", [5, *[1] * 90])), "move table and sequence differ in length"),
    "ts as text": (twice("ts", ("25", "Z")), "tag ts is not a whole number"),
    "a negative ts": (tagged("ts", -3), "negative ts tag"),
    "a negative sp": (tagged("sp", -3), "negative sp tag"),
    "a part without its beginning": (part_of_itself, "part of a split read without its beginning"),
    "a part of another read": (part_of_another, "part of another read (tag pi)"),
    "a duplex call": (tagged("dx", 1), "duplex call, of two reads"),
    "ts beyond the end": (tagged("ts", 2_000_000_000), "move table longer than the signal"),
    "ns of another signal": (tagged("ns", 77), "signal of another length"),
    "ns longer than the signal": (tagged("ns", 1_000_000), "signal of another length"),
    "no sequence": (without_sequence, "no sequence (SEQ is *)"),
    "a poor quality": (with_qualities_of(3), "quality below data.min_quality"),
    "a quality that is no number": (tagged("qs", "high"), "tag qs is not a number"),
    "a quality of NaN": (tagged("qs", float("nan"), "f"), "quality below data.min_quality"),
    "NM as text": (tagged("NM", "none"), "tag NM is not a number"),
    "no NM": (tagged("NM", None), "no NM tag"),
    "MD that is too short": (tagged("MD", "40"), "broken MD tag"),
    "MD as a number": (tagged("MD", 40), "broken MD tag"),
    "no CIGAR": (lambda record: setattr(record, "cigarstring", None), "aligned without a CIGAR"),
    "an empty alignment": (lambda record: setattr(record, "cigarstring", "100S"), "no base aligned"),
    "no reference": (lambda record: setattr(record, "reference_id", -1), "aligned to no reference"),
    "beyond the contig's end": (lambda record: setattr(record, "reference_start", 60), "beyond the end of the reference"),
    "before the contig": (lambda record: setattr(record, "reference_start", -1), "aligned to no reference"),
}


@pytest.mark.parametrize("kind", BAD_RECORDS)
def test_a_bad_record_drops_its_read_and_is_counted_by_reason(tmp_path, kind):
    spoil, reason = BAD_RECORDS[kind]
    made = [aligned_read([("M", 100)], seed=seed) for seed in range(3)]
    for each in made:
        each.record.set_tag("NM", 0)
        each.record.set_tag("MD", "100")
        with_qualities_of(20)(each.record)
    spoil(made[1].record)
    path = files.write_pod5(tmp_path / "reads.pod5", [each.read for each in made])
    bam = files.write_bam(tmp_path / "calls.bam", [each.record for each in made], {CONTIG: 120})
    strict = {"min_quality": 5.0} if "qualit" in kind else {"min_identity": 0.5} if "NM" in kind else {}
    chunks, counts = load(settings(path, bam, chunk_samples=100_000, **strict))
    assert [to_string(chunk.labels) for chunk in chunks] == [made[0].read.sequence, made[2].read.sequence]
    ((told, number),) = dropped(counts).items()
    assert told.startswith("reads dropped: ")
    assert reason in told
    assert number == 1
    assert counts["reads kept"] == 2


@pytest.mark.parametrize("version", ["0.5", "0.6"])
def test_adapters_trimmed_after_basecalling_cost_no_read(tmp_path, version):
    reads = files.make_reads(2, bases=100)
    records = [files.unaligned(read) for read in reads]
    trim(records[1], reads[1], 10, 80)
    if version == "0.5":  # of Dorado: it counts the bases trimmed at the start twice, and no other
        records[1].set_tag("ns", len(reads[1].adc) + records[1].get_tag("ts") - files.TRIMMED)
    path = files.write_pod5(tmp_path / "reads.pod5", reads)
    chunks, counts = load(settings(path, files.write_bam(tmp_path / "calls.bam", records), chunk_samples=100_000))
    assert not dropped(counts)
    assert [to_string(chunk.labels) for chunk in chunks] == [reads[0].sequence, reads[1].sequence[10:80]]
    starts = reads[1].move_starts[10:81]
    np.testing.assert_array_equal(chunks[1].starts, starts[:-1] - starts[0])
    assert len(chunks[1].signal) == starts[-1] - starts[0]


def trim(record: Record, read: SimulatedRead, first: int, last: int) -> None:
    """Keeps bases [first, last) as Dorado does: the move table and `ns` end with the last of them."""
    begin, end = read.move_starts[[first, last]].tolist()
    record.query_sequence = read.sequence[first:last]
    record.set_tag("ts", begin)
    record.set_tag("ns", end)
    blocks = read.moves[1:][(begin - files.TRIMMED) // files.STRIDE : (end - files.TRIMMED) // files.STRIDE]
    record.set_tag("mv", array.array("b", [files.STRIDE, *blocks.tolist()]))


def test_a_record_that_htslib_rejects_is_skipped(tmp_path):
    made = [aligned_read([("M", 100)], seed=seed) for seed in range(3)]
    for number in range(3):
        for each in made:
            each.record.cigarstring = "100M" if each is not made[number] else "90M"
            each.record.set_tag("MD", "100")
        path = files.write_pod5(tmp_path / f"{number}.pod5", [each.read for each in made])
        bam = files.write_bam(tmp_path / f"{number}.bam", [each.record for each in made], {CONTIG: 120})
        _, counts = load(settings(path, bam))
        assert counts["reads kept"] == 2
        assert dropped(counts) == {"records left out: CIGAR and sequence differ in length": 1, pod5_parts.NO_RECORD: 1}


BAD_READS: dict[str, tuple[Callable[[SimulatedRead], SimulatedRead], dict[str, float], str]] = {
    "NaN as scale": (lambda read: read, {"scale": float("nan")}, "calibration is NaN or infinite"),
    "an infinite offset": (lambda read: read, {"offset": float("inf")}, "calibration is NaN or infinite"),
    "no signal": (lambda read: dataclasses.replace(read, adc=read.adc[:0]), {}, "no signal"),
    "half of the signal": (lambda read: dataclasses.replace(read, adc=read.adc[:400]), {}, "longer than the signal"),
}


@pytest.mark.slow
@pytest.mark.parametrize("kind", BAD_READS)
def test_a_bad_read_of_a_pod5_is_skipped(tmp_path, kind):
    change, calibration, reason = BAD_READS[kind]
    reads = files.make_reads(3, bases=100)
    folder = tmp_path / "pod5"
    folder.mkdir()
    files.write_pod5(folder / "good.pod5", [reads[0], reads[2]])
    files.write_pod5(folder / "bad.pod5", [change(reads[1])], **calibration)
    bam = files.write_bam(tmp_path / "calls.bam", [files.unaligned(read) for read in reads])
    chunks, counts = load(settings(folder, bam, chunk_samples=100_000))
    assert [to_string(chunk.labels) for chunk in chunks] == [reads[0].sequence, reads[2].sequence]
    ((told, number),) = dropped(counts).items()
    assert reason in told
    assert number == 1


def test_tags_of_other_programs_do_no_harm(tmp_path):
    """A transcript's strand beside the trimmed samples, or alone if none were trimmed, and numbers called `pi`."""
    reads = files.make_reads(5, bases=100)
    records = [files.unaligned(read) for read in reads]
    trimmed = [files.TRIMMED, files.TRIMMED, 0, files.TRIMMED, files.TRIMMED]
    twice("ts", ("+", "A"), (files.TRIMMED, "i"))(records[0])
    twice("ts", (files.TRIMMED, "i"), ("-", "A"))(records[1])
    twice("ts", ("+", "A"))(records[2])
    tagged("pi", 98.5, "f")(records[3])
    tagged("pi", 99)(records[4])
    tagged("dx", -1)(records[4])  # a simplex call of a read that is also part of a duplex call
    path = files.write_pod5(tmp_path / "reads.pod5", reads)
    chunks, counts = load(settings(path, files.write_bam(tmp_path / "calls.bam", records), chunk_samples=100_000))
    assert not dropped(counts)
    for chunk, read, samples in zip(chunks, reads, trimmed, strict=True):
        first = read.move_starts[0] - files.TRIMMED + samples
        assert chunk.starts.tolist() == (read.move_starts - read.move_starts[0]).tolist()
        np.testing.assert_allclose(chunk.signal, normalise(read.adc[first:][: len(chunk.signal)]), atol=0.01)


def test_the_first_usable_of_several_records_counts(tmp_path):
    reads = files.make_reads(3, bases=100)
    bad, good, third = files.unaligned(reads[0], moves=False), files.unaligned(reads[0]), files.unaligned(reads[0])
    third.query_sequence = "A" * 100
    unusable = [files.unaligned(reads[1], moves=False), files.unaligned(reads[1])]
    unusable[1].set_tag("ts", -1)
    path = files.write_pod5(tmp_path / "reads.pod5", reads)
    (tmp_path / "bam").mkdir()
    files.write_bam(tmp_path / "bam" / "a.bam", [bad, *unusable])
    files.write_bam(tmp_path / "bam" / "b.bam", [good, third, files.unaligned(reads[2])])
    chunks, counts = load(settings(path, tmp_path / "bam", chunk_samples=100_000))
    assert [to_string(chunk.labels) for chunk in chunks] == [reads[0].sequence, reads[2].sequence]
    assert dropped(counts) == {"records left out: another one of the same read": 3, "reads dropped: no move table": 1}


@pytest.mark.slow
def test_a_read_in_several_pod5_files_is_imported_once(tmp_path):
    reads = files.make_reads(6, bases=100)
    (tmp_path / "run").mkdir()
    files.write_pod5(tmp_path / "run" / "pass.pod5", reads[:4])
    files.write_pod5(tmp_path / "run" / "skip.pod5", reads[2:])
    bam = files.write_bam(tmp_path / "calls.bam", [files.unaligned(read) for read in reads[:5]])
    chunks, counts = load(settings(tmp_path / "run", bam, chunk_samples=100_000))
    assert [to_string(chunk.labels) for chunk in chunks] == [read.sequence for read in reads[:5]]
    assert dropped(counts) == {pod5_parts.REPEATED: 2, pod5_parts.NO_RECORD: 1}


def test_reads_of_several_sample_rates_are_reported(tmp_path):
    reads = files.make_reads(10, bases=100)
    bam = files.write_bam(tmp_path / "calls.bam", [files.unaligned(read) for read in reads])
    told = {}
    for rates in ((4000,), (4000, 5000)):
        path = files.write_pod5(tmp_path / f"{len(rates)}.pod5", reads, rates=rates)
        found = audit(sources.prepare("pod5", settings(path, bam), tmp_path / "data"))
        assert [found.counts[f"reads at {rate} Hz"] for rate in rates] == [10 // len(rates)] * len(rates)
        told[rates] = [line for line in found.verdict if "Hz" in line]
    assert not told[4000,]
    assert re.match("reads were sampled at 4000 and 5000 Hz", *told[4000, 5000])


def test_the_reference_is_preferred_if_a_read_was_also_aligned(tmp_path):
    """calls.bam and calls.sorted.bam in one folder."""
    made = aligned_read([("M", 60), ("X", 1), ("M", 60)])
    made.record.set_tag("MD", made.md)
    path = files.write_pod5(tmp_path / "reads.pod5", [made.read])
    files.write_bam(tmp_path / "calls.bam", [files.unaligned(made.read)])
    files.write_bam(tmp_path / "calls.sorted.bam", [made.record], {CONTIG: len(made.genome)})
    (chunk,), counts = load(settings(path, tmp_path, chunk_samples=100_000))
    assert to_string(chunk.labels) == to_string(made.labels)
    assert counts["labels from the reference"] == 1
    (chunk,), _ = load(settings(path, tmp_path, chunk_samples=100_000, labels="moves"))
    assert to_string(chunk.labels) == made.read.sequence


NO_READ_LEFT: dict[str, tuple[Callable[[Record], None], dict[str, object], str]] = {
    "moves lost in alignment": (tagged("mv", None), {}, r"3 no move table\)\. .*--emit-moves.*minimap2 -y"),
    "trimmed": (tagged("mv", array.array("b", [5, *[1] * 90])), {}, r"give the BAM that the basecaller wrote"),
    "of another run": (tagged("ns", 1), {}, r"give the POD5 that was basecalled"),
    "unaligned": (lambda record: None, {"labels": "reference"}, r"not aligned to a known reference\)\. .*MD tags"),
    "mv as text": (tagged("mv", "5"), {}, r"\(3 tag mv is not an array of whole numbers\)$"),
    "RNA004": (lambda record: None, {}, r"\(3 direct RNA by its sequencing kit.*\)\. Give data\.rna=true"),
    "DRB004-24": (lambda record: None, {}, r"\(3 direct RNA by its sequencing kit.*\)\. Give data\.rna=true"),
    "PCS114": (lambda record: None, {"rna": True}, r"\(3 DNA by its sequencing kit.*\)\. data\.rna=true .* not for cDNA"),
    "short chunks": (lambda record: None, {"chunk_samples": 90}, r"no chunk is left \(.* shorter than data\.min_samples\)"),
}


@pytest.mark.parametrize("kind", NO_READ_LEFT)
def test_if_no_read_is_left_the_message_says_why_and_what_to_do(tmp_path, kind):
    spoil, changed, words = NO_READ_LEFT[kind]
    reads = files.make_reads(3, bases=100)
    records = [files.unaligned(read) for read in reads]
    for record in records:
        spoil(record)
    path = files.write_pod5(tmp_path / "reads.pod5", reads, kit=f"SQK-{kind}" if kind.isupper() else "SQK-LSK114")
    with pytest.raises(DataError, match=words):
        load(settings(path, files.write_bam(tmp_path / "calls.bam", records), **changed))


@pytest.mark.slow
def test_pairs_that_share_reads_import_each_from_the_pair_with_its_record(tmp_path):
    """As if one folder of POD5 was basecalled by barcode: the same files, with several BAM files."""
    reads = files.make_reads(5, bases=100)
    path = files.write_pod5(tmp_path / "reads.pod5", reads)
    first = files.write_bam(tmp_path / "first.bam", [files.unaligned(read) for read in reads[:3]])
    second = files.write_bam(tmp_path / "second.bam", [files.unaligned(read) for read in reads[2:]])
    both = dataclasses.replace(settings(path, first, chunk_samples=100_000), pod5=(str(path),) * 2)
    chunks, counts = load(dataclasses.replace(both, bam=(str(first), str(second))))
    assert [to_string(chunk.labels) for chunk in chunks] == [read.sequence for read in reads]
    assert counts["reads kept"] == 5
    assert dropped(counts) == {pod5_parts.NO_RECORD: 2, pod5_parts.IN_ANOTHER_PAIR: 3}
    same, counts = load(dataclasses.replace(both, bam=(str(first),) * 2))
    assert len(same) == counts["reads kept"] == 3


@pytest.mark.slow
@pytest.mark.parametrize("split", ["read", "position"])
@pytest.mark.parametrize("count", [3, 8, 20])
def test_few_long_reads_fill_every_split(tmp_path, count, split):
    """In one region of a large genome: 3 to 20 reads of 3,000 bases."""
    made = [aligned_read([("M", 3000)], seed=seed, before=seed * 50, after=0) for seed in range(count)]
    for each in made:
        each.record.set_tag("MD", "3000")
    path = files.write_pod5(tmp_path / "reads.pod5", [each.read for each in made])
    bam = files.write_bam(tmp_path / "mapped.bam", [each.record for each in made], {CONTIG: 100_000_000})
    chosen = settings(path, bam, split=split, validation=0.1, test=0.1, chunk_samples=1000)
    dataset = sources.prepare("pod5", chosen, tmp_path / "data")
    ids = {name: set(dataset.read_ids[dataset.indices(name)]) for name in SPLITS}
    assert all(ids.values())
    if split == "read":
        assert sum(map(len, ids.values())) == count
    else:
        share = len(dataset.indices("train")) / len(dataset)
        assert 0.65 < share < 0.95
        blocks, contigs = dataset.places
        assert contigs == [(CONTIG, 100_000_000)]
        last = {name: blocks[np.isin(blocks[:, 0], dataset.indices(name))][:, 2:] for name in SPLITS}
        assert last["train"].max() < last["validation"].min()
        assert last["validation"].max() < last["test"].min()


def test_positions_are_cut_by_covered_bases_and_genomes_separately():
    header = [("a", 1000), ("b", 1000)]
    blocks = [(i, 0, at, at + 9) for i, at in enumerate(range(500, 600, 10))]  # ten chunks, end to end
    blocks += [(10, 1, 0, 9), (11, 1, 5, 14), (12, 2, 0, 99), (13, 2, 100, 199), (14, 0, 0, 9), (14, 0, 990, 999)]
    contigs = [("a", 1000), ("b", 1000), ("other", 300)]
    splits = splits_of_places(16, np.array(blocks), contigs, [header, [("other", 300)], header[1:]], 0.25, 0.25)
    # a and b: 100 + 15 + 20 bases are covered; the first half ends 57.5 bases after 490, the third quarter at 591.25
    assert splits[:10].tolist() == [0, 0, 0, 0, 0, -1, 1, 1, 1, -1]
    assert splits[10:12].tolist() == [2, 2]
    assert splits[12:14].tolist() == [0, -1]  # half of 200, and across the cut at 150
    assert splits[14] == -1  # across an intron that holds the cuts
    assert splits[15] == 0  # no position


def test_a_mixture_of_rna_calls_reads_from_the_other_end(tmp_path, run: Command, monkeypatch):
    monkeypatch.chdir(tmp_path)
    made = [aligned_read([("M", 120)], rna=True, seed=seed) for seed in range(12)]
    path = files.write_pod5(tmp_path / "reads.pod5", [each.read for each in made])
    bam = files.write_bam(tmp_path / "calls.bam", [each.record for each in made], {CONTIG: 140})
    given = [line for line in TINY if not line.startswith(("data.", "search."))] + ["data.validation=0.2", "data.test=0.2"]
    mine = f"name: pod5, pod5: {path}, bam: {bam}, labels: moves, chunk_samples: 600"
    simulated = "{name: simulated, reads: 60, min_bases: 20, max_bases: 40, genome_bases: 50000}"
    cfg = compose_config(["data=mixed", f"data.sources={{rna: {{{mine}, rna: true}}, more: {simulated}}}", *given])
    train(resolve_job(cfg, tmp_path / "model"))
    model = load_model("model", "cpu")
    assert model.rna
    told = run("basecall", "model=model", "reads=reads.pod5", "decoder=greedy", "output=calls")
    assert "12 reads" in told.stderr
    with pysam.FastxFile(str(tmp_path / "calls/reads.fastq")) as entries:
        called = {entry.name: entry.sequence for entry in entries}
    for each in made:
        with torch.inference_mode():
            scores = model.network(torch.from_numpy(normalise(each.read.adc)[::-1].copy())[None])[0]
        assert (called.get(each.read.read_id) or "") == greedy(
            scores.argmax(1).numpy()
        )  # may be empty after so little training
    assert any(called.values())
    with pytest.raises(SettingError, match=r"data\.sources\.a is direct RNA \(rna: true\) and data\.sources\.b is not"):
        data_settings(compose_config(["data=mixed", f"data.sources={{a: {{{mine}, rna: true}}, b: {{{mine}}}}}", *given]))


def test_a_model_calls_and_evaluates_reads_that_are_normalised_as_it_was_trained(tmp_path, run: Command, monkeypatch):
    monkeypatch.chdir(tmp_path)
    path, bam, reads = files.make_source(tmp_path, count=12)
    reads_of = ["data=pod5", f"data.pod5={path}", f"data.bam={bam}"]
    given = [line for line in TINY if not line.startswith(("data.", "search."))] + ["data.validation=0.2", "data.test=0.2"]
    train(resolve_job(compose_config([*reads_of, "data.normalisation=quantile", *given]), tmp_path / "model"))
    model = load_model("model", "cpu")
    assert model.normalisation == "quantile"
    assert model.data(reads_of).source.normalisation == "quantile"
    chunks = files.bonito_directory(tmp_path / "bonito")
    assert model.data(["data=bonito", f"data.path={chunks}"]).source.normalisation == "quantile"
    with pytest.raises(
        SettingError, match=r"data\.folder=other: is read with the default data=simulated, but model was trained"
    ):
        model.data(["data.folder=other"])
    run("basecall", "model=model", f"reads={path}", "decoder=greedy", "output=calls")
    with pysam.FastxFile(str(tmp_path / f"calls/{path.stem}.fastq")) as entries:
        called = {entry.name: entry.sequence for entry in entries}
    alone = Basecaller(model, decoder="greedy")
    for read in reads:
        picoampere = read.adc.astype(np.float32) * files.ADC_STEP
        with torch.inference_mode():
            scores = model.network(torch.from_numpy(normalise(picoampere, "quantile"))[None])[0]
        expected = greedy(scores.argmax(1).numpy())
        assert (called.get(read.read_id) or "") == alone.call(picoampere).sequence == expected
    told = run("evaluate", "model=model", *reads_of, "data.normalisation=median_mad", code=2).stderr
    assert "model was trained with data.normalisation=quantile; leave it out" in told
    assert (
        "identity" in run("evaluate", "model=model", *reads_of, "decoder=greedy", "data.validation=0.2", "data.test=0.2").stdout
    )


def test_sources_of_one_model_are_normalised_alike():
    mine = "name: pod5, pod5: reads.pod5, bam: calls.bam"
    quantile = f"{{{mine}, normalisation: quantile}}"
    with pytest.raises(
        SettingError, match=r"a\.normalisation=quantile and data\.sources\.b\.normalisation=median_mad: a model"
    ):
        data_settings(compose_config(["data=mixed", f"data.sources={{a: {quantile}, b: {{{mine}}}}}"]))
    with pytest.raises(
        SettingError, match=r"a\.normalisation=quantile and data\.sources\.b\.normalisation=median_mad: a model"
    ):
        data_settings(compose_config(["data=mixed", f"data.sources={{a: {quantile}, b: {{name: simulated}}}}"]))
    pod5_data = ["data=pod5", "data.pod5=reads.pod5", "data.bam=calls.bam", "data.normalisation=quantile"]
    with pytest.raises(SettingError, match=r"data\.test\.normalisation=median_mad: a model"):
        data_settings(compose_config([*pod5_data, f"data.test={{{mine}}}"]))
    assert data_settings(compose_config([*pod5_data, f"data.test={quantile}"])).test.source.normalisation == "quantile"


@pytest.mark.parametrize(
    ("config", "normalisation"),
    [
        ("data: {name: pod5, normalisation: quantile}", "quantile"),
        ("data: {name: pod5}", "median_mad"),
        ("data: {name: bonito, normalisation: quantile}", "quantile"),
        ("data: {sources: {a: {name: bonito}, b: {name: pod5, normalisation: quantile}}}", "quantile"),
    ],
)
def test_the_normalisation_of_a_model_comes_from_its_config(tmp_path, config, normalisation):
    assert Trained(tmp_path, None, OmegaConf.create(config), None).normalisation == normalisation  # type: ignore[arg-type]


def test_data_for_a_model_of_rna_is_read_in_its_direction(tmp_path):
    mine = "name: pod5, pod5: reads.pod5, bam: calls.bam"
    pod5_data = ["data=pod5", "data.pod5=reads.pod5", "data.bam=calls.bam"]
    rna, dna = (Trained(tmp_path, None, OmegaConf.create({"data": {"rna": told}}), None) for told in (True, False))  # type: ignore[arg-type]
    assert rna.data(pod5_data).source.rna
    assert rna.data([*pod5_data, f"data.test={{{mine}}}"]).test.source.rna
    assert not dna.data(pod5_data).source.rna
    for config in (None, OmegaConf.create({"data": {"name": "bonito"}})):  # in an unknown direction
        unknown = Trained(tmp_path, None, config, None)  # type: ignore[arg-type]
        assert unknown.data([*pod5_data, "data.rna=true"]).source.rna
    with pytest.raises(SettingError, match=r"data\.rna=true: .* was not trained on direct RNA"):
        dna.data([*pod5_data, "data.rna=true"])
    with pytest.raises(SettingError, match=r"data is direct RNA \(rna: true\) and data\.test is not"):
        data_settings(compose_config([*pod5_data, "data.rna=true", f"data.test={{{mine}}}"]))


POD5 = ["data=pod5", "data.pod5=reads.pod5", "data.bam=calls.bam"]


@pytest.mark.parametrize(
    ("model", "data", "told"),
    [
        ("{normalisation: quantile}", POD5, "data have median_mad; give data.normalisation=quantile or another model"),
        ("{name: pod5}", [*POD5, "data.normalisation=quantile"], "give data.normalisation=median_mad"),
        ("{normalisation: quantile}", [], "data have median_mad; give other data or another model"),
        ("{rna: true}", POD5, "data.rna=true, and these reads have data.rna=false"),
        ("{rna: 'no'}", [*POD5, "data.rna=true"], "data.rna=false, and these reads have data.rna=true"),
        ("{sources: {a: {name: pod5}}}", [*POD5, "data.rna=true"], "data.rna=false, and these reads have data.rna=true"),
        (
            "{rna: true}",
            ["data=mixed", "data.sources={a: {name: pod5, pod5: reads.pod5, bam: calls.bam}}"],
            "these reads have data.sources.a.rna=false",
        ),
    ],
)
def test_a_model_continues_only_on_signals_like_its_own(model, data, told):
    source = data_settings(compose_config(data)).source
    with pytest.raises(SettingError, match=re.escape(told)):
        Signals.of(OmegaConf.create(f"data: {model}")).check(source, "train.init=best.pt: it")


def test_fine_tuning_checks_the_signals_of_the_model_before_it_begins(tmp_path):
    (tmp_path / "best.pt").write_bytes(b"")
    given = compose_config([f"train.init={tmp_path}/best.pt"])
    resolve_job(given, tmp_path)  # a checkpoint alone tells nothing
    (tmp_path / "config.yaml").write_text("data: {normalisation: quantile}")
    with pytest.raises(SettingError, match=r"best\.pt: it was trained with data\.normalisation=quantile, and "):
        resolve_job(given, tmp_path)
    with pytest.raises(SettingError, match="give other data or another model"):
        Trained(tmp_path, None, OmegaConf.load(tmp_path / "config.yaml"), None).data(["data=simulated"])  # type: ignore[arg-type]


def test_configs_of_earlier_versions_use_median_and_mad():
    config = compose_config(["data=pod5", "data.pod5=reads.pod5", "data.bam=calls.bam"])
    with open_dict(config):
        del config.data["normalisation"]
    assert data_settings(config).source.normalisation == "median_mad"


@pytest.mark.parametrize(
    ("config", "rna"),
    [
        ("data: {rna: true}", True),
        ("data: {rna: 'no'}", False),
        ("data: {sources: {a: {name: simulated}, b: {name: pod5, rna: 'yes'}}}", True),
        ("data: {sources: {a: {name: pod5, rna: false}}}", False),
        ("data: {name: simulated}", False),
    ],
)
def test_the_direction_of_a_model_comes_from_its_config(tmp_path, config, rna):
    assert Trained(tmp_path, None, OmegaConf.create(config), None).rna is rna  # type: ignore[arg-type]
