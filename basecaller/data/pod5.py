"""POD5 signals with BAM labels, cut into chunks."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from basecaller.data.dataset import Chunk
from basecaller.data.labels import LabelledRead, Unusable, label_from_moves, label_from_reference
from basecaller.data.records import bam_files, identity, quality, records
from basecaller.data.signal import normalise
from basecaller.data.splits import PositionSplit, split_of_read
from basecaller.errors import DataError

LABELS = ("auto", "moves", "reference")
SPLIT_BY = ("read", "position")


@dataclass(frozen=True)
class Settings:
    """What `conf/data/pod5.yaml` sets. `pod5` and `bam` are lists of equal length: pairs that belong together.

    Attributes:
        pod5: POD5 files, or folders of them.
        bam: BAM files, or folders of them, one for each entry of `pod5`.
        reference: FASTA of the reference, where the BAM has no MD tags.
        labels: `moves` takes the basecalls placed by the move table, `reference` the aligned reference's bases;
            `auto` takes the reference where a record is aligned to one that is known.
        chunk_samples: longest chunk, in samples; reads are cut on base boundaries.
        min_samples: shorter chunks are dropped.
        min_quality: reads of lower mean quality (`qs`, or the mean of the base qualities' errors) are left out; null: none.
        min_identity: likewise aligned reads of lower identity to the reference, by NM over alignment columns.
        rna: direct RNA, which is sequenced from its 3' end: signals are turned around, so that labels run 5' to 3'.
        split: `read` splits by a hash of the read id, `position` by the place on the genome.
        validation, test: fraction of the reads, or of the genome, in those splits.
    """

    pod5: tuple[str, ...]
    bam: tuple[str, ...]
    reference: str | None
    labels: str = field(metadata={"choices": LABELS})
    chunk_samples: int = field(metadata={"least": 50})
    min_samples: int = field(metadata={"least": 1})
    min_quality: float | None = field(metadata={"least": 0})
    min_identity: float | None = field(metadata={"least": 0, "below": 1})
    rna: bool
    split: str = field(metadata={"choices": SPLIT_BY})
    validation: float = field(metadata={"above": 0, "below": 1})
    test: float = field(metadata={"least": 0, "below": 1})


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
    files += [file for entry in settings.bam for file in bam_files(entry)]
    if settings.reference:
        if not Path(settings.reference).is_file():
            raise DataError(f"data.reference: {settings.reference} is no file")
        files.append(Path(settings.reference))
    return files


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


def _label(record: Any, fasta: Any | None, settings: Settings) -> LabelledRead:
    known = not record.is_unmapped and (fasta is not None or record.has_tag("MD"))
    if settings.labels == "reference" and not known:
        raise Unusable("not aligned to a known reference")
    if not record.has_tag("mv"):
        raise Unusable("no move table")
    if settings.min_quality is not None and quality(record) < settings.min_quality:
        raise Unusable("quality below data.min_quality")
    if settings.min_identity is not None and not record.is_unmapped and identity(record) < settings.min_identity:
        raise Unusable("identity below data.min_identity")
    if known and settings.labels != "moves":
        return label_from_reference(record, fasta, settings.rna)
    return label_from_moves(record, settings.rna)


@dataclass(frozen=True)
class Part:
    """What can be imported by itself: a POD5 file of a pair, the pair's BAM entry, and whether it is the pair's first file."""

    file: Path
    bam: str
    pair: int
    first: bool


def parts(settings: Settings) -> list[Part]:
    """All POD5 files, with the BAM that they belong to."""
    found = []
    for pair, (entry, bam) in enumerate(zip(settings.pod5, settings.bam, strict=True)):
        found += [Part(file, bam, pair, i == 0) for i, file in enumerate(pod5_files(entry))]
    return found


def import_part(settings: Settings, part: Part, counts: Counter[str]) -> Iterator[Chunk]:
    """All usable chunks of one POD5 file.

    Raises:
        DataError: a file is foreign or cut short.
    """
    import pod5
    import pysam

    try:
        fasta = pysam.FastaFile(settings.reference) if settings.reference else None
        known = records(tuple((path, path.stat().st_mtime_ns) for path in bam_files(part.bam)))
        splits = [PositionSplit(bam.header, settings.validation, settings.test) for bam in known.files]
        if part.first:
            counts.update(known.left_out)
        with pod5.Reader(part.file) as reader:
            for read in reader.reads():
                found = known.find(str(read.read_id))
                if not found:
                    counts[NO_RECORD] += 1
                if len(found) > 1:
                    counts["reads that the basecaller split"] += 1
                for record, number in found:
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
                    yield from _chunks(read, placed, splits[number], settings, counts)
    except (OSError, ValueError, RuntimeError) as error:
        raise DataError(f"cannot read {part.file} with {part.bam}: {error}; is a file cut short or of another kind?") from error


NO_RECORD = "reads dropped: no record in the BAM"


def check_parts(settings: Settings, counts: list[Counter[str]]) -> None:
    """Whether every pair gave something.

    Args:
        settings: of the source.
        counts: of each of its parts.
    Raises:
        DataError: a pair gave nothing, or the split asked for cannot be made; the message says why.
    """
    of_pair: dict[int, Counter[str]] = {}
    for part, own in zip(parts(settings), counts, strict=True):
        of_pair.setdefault(part.pair, Counter()).update(own)
    for pair, own in of_pair.items():
        if not own["reads kept"]:
            _refuse(settings, pair, own)
    if settings.split == "position" and not any(own["chunks by position"] for own in counts):
        raise DataError("data.split=position needs records aligned to a reference, and none is; use data.split=read")


def _refuse(settings: Settings, pair: int, counts: Counter[str]) -> None:
    """Says why a pair gave nothing."""
    entry, bam = settings.pod5[pair], settings.bam[pair]
    reasons = {reason: n for reason, n in counts.items() if reason.startswith("reads dropped")}
    if set(reasons) <= {NO_RECORD}:
        raise DataError(f"{bam}: holds no record for any of the {counts[NO_RECORD]} reads of {entry}; do they belong together?")
    told = ", ".join(f"{n} {reason.removeprefix('reads dropped: ')}" for reason, n in reasons.items())
    raise DataError(
        f"{bam}: no read can be used ({told}). Labels need a move table: basecall with --emit-moves; for labels from the "
        "reference align with MD tags or give data.reference=FASTA"
    )


def _chunks(
    read: Any, placed: LabelledRead, by_position: PositionSplit, settings: Settings, counts: Counter[str]
) -> Iterator[Chunk]:
    read_id = str(read.read_id)
    begin, stop = int(placed.starts[0]), min(placed.stop, read.num_samples)  # the last block may be cut short
    picoampere = (read.signal[begin:stop].astype(np.float32) + read.calibration.offset) * read.calibration.scale
    if not np.isfinite(picoampere).all():
        raise DataError(f"read {read_id}: NaN or infinite values in its signal (calibration {read.calibration}); leave it out")
    signal = normalise(picoampere)
    starts, every, places = placed.starts - begin, placed.labels, placed.positions
    if settings.rna:  # from the 5' end
        signal, every = signal[::-1], every[::-1]
        starts = (stop - begin - np.append(starts[1:], stop - begin))[::-1]
        places = None if places is None else places[::-1]
    ends = np.append(starts[1:], stop - begin)
    for first, last in cut_chunks(starts, stop - begin, settings.chunk_samples):
        labels = every[first:last]
        cut = slice(int(starts[first]), int(ends[last - 1]))
        if cut.stop - cut.start < settings.min_samples:
            counts["chunks dropped: shorter than data.min_samples"] += 1
        elif signal[cut].min() == signal[cut].max():
            counts["chunks dropped: constant signal"] += 1
        elif not labels.all():
            counts["chunks dropped: letters other than A, C, G, T"] += 1
        elif settings.split == "position":
            positions = None if places is None else places[first:last]
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
    each = []
    for part in parts(settings):
        each.append(Counter[str]())
        yield from import_part(settings, part, each[-1])
    for own in each:
        counts.update(own)
    check_parts(settings, each)
