"""Counts over alignments of calls to true sequences, from which `tables.py` makes its tables. Its docstring says which program
is called the benchmark here.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field

import numpy as np

from basecaller.calling.quality import MOST_QUALITY, UNCALIBRATED, Calibration

LEAST_RUN = 5
"""Number of equal bases, without gaps, from which a stretch counts as a homopolymer."""

GAP = ord("-")


@dataclass(frozen=True)
class ReadRow:
    """An alignment: a row of `reads.csv`.

    Attributes:
        read_id: id of the read, or of the read that a chunk belongs to.
        matches, mismatches, insertions, deletions: columns of the alignment.
        match_rate: matches over all columns.
        quality: mean phred of the bases in the alignment, as written to FASTQ.
        quality_right, quality_wrong: mean phred of matches, and of mismatches and insertions; NaN if there are none.
    """

    read_id: str
    matches: int
    mismatches: int
    insertions: int
    deletions: int
    match_rate: float
    quality: float
    quality_right: float
    quality_wrong: float


@dataclass
class Counts:
    """The counts behind the tables, added up over alignments.

    Attributes:
        alphabet: the letters of calls and truth; other letters in a truth, such as N, match nothing and have no signature.
        calibration: calibration of the written qualities.
        reads: a row for each alignment with at least one column.
        qualities: int64 [2, phreds], right and wrong bases by quality.
        homopolymers: int64 [letters, 3], see `homopolymer_counts`.
        signatures: int64 [letters, letters + 1, letters + 1, letters], see `signature_counts`.
    """

    alphabet: str = "ACGT"
    calibration: Calibration = UNCALIBRATED
    reads: list[ReadRow] = field(default_factory=list)
    qualities: np.ndarray = field(init=False)
    homopolymers: np.ndarray = field(init=False)
    signatures: np.ndarray = field(init=False)

    def __post_init__(self) -> None:
        n = len(self.alphabet)
        self.qualities = np.zeros((2, round(MOST_QUALITY) + 1), np.int64)
        self.homopolymers = np.zeros((n, 3), np.int64)
        self.signatures = np.zeros((n, n + 1, n + 1, n), np.int64)

    def add(self, read_id: str, called: str, true: str, probabilities: np.ndarray) -> None:
        """Counts an alignment, in the direction in which the read was called.

        Args:
            read_id: read id of the call.
            called, true: columns of the alignment, `-` for gaps.
            probabilities: float, the network's probabilities of the called bases in them; more may follow.
        """
        if not called:
            return
        top, bottom = (np.frombuffer(row.encode(), np.uint8) for row in (called, true))
        bases = top != GAP
        right = (top == bottom)[bases]
        quality = np.rint(self.calibration(probabilities[: len(right)])).astype(np.int64)
        matches, insertions, deletions = int(right.sum()), true.count("-"), called.count("-")
        self.reads.append(
            ReadRow(
                read_id,
                matches,
                len(called) - matches - insertions - deletions,
                insertions,
                deletions,
                matches / len(called),
                mean(quality),
                mean(quality[right]),
                mean(quality[~right]),
            )
        )
        for row, chosen in enumerate((right, ~right)):
            self.qualities[row] += np.bincount(quality[chosen], minlength=self.qualities.shape[1])
        self.homopolymers += homopolymer_counts(top, bottom, self.alphabet)
        self.signatures += signature_counts(top, bottom, self.alphabet)


def mean(values: np.ndarray) -> float:
    """The mean; NaN if there are no values."""
    return float(values.mean()) if len(values) else math.nan


def homopolymer_counts(called: np.ndarray, true: np.ndarray, alphabet: str) -> np.ndarray:
    """Homopolymers of an alignment's truth, their bases and the errors in them, by letter: int64 [letters, 3].

    A homopolymer is a stretch of columns whose truth is one base or a gap, with at least `LEAST_RUN` of that base. An error is
    a true base that is called differently, or an insertion of the same base; inserting another base is no error here. This is
    `homopolymer_errors` of the benchmark.

    Args:
        called, true: uint8 [columns], letters and `-`.
        alphabet: the letters.
    """
    counts = np.zeros((len(alphabet), 3), np.int64)
    for row, letter in zip(counts, alphabet.encode(), strict=True):
        of_letter = true == letter
        ends = np.flatnonzero(np.diff(of_letter | (true == GAP), prepend=False, append=False)).reshape(-1, 2)
        wrong = (of_letter & (called != letter)) | ((true == GAP) & (called == letter))
        bases, errors = (np.diff(np.append(0, np.cumsum(hits))[ends], axis=1)[:, 0] for hits in (of_letter, wrong))
        long = bases >= LEAST_RUN
        row[:] = long.sum(), bases[long].sum(), errors[long].sum()
    return counts


def signature_counts(called: np.ndarray, true: np.ndarray, alphabet: str) -> np.ndarray:
    """Columns of an alignment by their called and true letter and by the called letters before and after: int64
    [letters before, letters or gap called, letters or gap true, letters after]; a gap is the last index.

    Before and after are the nearest called bases (`error_profile` of the benchmark). Skips columns without a called base on one
    side, and columns whose true base is not in the alphabet.

    Args:
        called, true: uint8 [columns], letters and `-`.
        alphabet: the letters.
    """
    n = len(alphabet)
    index = np.full(256, -1)
    index[np.frombuffer(alphabet.encode(), np.uint8)] = np.arange(n)
    index[GAP] = n
    here, truth = index[called], index[true]
    bases = here[here < n]
    after = np.cumsum(here < n)  # index of the next called base among all called bases
    before = after - (here < n) - 1
    inside = (before >= 0) & (after < len(bases)) & (truth >= 0)
    codes = (bases[before[inside]], here[inside], truth[inside], bases[after[inside]])
    shape = (n, n + 1, n + 1, n)
    return np.bincount(np.ravel_multi_index(codes, shape), minlength=math.prod(shape)).reshape(shape)
