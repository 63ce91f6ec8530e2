"""The tables that benchmarks of basecallers publish, counted over alignments of calls to true sequences.

The measures are those of Pagès-Gallego and de Ridder, "Comprehensive benchmark and architectural analysis of deep learning
models for nanopore sequencing basecalling", Genome Biology 24:71 (2023), as their programs compute them (`src/evaluation.py`
and `src/report.py` of github.com/marcpaga/nanopore_benchmark, called the benchmark here). Docstrings say where a table differs.
"""

from __future__ import annotations

import csv
import math
from collections.abc import Sequence
from dataclasses import astuple, dataclass, fields
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np

from basecaller.calling.counts import Counts, ReadRow, mean
from basecaller.calling.quality import MOST_QUALITY
from basecaller.common.files import replacing

BANDWIDTH, STEP = 0.2, 0.01
"""Width of the Gaussian kernel that smooths reads' mean qualities, and step of the grid for the overlap; in phred."""


@dataclass(frozen=True)
class EventRow:
    """An event: a row of `events.csv`.

    Attributes:
        event: match, mismatch, insertion or deletion.
        count: columns with this event in all alignments.
        rate: share of all columns.
        mean, lower_quartile, median, upper_quartile: statistics of the rates of single alignments.
    """

    event: str
    count: int
    rate: float
    mean: float
    lower_quartile: float
    median: float
    upper_quartile: float


@dataclass(frozen=True)
class HomopolymerRow:
    """A base: a row of `homopolymers.csv`; see `homopolymer_counts`.

    Attributes:
        base: base of the homopolymers, or `all`.
        homopolymers: number of homopolymers.
        bases: true bases in them.
        errors: missing, wrong or additional bases.
        error_rate: errors over bases; NaN if there are no bases.
    """

    base: str
    homopolymers: int
    bases: int
    errors: int
    error_rate: float


@dataclass(frozen=True)
class QualityRow:
    """A quality: a row of `qualities.csv`.

    Attributes:
        quality: phred, as written to FASTQ.
        right, wrong: called bases of this quality that match, and that are mismatches or insertions.
        share_of_right, share_of_wrong: share of all right, and of all wrong bases.
    """

    quality: int
    right: int
    wrong: int
    share_of_right: float
    share_of_wrong: float


@dataclass(frozen=True)
class AucRow:
    """The best alignments by quality: a row of `auc.csv`.

    Attributes:
        fraction: fraction of all alignments.
        match_rate: mean match rate of this fraction.
        quality: lowest mean quality in it, phred.
    """

    fraction: float
    match_rate: float
    quality: float


@dataclass(frozen=True)
class SignatureRow:
    """An event at a base in its context: a row of `signatures.csv`; see `signatures`.

    Attributes:
        context: the base between its called neighbours: the called base or, for a deletion, the true one.
        event: match, mismatch, insertion or deletion.
        true: the true base; `-` for an insertion.
        count: number of such events.
        rate: share of all events in this context; NaN if there are none.
    """

    context: str
    event: str
    true: str
    count: int
    rate: float


@dataclass(frozen=True)
class SummaryRow:
    """A number: a row of `summary.csv`."""

    metric: str
    value: float


def _ratio(part: float, whole: float) -> float:
    return part / whole if whole else math.nan


def event_rates(reads: Sequence[ReadRow]) -> list[EventRow]:
    """Rates of matches, mismatches, insertions and deletions: columns over all columns, of all alignments together and of each
    (`count_abs_counts` and `event_rates` of the benchmark, which counts the two columns at the ends of an alignment as columns,
    but not as matches)."""
    counts = np.array([(r.matches, r.mismatches, r.insertions, r.deletions) for r in reads], np.int64).reshape(-1, 4)
    rates = counts / counts.sum(1, keepdims=True)
    rows = []
    events = ("match", "mismatch", "insertion", "deletion")
    for event, count, shares in zip(events, counts.sum(0).tolist(), rates.T, strict=True):
        low, middle, high = np.percentile(shares, [25, 50, 75]).tolist() if len(shares) else [math.nan] * 3
        rows.append(EventRow(event, count, _ratio(count, int(counts.sum())), mean(shares), low, middle, high))
    return rows


def homopolymer_errors(counts: np.ndarray, alphabet: str) -> list[HomopolymerRow]:
    """Error rate in homopolymers by base, and of all: errors over true bases (`homopolymer_errorrate_A` and so on of the
    benchmark).

    Args:
        counts: int64 [letters, 3], see `homopolymer_counts`.
        alphabet: the letters.
    """
    names, numbers = [*alphabet, "all"], [*counts.tolist(), counts.sum(0).tolist()]
    return [
        HomopolymerRow(name, count, bases, errors, _ratio(errors, bases))
        for name, (count, bases, errors) in zip(names, numbers, strict=True)
    ]


def quality_distributions(counts: np.ndarray) -> list[QualityRow]:
    """Distributions of the qualities of right and of wrong bases, without qualities that no base has.

    Args:
        counts: int64 [2, phreds], right and wrong bases.
    """
    right, wrong = counts.sum(1).tolist()
    return [
        QualityRow(quality, int(a), int(b), _ratio(a, right), _ratio(b, wrong))
        for quality, (a, b) in enumerate(counts.T.tolist())
        if a or b
    ]


def overlap_of_bases(rows: Sequence[QualityRow]) -> float:
    """Overlap of the qualities of right and wrong bases: the sum over qualities of the smaller share. It is 0 if qualities
    separate right from wrong bases, 1 if they carry no information, and NaN if there are no right or no wrong bases.

    This is the overlapping coefficient of two distributions (Inman and Bradley, Communications in Statistics 18:3851, 1989).
    """
    shares = np.array([(row.share_of_right, row.share_of_wrong) for row in rows])
    return float(shares.min(1).sum()) if rows else math.nan


def overlap_of_reads(reads: Sequence[ReadRow]) -> float:
    """Overlap of two distributions over reads, from 0 to 1: the mean quality of a read's right bases, and that of its wrong
    ones. NaN if there are none.

    It is the area under the lower of two densities, each smoothed by a Gaussian kernel (`calculate_phredq_overlap` of the
    benchmark looks for the point where they cross, which gives the same if there is a single one).
    """
    means = [np.array([getattr(read, name) for read in reads], float) for name in ("quality_right", "quality_wrong")]
    right, wrong = (values[~np.isnan(values)] for values in means)
    if not len(right) or not len(wrong):
        return math.nan
    kernel = np.exp(-0.5 * (np.arange(-5 * BANDWIDTH, 5 * BANDWIDTH + STEP / 2, STEP) / BANDWIDTH) ** 2)
    cells = round(MOST_QUALITY / STEP) + 1
    densities = [
        np.convolve(np.bincount(np.rint(values / STEP).astype(np.int64), minlength=cells) / len(values), kernel / kernel.sum())
        for values in (right, wrong)
    ]
    return float(np.minimum(*densities).sum())


def auc_curve(reads: Sequence[ReadRow]) -> list[AucRow]:
    """Mean match rate of the best alignments by mean quality, for every fraction of them (`calculate_auc` of the benchmark
    takes only every tenth)."""
    best_first = sorted(reads, key=lambda read: -read.quality)
    means = np.cumsum([read.match_rate for read in best_first]) / np.arange(1, len(reads) + 1)
    return [
        AucRow((i + 1) / len(reads), float(mean), read.quality)
        for i, (mean, read) in enumerate(zip(means, best_first, strict=True))
    ]


def auc(curve: Sequence[AucRow]) -> float:
    """Area under match rate against fraction, by the trapezoid rule; 1 if all bases are right, NaN if there is no point.

    The curve is constant before its first point. The benchmark's area begins at that point, and is less than 1 even if all
    bases are right.
    """
    if not curve:
        return math.nan
    fractions = [0.0, *(row.fraction for row in curve)]
    rates = [curve[0].match_rate, *(row.match_rate for row in curve)]
    return float(np.trapezoid(rates, fractions))


def signatures(counts: np.ndarray, alphabet: str) -> list[SignatureRow]:
    """Events in each context of three bases (`calculate_signatures` of the benchmark counts mismatches twice in the total of
    its rates).

    Args:
        counts: int64, see `signature_counts`.
        alphabet: the letters.
    """
    n, rows = len(alphabet), list[SignatureRow]()
    for before, base, after in product(range(n), repeat=3):
        of_base = [
            ("match" if true == base else "mismatch", alphabet[true], counts[before, base, true, after]) for true in range(n)
        ]
        of_base.append(("insertion", "-", counts[before, base, n, after]))
        of_base.append(("deletion", alphabet[base], counts[before, n, base, after]))
        total = sum(int(count) for _, _, count in of_base)
        context = alphabet[before] + alphabet[base] + alphabet[after]
        rows += [SignatureRow(context, event, true, int(count), _ratio(int(count), total)) for event, true, count in of_base]
    return rows


def summary(counts: Counts) -> list[SummaryRow]:
    """The numbers that benchmarks compare models by (`singlevalues` of the benchmark)."""
    events, curve = event_rates(counts.reads), auc_curve(counts.reads)
    homopolymers = homopolymer_errors(counts.homopolymers, counts.alphabet)
    return [
        SummaryRow("alignments", len(counts.reads)),
        *(SummaryRow(f"{row.event}_rate", row.rate) for row in events),
        *(SummaryRow(f"homopolymer_error_rate_{row.base}", row.error_rate) for row in homopolymers),
        SummaryRow("phredq_overlap", overlap_of_reads(counts.reads)),
        SummaryRow("phredq_overlap_of_bases", overlap_of_bases(quality_distributions(counts.qualities))),
        SummaryRow("auc", auc(curve)),
    ]


def write_tables(counts: Counts, folder: Path) -> None:
    """Writes all tables as CSV files, whose columns are the rows' attributes; NaN is empty."""
    tables: dict[str, tuple[type, Sequence[Any]]] = {
        "summary": (SummaryRow, summary(counts)),
        "events": (EventRow, event_rates(counts.reads)),
        "homopolymers": (HomopolymerRow, homopolymer_errors(counts.homopolymers, counts.alphabet)),
        "qualities": (QualityRow, quality_distributions(counts.qualities)),
        "auc": (AucRow, auc_curve(counts.reads)),
        "signatures": (SignatureRow, signatures(counts.signatures, counts.alphabet)),
        "reads": (ReadRow, counts.reads),
    }
    for name, (kind, rows) in tables.items():
        with replacing(folder / f"{name}.csv") as partial, partial.open("w", newline="", encoding="utf-8") as file:
            writer = csv.writer(file, lineterminator="\n")
            writer.writerow(column.name for column in fields(kind))
            writer.writerows([_cell(value) for value in astuple(row)] for row in rows)


def _cell(value: Any) -> Any:
    if not isinstance(value, float):
        return value
    return "" if math.isnan(value) else f"{value:.6g}"
