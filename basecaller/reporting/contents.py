"""What a report says: the one source of `report.json`, the pages, the terminal and the dashboard's notes.

A number that is None is not known, or not finite.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass, field
from typing import Any

from basecaller.reporting.convergence import Convergence
from basecaller.reporting.published import Published


@dataclass(frozen=True)
class TrialFacts:
    """A trial, see `records.TrialRecord`. `report.json` leaves out what it does not keep, such as a message."""

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
    taken_over: bool | None
    folder: str | None
    message: str | None


@dataclass(frozen=True)
class PointFacts:
    """A point of a stage: means over its seeds.

    Attributes:
        point: Its key.
        label: Its name for a reader.
        settings: Swept settings, and the learning rate.
        mean: Mean of what the stage measures, nats per base.
        error: Standard error of the mean, from the noise between seeds.
        seeds: Number of seeds that gave a value.
        values: Value at each seed, nats per base.
        seconds_to_level: Seconds until it reaches the loss at which the winner's nearest rival ends.
        state: `winner`, `complete`, `waiting`, `out (n)` (dropped after n seeds), `not needed`, or how it failed.
        taken_over: Number of its trials whose training had been done before.
        curves: Learning curves, by seed; not in `report.json`.
    """

    point: str
    label: str
    settings: dict[str, Any]
    mean: float | None
    error: float | None
    seeds: int
    values: dict[int, float]
    identity_mean: float | None
    loss_per_read: float | None
    updates: float | None
    samples: float | None
    seconds: float | None
    area_under_curve: float | None
    seconds_to_level: float | None
    parameters: int | None
    state: str
    taken_over: int
    curves: list[list[dict[str, Any]]] = field(repr=False)


@dataclass(frozen=True)
class VerdictFacts:
    """A stage's conclusion, see `ranking.Conclusion`. Points are given by their labels.

    Attributes:
        kind: `clear`, `no difference`, `undecided`, `one seed`, `no contest` or `failed`.
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
        guessing: Says so if the winner is no better than guessing; else empty.
        same_loss: The loss that the winner and its nearest rival both reach.
        confounding: Says what else differs between the points, such as updates; else empty.
        per_cost: Says which choice is best at equal updates and at equal time, if these differ between points; else empty.
        again: Why the question was asked again, and what changed; empty if it was asked once.
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
    axes: dict[str, list[Any]]
    fixed: dict[str, str]
    injected: dict[str, list[str]]
    trials: list[TrialFacts]
    again: dict[str, Any]


@dataclass(frozen=True)
class TakenOver:
    """A trial whose training had been done before, and the seconds that doing it again would have taken."""

    stage: str
    point: str
    seed: int | None
    seconds: float


@dataclass(frozen=True)
class OptimizerFacts:
    """The verdict on the optimizer, over the stages that look for each one's learning rate. Where there is none, `kind` is None
    and `text` says why."""

    kind: str | None
    winner: str | None
    text: str
    stages: list[str]


@dataclass(frozen=True)
class Provenance:
    """Versions, commits, data, devices and paths of all trials, and the command of every stage."""

    versions: list[str]
    commit: list[str]
    data: list[str]
    device: list[str]
    path: list[str]
    commands: list[str]


@dataclass(frozen=True)
class ReportFacts:
    """An experiment.

    Attributes:
        data: findings of the audit.
        winner: `winner/winner.json`; empty before the headline.
        not_run: stages of the plan that were not reached.
        seconds: that the search took.
        trial_seconds: that one worker would have needed for the trials.
    """

    experiment: str
    command: str
    data: list[str]
    winner: dict[str, Any]
    stages: list[StageFacts]
    not_run: list[str]
    taken_over: list[TakenOver]
    optimizers: OptimizerFacts
    published: Published
    provenance: Provenance
    seconds: float
    trial_seconds: float

    def plain(self) -> dict[str, Any]:
        """What `report.json` holds: all but the learning curves, which lie in every run's `metrics.csv`."""
        stages = [
            dataclasses.replace(stage, points=[dataclasses.replace(point, curves=[]) for point in stage.points])
            for stage in self.stages
        ]
        content = dataclasses.asdict(dataclasses.replace(self, stages=stages))
        for stage in content["stages"]:
            for point in stage["points"]:
                del point["curves"]
            stage["trials"] = [
                {key: value for key, value in trial.items() if value is not None or key in ("seed", "value")}
                for trial in stage["trials"]
            ]
        return content
