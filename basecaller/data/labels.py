"""Places the bases of a BAM record on its read's signal: by the move table, or by the alignment to the reference.

Conventions (tags as dorado and Guppy write them): `mv[0]` is the stride in samples, after it one entry per stride block, 1
where a new base starts; `ts` samples were trimmed before the first block. For a split read, `pi` names the read in the POD5
file and `sp` the sample at which this part begins; both count from there. The move table runs in signal order, also for a
record on the reverse strand, whose SEQ is stored reverse-complemented.
"""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import dataclass
from typing import Any

import numpy as np

from basecaller.data.reference import Reference
from basecaller.data.signal import encode
from basecaller.data.tags import Unusable, whole_number, whole_numbers

LEAST_SHARE = 0.2
"""Share of the read's usual samples per base. Deleted bases get labels if the signal between their neighbours has at least this
many samples for each. If it has fewer, the basecaller did not miss these bases: the read lacks them."""

LONGEST_INSERTION = 10
"""Largest number of bases inserted at one place without cutting the read. So many may be the basecaller's error in a repeat;
more are sequence that the reference lacks, which leaves signal without labels."""

LEAST_MATCHING = 0.5
"""Share of equal bases in an alignment below which the FASTA is not the aligner's reference. Chance gives 0.25."""

WINDOW = 10
"""Number of bases over which a read's typical samples per base are measured: strides make the dwell of one base coarse."""


@dataclass(frozen=True)
class LabelledRead:
    """Bases placed on a read's signal, or on a part of it.

    Attributes:
        labels: uint8 [bases], in signal order; 0 for letters other than A, C, G, T.
        starts: int64 [bases], first sample of each base in the whole read, strictly ascending.
        stop: the sample after the last base.
        positions: int64 [bases] on the reference's forward strand; None if unknown.
    """

    labels: np.ndarray
    starts: np.ndarray
    stop: int
    positions: np.ndarray | None = None


@dataclass(frozen=True)
class Moves:
    """A move table.

    Attributes:
        starts: int64 [bases], first sample of every called base in the whole read, in signal order.
        stop: the sample after the last base.
        stride: samples per block.
        begin: first sample of the record's signal in the whole read, 0 unless the read was split.
    """

    starts: np.ndarray
    stop: int
    stride: int
    begin: int = 0


def moves_of(record: Any, begin: int = 0) -> Moves:
    """The move table of a record.

    Args:
        record: a BAM record.
        begin: first sample of its signal in the whole read.
    Raises:
        Unusable: the move table is missing or broken.
    """
    table = whole_numbers(record, "mv")
    if table is None:
        raise Unusable("no move table")
    if not table[1:].any():
        raise Unusable("empty move table")
    stride, blocks = int(table[0]), table[1:]
    if stride < 1:
        raise Unusable("move table with a stride below 1")
    if ((blocks != 0) & (blocks != 1)).any():
        raise Unusable("move table with entries other than 0 and 1")
    trimmed = whole_number(record, "ts") or 0
    if trimmed < 0:
        raise Unusable("negative ts tag")
    first = begin + trimmed
    return Moves(first + np.flatnonzero(blocks) * stride, first + len(blocks) * stride, stride, begin)


def label_from_moves(record: Any, moves: Moves, rna: bool = False) -> LabelledRead:
    """The basecalls of a BAM record on its read's signal.

    Args:
        record: a BAM record with a sequence.
        moves: its move table.
        rna: the signal runs from the sequence's 3' end.
    Raises:
        Unusable: the move table does not fit the sequence.
    """
    if record.query_sequence is None:
        raise Unusable("no sequence (SEQ is *)")
    labels = encode(record.get_forward_sequence())
    if len(labels) != len(moves.starts):
        raise Unusable("move table and sequence differ in length")
    return LabelledRead(labels[::-1] if rna else labels, moves.starts, moves.stop)


def label_from_reference(
    record: Any, moves: Moves, reference: Reference | None, counts: Counter[str], rna: bool = False
) -> list[LabelledRead]:
    """The reference's bases under an aligned record, each at the start of the read base aligned to it.

    - Inserted bases (I) and clipped ends (S, H) get no labels. More than `LONGEST_INSERTION` inserted bases cut the read.
    - Deleted bases (D) are spread evenly between their neighbours if the signal there is long enough (`LEAST_SHARE`). Otherwise
      they get no labels, and the read is cut.
    - Skipped bases (N, introns) get no labels. They do not cut the read: its molecule has no intron.

    Args:
        record: an aligned BAM record.
        moves: its move table.
        reference: the reference's bases; None: take them from the MD tag.
        counts: audit counters, incremented in place.
        rna: the signal runs from the sequence's 3' end.
    Returns:
        The parts that the read was cut into, in signal order; a single one if there was nothing to cut.
    Raises:
        Unusable: alignment, move table, MD tag and reference do not match.
    """
    bases = len(moves.starts)
    query, positions = _aligned(record, bases)
    labels = _from_md(record, query) if reference is None else _from_fasta(record, query, positions, reference)
    if record.is_reverse:
        labels = np.where(labels > 0, 5 - labels, 0).astype(np.uint8)
    if record.is_reverse != rna:  # the signal runs against the reference
        labels, positions = labels[::-1], positions[::-1]
        query = np.where(query >= 0, bases - 1 - query, -1)[::-1]
    return _parts(labels, positions, query, moves, counts)


def called_positions(record: Any, moves: Moves, rna: bool = False) -> np.ndarray:
    """The position of each called base of an aligned record, in signal order: int64 [bases]. A base that is aligned to none has
    that of the aligned base before it, along the reference, or of the first one.

    Args:
        record, moves, rna: see `label_from_reference`.
    Raises:
        Unusable: alignment and move table do not match.
    """
    bases = len(moves.starts)
    query, positions = _aligned(record, bases)
    matched = np.flatnonzero(query >= 0)
    before = np.searchsorted(query[matched], np.arange(bases), side="right") - 1
    found: np.ndarray = positions[matched[np.maximum(before, 0)]]
    return found[::-1] if record.is_reverse != rna else found


CONSUMES_QUERY, CONSUMES_REFERENCE, COLUMNS = (0, 1, 4, 5, 7, 8), (0, 2, 3, 7, 8), (0, 2, 7, 8)
"""CIGAR operations that take bases of the whole read (M I S H = X), that take bases of the reference (M D N = X), and whose
bases of the reference may get labels (M D = X)."""
DELETION, HARD_CLIP = 2, 5


def _aligned(record: Any, bases: int) -> tuple[np.ndarray, np.ndarray]:
    """The bases of the reference that a record is aligned to, without introns.

    Args:
        record: an aligned BAM record.
        bases: number of bases in its move table.
    Returns:
        For each the index of the read's base, -1 for none, int64 [columns], and the position, int64 [columns], both
        along the reference's forward strand.
    """
    if not record.cigartuples:
        raise Unusable("aligned without a CIGAR")
    kinds, lengths = np.array(record.cigartuples, np.int64).T
    if kinds.max() > 8:
        raise Unusable("CIGAR with operations other than M, I, D, N, S, H, P, =, X")
    of_query, of_reference = (np.where(np.isin(kinds, taking), lengths, 0) for taking in (CONSUMES_QUERY, CONSUMES_REFERENCE))
    begin = int(record.reference_start)
    if record.reference_name is None or begin < 0:
        raise Unusable("aligned to no reference")
    if begin + of_reference.sum() > record.header.get_reference_length(record.reference_name):
        raise Unusable("aligned beyond the end of the reference")
    if of_query.sum() != bases:
        raise Unusable("move table and sequence differ in length")
    own = np.isin(kinds, COLUMNS)
    each = lengths[own]
    within = np.arange(each.sum()) - np.repeat(np.cumsum(each) - each, each)
    positions = begin + np.repeat((np.cumsum(of_reference) - of_reference)[own], each) + within
    query = np.repeat((np.cumsum(of_query) - of_query)[own], each) + within
    query = np.where(np.repeat(kinds[own], each) == DELETION, -1, query)
    if not (query >= 0).any():
        raise Unusable("no base aligned")
    return query, positions


def _sequence(record: Any, query: np.ndarray) -> np.ndarray:
    """Labels of the read in each column, in the reference's order: uint8 [columns]; 0 for none."""
    if record.query_sequence is None:
        raise Unusable("no sequence (SEQ is *)")
    called = encode(record.query_sequence)
    kind, length = record.cigartuples[0]
    inside = query - (length if kind == HARD_CLIP else 0)  # SEQ lacks hard-clipped bases
    if len(called) != record.infer_query_length():
        raise Unusable("CIGAR and sequence differ in length")
    return np.where(query >= 0, called[np.maximum(inside, 0)], 0).astype(np.uint8)


def _from_fasta(record: Any, query: np.ndarray, positions: np.ndarray, reference: Reference) -> np.ndarray:
    labels = reference.bases(record.reference_name, positions)
    if reference.length(record.reference_name) != record.header.get_reference_length(record.reference_name):
        raise Unusable("aligned to another reference than the FASTA: lengths differ")
    if record.query_sequence is not None:
        called = _sequence(record, query)
        both = (called > 0) & (labels > 0)
        if both.any() and (called == labels)[both].mean() < LEAST_MATCHING:
            raise Unusable("aligned to another reference than the FASTA: bases differ")
    return labels


def _from_md(record: Any, query: np.ndarray) -> np.ndarray:
    """The reference's bases from the MD tag, which gives the differences from SEQ, without insertions and introns."""
    tag = str(record.get_tag("MD"))
    if not re.fullmatch(r"\d+(([A-Za-z]|\^[A-Za-z]+)\d+)*", tag):
        raise Unusable("broken MD tag")
    labels, at, gone = _sequence(record, query), 0, 0
    for same, letters in re.findall(r"(\d+)(\^?[A-Za-z]*)", tag):
        at += int(same)
        told = letters.removeprefix("^")
        if at + len(told) > len(query) or ((query[at : at + len(told)] < 0) != (letters[:1] == "^")).any():
            raise Unusable("broken MD tag")
        labels[at : at + len(told)] = encode(told)
        at += len(told)
        gone += len(told) if letters[:1] == "^" else 0
    if at != len(query) or gone != (query < 0).sum():
        raise Unusable("broken MD tag")
    return labels


def _parts(
    labels: np.ndarray, positions: np.ndarray, query: np.ndarray, moves: Moves, counts: Counter[str]
) -> list[LabelledRead]:
    """Places the bases of `_aligned`, in signal order, and cuts where the signal does not belong to them."""
    matched = np.flatnonzero(query >= 0)
    at = moves.starts[query[matched]]
    columns, samples = np.diff(matched), np.diff(at)
    deleted, inserted = columns - 1, np.diff(query[matched]) - 1
    absent = (deleted > 0) & (samples < np.maximum(1, LEAST_SHARE * _usual_dwell(moves)) * columns)
    foreign = inserted > LONGEST_INSERTION
    for reason, where in (("cuts at deletions that the signal does not hold", absent), ("cuts at long insertions", foreign)):
        if where.any():
            counts[reason] += int(where.sum())
    unlabelled = int(deleted[absent | foreign].sum())
    if unlabelled:
        counts["deleted bases without labels"] += unlabelled
    # deleted bases follow the matched base before them at equal steps
    before = np.cumsum(query >= 0) - 1
    step = np.arange(len(query)) - matched[np.maximum(before, 0)]
    starts = at[before] + step * np.append(samples, 0)[before] // np.append(columns, 1)[before]
    ends = np.append(moves.starts[1:], moves.stop)
    cuts = np.flatnonzero(absent | foreign)
    parts = []
    for first, last in zip([0, *cuts + 1], [*cuts, len(matched) - 1], strict=True):
        own = slice(matched[first], matched[last] + 1)
        stop = int(ends[query[matched[last]]])
        parts.append(LabelledRead(labels[own], starts[own], stop, positions[own]))
    return parts


def _usual_dwell(moves: Moves) -> float:
    """Typical number of samples per base in this read, without stalls."""
    over = min(WINDOW, len(moves.starts) - 1)
    return float(np.median(moves.starts[over:] - moves.starts[:-over]) / over) if over else 1.0
