"""The import of POD5 and BAM files, each POD5 file as a part: which reads it takes, their splits, and why none is left."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any
from uuid import UUID

import numpy as np

from basecaller.common.errors import DataError
from basecaller.data.dataset import SAMPLED, Chunk, Dataset
from basecaller.data.pod5 import Settings, chunks_of, label_read, pod5_files, signal_of, source_files
from basecaller.data.records import bam_files, contigs_of, reading, records_of
from basecaller.data.reference import Reference, copy_reference
from basecaller.data.splits import SPLITS, Contig, splits_of_places, splits_of_reads
from basecaller.data.tags import Unusable


@dataclass(frozen=True)
class Part:
    """A part of the source that can be imported separately.

    Attributes:
        file: a POD5 file of a pair.
        bam: the pair's BAM entry.
        pair: number of the pair.
        first: whether it is the pair's first file.
        repeated: the reason to drop a read that an earlier file also has, by read id.
        reference: folder of the reference's bases, if any.
    """

    file: Path
    bam: str
    pair: int
    first: bool
    repeated: Mapping[str, str] = field(default_factory=dict)
    reference: Path | None = None


def parts(settings: Settings, scratch: Path) -> list[Part]:
    """All POD5 files, with the BAM that they belong to.

    Args:
        settings: settings of the source.
        scratch: a folder for files that all parts share.
    Raises:
        DataError: a file is missing or damaged, or the lists do not pair up.
    """
    source_files(settings)
    needed = settings.reference is not None and settings.labels != "moves"
    reference = copy_reference(Path(settings.reference or ""), scratch / "reference") if needed else None
    found = []
    for pair, (entry, bam) in enumerate(zip(settings.pod5, settings.bam, strict=True)):
        found += [Part(file, bam, pair, i == 0, reference=reference) for i, file in enumerate(pod5_files(entry))]
    return [replace(part, repeated=reasons) for part, reasons in zip(found, _repeated(found), strict=True)]


def _repeated(found: list[Part]) -> list[dict[str, str]]:
    """For each part, the reads that an earlier part has: one of its pair, or of another pair whose BAM has their record."""
    ids = [_read_ids(part.file) for part in found] if len(found) > 1 else []
    reasons = [dict[str, str]() for _ in found]
    if ids:
        every, part_of = np.concatenate(ids), np.repeat(np.arange(len(found)), [len(own) for own in ids])
        _, same, counts = np.unique(every, axis=0, return_inverse=True, return_counts=True)
        imported: dict[str, int] = {}  # the part with a read's record
        seen: dict[tuple[int, str], int] = {}  # the first part of a pair that has a read
        for row in np.flatnonzero(counts[same.ravel()] > 1):
            part, read_id = int(part_of[row]), str(UUID(bytes=every[row].tobytes()))
            pair = found[part].pair
            if part != seen.setdefault((pair, read_id), part):
                reasons[part][read_id] = REPEATED
            elif part != imported.get(read_id, part):
                reasons[part][read_id] = IN_ANOTHER_PAIR
            elif found[-1].pair == 0 or records_of(found[part].bam).find(read_id):
                imported.setdefault(read_id, part)
    return reasons


@contextmanager
def _opened(file: Path) -> Iterator[Any]:
    import pod5  # here: starts slowly, and other sources do not need it

    with reading(file, "data.pod5"), pod5.Reader(file) as reader:
        yield reader


def _read_ids(file: Path) -> np.ndarray:
    """Uint64 [reads, 2]: the halves of each id."""
    with _opened(file) as reader:
        return np.frombuffer(b"".join(reader.read_ids_raw.to_pylist()), np.uint64).reshape(-1, 2)


def _reads(file: Path) -> Iterator[Any]:
    with _opened(file) as reader:
        yield from reader.reads()


NO_RECORD = "reads dropped: no record in the BAM"
REPEATED, IN_ANOTHER_PAIR = "reads left out: in an earlier POD5 file too", "reads left out: in an earlier pair too"


def import_part(settings: Settings, part: Part, counts: Counter[str]) -> Iterator[Chunk]:
    """All usable chunks of one POD5 file, without their splits.

    Unusable reads are dropped and counted by reason. If a read has several records, the first usable one counts.

    Raises:
        DataError: a file is damaged or of another kind.
    """
    reference = Reference(part.reference) if part.reference else None
    known = records_of(part.bam)
    if part.first:
        counts.update(known.left_out)
    seen = set[str]()
    for read in _reads(part.file):
        read_id = str(read.read_id)
        if read_id in part.repeated or read_id in seen:
            counts[part.repeated.get(read_id, REPEATED)] += 1
            continue
        seen.add(read_id)
        found = known.find(read_id)
        if not found:
            counts[NO_RECORD] += 1
        if len(found) > 1:
            counts["reads that the basecaller split"] += 1
        for same in found:
            if len(same) > 1:
                counts["records left out: another one of the same read"] += len(same) - 1
            if settings.labels == "auto":  # for an aligned read, the reference is more accurate
                same.sort(key=lambda record: bool(record.is_unmapped))
            reasons = []
            for record in same:
                told = Counter[str]()
                try:
                    signal = signal_of(read, settings)
                    placed, contig = label_read(read, record, reference, settings, told)
                except Unusable as reason:
                    reasons.append(reason)
                    continue
                counts.update(told)
                counts["reads kept"] += 1
                counts[SAMPLED.format(read.run_info.sample_rate)] += 1
                yield from chunks_of(read_id, signal, placed, contig, settings, counts)
                break
            else:
                counts[f"reads dropped: {reasons[0]}"] += 1


def split_parts(settings: Settings, imported: list[Dataset], counts: Counter[str]) -> list[np.ndarray]:
    """The split of every chunk, after all parts are imported.

    Args:
        settings: settings of the source.
        imported: all parts with a chunk.
        counts: audit counters, incremented in place.
    Returns:
        For each part int64 [chunks], indices into `SPLITS`; -1 for chunks to drop.
    Raises:
        DataError: no chunk is left, or with data.split=position no chunk has a position.
    """
    if not imported:
        raise DataError(f"{', '.join(settings.pod5)}: no chunk is left ({_told(counts, 'chunks dropped')})")
    sizes = [len(part) for part in imported]
    if settings.split == "read":
        ids = [read_id.decode() for part in imported for read_id in part.read_ids]
        of_read = splits_of_reads(ids, settings.validation, settings.test)
        splits = np.array([SPLITS.index(of_read[read_id]) for read_id in ids], np.int64)
    else:
        blocks, contigs = [np.zeros((0, 4), np.int64)], list[Contig]()
        for before, part in zip(np.cumsum([0, *sizes]), imported, strict=False):
            own, names = part.places
            blocks.append(own + np.array([before, len(contigs), 0, 0]))
            contigs += names
        placed = np.concatenate(blocks)
        if not len(placed):
            raise DataError("data.split=position needs records aligned to a reference, and none is; use data.split=read")
        headers = [contigs_of(path) for entry in settings.bam for path in bam_files(entry)]
        splits = splits_of_places(sum(sizes), placed, contigs, headers, settings.validation, settings.test)
        positioned = len(np.unique(placed[:, 0]))
        for reason, number in (
            ("chunks dropped: across a cut between splits", int((splits < 0).sum())),
            ("chunks by position", positioned - int((splits < 0).sum())),
            ("chunks without a position, in train", len(splits) - positioned),
        ):
            if number:
                counts[reason] += number
    return np.split(splits, np.cumsum(sizes)[:-1])


def check_parts(settings: Settings, found: list[Part], counts: list[Counter[str]]) -> None:
    """Checks that every pair gave chunks.

    Args:
        settings: settings of the source.
        found: parts of the source.
        counts: counts of each part.
    Raises:
        DataError: a pair gave no chunk; the message says why.
    """
    of_pair: dict[int, Counter[str]] = {}
    for part, own in zip(found, counts, strict=True):
        of_pair.setdefault(part.pair, Counter()).update(own)
    for pair, own in of_pair.items():
        if not own["reads kept"] and not own[IN_ANOTHER_PAIR]:
            _refuse(settings, pair, own)


def _refuse(settings: Settings, pair: int, counts: Counter[str]) -> None:
    """Raises an error that explains why a pair gave no chunk."""
    entry, bam = settings.pod5[pair], settings.bam[pair]
    reasons = _told(counts, "reads dropped")
    if not reasons:
        raise DataError(f"data.pod5: {entry} has no reads")
    if reasons == _told(Counter({NO_RECORD: counts[NO_RECORD]}), "reads dropped"):
        raise DataError(f"{bam}: has no record of any of the {counts[NO_RECORD]} reads of {entry}; do they belong together?")
    hint = next((hint for words, hint in HINTS.items() if words in reasons), "")
    raise DataError(f"{bam}: no read can be used ({reasons}){hint and '. '}{hint}")


def _told(counts: Counter[str], kind: str) -> str:
    """Numbers of drops by reason, the most common first."""
    return ", ".join(f"{n} {reason.removeprefix(f'{kind}: ')}" for reason, n in counts.most_common() if reason.startswith(kind))


HINTS = {
    "DNA by its": "data.rna=true is for direct RNA only, not for cDNA; leave it out",
    "bases were trimmed": "Dorado does not trim the move table of direct RNA as it trims the bases: basecall with --no-trim",
    "direct RNA": "Give data.rna=true, which reverses the signals, so that they run like the labels",
    "no move table": "Labels need a move table: basecall with --emit-moves, and keep tags when aligning, as dorado aligner "
    "does, or samtools fastq -T '*' calls.bam | minimap2 -y",
    "move table and sequence differ": "Sequences were trimmed after basecalling: give the BAM that the basecaller wrote, or "
    "basecall without trimming (Guppy trims no move tables)",
    "signal of another length": "POD5 and BAM are not of the same reads: give the POD5 that was basecalled",
    "longer than the signal": "POD5 and BAM are not of the same reads: give the POD5 that was basecalled",
    "not aligned to a known reference": "For labels from the reference align with MD tags, or give data.reference=FASTA",
    "in the FASTA": "data.reference must name its sequences as the BAM's header does",
    "another reference than the FASTA": "data.reference must be the FASTA that was aligned to",
    "broken MD tag": "Write the MD tags again with samtools calmd, or give data.reference=FASTA",
}
"""Advice if no read can be used, by words of the reason; the first match is shown."""
