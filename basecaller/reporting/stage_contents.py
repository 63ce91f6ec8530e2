"""The contents of a report about one stage.

A number is None if it is unknown or not finite.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from basecaller.reporting.convergence import Convergence, Curve


@dataclass(frozen=True)
class TrialFacts:
    """A trial, see `records.TrialRecord`. `report.json` omits fields without a value, such as a message."""

    number: int
    point: str
    seed: int | None
    state: str
    value: float | None
    identity_mean: float | None
    loss_per_read: float | None
    updates: int | None
    samples: int | None
    parameters: int | None
    receptive_field: int | None
    seconds: float | None
    device: str | None
    reused: bool | None
    folder: str | None
    message: str | None


@dataclass(frozen=True)
class PointFacts:
    """A point of a stage: means over its seeds.

    Attributes:
        point: Its key.
        label: Its name for a reader.
        settings: Swept settings, and the learning rate.
        mean: Mean of `values`.
        error: Standard error of the mean, from the noise between seeds.
        seeds: Number of seeds that gave a value.
        values: Value at each seed, nats per base.
        measured: The number that the stage compares points by (`StageFacts.measure`) at each seed, nats per base.
        seconds_to_level: Seconds until it reaches the loss at which the winner's nearest rival ends.
        state: `winner`, `complete`, `waiting`, `out (n)` (dropped after n seeds), `not needed`, or how it failed.
        reused: Number of its trials whose training had been done before.
        curves: Learning curves, by seed; not in `report.json`.
        changes: Settings in which a candidate differs from the first one, besides the learning rate; else empty.
    """

    point: str
    label: str
    settings: dict[str, Any]
    mean: float | None
    error: float | None
    seeds: int
    values: dict[int, float]
    measured: dict[int, float]
    identity_mean: float | None
    loss_per_read: float | None
    updates: float | None
    samples: float | None
    seconds: float | None
    area_under_curve: float | None
    seconds_to_level: float | None
    parameters: int | None
    state: str
    reused: int
    curves: list[Curve] = field(repr=False)
    changes: str = ""


@dataclass(frozen=True)
class ChoiceFacts:
    """A choice of a stage against the winner, each at its best point.

    Attributes:
        label: Its value for a reader; the point's label if the stage has no `choice`.
        wins: Whether it is the winner's choice.
        nearest: Whether it is the choice of `VerdictFacts.rival`.
        difference: Its mean minus the winner's over shared seeds, nats per base of what the stage compares (`measure`):
            by how much the winner is ahead. Negative if the winner is kept though it is worse.
        low: Lower end of the interval that holds the true difference in 95 of 100 stages; None if the stage ran at a
            single seed, and for the winner itself.
        high: Upper end of that interval.
        seeds: Number of shared seeds.
    """

    label: str
    wins: bool
    nearest: bool
    difference: float
    low: float | None
    high: float | None
    seeds: int


@dataclass(frozen=True)
class VerdictFacts:
    """A stage's conclusion, see `ranking.Conclusion`. Points are given by their labels.

    Attributes:
        kind: `clear`, `no difference`, `undecided`, `one seed`, `no contest` or `failed`; `running` before the first result.
        text: The verdict in sentences.
        rival: The nearest other choice.
        margin: The rival's mean minus the winner's, nats per base; negative if the winner is kept for its simplicity.
        error: Standard error of the margin.
        undecided: The best point of every choice that noise cannot separate from the best.
    """

    kind: str
    text: str
    rival: str | None
    margin: float | None
    error: float | None
    seeds: int
    shared_seeds: int
    noise: float | None
    freedom: int
    needed: float | None
    limit: float | None
    undecided: list[str]


@dataclass(frozen=True)
class AskedAgain:
    """A question that was asked again.

    Attributes:
        round: Round of the search.
        why: Why it was asked again.
        changed: The answer before and now, for each setting that changed.
    """

    round: int
    why: str
    changed: dict[str, list[str]]


@dataclass(frozen=True)
class StageFacts:
    """A stage: its question, points, winner and verdict.

    Attributes:
        name: Name, with the number of its asking, as in `padding.2`.
        study: Name of its study in the storage.
        question: The question in words.
        state: `running`, `failed` or `complete`.
        open: Number of trials that it still needs.
        winner: The winner's settings.
        value: The winner's mean, nats per base.
        trial: Number of the winner's trial at the first seed.
        verdict: How sure the winner is.
        points: All points of the grid.
        trials: All trials.
        edges: Axes at whose end the winner lies.
        edge_text: What that means, in words.
        guessing: A sentence if the winner is no better than guessing; else empty.
        same_loss: The loss that the winner and its nearest rival both reach; None if nothing is known of their learning curves.
        confounding: A sentence if anything else differs between the points, such as updates; else empty.
        per_cost: Says which choice is best at equal updates and at equal time, if these differ between points; else empty.
        again: Why the question was asked again, and what changed; None if it was asked once.
        choices: Every choice that gave a value, against the winner: numbers from small to large, others in the grid's order.
    """

    name: str
    study: str
    question: str
    command: str
    state: str
    skipped: str
    note: str
    open: int
    winner: dict[str, Any]
    value: float | None
    trial: int | None
    winner_label: str
    choice: str | None
    measure: str
    seeds: list[int]
    verdict: VerdictFacts
    edges: dict[str, str]
    edge_text: str
    guessing: str
    convergence: Convergence | None
    same_loss: float | None
    confounding: str
    per_cost: str
    points: list[PointFacts]
    choices: list[ChoiceFacts]
    axes: dict[str, list[Any]]
    fixed: dict[str, str]
    injected: dict[str, list[str]]
    trials: list[TrialFacts]
    again: AskedAgain | None

    @property
    def others(self) -> list[ChoiceFacts]:
        """The choices that did not win."""
        return [choice for choice in self.choices if not choice.wins]

    @property
    def remarks(self) -> list[str]:
        """Short remarks for the reader besides the kind of the verdict."""
        remarks = {
            "at the edge": self.edges,
            "no better than guessing": self.guessing,
            f"{self.open} trials open": self.open,
        }
        return [words for words, applies in remarks.items() if applies]
