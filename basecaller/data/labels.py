"""The bases of a BAM record placed on its read's signal: by the move table, or by the alignment to the reference.

Conventions (tags as dorado and Guppy write them): `mv[0]` is the stride in samples, after it one entry per stride block, 1
where a new base starts; `ts` samples were trimmed before the first block. Of a read that was split, `pi` names the read in the
POD5 file and `sp` the sample at which this part of it begins. The move table runs in signal order, also for a record on the
reverse strand, whose SEQ is stored reverse-complemented.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

import numpy as np

from basecaller.data.signal import encode, reverse_complement


@dataclass(frozen=True)
class LabelledRead:
    """Bases placed on a read's signal.

    Attributes:
        labels: uint8 [bases], in signal order; 0 where the letter is none of A, C, G, T.
        starts: int64 [bases], first sample of each base in the whole read, ascending.
        stop: the sample after the last base.
        positions: int64 [bases] on the reference's forward strand; None for basecalls.
        contig: the reference's name, None for basecalls.
    """

    labels: np.ndarray
    starts: np.ndarray
    stop: int
    positions: np.ndarray | None = None
    contig: str | None = None


class Unusable(Exception):  # noqa: N818
    """Why one read is left out; counted in the audit."""


def _signal_order_moves(record: Any) -> tuple[np.ndarray, int]:
    """First sample of every called base, in signal order, and the sample after the last one."""
    moves = np.asarray(record.get_tag("mv"), np.int64)  # stored as int8: widen before arithmetic
    if not moves[1:].any():
        raise Unusable("empty move table")
    stride, moves = int(moves[0]), moves[1:]
    trimmed = sum(int(record.get_tag(tag)) for tag in ("sp", "ts") if record.has_tag(tag))
    if stride < 1:
        raise Unusable("move table with a stride below 1")
    return trimmed + np.flatnonzero(moves) * stride, trimmed + len(moves) * stride


def label_from_moves(record: Any, rna: bool = False) -> LabelledRead:
    """The basecalls of a BAM record on its read's signal.

    Args:
        record: with a move table.
        rna: the signal runs from the sequence's 3' end.
    Raises:
        Unusable: the move table does not fit the sequence.
    """
    starts, stop = _signal_order_moves(record)
    labels = encode(record.get_forward_sequence() or "")
    if len(labels) != len(starts):
        raise Unusable("move table and sequence differ in length")
    return LabelledRead(labels[::-1] if rna else labels, starts, stop)


def label_from_reference(record: Any, fasta: Any | None, rna: bool = False) -> LabelledRead:
    """The reference's bases under an aligned record, each at the start of the read base aligned to it.

    Deleted bases are placed evenly between their neighbours; inserted ones are dropped.

    Args:
        record: an aligned BAM record with a move table.
        fasta: an open `pysam.FastaFile`, or None to take the bases from the MD tag.
        rna: the signal runs from the sequence's 3' end.
    Raises:
        Unusable: hard-clipped, or aligned beyond the reference's end.
    """
    starts, _ = _signal_order_moves(record)
    bases = len(starts)
    if record.infer_read_length() != bases:
        raise Unusable("move table and sequence differ in length")
    if record.query_length != bases:
        raise Unusable("hard-clipped alignment")
    begin, end = record.reference_start, record.reference_end
    if fasta is None and not _md_fits(record, end - begin):
        raise Unusable("broken MD tag")
    try:
        sequence = fasta.fetch(record.reference_name, begin, end) if fasta else record.get_reference_sequence()
    except (KeyError, AssertionError, ValueError) as error:
        raise Unusable(f"no reference {record.reference_name} in the FASTA" if fasta else "broken MD tag") from error
    if len(sequence) != end - begin:
        raise Unusable("aligned beyond the end of the reference")
    pairs = np.array(record.get_aligned_pairs(matches_only=True), np.int64)  # [matches, (query, reference)]
    if not len(pairs):
        raise Unusable("no base aligned")
    query, reference = pairs[:, 0], pairs[:, 1] - begin
    labels = encode(sequence)
    if record.is_reverse:
        labels = reverse_complement(labels)[:: -1 if rna else 1]
    elif rna:
        labels = labels[::-1]
    backwards = record.is_reverse != rna  # whether the signal runs against the reference
    if backwards:
        query, reference = bases - 1 - query[::-1], len(labels) - 1 - reference[::-1]
    placed = np.interp(np.arange(reference[0], reference[-1] + 1), reference, starts[query]).astype(np.int64)
    labels = labels[reference[0] : reference[-1] + 1]
    last = query[-1]
    stop = int(starts[last + 1]) if last + 1 < bases else _signal_order_moves(record)[1]
    positions = np.arange(begin, end)
    positions = (positions[::-1] if backwards else positions)[reference[0] : reference[-1] + 1]
    return LabelledRead(labels, placed, stop, positions, record.reference_name)


def _md_fits(record: Any, span: int) -> bool:
    """Whether the MD tag is well formed and as long as the alignment: pysam writes past its memory on one that is not."""
    tag = str(record.get_tag("MD"))
    if not re.fullmatch(r"\d+(([A-Z]|\^[A-Z]+)\d+)*", tag):
        return False
    return sum(map(int, re.findall(r"\d+", tag))) + len(re.findall(r"[A-Z]", tag)) == span
