"""Scores of basecalls for storage and display. Does not import torch."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass(frozen=True)
class ErrorRates:
    """Identity and error rates of many alignments.

    Attributes:
        identity_mean, identity_median: mean and median over alignments; 0 if there are none.
        mismatch_rate, insertion_rate, deletion_rate: fractions of all their columns.
    """

    identity_mean: float
    identity_median: float
    mismatch_rate: float
    insertion_rate: float
    deletion_rate: float


@dataclass(frozen=True)
class IdentitySummary(ErrorRates):
    """Scores of basecalls with known true sequences.

    Attributes:
        identity_floor: mean identity of the same calls with the truth of another read, the score of unrelated sequences.
        length_ratio: called bases over true bases.
    """

    identity_floor: float
    length_ratio: float


@dataclass(frozen=True)
class BasecallScores(IdentitySummary):
    """Scores of a model's basecalls.

    Attributes:
        blank_fraction: share of frames called blank.
    """

    blank_fraction: float


@dataclass(frozen=True)
class ValidationScores:
    """Validation scores of a model in training.

    Attributes:
        loss: nats per base.
        loss_per_read: nats per chunk.
        basecalls: scores of the basecalls; None if only the loss was requested.
    """

    loss: float
    loss_per_read: float
    basecalls: BasecallScores | None = None


@dataclass(frozen=True)
class Homopolymers:
    """Homopolymers of one length.

    Attributes:
        length: bases in a run; the longest length includes longer runs.
        count: number of runs.
        correct: share of runs called with the correct length.
    """

    length: int
    count: int
    correct: float


@dataclass(frozen=True)
class ChunkScores(BasecallScores):
    """Scores of a model on chunks of a data set.

    Attributes:
        chunks, bases: numbers of chunks and bases.
        loss: nats per base.
        homopolymers: homopolymers by length.
    """

    chunks: int
    bases: int
    loss: float
    homopolymers: list[Homopolymers]


@dataclass(frozen=True)
class ReadScores(ErrorRates):
    """Scores of basecalled reads against a reference.

    Attributes:
        reads, aligned: number of called reads, and of those that align.
        bases: number of called bases.
        length_ratio: called bases over reference bases, in the aligned parts.
        read_coverage_mean: mean share of a read that aligns.
        homopolymers: homopolymers by length.
    """

    reads: int
    aligned: int
    bases: int
    length_ratio: float
    read_coverage_mean: float
    homopolymers: list[Homopolymers]


@dataclass(frozen=True)
class HeldOutScores(ChunkScores):
    """Scores of a model on the test split.

    Attributes:
        reads: number of reads that the chunks come from.
        too_dense: number of chunks left out, since a compared network has too few frames for CTC to align their bases.
    """

    reads: int
    too_dense: int = field(default=0, kw_only=True)

    @property
    def chunks_in_words(self) -> str:
        """What the scores are of."""
        left = f" ({self.too_dense:,} more are too dense for CTC, and left out)" if self.too_dense else ""
        return f"{self.chunks:,} chunks that no stage has seen, of {self.reads:,} reads{left}"


@dataclass(frozen=True)
class HeldOutReads(HeldOutScores):
    """`HeldOutScores` with the identity of every read.

    Attributes:
        identities: mean identity of each read's chunks, by read id.
        chunks_of: number of each read's chunks, by read id.
    """

    identities: dict[str, float]
    chunks_of: dict[str, int]
