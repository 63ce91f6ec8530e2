"""Scores of basecalls, as they are kept and shown. Numbers only: nothing here imports torch."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class ErrorRates:
    """Of many alignments.

    Attributes:
        identity_mean, identity_median: over alignments; 0 where there are none.
        mismatch_rate, insertion_rate, deletion_rate: fractions of all their columns.
    """

    identity_mean: float
    identity_median: float
    mismatch_rate: float
    insertion_rate: float
    deletion_rate: float


@dataclass(frozen=True)
class IdentitySummary(ErrorRates):
    """Of basecalls whose true sequences are known.

    Attributes:
        identity_floor: mean identity of the same calls with the truth of another read, what unrelated sequences score.
        length_ratio: bases called over true bases.
    """

    identity_floor: float
    length_ratio: float


@dataclass(frozen=True)
class BasecallScores(IdentitySummary):
    """Of a model's basecalls.

    Attributes:
        blank_fraction: share of frames called blank.
    """

    blank_fraction: float


@dataclass(frozen=True)
class ValidationScores:
    """Of a model in training.

    Attributes:
        loss: nats per base.
        loss_per_read: nats per chunk.
        basecalls: None where only the loss was asked for.
    """

    loss: float
    loss_per_read: float
    basecalls: BasecallScores | None = None


@dataclass(frozen=True)
class Homopolymers:
    """Of one length.

    Attributes:
        length: bases in a run; the longest stands for longer ones too.
        count: how many runs there were.
        correct: share of them called with their length.
    """

    length: int
    count: int
    correct: float


@dataclass(frozen=True)
class ChunkScores(BasecallScores):
    """Of a model on chunks of a data set.

    Attributes:
        chunks, bases: how many.
        loss: nats per base.
        homopolymers: by length.
    """

    chunks: int
    bases: int
    loss: float
    homopolymers: list[Homopolymers]


@dataclass(frozen=True)
class ReadScores(ErrorRates):
    """Of basecalled reads against a reference.

    Attributes:
        reads, aligned: how many were called, and how many of them align.
        bases: called.
        length_ratio: bases called over those of the reference, of what aligns.
        read_coverage_mean: mean share of a read that aligns.
        homopolymers: by length.
    """

    reads: int
    aligned: int
    bases: int
    length_ratio: float
    read_coverage_mean: float
    homopolymers: list[Homopolymers]


@dataclass(frozen=True)
class HeldOutScores(ChunkScores):
    """Of a model on the test split.

    Attributes:
        reads: how many the chunks are of.
    """

    reads: int


@dataclass(frozen=True)
class HeldOutReads(HeldOutScores):
    """The same, with every read.

    Attributes:
        identities: mean identity of each read's chunks, by its id.
    """

    identities: dict[str, float]
