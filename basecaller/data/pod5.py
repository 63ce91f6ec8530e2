"""POD5 signals with BAM labels: the settings and files of the source, and the chunks of a read."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np

from basecaller.common.errors import DataError
from basecaller.data.dataset import Chunk
from basecaller.data.folders import files_below
from basecaller.data.labels import LabelledRead, Moves, called_positions, label_from_moves, label_from_reference, moves_of
from basecaller.data.records import bam_files, identity, quality
from basecaller.data.reference import Reference
from basecaller.data.signal import Normalisation, normalise
from basecaller.data.splits import Contig
from basecaller.data.tags import Unusable, text, whole_number

VERSION = 6
"""Version of data sets made from POD5 and BAM: see `sources.Source`."""

DUPLEX = 1
"""Value of the `dx` tag of a duplex call, which combines the signals of two reads; -1 is a read that is part of one."""

KITS, RNA_KITS = "sqk-", ("sqk-rna", "sqk-drb")
"""Beginning of the names of sequencing kits, and of those for direct RNA, without and with barcodes."""

SHORTENED = "mux_change"
"""End of the names of the end reasons of reads that Dorado cuts before calling them."""

LEAST_CUT = 100
"""Samples after a move table that show that bases were cut off there: bases of RNA take about 30 samples, and fewer samples
than a stride have no block."""

NOT_ALIGNED, NO_MD = (
    "labels from basecalls: not aligned, unlike others of its BAM",
    "labels from basecalls: aligned, but without MD tag or data.reference",
)
"""Reads that data.labels=auto labels otherwise than most users expect; the audit warns of them."""

CLOCK = 0.001
"""Resolution of a start time, in seconds."""

UNREADABLE = NO_SIGNAL, UNDECODABLE, UNCALIBRATED = (
    "no signal",
    "signal cannot be decoded",
    "calibration is NaN or infinite",
)
"""Why the signal of a read cannot be used."""

LABELS = ("auto", "moves", "reference")
SPLIT_BY = ("read", "position")


@dataclass(frozen=True)
class Settings(Normalisation):
    """Settings of `conf/data/pod5.yaml`. `pod5` and `bam` are lists of equal length, which form pairs.

    Attributes:
        pod5: POD5 file or folder, or a list of them.
        bam: BAM file or folder, or a list with one for each entry of `pod5`.
        reference: FASTA file of the reference, for an aligned BAM without MD tags. null: none.
        labels: Source of the labels. `moves` takes the basecalls, placed by the move table; `reference` the reference's bases
            under the alignment; `auto` the reference's if a record is aligned to a known one, otherwise the basecalls.
        chunk_samples: Length of the longest chunk, in samples; reads are cut on base boundaries.
        min_samples: Length of the shortest chunk, in samples; shorter ones are dropped.
        min_quality: Lowest mean quality of a read, in phred: its `qs` tag, or that of its bases' mean error. null: any.
        min_identity: Lowest identity of an aligned read: the share of alignment columns that match, by its NM tag. null: any.
        rna: Whether reads are direct RNA, sequenced from the 3' end; their signals are then reversed, so that labels run from
            5' to 3'. cDNA is DNA.
        split: How reads are split for training, validation and test: by a hash of the `read` id, or by `position` on the
            genome.
        validation: Share of the reads, or of the genome, for validation.
        test: Share of the reads, or of the genome, for the test; or a separate source, as in {name: bonito, path: DIR}.
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
    """The POD5 files of an entry: the file itself, or all files below a folder.

    Args:
        entry: a path.
        key: the entry's setting, for messages.
    Raises:
        DataError: there are none.
    """
    path = Path(entry)
    if not path.exists():
        raise DataError(f"{key}: {path} does not exist")
    hint = "; convert FAST5 files first: pod5 convert fast5 FOLDER --output reads.pod5"
    if path.is_file():
        if path.suffix == ".fast5":
            raise DataError(f"{key}: {path} is not a POD5 file{hint}")
        return [path]
    files = files_below(path, ".pod5")
    if not files:
        raise DataError(f"{key}: no .pod5 file below {path}{hint if files_below(path, '.fast5') else ''}")
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
            f"data.pod5 has {len(settings.pod5)} entries and data.bam {len(settings.bam)}; give one BAM for each POD5"
        )
    files = [file for entry in settings.pod5 for file in pod5_files(entry)]
    files += [file for entry in settings.bam for file in bam_files(entry)]
    if settings.reference:
        if not Path(settings.reference).is_file():
            raise DataError(f"data.reference: {settings.reference} is not a file")
        files.append(Path(settings.reference))
    return files


def grouped(settings: Settings) -> list[int]:
    """Number of POD5 files of each pair, then of BAM files, if there are several pairs and some have folders: the same files in
    other pairs make other labels."""
    counts = [len(pod5_files(entry)) for entry in settings.pod5] + [len(bam_files(entry)) for entry in settings.bam]
    return counts if len(settings.pod5) > 1 and max(counts) > 1 else []


def cut_chunks(starts: np.ndarray, stop: int, chunk_samples: int) -> Iterator[tuple[int, int]]:
    """Cuts a read on base boundaries into stretches of at most `chunk_samples` samples.

    Args:
        starts: int64 [bases], first sample of each base.
        stop: the sample after the last base.
        chunk_samples: the longest stretch. A single base that is longer is dropped.
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


def is_direct_rna(read: Any) -> bool | None:
    """Whether a read is direct RNA by its sequencing kit; None if the kit's name does not tell."""
    kit = read.run_info.sequencing_kit.lower()
    return kit.startswith(RNA_KITS) if kit.startswith(KITS) else None


def _hold(settings: Settings, record: Any, known: bool) -> None:
    """Checks a record against the settings' limits.

    Raises:
        Unusable: the record is below a limit.
    """
    if whole_number(record, "dx") == DUPLEX:
        raise Unusable("duplex call, of two reads")
    if settings.labels == "reference" and not known:
        raise Unusable("not aligned to a known reference")
    if settings.min_quality is not None and not quality(record) >= settings.min_quality:
        raise Unusable("quality below data.min_quality")
    if settings.min_identity is not None and not record.is_unmapped and not identity(record) >= settings.min_identity:
        raise Unusable("identity below data.min_identity")


def _begin(read: Any, record: Any, counts: Counter[str]) -> int:
    """First sample of a record's signal in the read: 0, or where the part begins if the basecaller split the read.

    Dorado before 2.1 leaves the samples that it trimmed from the read out of a part's `sp`, but not out of its start time.

    Raises:
        Unusable: the tags do not tell it.
    """
    begin, parent = whole_number(record, "sp"), text(record, "pi")
    if parent is not None and parent != str(read.read_id):
        raise Unusable("part of another read (tag pi)")
    if begin is None and parent is not None:
        raise Unusable("part of a split read without its beginning (tag sp)")
    if begin is None:
        return 0
    if begin < 0:
        raise Unusable("negative sp tag")
    by_time = _begin_by_time(read, record) if parent is not None else None
    if by_time is not None and begin + read.run_info.sample_rate * CLOCK < by_time < read.num_samples:
        counts["parts of split reads placed by their start time"] += 1
        return by_time
    return begin


def _begin_by_time(read: Any, record: Any) -> int | None:
    """First sample of a part by its start time (tag `st`); None if it is missing, or not given to the millisecond."""
    started = text(record, "st")
    if started is None or not re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}(Z|\+00:00)", started):
        return None
    since = datetime.fromisoformat(started) - read.run_info.acquisition_start_time
    return round(since.total_seconds() * read.run_info.sample_rate) - int(read.start_sample)


def _moves(read: Any, record: Any, settings: Settings, counts: Counter[str]) -> Moves:
    """The move table of a record on its read's signal.

    - Dorado 0.5 counts the adapter of direct RNA in `ts` even if it does not trim it (`--no-trim`, `--estimate-poly-a`). Then
      the table covers the signal from its beginning, and would end after it by as much.
    - If Dorado cuts adapters or barcodes off the bases of direct RNA, it counts from the 5' end in the bases, and from the 3'
      end in the table: what is left of both no longer belongs together.

    Raises:
        Unusable: there is none, or it does not belong to the bases.
    """
    moves = moves_of(record, _begin(read, record, counts))
    after = read.num_samples - moves.stop
    if not settings.rna:
        return moves
    trimmed = whole_number(record, "ts") or 0
    if trimmed >= moves.stride > abs(after + trimmed):
        counts["move tables placed without ts, which was not trimmed"] += 1
        return replace(moves, starts=moves.starts - trimmed, stop=moves.stop - trimmed)
    if after > LEAST_CUT and text(record, "pi") is None and not read.end_reason.name.endswith(SHORTENED):
        raise Unusable("direct RNA whose bases were trimmed after basecalling")
    return moves


def _hold_length(record: Any, moves: Moves, samples: int) -> None:
    """Checks where the `ns` tag says that the basecalled signal ends. That is the end of the signal, of the move table if the
    basecaller trimmed an adapter there (Dorado), or of a part if it split the read. It may be beyond the signal by what was
    trimmed at the start, which Dorado 0.5 counts twice.

    Raises:
        Unusable: the record belongs to another signal.
    """
    called, trimmed = whole_number(record, "ns"), whole_number(record, "ts") or 0
    if called is None:
        return
    end = moves.begin + called
    ends_inside = text(record, "pi") is not None or abs(end - moves.stop) < moves.stride
    if end > samples + max(moves.stride, trimmed) or (end < samples and not ends_inside):
        raise Unusable("basecalled from a signal of another length (tag ns)")


def label_read(
    read: Any, record: Any, reference: Reference | None, settings: Settings, counts: Counter[str]
) -> tuple[list[LabelledRead], Contig | None]:
    """A record's bases on its read's signal, in one or several parts, and the contig of their positions; None for none.

    Raises:
        Unusable: the bases cannot be placed.
    """
    known = not record.is_unmapped and (reference is not None or record.has_tag("MD"))
    if is_direct_rna(read) not in (None, settings.rna):
        what = "DNA by its sequencing kit, and data.rna=true"
        raise Unusable(what if settings.rna else "direct RNA by its sequencing kit, and data.rna=false")
    _hold(settings, record, known)
    moves = _moves(read, record, settings, counts)
    _hold_length(record, moves, read.num_samples)
    if moves.starts[-1] >= read.num_samples or moves.stop > read.num_samples + moves.stride:  # the last block may be incomplete
        raise Unusable("move table longer than the signal")
    if known and settings.labels != "moves":
        placed = label_from_reference(record, moves, reference, counts, settings.rna)
        counts["labels from the reference"] += 1
    else:
        placed = [label_from_moves(record, moves, settings.rna)]
        counts["labels from basecalls"] += 1
        if settings.labels == "auto" and record.header is not None and record.header.nreferences:
            counts[NOT_ALIGNED if record.is_unmapped else NO_MD] += 1
        if record.is_unmapped or settings.split != "position":
            return placed, None
        placed = [replace(placed[0], positions=called_positions(record, moves, settings.rna))]
    return placed, (record.reference_name, record.header.get_reference_length(record.reference_name))


def signal_of(read: Any, by: Normalisation) -> np.ndarray:
    """The normalised signal of a whole read, for training and for basecalls: float32 [samples].

    Raises:
        Unusable: there is no signal, or it cannot be read; or it has no finite calibration, and the normalisation needs one.
    """
    if not read.num_samples:
        raise Unusable(NO_SIGNAL)
    try:
        signal = read.signal.astype(np.float32)
        offset, scale = read.calibration.offset, read.calibration.scale
    except (RuntimeError, ValueError) as error:
        raise Unusable(UNDECODABLE) from error
    if not by.in_picoampere:
        return normalise(signal, by)
    if not (np.isfinite(offset) and np.isfinite(scale)):
        raise Unusable(UNCALIBRATED)
    return normalise((signal + offset) * scale, by)


def chunks_of(
    read_id: str,
    signal: np.ndarray,
    placed: list[LabelledRead],
    contig: Contig | None,
    settings: Settings,
    counts: Counter[str],
) -> Iterator[Chunk]:
    """The usable chunks of a labelled read with its whole signal; unusable ones are counted."""
    turned = signal[::-1] if settings.rna else signal
    for part in placed[::-1] if settings.rna else placed:
        starts, every, places = part.starts, part.labels, part.positions
        ends = np.append(starts[1:], min(part.stop, len(signal)))
        if settings.rna:  # from the 5' end
            starts, ends, every = (len(signal) - ends)[::-1], (len(signal) - starts)[::-1], every[::-1]
            places = None if places is None else places[::-1]
        for first, last in cut_chunks(starts, int(ends[-1]), settings.chunk_samples):
            labels = every[first:last]
            cut = slice(int(starts[first]), int(ends[last - 1]))
            if cut.stop - cut.start < settings.min_samples:
                counts["chunks dropped: shorter than data.min_samples"] += 1
            elif turned[cut].min() == turned[cut].max():
                counts["chunks dropped: constant signal"] += 1
            elif not labels.all():
                counts["chunks dropped: letters other than A, C, G, T"] += 1
            else:
                blocks = None if places is None else _blocks(places[first:last])
                yield Chunk(read_id, turned[cut], labels, starts[first:last] - cut.start, contig=contig, blocks=blocks)


def _blocks(positions: np.ndarray) -> np.ndarray:
    """First and last of each run of positions without a gap: int64 [blocks, 2], ascending."""
    ordered = np.sort(positions)
    gaps = np.flatnonzero(np.diff(ordered) > 1)
    return np.stack([ordered[np.append(0, gaps + 1)], ordered[np.append(gaps, len(ordered) - 1)]], 1)
