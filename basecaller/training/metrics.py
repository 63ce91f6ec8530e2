"""Similarity of a basecall and its true sequence, by Bonito's definition of accuracy."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
import parasail

from basecaller.training.scores import ErrorRates, IdentitySummary

GAP_OPEN, GAP_EXTEND, MIN_COVERAGE = 8, 4, 0.5
"""Bonito's `accuracy`: local alignment with parasail's `dnafull` matrix and these gap costs; 0 below half coverage."""


@dataclass(frozen=True)
class Alignment:
    """Columns of a local alignment of a call to the truth.

    Attributes:
        matches, mismatches, insertions, deletions: counts of columns; an insertion is a base that the truth lacks.
        coverage: share of the truth's bases inside the alignment.
    """

    matches: int = 0
    mismatches: int = 0
    insertions: int = 0
    deletions: int = 0
    coverage: float = 0.0

    @classmethod
    def of(cls, called: str, true: str, length: int) -> Alignment:
        """Counts columns: call and truth with `-` for gaps; length is that of the whole truth."""
        insertions, deletions = true.count("-"), called.count("-")
        matches = sum(map(str.__eq__, called, true))
        mismatches = len(true) - matches - insertions - deletions
        return cls(matches, mismatches, insertions, deletions, (len(true) - insertions) / length if length else 0.0)

    @property
    def columns(self) -> int:
        return self.matches + self.mismatches + self.insertions + self.deletions

    @property
    def identity(self) -> float:
        """Matches over alignment columns; 0 if less than half of the truth is aligned."""
        return self.matches / self.columns if self.columns and self.coverage >= MIN_COVERAGE else 0.0


@cache
def _matrix(alphabet: str) -> Any:
    """`dnafull`; for other letters, a matrix with its scores of a match and a mismatch."""
    return parasail.dnafull if set(alphabet) <= set("ACGT") else parasail.matrix_create(alphabet, 5, -4)


def columns(call: str, truth: str, alphabet: str = "ACGT") -> tuple[str, str, int]:
    """The columns of the best local alignment (Smith-Waterman): call and truth with `-` for gaps, and the index of the first
    aligned base of the call."""
    if not call or not truth:
        return "", "", 0
    result = parasail.sw_trace_striped_32(call, truth, GAP_OPEN, GAP_EXTEND, _matrix(alphabet))
    called = result.traceback.query
    return called, result.traceback.ref, result.end_query + 1 - (len(called) - called.count("-"))


def align(call: str, truth: str, alphabet: str = "ACGT") -> Alignment:
    """The alignment of a basecall to the true sequence."""
    called, true, _ = columns(call, truth, alphabet)
    return Alignment.of(called, true, len(truth))


def error_rates(alignments: list[Alignment]) -> ErrorRates:
    """Identity and error rates of many alignments."""
    identities = [a.identity for a in alignments] or [0.0]
    total = max(1, sum(a.columns for a in alignments))
    return ErrorRates(
        identity_mean=float(np.mean(identities)),
        identity_median=float(np.median(identities)),
        mismatch_rate=sum(a.mismatches for a in alignments) / total,
        insertion_rate=sum(a.insertions for a in alignments) / total,
        deletion_rate=sum(a.deletions for a in alignments) / total,
    )


def identity_summary(
    calls: list[str], truths: list[str], alphabet: str = "ACGT", alignments: list[Alignment] | None = None
) -> IdentitySummary:
    """Identity and error rates of many basecalls.

    Args:
        calls, truths: one string for each read.
        alphabet: their letters.
        alignments: alignment of each call to its truth, if known.
    """
    if alignments is None:
        alignments = [align(call, truth, alphabet) for call, truth in zip(calls, truths, strict=True)]
    floor = [align(call, truth, alphabet).identity for call, truth in zip(calls, truths[1:] + truths[:1], strict=True)]
    return IdentitySummary(
        **vars(error_rates(alignments)),
        identity_floor=float(np.mean(floor)) if len(calls) > 1 else 0.0,
        length_ratio=sum(map(len, calls)) / max(1, sum(map(len, truths))),
    )
