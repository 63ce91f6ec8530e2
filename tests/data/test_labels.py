"""The reference's bases under a record, whatever its CIGAR, strand and direction: labels, starts, and where reads are cut."""

from __future__ import annotations

import array
import dataclasses
import itertools
import tempfile
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import settings as examples
from hypothesis import strategies as st

from basecaller.data.labels import (
    LEAST_SHARE,
    LONGEST_INSERTION,
    LabelledRead,
    called_positions,
    label_from_reference,
    moves_of,
)
from basecaller.data.reference import Reference, copy_reference
from basecaller.data.tags import Unusable
from basecaller.networks.decode import to_string
from tests.helpers import reads as files
from tests.helpers.importing import load, settings
from tests.helpers.reads import AlignedRead, aligned_read

INSIDE = st.tuples(st.sampled_from("M=XIDdN"), st.one_of(st.integers(1, 4), st.integers(1, 60)))
ENDS = st.tuples(st.sampled_from("SH"), st.integers(0, 30))


@st.composite
def alignments(draw) -> AlignedRead:
    middle = draw(st.lists(INSIDE, min_size=1, max_size=12))
    middle.insert(draw(st.integers(0, len(middle))), ("M", draw(st.integers(1, 40))))
    first, last = draw(ENDS), draw(ENDS)
    operations = [each for each in (first, *middle, last) if each[1]]
    return aligned_read(operations, draw(st.booleans()), draw(st.booleans()), draw(st.integers(0, 1000)))


def label(made: AlignedRead, rna: bool, fasta: bool = False) -> tuple[list[LabelledRead], Counter[str]]:
    """Labels a read by the MD tag, or by a FASTA."""
    counts = Counter[str]()
    record = made.record
    if not fasta:
        record.set_tag("MD", made.md)
        return label_from_reference(record, moves_of(record), None, counts, rna), counts
    with tempfile.TemporaryDirectory() as folder:
        path = files.write_fasta(Path(folder) / "genome.fasta", {files.CONTIG: made.genome})
        reference = Reference(copy_reference(path, Path(folder) / "copy"))
        return label_from_reference(record, moves_of(record), reference, counts, rna), counts


def expected_parts(made: AlignedRead) -> list[list[tuple[int, int, int]]]:
    """Position, letter and start (-1: anywhere between its neighbours) of each base of each part, placed base by base."""
    starts = made.read.move_starts
    over = min(10, len(starts) - 1)
    usual = np.median([starts[i + over] - starts[i] for i in range(len(starts) - over)]) / over if over else 1.0
    parts, waiting = [], []
    last = None  # the called base before
    for letter, position, called in zip(made.labels, made.positions, made.called, strict=True):
        if called < 0:
            waiting.append((int(position), int(letter), -1))
            continue
        if last is None:
            parts.append([])
        else:
            samples = starts[called] - starts[last]
            held = samples / (len(waiting) + 1) >= max(1, LEAST_SHARE * usual)
            if (waiting and not held) or called - last - 1 > LONGEST_INSERTION:
                parts.append([])
            else:
                parts[-1] += waiting
        parts[-1].append((int(position), int(letter), int(starts[called])))
        waiting, last = [], called
    return parts


@examples(max_examples=150)
@given(made=alignments(), rna=st.booleans(), fasta=st.booleans())
@example(aligned_read([("M", 20), ("d", 2), ("N", 300), ("D", 30), ("I", 3), ("M", 20)], True, False), False, True)
@example(aligned_read([("H", 5), ("S", 5), ("D", 5), ("M", 20), ("N", 5), ("S", 9)], True, True), True, False)
def test_random_alignments_are_labelled_as_base_by_base(made, rna, fasta):
    # `rna` decides in which direction the move table is read, so it must be that of the read
    rna = bool((made.positions[0] > made.positions[-1]) != made.record.is_reverse) if len(made.positions) > 1 else rna
    matched = made.called >= 0
    differing = (made.labels[matched] != made.read.labels[made.called[matched]]).mean()
    parts, counts = label(made, rna, fasta and differing < 0.5)  # a FASTA that differs more counts as another reference
    expected = expected_parts(made)
    assert [len(part.labels) for part in parts] == [len(part) for part in expected]
    for part, truth in zip(parts, expected, strict=True):
        assert part.positions is not None
        assert part.labels.tolist() == [letter for _, letter, _ in truth]
        assert part.positions.tolist() == [position for position, _, _ in truth]
        assert all(start == known for start, (_, _, known) in zip(part.starts.tolist(), truth, strict=True) if known >= 0)
        assert (np.diff(part.starts) > 0).all()
        assert part.stop > part.starts[-1]
    for before, after in itertools.pairwise(parts):
        assert before.stop <= after.starts[0]
    assert counts.total() == 0 or len(parts) > 1


def test_an_intron_has_no_labels_and_does_not_cut_the_read():
    made = aligned_read([("M", 150), ("N", 3000), ("M", 150)])
    assert made.md == "300"
    for fasta in (False, True):
        (part,), counts = label(made, False, fasta)
        assert to_string(part.labels) == made.read.sequence
        assert part.starts.tolist() == made.read.move_starts.tolist()
        assert not counts


@pytest.mark.parametrize("reverse", [False, True])
def test_only_deletions_that_the_molecule_has_cut_the_read(reverse):
    lacking = aligned_read([("M", 100), ("D", 50), ("M", 100)], reverse)
    parts, counts = label(lacking, False)
    assert "".join(to_string(part.labels) for part in parts) == lacking.read.sequence
    assert [len(part.labels) for part in parts] == [100, 100]
    assert counts == {"cuts at deletions that the signal does not hold": 1, "deleted bases without labels": 50}
    missed = aligned_read([("M", 100), ("d", 50), ("M", 100)], reverse)
    (part,), counts = label(missed, False)
    assert to_string(part.labels) == to_string(missed.labels)
    assert not counts


@pytest.mark.parametrize("reverse", [False, True])
@pytest.mark.parametrize("rna", [False, True])
def test_called_bases_have_the_positions_of_the_alignment(reverse, rna):
    operations = [("S", 4), ("M", 20), ("I", 3), ("M", 5), ("D", 4), ("M", 9), ("N", 50), ("M", 8), ("S", 6)]
    made = aligned_read(operations, reverse, rna)
    expected = [position for base, position in made.record.get_aligned_pairs() if base is not None]
    for at in range(1, len(expected)):
        expected[at] = expected[at - 1] if expected[at] is None else expected[at]
    expected[:4] = [made.record.reference_start] * 4
    found = called_positions(made.record, moves_of(made.record), rna)
    assert found.tolist() == (expected[::-1] if reverse != rna else expected)


def test_long_insertions_are_cut_out_and_short_ones_belong_to_a_label():
    (part,), counts = label(aligned_read([("M", 50), ("I", LONGEST_INSERTION), ("M", 50)]), False)
    assert len(part.labels) == 100
    assert not counts
    made = aligned_read([("M", 50), ("I", LONGEST_INSERTION + 1), ("M", 50)])
    parts, counts = label(made, False)
    assert [len(part.labels) for part in parts] == [50, 50]
    assert parts[0].stop == made.read.move_starts[50]
    assert counts == {"cuts at long insertions": 1}


@pytest.mark.parametrize("md", ["", "banana", "99", "101", "50^A50", "50A", "0A99A", "50^AC48", "100^A0"])
def test_an_md_tag_that_does_not_fit_is_broken(md):
    made = aligned_read([("M", 100)])
    with pytest.raises(Unusable, match="broken MD tag"):
        label(dataclasses.replace(made, md=md), False)


def test_md_tags_in_lower_case_are_read():
    made = aligned_read([("M", 10), ("X", 2), ("d", 1), ("M", 10)])
    (part,), _ = label(dataclasses.replace(made, md=made.md.lower()), False)
    assert to_string(part.labels) == to_string(made.labels)


@pytest.mark.parametrize("rna", [False, True])
@pytest.mark.parametrize("reverse", [False, True])
@pytest.mark.parametrize("fasta", [False, True])
def test_chunks_hold_the_references_bases_of_their_parts(tmp_path, reverse, rna, fasta):
    operations = [("S", 20), ("M", 120), ("D", 40), ("M", 60), ("X", 2), ("N", 500), ("M", 80), ("d", 2), ("I", 1), ("M", 90)]
    made = aligned_read(operations, reverse, rna)
    if not fasta:
        made.record.set_tag("MD", made.md)
    genome = files.write_fasta(tmp_path / "genome.fasta", {files.CONTIG: made.genome})
    path = files.write_pod5(tmp_path / "reads.pod5", [made.read])
    bam = files.write_bam(tmp_path / "mapped.bam", [made.record], {files.CONTIG: len(made.genome)})
    chosen = settings(path, bam, reference=str(genome) if fasta else None, rna=rna, chunk_samples=700, min_samples=1)
    chunks, counts = load(chosen)
    truth = ["".join("ACGT"[letter - 1] for _, letter, _ in part) for part in expected_parts(made)]
    if rna:
        truth = [part[::-1] for part in truth[::-1]]
    assert "".join(to_string(chunk.labels) for chunk in chunks) == "".join(truth)
    assert counts["cuts at deletions that the signal does not hold"] == 1
    for chunk in chunks:
        assert chunk.starts is not None
        assert chunk.starts[0] == 0
        assert (np.diff(chunk.starts) > 0).all()
        assert chunk.starts[-1] < len(chunk.signal) <= 700
    assert sorted(path.name for path in tmp_path.iterdir()) == ["genome.fasta", "mapped.bam", "reads.pod5"]


def test_many_deletions_never_stop_an_import(tmp_path):
    """Several deleted bases in fewer samples than bases, also at the end of chunks."""
    operations = [(kind, n) for i in range(40) for kind, n in (("M", 3 + i % 5), ("D", 1 + i % 9))] + [("M", 20)]
    made = aligned_read(operations)
    made.record.set_tag("MD", made.md)
    path = files.write_pod5(tmp_path / "reads.pod5", [made.read])
    bam = files.write_bam(tmp_path / "mapped.bam", [made.record], {files.CONTIG: len(made.genome)})
    for samples in range(50, 200, 10):
        chunks, _ = load(settings(path, bam, chunk_samples=samples, min_samples=1))
        assert all((np.diff(chunk.starts) > 0).all() and chunk.starts[-1] < len(chunk.signal) for chunk in chunks)


def test_a_move_table_of_one_base_is_enough():
    made = aligned_read([("M", 1)])
    made.record.set_tag("mv", array.array("b", [5, 0, 1]))
    (part,), _ = label(made, False)
    assert (part.starts.tolist(), part.stop) == ([30], 35)
