"""Reads POD5 files; writes FASTQ, SAM and BAM files."""

from __future__ import annotations

import array
import logging
from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np
import pod5
import pysam

from basecaller import __version__
from basecaller.calling.caller import Call
from basecaller.calling.quality import Calibration
from basecaller.data.pod5 import is_direct_rna, signal_of
from basecaller.data.records import mean_quality, reading
from basecaller.data.tags import Unusable
from basecaller.runs.signals import Signals

log = logging.getLogger(__name__)

DNA = Signals(rna=False)
"""Signals of DNA, normalised by default."""


def signals(
    file: Path,
    counts: Counter[str],
    trained: Signals = DNA,
    chosen: Iterable[str] | None = None,
) -> Iterator[tuple[str, np.ndarray]]:
    """Read ids and normalised signals of a POD5 file, float32 [samples].

    Args:
        file: the POD5 file.
        counts: incremented in place: `samples` read, and unreadable reads, see `UNREADABLE`.
        trained: the signals that the model was trained on. Those of direct RNA, which runs from the 3' end, are reversed, as
            for training. Reads of the other kind, by their sequencing kits, and at other sample rates are reported.
        chosen: ids of the reads to take, of which the file may lack some; None: all.
    Raises:
        DataError: it cannot be read.
    """
    rna, rates = trained.rna, set[int]()
    others = 0  # reads of the other kind
    with reading(file, "reads"), pod5.Reader(file) as reader:
        for read in reader.reads(chosen, missing_ok=True):
            others += is_direct_rna(read) not in (None, bool(rna))
            if (rate := read.run_info.sample_rate) not in rates:
                rates.add(rate)
                if told := trained.rate_warning([rate]):
                    log.warning("%s: %s", file, told)
            try:
                signal = signal_of(read, trained)
            except Unusable as reason:
                counts[f"{reason}"] += 1
                continue
            counts["samples"] += len(signal)
            yield str(read.read_id), np.ascontiguousarray(signal[::-1]) if rna else signal
    if others:
        consequence = {
            True: "the model was trained on direct RNA (data.rna=true): their calls are wrong",
            False: "the model was trained on DNA (data.rna=false): their calls are wrong",
            None: "nothing says that the model was trained on it (data.rna): they are called like DNA",
        }
        theirs = "DNA" if rna else "direct RNA"
        log.warning("%s: %d reads are %s by their sequencing kit, but %s", file, others, theirs, consequence[rna])


def reads_in(file: Path) -> int:
    """The number of reads in a POD5 file.

    Raises:
        DataError: it cannot be read.
    """
    with reading(file, "reads"), pod5.Reader(file) as reader:
        return int(reader.num_reads)


def some_reads(files: Iterable[Path], limit: int) -> list[str]:
    """Ids of `limit` reads of POD5 files, a random choice that is always the same.

    Raises:
        DataError: a file cannot be read.
    """
    ids = set[str]()
    for file in files:
        with reading(file, "reads"), pod5.Reader(file) as reader:
            ids.update(str(read.read_id) for read in reader.reads())
    return [str(read_id) for read_id in np.random.default_rng(0).permutation(sorted(ids))[:limit]]


def write_fastq(path: Path, calls: Iterable[Call], quality: Calibration) -> Iterator[Call]:
    """Writes calls as FASTQ, and yields each. A call without bases gets no record, since many programs cannot read one."""
    with path.open("w", encoding="utf-8") as file:
        for call in calls:
            if call.sequence:
                qualities = quality(call.probabilities)
                letters = "".join(chr(33 + round(q)) for q in qualities)
                file.write(f"@{call.read_id} qs:f:{mean_quality(qualities):.2f}\n{call.sequence}\n+\n{letters}\n")
            yield call


def write_alignments(
    path: Path, calls: Iterable[Call], quality: Calibration, stride: int, binary: bool, command: str, rna: bool = False
) -> Iterator[Call]:
    """Writes calls as unaligned SAM or BAM records with Dorado's tags `qs`, `mv`, `ns` and `ts`; see `write_fastq`."""
    header = {"HD": {"VN": "1.6", "SO": "unknown"}, "PG": [{"ID": "basecaller", "VN": __version__, "CL": command}]}
    with pysam.AlignmentFile(str(path), "wb" if binary else "w", header=header) as file:
        for call in calls:
            if not call.sequence:
                yield call
                continue
            qualities = quality(call.probabilities)
            record = pysam.AlignedSegment(file.header)
            record.query_name, record.flag, record.query_sequence = call.read_id, 4, call.sequence
            record.query_qualities = array.array("B", [round(q) for q in qualities])
            moves = np.zeros(-(-call.samples // stride) + 1, np.int8)
            moves[0] = stride
            if rna:  # the move table follows the measured signal, in which a base begins where it ends in the call
                moves[len(moves) - np.append(call.frames[1:], len(moves) - 1)] = 1
            else:
                moves[1 + call.frames] = 1
            record.set_tag("qs", mean_quality(qualities), "f")
            record.set_tag("ns", call.samples)
            record.set_tag("ts", 0)
            record.set_tag("mv", array.array("b", moves.tobytes()))
            file.write(record)
            yield call
