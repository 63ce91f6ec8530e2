"""Records of a BAM file: bad ones drop their read and are counted by reason; of several for one read, the best is used."""

from __future__ import annotations

import array
from collections.abc import Callable

import numpy as np
import pysam
import pytest

from basecaller.common.errors import DataError
from basecaller.data import pod5_parts
from basecaller.data.signal import normalise
from basecaller.networks.decode import to_string
from tests.helpers import reads as files
from tests.helpers.importing import dropped, load, settings
from tests.helpers.reads import CONTIG, SimulatedRead, aligned, aligned_read

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
    "mv without a base": (tagged("mv", array.array("b", [5, 0, 0, 0])), "empty move table"),
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
    "MD that is too long": (tagged("MD", "9999"), "broken MD tag"),
    "MD in words": (tagged("MD", "banana"), "broken MD tag"),
    "MD as a number": (tagged("MD", 40), "broken MD tag"),
    "no CIGAR": (lambda record: setattr(record, "cigarstring", None), "aligned without a CIGAR"),
    "clipped bases that mv lacks": (
        lambda record: setattr(record, "cigarstring", "10H100M"),
        "move table and sequence differ in length",
    ),
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
        np.testing.assert_allclose(chunk.signal, normalise(read.adc)[first:][: len(chunk.signal)], atol=0.01)


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


def test_reads_without_a_record_or_moves_are_counted(tmp_path):
    reads = files.make_reads(4)
    short = files.unaligned(reads[2])
    short.query_sequence = reads[2].sequence[:-5]
    path = files.write_pod5(tmp_path / "reads.pod5", reads)
    records = [files.unaligned(reads[0]), files.unaligned(reads[1], moves=False), short]
    _, counts = load(settings(path, files.write_bam(tmp_path / "calls.bam", records)))
    assert counts["reads kept"] == 1
    assert counts["reads dropped: no move table"] == 1
    assert counts["reads dropped: no record in the BAM"] == 1
    assert counts["reads dropped: move table and sequence differ in length"] == 1


def test_poor_reads_and_second_alignments_are_dropped_and_counted(tmp_path):
    genome = np.random.default_rng(3).integers(1, 5, 400).astype(np.uint8)
    reads = files.make_reads(6, bases=100, genome=genome)
    records = []
    for number, read in enumerate(reads):
        record = aligned(read, 0, number * 60, [(0, 100)], reverse=False)
        record.set_tag("qs", 5.0 + number)
        record.set_tag("NM", 10 * number)
        record.set_tag("MD", "100")
        records.append(record)
    second = aligned(reads[0], 0, 0, [(0, 100)], reverse=False)
    second.flag = 256
    third = aligned(reads[0], 0, 0, [(0, 100)], reverse=False)
    third.flag = 2048
    path = files.write_pod5(tmp_path / "a.pod5", reads)
    bam = files.write_bam(tmp_path / "a.bam", [second, *records, third], {"contig": 1000})
    _, counts = load(settings(path, bam, min_quality=7.0, min_identity=0.75, labels="moves"))
    assert counts["reads dropped: quality below data.min_quality"] == 2
    assert counts["reads dropped: identity below data.min_identity"] == 3
    assert counts["reads kept"] == 1
    assert counts["alignments left out: secondary"] == 1
    assert counts["alignments left out: supplementary"] == 1


def test_secondary_and_supplementary_records_are_not_used(tmp_path):
    reads = files.make_reads(1, bases=200)
    wrong = files.unaligned(reads[0])
    wrong.query_sequence = "A" * 200
    wrong.flag = 256
    path = files.write_pod5(tmp_path / "reads.pod5", reads)
    bam = files.write_bam(tmp_path / "calls.bam", [wrong, files.unaligned(reads[0])])
    chunks, _ = load(settings(path, bam, chunk_samples=100_000))
    assert [to_string(chunk.labels) for chunk in chunks] == [reads[0].sequence]
