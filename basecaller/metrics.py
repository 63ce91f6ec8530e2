"""How alike a basecall and its true sequence are, by Bonito's definition of accuracy."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import parasail

GAP_OPEN, GAP_EXTEND, MIN_COVERAGE = 8, 4, 0.5
"""Bonito's `accuracy`: local alignment with parasail's `dnafull` matrix and these gap costs; 0 below half coverage."""


@dataclass(frozen=True)
class Alignment:
    """Columns of a local alignment of a call to the truth.

    Attributes:
        matches, mismatches, insertions, deletions: counts of columns; an insertion is a base the truth lacks.
        coverage: share of the truth's bases inside the alignment.
    """

    matches: int = 0
    mismatches: int = 0
    insertions: int = 0
    deletions: int = 0
    coverage: float = 0.0

    @property
    def columns(self) -> int:
        return self.matches + self.mismatches + self.insertions + self.deletions

    @property
    def identity(self) -> float:
        """Matches over alignment columns; 0 where less than half of the truth is aligned."""
        return self.matches / self.columns if self.columns and self.coverage >= MIN_COVERAGE else 0.0


def align(call: str, truth: str) -> Alignment:
    """Smith-Waterman alignment of a basecall to the true sequence."""
    if not call or not truth:
        return Alignment()
    result = parasail.sw_trace_striped_32(call, truth, GAP_OPEN, GAP_EXTEND, parasail.dnafull)
    called, true = result.traceback.query, result.traceback.ref
    insertions, deletions = true.count("-"), called.count("-")
    matches = sum(map(str.__eq__, called, true))
    mismatches = len(true) - matches - insertions - deletions
    return Alignment(matches, mismatches, insertions, deletions, (len(true) - insertions) / len(truth))


def identity_summary(calls: list[str], truths: list[str]) -> dict[str, float]:
    """Identity and error rates of many basecalls.

    Args:
        calls, truths: one string for each read.
    Returns:
        `identity_mean`, `identity_median`: fractions over reads. `mismatch_rate`, `insertion_rate`, `deletion_rate`:
        fractions of all alignment columns. `length_ratio`: bases called over true bases. `identity_floor`: the mean
        identity of the same calls with the truth of another read, what unrelated sequences score.
    """
    alignments = [align(call, truth) for call, truth in zip(calls, truths, strict=True)]
    identities = np.array([a.identity for a in alignments])
    columns = max(1, sum(a.columns for a in alignments))
    floor = [align(call, truth).identity for call, truth in zip(calls, truths[1:] + truths[:1], strict=True)]
    return {
        "identity_mean": float(identities.mean()),
        "identity_median": float(np.median(identities)),
        "identity_floor": float(np.mean(floor)) if len(calls) > 1 else 0.0,
        "mismatch_rate": sum(a.mismatches for a in alignments) / columns,
        "insertion_rate": sum(a.insertions for a in alignments) / columns,
        "deletion_rate": sum(a.deletions for a in alignments) / columns,
        "length_ratio": sum(map(len, calls)) / max(1, sum(map(len, truths))),
    }
