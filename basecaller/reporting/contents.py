"""The contents of a report: the single source of `report.json`, the pages, the terminal and the dashboard's notes.

A number is None if it is unknown or not finite.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass, field
from typing import Any

from basecaller.facts import to_json
from basecaller.reporting.contests import NOT_ASKED
from basecaller.reporting.convergence import Convergence
from basecaller.scores import HeldOutScores

RUNNING, STOPPED, FINISHED = "running", "stopped", "finished"
"""States of a search. A search that was killed stays stored as running, since it could not record its end."""


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
    curves: list[list[dict[str, Any]]] = field(repr=False)


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
        same_loss: The loss that the winner and its nearest rival both reach.
        confounding: A sentence if anything else differs between the points, such as updates; else empty.
        per_cost: Says which choice is best at equal updates and at equal time, if these differ between points; else empty.
        again: Why the question was asked again, and what changed; empty if it was asked once.
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
    again: dict[str, Any]

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


@dataclass(frozen=True)
class ReusedTrial:
    """A trial whose training had been done before, and the seconds that doing it again would have taken."""

    stage: str
    point: str
    seed: int | None
    seconds: float


@dataclass(frozen=True)
class OptimizerFacts:
    """The verdict on the optimizer, over the stages that tune each optimizer's learning rate. Without a verdict, `kind` is None
    and `text` gives the reason."""

    kind: str | None
    winner: str | None
    text: str
    stages: list[str]


@dataclass(frozen=True)
class SeedScores:
    """Scores of one headline training on the test split: nats per base, and identity."""

    loss: float
    identity_mean: float
    identity_median: float


@dataclass(frozen=True)
class Gain:
    """The gain of tuning over the untuned defaults, see `search_plan.winner.gain`. All fields but `seeds` and `text` are None
    if the defaults gave no model.

    Attributes:
        seeds: seeds at which both gave a model.
        text: the gain in words.
        identity_points, error: gain in identity in percentage points, and its standard error.
        loss: decrease of the loss, nats per base.
        reads: number of test reads.
        ours, defaults: scores by seed.
    """

    seeds: list[int]
    text: str
    identity_points: float | None = None
    error: float | None = None
    loss: float | None = None
    reads: int | None = None
    ours: list[SeedScores] | None = None
    defaults: list[SeedScores] | None = None


@dataclass(frozen=True)
class WinnerTraining:
    """The training whose model is kept, see `records.TrialRecord`."""

    updates: int | None
    samples: int | None
    seconds: float | None
    parameters: int | None
    receptive_field: int | None


@dataclass(frozen=True)
class WinnerFacts:
    """The winner: the contents of `winner/winner.json`.

    Attributes:
        settings: settings by override key.
        val_loss: validation loss, nats per base.
        test: scores on the test split.
        gain: gain over the untuned defaults.
        facts: facts of the training.
        command: command that trains it again.
        folder: folder of the model.
        study, trial: where it was found.
    """

    settings: dict[str, Any]
    val_loss: float | None
    test: HeldOutScores
    gain: Gain
    facts: WinnerTraining
    command: str
    folder: str
    study: str
    trial: int


@dataclass(frozen=True)
class Row:
    """A run of the published table next to ours.

    Attributes:
        stage, settings: stage and settings of both runs.
        published, published_per_read: the published loss, summed over a batch and per read, nats.
        per_base, per_read: our mean losses, nats; None if it was not run.
        seeds: number of our seeds.
    """

    stage: str
    settings: str
    published: float
    published_per_read: float
    per_base: float | None = None
    per_read: float | None = None
    seeds: int = 0


@dataclass(frozen=True)
class Claim:
    """A published conclusion and our run's answer to it.

    Attributes:
        text: the published conclusion.
        answer: `supported`, `contradicted`, or `cannot tell`.
        why: reason for the answer.
    """

    text: str
    answer: str
    why: str


@dataclass(frozen=True)
class Published:
    """The published table next to our numbers, and its conclusions with our answers.

    Attributes:
        rows, claims: all rows and conclusions of the published run.
        comparable: whether our reads are from the published run's pore.
    """

    rows: list[Row]
    claims: list[Claim]
    comparable: bool

    @property
    def known_rows(self) -> list[Row]:
        """The rows for which our run has a number."""
        return [row for row in self.rows if row.seeds]

    @property
    def known_claims(self) -> list[Claim]:
        """The claims whose stages our run has finished."""
        return [claim for claim in self.claims if claim.why not in NOT_ASKED]

    @property
    def applies(self) -> bool:
        """Whether the comparison is useful to a reader of our run."""
        return self.comparable and bool(self.known_rows or self.known_claims)


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
        plan: stages of its search; empty if only sweeps outside a search were run.
        command: command of the search; empty without one.
        state: state of the search, see `RUNNING`.
        progress: the search's last written progress; empty if it has ended.
        data: findings of the audit.
        winner: the winner; None before the headline.
        not_run: stages of the plan that were not reached.
        seconds: duration of the search.
        trial_seconds: time that one worker would have needed for the trials.
    """

    experiment: str
    plan: list[str]
    command: str
    data: list[str]
    winner: WinnerFacts | None
    stages: list[StageFacts]
    not_run: list[str]
    reused: list[ReusedTrial]
    optimizers: OptimizerFacts
    published: Published
    provenance: Provenance
    seconds: float
    trial_seconds: float
    state: str
    progress: str

    @property
    def headline(self) -> StageFacts | None:
        """The stage that trains the winner and the untuned defaults alike."""
        return next((stage for stage in self.stages if self.winner and stage.study == self.winner.study), None)

    def plain(self) -> dict[str, Any]:
        """The contents of `report.json`: everything but the learning curves, which are in every run's `metrics.csv`."""
        stages = [
            dataclasses.replace(stage, points=[dataclasses.replace(point, curves=[]) for point in stage.points])
            for stage in self.stages
        ]
        content = dataclasses.asdict(dataclasses.replace(self, stages=stages, winner=None))
        content["winner"] = to_json(self.winner) if self.winner else {}
        for stage in content["stages"]:
            for point in stage["points"]:
                del point["curves"]
            stage["trials"] = [
                {key: value for key, value in trial.items() if value is not None or key in ("seed", "value")}
                for trial in stage["trials"]
            ]
        return content
