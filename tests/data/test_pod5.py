"""Reads of POD5 files: labels are placed correctly on the signal for every strand, alignment and move table, and bad reads are
skipped and counted.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Callable

import numpy as np
import pytest

from basecaller.data import pod5, sources
from basecaller.data.audit import audit
from basecaller.data.pore import r94
from basecaller.data.signal import normalise, reverse_complement
from basecaller.decode import to_string
from basecaller.errors import DataError
from tests.helpers import reads as files
from tests.helpers.importing import dropped, load, settings
from tests.helpers.reads import SimulatedRead, aligned


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


def test_quantiles_are_those_of_the_labelled_part_in_picoampere(tmp_path):
    (read,) = files.make_reads(1)
    path = files.write_pod5(tmp_path / "reads.pod5", [read], scale=0.2, offset=7.0)
    bam = files.write_bam(tmp_path / "calls.bam", [files.unaligned(read)])
    (chunk,), _ = load(settings(path, bam, chunk_samples=100_000, normalisation="quantile"))
    first = read.move_starts[0]
    picoampere = (read.adc[first : first + len(chunk.signal)] + 7.0) * 0.2
    low, high = np.quantile(picoampere, [0.2, 0.9])
    np.testing.assert_allclose(chunk.signal, (picoampere - 0.51 * (low + high)) / (0.53 * (high - low)), atol=2e-3)


def test_event_levels_correlate_with_the_pore_table(tmp_path):
    path, bam, _ = files.make_source(tmp_path, count=3)
    for chunk in load(settings(path, bam, chunk_samples=100_000))[0]:
        means = np.array([s.mean() for s in np.split(chunk.signal, chunk.starts[1:])])
        level = r94().expected(chunk.labels)
        assert np.corrcoef(means[2:-3], level)[0, 1] > 0.6
        wrong = r94().expected(reverse_complement(chunk.labels))
        assert abs(np.corrcoef(means[2:-3], wrong)[0, 1]) < 0.3


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
    for chunk, read in zip(chunks, (first, second), strict=True):
        alone = files.write_pod5(tmp_path / f"{read.read_id}.pod5", [read])
        (expected,), _ = load(
            settings(alone, files.write_bam(tmp_path / "own.bam", [files.unaligned(read)]), chunk_samples=100_000)
        )
        np.testing.assert_array_equal(chunk.signal, expected.signal)
        np.testing.assert_array_equal(chunk.starts, expected.starts)


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
        expected = normalise(whole.adc[at : at + len(chunk.signal)])
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
    chunks, counts = load(settings(folder, bam, chunk_samples=100_000))
    assert [to_string(chunk.labels) for chunk in chunks] == [reads[0].sequence, reads[2].sequence]
    ((told, number),) = dropped(counts).items()
    assert reason in told
    assert number == 1


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
