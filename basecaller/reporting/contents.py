"""What a report says: the one source of `report.json`, the pages, the terminal and the dashboard's notes.

A number that is None is not known, or not finite.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass, field
from typing import Any

from basecaller.reporting.convergence import Convergence
from basecaller.reporting.published import Published

RUNNING, STOPPED, FINISHED = "running", "stopped", "finished"
"""States of a search. One that was killed is stored as running: nobody was left to say that it is not."""


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
        point, label: its key, and its name for a reader.
        settings: what was swept, and the learning rate.
        mean, error: nats per base; the standard error comes from the noise between seeds.
        seeds: how many gave a value.
        values: nats per base by seed.
        seconds_to_level: until it reaches the loss at which the winner's nearest rival ends.
        state: see `facts.state_of`.
        taken_over: how many of its trainings had been done before.
        curves: learning curves, by seed; not in `report.json`.
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
class ChoiceFacts:
    """A choice of a stage, judged by its best point.

    Attributes:
        label: its name for a reader.
        wins: whether it is the winner's.
        difference: by how much it is worse than the winner, mean over shared seeds, nats per base of what the stage
            measures; negative where it is better.
        error: one standard error of that, from the seeds that both share.
        seeds: how many these are.
    """

    label: str
    wins: bool
    difference: float | None
    error: float | None
    seeds: int


@dataclass(frozen=True)
class VerdictFacts:
    """A stage's conclusion, see `ranking.Conclusion`; points are told by their names for a reader."""

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
        name: with its asking, as in `padding.2`.
        state: `running`, `failed` or `complete`.
        open: how many trials it still wants.
        winner: the winner's settings.
        value: its mean loss, nats per base.
        trial: number of its trial at the first seed.
        edges: axes at whose end it lies.
        same_loss: the loss that the winner and its nearest rival both reach.
        edge_text, guessing, confounding, per_cost: what else a reader must know, in words; empty where there is nothing.
        again: why it was asked again, and what changed; empty where it was asked once.
        choices: what the stage asked about, in order; empty where every point is a choice of its own.
        question, skipped, note, choice, measure, seeds, axes, fixed, injected: see `records.StudyRecord`.
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
        state: of the search, see `RUNNING`.
        progress: how far it was when it last said so; empty where it has ended.
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
    state: str
    progress: str

    @property
    def headline(self) -> StageFacts | None:
        """The stage in which the winner and the untuned defaults were trained alike."""
        return next((stage for stage in self.stages if self.winner and stage.study == self.winner["study"]), None)

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
