"""Reads of POD5 files: labels are placed correctly on the signal for every strand, alignment and move table, and bad reads are
skipped and counted.
"""

from __future__ import annotations

import array
import dataclasses
import re
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pod5 as pod5_format
import pysam
import pytest
from pod5.signal_tools import vbz_compress_signal

from basecaller.calling.files import signals
from basecaller.common.errors import DataError
from basecaller.data import pod5, sources
from basecaller.data.audit import audit
from basecaller.data.dataset import Chunk
from basecaller.data.pore import r94
from basecaller.data.signal import Normalisation, normalise, reverse_complement
from basecaller.networks.decode import to_string
from basecaller.runs.signals import Signals
from tests.helpers import reads as files
from tests.helpers.importing import dropped, load, settings
from tests.helpers.reads import CONTIG, SimulatedRead, aligned, aligned_read


def test_chunks_of_basecalls_rejoin_to_the_read(tmp_path):
    path, bam, reads = files.make_source(tmp_path, count=5)
    chunks, counts = load(settings(path, bam))
    assert counts["reads kept"] == 5
    for read in reads:
        own = [chunk for chunk in chunks if chunk.read_id == read.read_id]
        assert len({chunk.split for chunk in own}) == 1
        assert (
            np.concatenate([chunk.labels for chunk in own])[: len(read.labels)].tolist()
            == read.labels.tolist()[: sum(len(c.labels) for c in own)]
        )
        assert all(100 <= len(chunk.signal) <= 1000 for chunk in own)
        assert all(chunk.starts[0] == 0 for chunk in own)


def test_starts_come_from_the_move_table(tmp_path):
    path, bam, reads = files.make_source(tmp_path, count=1)
    chunks, _ = load(settings(path, bam, chunk_samples=100_000))
    np.testing.assert_array_equal(chunks[0].starts, reads[0].move_starts - reads[0].move_starts[0])


NORMALISATIONS = {
    "median_mad": Normalisation(),
    "quantile": Normalisation(normalisation="quantile"),
    "standardise": Normalisation(normalisation="standardise", mean=90.0, stdev=15.0),
}


@pytest.mark.parametrize("rna", [False, True])
@pytest.mark.parametrize("name", NORMALISATIONS)
def test_training_sees_the_samples_that_a_model_calls(tmp_path, name, rna):
    """Both normalise the whole read, in pA if necessary, with its adapter and the open pore."""
    by, made = NORMALISATIONS[name], aligned_read([("M", 200)], rna=rna)
    adapter = np.full(800, 700, np.int16)
    read = dataclasses.replace(made.read, adc=np.concatenate([adapter, made.read.adc]))
    made.record.set_tag("ts", files.TRIMMED + len(adapter))
    made.record.set_tag("MD", made.md)
    path = files.write_pod5(tmp_path / "reads.pod5", [read], scale=0.2, offset=7.0)
    bam = files.write_bam(tmp_path / "calls.bam", [made.record], {CONTIG: len(made.genome)})
    chosen = settings(path, bam, chunk_samples=100_000, rna=rna, **vars(by))
    (chunk,), _ = load(chosen)
    ((_, called),) = signals(path, Counter(), Signals(rna=rna, **vars(by)))
    np.testing.assert_allclose(called, normalise((read.adc + 7.0) * 0.2, by)[:: -1 if rna else 1], atol=1e-5)
    first = len(adapter) + made.read.move_starts[0]
    beyond = len(called) - first - len(chunk.signal)  # samples after the last block
    assert 0 <= beyond < files.STRIDE
    np.testing.assert_allclose(chunk.signal, called[beyond:-first] if rna else called[first : len(called) - beyond], atol=2e-3)


def test_event_levels_correlate_with_the_pore_table(tmp_path):
    path, bam, _ = files.make_source(tmp_path, count=3)
    for chunk in load(settings(path, bam, chunk_samples=100_000))[0]:
        means = np.array([s.mean() for s in np.split(chunk.signal, chunk.starts[1:])])
        level = r94().expected(chunk.labels)
        assert np.corrcoef(means[2:-3], level)[0, 1] > 0.6
        wrong = r94().expected(reverse_complement(chunk.labels))
        assert abs(np.corrcoef(means[2:-3], wrong)[0, 1]) < 0.3


def test_basecalls_that_label_reads_of_an_aligned_bam_are_reported(tmp_path):
    """Reads that did not align, and aligned ones if nothing tells the reference's bases."""
    made = [aligned_read([("M", 150)], seed=seed) for seed in range(12)]
    for each in made[:10]:
        each.record.set_tag("MD", each.md)
    path = files.write_pod5(tmp_path / "reads.pod5", [each.read for each in made])
    records = [each.record for each in made[:11]] + [files.unaligned(made[11].read)]
    bam = files.write_bam(tmp_path / "mapped.bam", records, {CONTIG: len(made[0].genome)})
    told = {}
    for labels in ("auto", "moves", "reference"):
        found = audit(sources.prepare("pod5", settings(path, bam, labels=labels), tmp_path / "data"))
        told[labels] = [line for line in found.verdict if "basecalls" in line]
    assert not told["moves"] + told["reference"]
    assert [line.partition(":")[0] for line in told["auto"]] == [
        "1 reads did not align and have their basecalls as labels, which are often poor",
        "1 aligned reads have their basecalls as labels, for lack of MD tags",
    ]


@pytest.mark.parametrize("reverse", [False, True])
@pytest.mark.parametrize("with_fasta", [False, True])
def test_reference_labels_replace_errors_of_the_call(tmp_path, reverse, with_fasta):
    # The reference is the read with one base changed, one base added and one base removed.
    (read,) = files.make_reads(1, bases=120)
    forward = reverse_complement(read.labels) if reverse else read.labels
    reference = forward.copy()
    reference[30] = reference[30] % 4 + 1  # mismatch
    reference = np.insert(reference, 60, reference[60] % 4 + 1)  # deletion in the read
    reference = np.delete(reference, 91)  # insertion in the read (read base 90)
    cigar = [(0, 60), (2, 1), (0, 30), (1, 1), (0, 29)]
    record = aligned(read, 0, 10, cigar, reverse)
    genome = np.concatenate([np.ones(10, np.uint8), reference, np.ones(10, np.uint8)])
    fasta = tmp_path / "genome.fasta"
    fasta.write_text(f">contig\n{to_string(genome)}\n")
    if not with_fasta:
        deleted = to_string(reference[60:61])
        tag = f"30{to_string(reference[30:31])}29^{deleted}59"
        record.set_tag("MD", tag)
    path = files.write_pod5(tmp_path / "reads.pod5", [read])
    bam = files.write_bam(tmp_path / "mapped.bam", [record], {"contig": len(genome)})
    chosen = settings(path, bam, reference=str(fasta) if with_fasta else None, chunk_samples=100_000, labels="reference")
    (chunk,), counts = load(chosen)
    assert counts["labels from the reference"] == 1
    expected = reverse_complement(reference) if reverse else reference
    assert to_string(chunk.labels) == to_string(expected)
    matched = np.concatenate([np.arange(60), np.arange(61, 91), np.arange(91, 120)])  # in reference order
    called = np.concatenate([np.arange(60), np.arange(60, 90), np.arange(91, 120)])
    if reverse:
        matched, called = 119 - matched, 119 - called
    np.testing.assert_array_equal(chunk.starts[matched], read.move_starts[called] - read.move_starts[0])
    assert (np.diff(chunk.starts) >= 0).all()


def test_soft_clipped_ends_get_no_labels(tmp_path):
    (read,) = files.make_reads(1, bases=100)
    record = aligned(read, 0, 0, [(4, 20), (0, 70), (4, 10)], reverse=False)
    record.set_tag("MD", "70")
    path = files.write_pod5(tmp_path / "reads.pod5", [read])
    bam = files.write_bam(tmp_path / "mapped.bam", [record], {"contig": 70})
    (chunk,), _ = load(settings(path, bam, chunk_samples=100_000))
    assert to_string(chunk.labels) == read.sequence[20:90]
    assert len(chunk.signal) == read.move_starts[90] - read.move_starts[20]


def test_cut_chunks_lie_on_base_boundaries_and_leave_out_what_is_too_long():
    starts = np.array([0, 10, 20, 500, 510, 520])
    assert list(pod5.cut_chunks(starts, 530, 30)) == [(0, 2), (3, 6)]
    assert list(pod5.cut_chunks(starts, 530, 1000)) == [(0, 6)]


def test_letters_other_than_acgt_drop_only_their_chunk(tmp_path):
    (read,) = files.make_reads(1)
    record = files.unaligned(read)
    record.query_sequence = read.sequence[:10] + "N" + read.sequence[11:]
    path = files.write_pod5(tmp_path / "reads.pod5", [read])
    chunks, counts = load(settings(path, files.write_bam(tmp_path / "calls.bam", [record])))
    assert counts["chunks dropped: letters other than A, C, G, T"] == 1
    assert chunks


def test_reads_that_the_basecaller_split_are_found_in_their_parent(tmp_path):
    first, second, other = files.make_reads(3)
    whole = dataclasses.replace(other, adc=np.concatenate([first.adc, second.adc]))
    records = [files.unaligned(first), files.unaligned(second)]
    for record, begin in zip(records, (0, len(first.adc)), strict=True):
        record.set_tag("pi", whole.read_id)
        record.set_tag("sp", begin)
    path = files.write_pod5(tmp_path / "reads.pod5", [whole])
    chunks, counts = load(settings(path, files.write_bam(tmp_path / "calls.bam", records), chunk_samples=100_000))
    assert counts["reads that the basecaller split"] == 1
    assert counts["reads kept"] == 2
    assert [to_string(chunk.labels) for chunk in chunks] == [first.sequence, second.sequence]
    assert {chunk.read_id for chunk in chunks} == {whole.read_id}  # and so of one split
    records[0].query_name = whole.read_id
    again, _ = load(settings(path, files.write_bam(tmp_path / "calls.bam", records), chunk_samples=100_000))
    assert [to_string(chunk.labels) for chunk in again] == [first.sequence, second.sequence]
    for chunk, read, begin in zip(chunks, (first, second), (0, len(first.adc)), strict=True):
        at = begin + read.move_starts[0]
        np.testing.assert_allclose(chunk.signal, normalise(whole.adc)[at : at + len(chunk.signal)], atol=0.01)
        np.testing.assert_array_equal(chunk.starts, read.move_starts - read.move_starts[0])


@pytest.mark.parametrize(
    ("trimmed", "time", "off"),
    [
        (600, "{:06.3f}+00:00", 0),  # Dorado before 2.1
        (0, "{:06.3f}+00:00", 0),
        (0, "{:02.0f}+00:00", 0),  # to the second
        (600, "{:06.3f}", 600),  # in an unknown time zone
        (600, "{:05.2f}+00:00", 600),
    ],
)
def test_parts_of_a_split_read_begin_where_their_start_time_tells(tmp_path, trimmed, time, off):
    first, second, other = files.make_reads(3)
    first = dataclasses.replace(first, adc=first.adc[: len(first.adc) // 4 * 4])  # so that the second begins with a millisecond
    whole = dataclasses.replace(other, adc=np.concatenate([np.full(600, 800, np.int16), first.adc, second.adc]))
    begins = [600, 600 + len(first.adc)]
    records = [files.unaligned(first), files.unaligned(second)]
    for record, begin in zip(records, begins, strict=True):
        record.set_tag("pi", whole.read_id)
        record.set_tag("sp", begin - trimmed)
        record.set_tag("st", f"2024-01-01T00:00:{time.format(begin / 4000)}")
    path = files.write_pod5(tmp_path / "reads.pod5", [whole])
    chunks, counts = load(settings(path, files.write_bam(tmp_path / "calls.bam", records), chunk_samples=100_000))
    assert [to_string(chunk.labels) for chunk in chunks] == [first.sequence, second.sequence]
    assert counts["parts of split reads placed by their start time"] == (2 if trimmed > off else 0)
    for chunk, read, begin in zip(chunks, (first, second), begins, strict=True):
        at = begin - off + read.move_starts[0]
        expected = normalise(whole.adc)[at : at + len(chunk.signal)]
        np.testing.assert_allclose(chunk.signal, expected, atol=0.01)


def test_a_constant_signal_is_dropped_and_counted(tmp_path):
    reads = files.make_reads(3)
    stuck = dataclasses.replace(reads[1], adc=np.full_like(reads[1].adc, 500))
    path = files.write_pod5(tmp_path / "reads.pod5", [reads[0], stuck, reads[2]])
    bam = files.write_bam(tmp_path / "calls.bam", [files.unaligned(read) for read in reads])
    chunks, counts = load(settings(path, bam))
    assert counts["chunks dropped: constant signal"] >= 2
    assert {chunk.read_id for chunk in chunks} == {reads[0].read_id, reads[2].read_id}


def test_a_reference_without_the_contig_is_named(tmp_path):
    (read,) = files.make_reads(1, bases=100)
    path = files.write_pod5(tmp_path / "reads.pod5", [read])
    bam = files.write_bam(tmp_path / "mapped.bam", [aligned(read, 0, 0, [(0, 100)], reverse=False)], {"contig": 200})
    fasta = tmp_path / "other.fasta"
    fasta.write_text(">elsewhere\nACGT\n")
    with pytest.raises(DataError, match="no reference contig in the FASTA"):
        load(settings(path, bam, reference=str(fasta)))


def test_signals_of_rna_are_reversed(tmp_path):
    (read,) = files.make_reads(1, bases=200)
    ends = np.append(read.starts[1:], len(read.adc) - 50)
    turned = dataclasses.replace(
        read, labels=read.labels[::-1], starts=(len(read.adc) - ends)[::-1], adc=np.ascontiguousarray(read.adc[::-1])
    )
    record = files.unaligned(turned)
    record.query_sequence = read.sequence  # as is usual, from the 5' end
    path, bam = files.write_pod5(tmp_path / "a.pod5", [turned]), files.write_bam(tmp_path / "a.bam", [record])
    (chunk,), _ = load(settings(path, bam, rna=True, chunk_samples=100_000))
    assert to_string(chunk.labels) == read.sequence
    means = np.array([s.mean() for s in np.split(chunk.signal, chunk.starts[1:])])
    level = r94().expected(chunk.labels)
    assert np.corrcoef(means[2:-3], level)[0, 1] > 0.6
    (wrong,), _ = load(settings(path, bam, chunk_samples=100_000))
    assert to_string(wrong.labels) == read.sequence  # imported as DNA, the labels are on the reversed signal
    means = np.array([s.mean() for s in np.split(wrong.signal, wrong.starts[1:])])
    assert np.corrcoef(means[2:-3], level)[0, 1] < 0.4


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
    chunks, counts = load(settings(folder, bam, chunk_samples=100_000, normalisation="quantile"))
    assert [to_string(chunk.labels) for chunk in chunks] == [reads[0].sequence, reads[2].sequence]
    ((told, number),) = dropped(counts).items()
    assert reason in told
    assert number == 1


def test_a_signal_that_cannot_be_decoded_costs_its_read_only(tmp_path):
    """In an import and in basecalls."""
    reads = files.make_reads(3, bases=100)
    path = files.write_pod5(tmp_path / "reads.pod5", reads)
    bam = files.write_bam(tmp_path / "calls.bam", [files.unaligned(read) for read in reads])
    content = bytearray(path.read_bytes())
    at = content.find(bytes(vbz_compress_signal(reads[1].adc))[:60])
    content[at + 2 : at + 40] = b"\xff" * 38
    path.write_bytes(content)
    chunks, counts = load(settings(path, bam, chunk_samples=100_000))
    assert [to_string(chunk.labels) for chunk in chunks] == [reads[0].sequence, reads[2].sequence]
    assert dropped(counts) == {"reads dropped: signal cannot be decoded": 1}
    told = Counter[str]()
    assert [read_id for read_id, _ in signals(path, told)] == [reads[0].read_id, reads[2].read_id]
    assert told["signal cannot be decoded"] == 1


def rna_and_its_record(moves: np.ndarray, ts: int, bases: int = 200) -> tuple[files.AlignedRead, pysam.AlignedSegment]:
    """An unaligned read of direct RNA, and its record with another move table: blocks, without the stride."""
    made = aligned_read([("M", 200)], rna=True)
    record = files.unaligned(made.read)
    record.query_sequence = made.read.sequence[::-1][:bases]  # from the 5' end
    record.set_tag("ts", ts)
    record.set_tag("mv", array.array("b", [files.STRIDE, *moves.tolist()]))
    return made, record


def imported_rna(folder: Path, made: files.AlignedRead, record: pysam.AlignedSegment, **pod5_kept: object) -> list[Chunk]:
    path = folder / "rna.pod5"
    path.unlink(missing_ok=True)
    files.write_pod5(path, [made.read], **pod5_kept)  # type: ignore[arg-type]
    return load(settings(path, files.write_bam(folder / "rna.bam", [record]), rna=True, chunk_samples=100_000))[0]


def test_an_adapter_of_rna_that_was_not_trimmed_moves_no_label(tmp_path):
    """Dorado 0.5 gives it in `ts` all the same."""
    first = files.TRIMMED // files.STRIDE
    blocks = np.concatenate([np.zeros(first, np.int8), aligned_read([("M", 200)], rna=True).read.moves[1:]])
    made, record = rna_and_its_record(blocks, ts=700)
    record.set_tag("ns", len(made.read.adc) + 700)
    (right,) = imported_rna(tmp_path, made, rna_and_its_record(blocks[first:], files.TRIMMED)[1])
    (found,) = imported_rna(tmp_path, made, record)
    np.testing.assert_array_equal(found.labels, right.labels)
    np.testing.assert_array_equal(found.starts, right.starts)
    np.testing.assert_array_equal(found.signal, right.signal)


def test_bases_of_rna_that_were_trimmed_need_a_move_table_that_was_trimmed_at_the_same_end(tmp_path):
    """Dorado trims the table at the other one."""
    blocks = aligned_read([("M", 200)], rna=True).read.moves[1:]
    of_base = np.cumsum(blocks) - 1
    begin = int((of_base < 50).sum())
    made, record = rna_and_its_record(blocks[of_base < 150], files.TRIMMED, bases=150)
    with pytest.raises(DataError, match=r"whose bases were trimmed after basecalling\)\. .*--no-trim"):
        imported_rna(tmp_path, made, record)
    _, right = rna_and_its_record(blocks[begin:], files.TRIMMED + begin * files.STRIDE, bases=150)
    (chunk,) = imported_rna(tmp_path, made, right)
    assert to_string(chunk.labels) == right.query_sequence
    dwells = np.diff(made.read.move_starts[50:])  # of all but the last base, which is the first of the chunk
    np.testing.assert_array_equal(np.diff(chunk.starts)[::-1][:-1], dwells[1:])
    unblocked = imported_rna(tmp_path, made, record, end=pod5_format.EndReasonEnum.UNBLOCK_MUX_CHANGE)
    assert len(unblocked) == 1  # Dorado cuts the signal of such reads before it calls them


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
