"""POD5 signals with BAM labels: bases placed on the signal by the move table, or by the alignment to the reference.

Conventions (BAM tags as dorado and Guppy write them): `mv[0]` is the stride in samples, after it one entry per stride
block, 1 where a new base starts; `ts` samples were trimmed before the first block. The move table runs in signal
order, also for a record on the reverse strand, whose SEQ is stored reverse-complemented.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import accumulate
from pathlib import Path
from typing import Any

import numpy as np

from basecaller.data.dataset import Chunk, split_of_read
from basecaller.data.signal import encode, normalise, reverse_complement
from basecaller.errors import DataError

LABELS = ("auto", "moves", "reference")
SPLIT_BY = ("read", "position")


@dataclass(frozen=True)
class Settings:
    """What `conf/data/pod5.yaml` sets. `pod5` and `bam` are lists of equal length: pairs that belong together.

    Attributes:
        pod5: POD5 files, or folders of them.
        bam: BAM files, one for each entry of `pod5`.
        reference: FASTA of the reference, where the BAM has no MD tags.
        labels: `moves` takes the basecalls placed by the move table, `reference` the aligned reference's bases;
            `auto` takes the reference where a record is aligned to one that is known.
        chunk_samples: longest chunk, in samples; reads are cut on base boundaries.
        min_samples: shorter chunks are dropped.
        split: `read` splits by a hash of the read id, `position` by the place on the genome.
        validation, test: fraction of the reads, or of the genome, in those splits.
    """

    pod5: tuple[str, ...]
    bam: tuple[str, ...]
    reference: str | None
    labels: str = field(metadata={"choices": LABELS})
    chunk_samples: int = field(metadata={"least": 50})
    min_samples: int = field(metadata={"least": 1})
    split: str = field(metadata={"choices": SPLIT_BY})
    validation: float = field(metadata={"above": 0, "below": 1})
    test: float = field(metadata={"least": 0, "below": 1})


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


def pod5_files(entry: str, key: str = "data.pod5") -> list[Path]:
    """The POD5 files that an entry names: itself, or all below it where it is a folder.

    Args:
        entry: a path.
        key: the setting that it is from, for messages.
    Raises:
        DataError: there are none.
    """
    path = Path(entry)
    if not path.exists():
        raise DataError(f"{key}: {path} does not exist")
    hint = "; convert FAST5 files first: pod5 convert fast5 FOLDER --output reads.pod5"
    if path.is_file():
        if path.suffix == ".fast5":
            raise DataError(f"{key}: {path} is no POD5 file{hint}")
        return [path]
    files = sorted(path.rglob("*.pod5"))
    if not files:
        raise DataError(f"{key}: no .pod5 file below {path}{hint if any(path.rglob('*.fast5')) else ''}")
    return files


def source_files(settings: Settings) -> list[Path]:
    """Every file that the data set is made from, checked to exist.

    Raises:
        DataError: a file is missing, or the lists do not pair up.
    """
    if not settings.pod5 or not settings.bam:
        raise DataError("data=pod5 needs data.pod5=FILE_OR_FOLDER and data.bam=FILE")
    if len(settings.pod5) != len(settings.bam):
        raise DataError(
            f"data.pod5 names {len(settings.pod5)} sources and data.bam {len(settings.bam)}: give one BAM for each POD5"
        )
    files = [file for entry in settings.pod5 for file in pod5_files(entry)]
    for key, entries in (("bam", settings.bam), ("reference", [settings.reference] if settings.reference else [])):
        for entry in entries:
            if not Path(entry).is_file():
                raise DataError(f"data.{key}: {entry} is no file")
            files.append(Path(entry))
    return files


def _signal_order_moves(record: Any) -> tuple[np.ndarray, int]:
    """First sample of every called base, in signal order, and the sample after the last one."""
    moves = np.asarray(record.get_tag("mv"), np.int64)  # stored as int8: widen before arithmetic
    if not moves[1:].any():
        raise Unusable("empty move table")
    stride, moves = int(moves[0]), moves[1:]
    trimmed = int(record.get_tag("ts")) if record.has_tag("ts") else 0
    if stride < 1:
        raise Unusable("move table with a stride below 1")
    return trimmed + np.flatnonzero(moves) * stride, trimmed + len(moves) * stride


def label_from_moves(record: Any) -> LabelledRead:
    """The basecalls of a BAM record on its read's signal.

    Raises:
        Unusable: the move table does not fit the sequence.
    """
    starts, stop = _signal_order_moves(record)
    labels = encode(record.get_forward_sequence() or "")
    if len(labels) != len(starts):
        raise Unusable("move table and sequence differ in length")
    return LabelledRead(labels, starts, stop)


def label_from_reference(record: Any, fasta: Any | None) -> LabelledRead:
    """The reference's bases under an aligned record, each at the start of the read base aligned to it.

    Deleted bases are placed evenly between their neighbours; inserted ones are dropped.

    Args:
        record: an aligned BAM record with a move table.
        fasta: an open `pysam.FastaFile`, or None to take the bases from the MD tag.
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
        labels = reverse_complement(labels)
        query, reference = bases - 1 - query[::-1], len(labels) - 1 - reference[::-1]
    placed = np.interp(np.arange(reference[0], reference[-1] + 1), reference, starts[query]).astype(np.int64)
    labels = labels[reference[0] : reference[-1] + 1]
    last = query[-1]
    stop = int(starts[last + 1]) if last + 1 < bases else _signal_order_moves(record)[1]
    positions = np.arange(begin, end)
    positions = (positions[::-1] if record.is_reverse else positions)[reference[0] : reference[-1] + 1]
    return LabelledRead(labels, placed, stop, positions, record.reference_name)


def _md_fits(record: Any, span: int) -> bool:
    """Whether the MD tag is well formed and as long as the alignment: pysam writes past its memory on one that is not."""
    tag = str(record.get_tag("MD"))
    if not re.fullmatch(r"\d+(([A-Z]|\^[A-Z]+)\d+)*", tag):
        return False
    return sum(map(int, re.findall(r"\d+", tag))) + len(re.findall(r"[A-Z]", tag)) == span


def cut_chunks(starts: np.ndarray, stop: int, chunk_samples: int) -> Iterator[tuple[int, int]]:
    """Cuts a read on base boundaries into stretches of at most `chunk_samples` samples.

    Args:
        starts: int64 [bases], first sample of each base.
        stop: the sample after the last base.
        chunk_samples: the longest stretch. A base that is longer by itself is left out.
    Yields:
        (first, last + 1) base of each stretch, in order.
    """
    ends = np.append(starts[1:], stop)
    first = 0
    while first < len(starts):
        last = int(np.searchsorted(ends, starts[first] + chunk_samples, side="right"))
        if last > first:
            yield first, last
        first = max(last, first + 1)


class _PositionSplit:
    """Splits by place on the genome: its first part trains, the next validates, the last tests."""

    def __init__(self, header: Any, validation: float, test: float) -> None:
        before = accumulate((int(length) for length in header.lengths), initial=0)
        self.offset = dict(zip(header.references, before, strict=False))
        self.total = sum(header.lengths)
        self.cuts = (self.total * (1 - validation - test), self.total * (1 - test))

    def __call__(self, contig: str | None, positions: np.ndarray | None) -> str | None:
        """The split of a chunk; None where it lies across a cut. Without a position it trains."""
        if positions is None or contig is None:
            return "train"
        ends = self.offset[contig] + np.array([positions.min(), positions.max()])
        first, last = np.searchsorted(self.cuts, ends, side="right")
        return ("train", "validation", "test")[first] if first == last else None


def _label(record: Any, fasta: Any | None, settings: Settings) -> LabelledRead:
    known = not record.is_unmapped and (fasta is not None or record.has_tag("MD"))
    if settings.labels == "reference" and not known:
        raise Unusable("not aligned to a known reference")
    if not record.has_tag("mv"):
        raise Unusable("no move table")
    return label_from_reference(record, fasta) if known and settings.labels != "moves" else label_from_moves(record)


def _primary(index: Any, read_id: str) -> Any | None:
    try:
        return next((r for r in index.find(read_id) if not (r.is_secondary or r.is_supplementary)), None)
    except KeyError:
        return None


def _import_pair(pod5_entry: str, bam_path: str, settings: Settings, counts: Counter[str]) -> Iterator[Chunk]:
    import pod5
    import pysam

    fasta = pysam.FastaFile(settings.reference) if settings.reference else None
    found = before = 0
    with pysam.AlignmentFile(bam_path, "rb", check_sq=False) as bam:
        if not bam.is_bam:
            raise ValueError(f"{bam_path} is no BAM file")
        index = pysam.IndexedReads(bam)
        index.build()
        by_position = _PositionSplit(bam.header, settings.validation, settings.test)
        for file in pod5_files(pod5_entry):
            with pod5.Reader(file) as reader:
                for read in reader.reads():
                    before += 1
                    record = _primary(index, str(read.read_id))
                    if record is None:
                        counts["reads dropped: no record in the BAM"] += 1
                        continue
                    found += 1
                    try:
                        placed = _label(record, fasta, settings)
                    except Unusable as reason:
                        counts[f"reads dropped: {reason}"] += 1
                        continue
                    if placed.starts[-1] >= read.num_samples:
                        counts["reads dropped: move table longer than the signal"] += 1
                        continue
                    counts["reads kept"] += 1
                    counts["labels from the reference" if placed.contig else "labels from basecalls"] += 1
                    yield from _chunks(read, placed, by_position, settings, counts)
    if not found:
        raise DataError(f"{bam_path}: holds no record for any of the {before} reads of {pod5_entry}; do they belong together?")


def _chunks(
    read: Any, placed: LabelledRead, by_position: _PositionSplit, settings: Settings, counts: Counter[str]
) -> Iterator[Chunk]:
    read_id = str(read.read_id)
    begin, stop = int(placed.starts[0]), min(placed.stop, read.num_samples)  # the last block may be cut short
    picoampere = (read.signal[begin:stop].astype(np.float32) + read.calibration.offset) * read.calibration.scale
    if not np.isfinite(picoampere).all():
        raise DataError(f"read {read_id}: NaN or infinite values in its signal (calibration {read.calibration}); leave it out")
    signal = normalise(picoampere)
    starts = placed.starts - begin
    ends = np.append(starts[1:], stop - begin)
    for first, last in cut_chunks(starts, stop - begin, settings.chunk_samples):
        labels = placed.labels[first:last]
        cut = slice(int(starts[first]), int(ends[last - 1]))
        if cut.stop - cut.start < settings.min_samples:
            counts["chunks dropped: shorter than data.min_samples"] += 1
        elif not labels.all():
            counts["chunks dropped: letters other than A, C, G, T"] += 1
        elif settings.split == "position":
            positions = None if placed.positions is None else placed.positions[first:last]
            split = by_position(placed.contig, positions)
            if split is None:
                counts["chunks dropped: across a cut between splits"] += 1
                continue
            counts["chunks by position" if positions is not None else "chunks without a position, in train"] += 1
            yield Chunk(read_id, signal[cut], labels, starts[first:last] - cut.start, split)
        else:
            split = split_of_read(read_id, settings.validation, settings.test)
            yield Chunk(read_id, signal[cut], labels, starts[first:last] - cut.start, split)


def import_pod5(settings: Settings, counts: Counter[str]) -> Iterator[Chunk]:
    """All usable chunks of all POD5 and BAM pairs.

    Args:
        settings: sources and how to cut them.
        counts: audit counters, raised in place: reads and chunks kept and dropped, by reason.
    Raises:
        DataError: a file is missing, foreign or cut short, POD5 and BAM do not match, or no read can be used.
    """
    source_files(settings)
    for pod5_entry, bam_path in zip(settings.pod5, settings.bam, strict=True):
        kept = counts["reads kept"]
        try:
            yield from _import_pair(pod5_entry, bam_path, settings, counts)
        except (OSError, ValueError, RuntimeError) as error:
            raise DataError(
                f"cannot read {pod5_entry} with {bam_path}: {error}; is a file cut short or of another kind?"
            ) from error
        if counts["reads kept"] == kept:
            reasons = ", ".join(
                f"{n} {r.removeprefix('reads dropped: ')}" for r, n in counts.items() if r.startswith("reads dropped")
            )
            raise DataError(
                f"{bam_path}: no read can be used ({reasons}). Labels need a move table: basecall with --emit-moves; "
                "for labels from the reference align with MD tags or give data.reference=FASTA"
            )
    if settings.split == "position" and not counts["chunks by position"]:
        raise DataError("data.split=position needs records aligned to a reference, and none is; use data.split=read")
