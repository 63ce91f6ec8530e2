"""Labels are placed correctly on the signal for every strand, alignment and move table."""

import array
import dataclasses
import shutil
from pathlib import Path

import numpy as np
import pysam
import pytest

from basecaller.data import pod5, pod5_parts, sources
from basecaller.data.pore import r94
from basecaller.data.signal import encode, normalise, reverse_complement
from basecaller.data.splits import SPLITS
from basecaller.decode import to_string
from basecaller.errors import DataError
from basecaller.files import write_json
from tests.helpers import reads as files
from tests.helpers.importing import load, settings


def aligned(
    read: files.SimulatedRead, contig: int, position: int, cigar: list[tuple[int, int]], reverse: bool
) -> pysam.AlignedSegment:
    record = files.unaligned(read)
    if reverse:
        record.query_sequence = to_string(reverse_complement(read.labels))
    record.flag = 16 if reverse else 0
    record.reference_id, record.reference_start, record.cigartuples = contig, position, cigar
    return record


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


def test_secondary_and_supplementary_records_are_not_used(tmp_path):
    reads = files.make_reads(1, bases=200)
    wrong = files.unaligned(reads[0])
    wrong.query_sequence = "A" * 200
    wrong.flag = 256
    path = files.write_pod5(tmp_path / "reads.pod5", reads)
    bam = files.write_bam(tmp_path / "calls.bam", [wrong, files.unaligned(reads[0])])
    chunks, _ = load(settings(path, bam, chunk_samples=100_000))
    assert [to_string(chunk.labels) for chunk in chunks] == [reads[0].sequence]


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


@pytest.mark.parametrize(("md", "labels"), [("400", "auto"), ("400", "moves"), (None, "auto")])
def test_position_splits_never_share_a_place_on_the_genome(tmp_path, md, labels):
    genome = np.random.default_rng(5).integers(1, 5, 4000).astype(np.uint8)
    reads = files.make_reads(30, bases=400, genome=genome)
    records = []
    for number, read in enumerate(reads):
        at = number * (len(genome) - 400) // 29
        record = aligned(read, 0, at, [(0, 400)], reverse=False)
        record.set_tag("MD", md)
        records.append(record)
    path = files.write_pod5(tmp_path / "reads.pod5", reads)
    bam = files.write_bam(tmp_path / "mapped.bam", records, {"contig": len(genome)})
    chunks, counts = load(settings(path, bam, split="position", labels=labels))
    places: dict[str, set[int]] = {split: set() for split in SPLITS}
    text = to_string(genome)
    for chunk in chunks:
        at = text.find(to_string(chunk.labels))
        places[chunk.split].update(range(at, at + len(chunk.labels)))
    assert all(places.values())
    assert max(places["train"]) < min(places["validation"])
    assert max(places["validation"]) < min(places["test"])
    assert counts["chunks dropped: across a cut between splits"] > 0


@pytest.mark.slow
def test_several_pairs_are_one_data_set(tmp_path):
    a, a_bam, _ = files.make_source(tmp_path / "a", count=3, seed=1)
    b, b_bam, _ = files.make_source(tmp_path / "b", count=4, seed=2)
    chunks, counts = load(dataclasses.replace(settings(a, a_bam), pod5=(str(a), str(b.parent)), bam=(str(a_bam), str(b_bam))))
    assert counts["reads kept"] == 7
    assert len({chunk.read_id for chunk in chunks}) == 7


def test_a_file_that_moves_to_another_pair_makes_another_data_set(tmp_path):
    """Its reads get the labels of another BAM file."""
    bams = [str(files.make_source(tmp_path / name, count=1, seed=seed)[1]) for seed, name in enumerate("ab")]
    for seed, name in enumerate("xyz"):
        files.write_pod5(tmp_path / f"{name}.pod5", files.make_reads(1, seed=seed))
    found = set()
    for second in (["z.pod5"], ["y.pod5", "z.pod5"]):
        for name in ("first", "second"):
            shutil.rmtree(tmp_path / name, ignore_errors=True)
            (tmp_path / name).mkdir()
        for name in ("x.pod5", "y.pod5", "z.pod5"):
            shutil.copy(tmp_path / name, tmp_path / ("second" if name in second else "first") / name)
        chosen = settings(tmp_path, tmp_path)
        pairs = dataclasses.replace(chosen, pod5=tuple(str(tmp_path / name) for name in ("first", "second")), bam=tuple(bams))
        found.add(sources.source_fingerprint("pod5", pairs))
    assert len(found) == 2


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


BAD = {
    "missing": ("does not exist", lambda pod, bam: pod.unlink()),
    "missing bam": ("is not a file", lambda pod, bam: bam.unlink()),
    "truncated pod5": ("cannot read", lambda pod, bam: pod.write_bytes(pod.read_bytes()[:-2000])),
    "foreign pod5": ("cannot read", lambda pod, bam: pod.write_text("reads, honestly")),
    "truncated bam": ("cannot read", lambda pod, bam: bam.write_bytes(bam.read_bytes()[:-500])),
    "foreign bam": ("cannot read", lambda pod, bam: bam.write_text("@HD nothing of the kind")),
    "empty bam": ("cannot read", lambda pod, bam: bam.write_bytes(b"")),
}


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


@pytest.mark.parametrize("kind", BAD)
def test_bad_files_are_named(tmp_path, kind):
    path, bam, _ = files.make_source(tmp_path, count=20)
    message, spoil = BAD[kind]
    spoil(path, bam)
    with pytest.raises(DataError, match=message) as caught:
        load(settings(path, bam))
    assert str(path) in str(caught.value) or str(bam) in str(caught.value)


def test_a_bam_of_other_reads_is_an_error_that_names_both_files(tmp_path):
    path, _, _ = files.make_source(tmp_path / "a", count=2, seed=1)
    _, bam, _ = files.make_source(tmp_path / "b", count=2, seed=2)
    with pytest.raises(DataError, match="no record for any of the 2 reads") as caught:
        load(settings(path, bam))
    assert str(path) in str(caught.value)
    assert str(bam) in str(caught.value)


def test_no_move_table_anywhere_is_an_error_that_says_what_to_do(tmp_path):
    reads = files.make_reads(2)
    path = files.write_pod5(tmp_path / "reads.pod5", reads)
    bam = files.write_bam(tmp_path / "calls.bam", [files.unaligned(read, moves=False) for read in reads])
    with pytest.raises(DataError, match="--emit-moves"):
        load(settings(path, bam))


@pytest.mark.parametrize(
    ("spoil", "reason"),
    [
        (lambda r: r.set_tag("MD", "banana"), "broken MD tag"),
        (lambda r: r.set_tag("MD", "50"), "broken MD tag"),
        (lambda r: r.set_tag("MD", "9999"), "broken MD tag"),
        (lambda r: r.set_tag("mv", array.array("b", [5, 0, 0, 0])), "empty move table"),
        (lambda r: r.set_tag("mv", array.array("b", [0, 1, 0, 1])), "stride below 1"),
        (lambda r: r.set_tag("ts", 10_000_000), "longer than the signal"),
        (lambda r: setattr(r, "cigartuples", [(5, 10), (0, 100)]), "differ in length"),
    ],
)
def test_a_broken_record_drops_its_read_and_is_counted(tmp_path, spoil, reason):
    good, bad = files.make_reads(2, bases=100)
    records = [aligned(read, 0, 0, [(0, 100)], reverse=False) for read in (good, bad)]
    for record in records:
        record.set_tag("MD", "100")
    spoil(records[1])
    path = files.write_pod5(tmp_path / "reads.pod5", [good, bad])
    _, counts = load(settings(path, files.write_bam(tmp_path / "mapped.bam", records, {"contig": 200})))
    assert counts["reads kept"] == 1
    assert sum(n for key, n in counts.items() if key.startswith("reads dropped") and reason in key) == 1


def test_a_reference_without_the_contig_is_named(tmp_path):
    (read,) = files.make_reads(1, bases=100)
    path = files.write_pod5(tmp_path / "reads.pod5", [read])
    bam = files.write_bam(tmp_path / "mapped.bam", [aligned(read, 0, 0, [(0, 100)], reverse=False)], {"contig": 200})
    fasta = tmp_path / "other.fasta"
    fasta.write_text(">elsewhere\nACGT\n")
    with pytest.raises(DataError, match="no reference contig in the FASTA"):
        load(settings(path, bam, reference=str(fasta)))


def test_a_split_by_position_needs_positions(tmp_path):
    path, bam, _ = files.make_source(tmp_path, count=3)
    with pytest.raises(DataError, match=r"data\.split=position needs records aligned"):
        load(settings(path, bam, split="position"))


def test_messages_about_fast5_say_how_to_convert(tmp_path):
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "a.fast5").touch()
    files.write_bam(tmp_path / "calls.bam", [])
    with pytest.raises(DataError, match="pod5 convert fast5"):
        load(settings(tmp_path / "run", tmp_path))


def test_encode_knows_the_projects_label_order():
    assert encode("ACGTNacgtUu").tolist() == [1, 2, 3, 4, 0, 1, 2, 3, 4, 4, 4]  # U is T of RNA
    assert to_string(reverse_complement(encode("AACGT"))) == "ACGTT"


def many_files(folder: Path) -> tuple[Path, Path, list[files.SimulatedRead]]:
    """Three POD5 files in folders, and two BAM files, of thirty reads."""
    reads = files.make_reads(30, bases=300)
    for number in range(3):
        (folder / f"pod5/{number}").mkdir(parents=True)
        files.write_pod5(folder / f"pod5/{number}/reads.pod5", reads[number::3])
    (folder / "bam").mkdir()
    files.write_bam(folder / "bam/a.bam", [files.unaligned(read) for read in reads[:20]])
    files.write_bam(folder / "bam/b.bam", [files.unaligned(read) for read in reads[20:]])
    return folder / "pod5", folder / "bam", reads


@pytest.mark.slow
def test_a_parallel_import_of_folders_equals_a_sequential_one(tmp_path):
    path, bam, reads = many_files(tmp_path)
    chosen = settings(path, bam)
    chunks, counts = load(chosen)
    assert counts["reads kept"] == len(reads)
    dataset = sources.prepare("pod5", chosen, tmp_path / "data")
    assert len(dataset) == len(chunks)
    assert dataset.meta["counts"] == counts
    for i, expected in enumerate(chunks):
        signal, labels, starts = dataset.chunk(i)
        assert dataset.read_ids[i].decode() == expected.read_id
        assert np.array_equal(signal, expected.signal.astype(np.float16))
        assert np.array_equal(labels, expected.labels)
        assert np.array_equal(starts, expected.starts)
    assert not list((tmp_path / "data").glob("*.parts"))


@pytest.mark.slow
def test_an_interrupted_import_continues_with_the_missing_files(tmp_path):
    path, bam, _ = many_files(tmp_path)
    chosen = settings(path, bam)
    fingerprint = sources.source_fingerprint("pod5", chosen)
    parts = tmp_path / f"data/pod5-{fingerprint}.parts"
    done = sources._import_part("pod5", chosen, pod5_parts.parts(chosen, parts)[1], parts / "1")
    write_json(parts / "1.json", done | {"kept from before": 1})  # a second import of it would not have this
    (parts / "2.partial-1").mkdir()
    dataset = sources.prepare("pod5", chosen, tmp_path / "data")
    assert dataset.meta["counts"] == load(chosen)[1] | {"kept from before": 1}
    assert len(dataset) == len(load(chosen)[0])


def test_a_damaged_file_among_others_is_named(tmp_path):
    path, bam, _ = many_files(tmp_path)
    damaged = path / "1/reads.pod5"
    damaged.write_bytes(damaged.read_bytes()[:3000])
    with pytest.raises(DataError, match=r"cannot read .*1/reads\.pod5"):
        sources.prepare("pod5", settings(path, bam), tmp_path / "data")
    assert not list((tmp_path / "data").glob("pod5-*"))


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
