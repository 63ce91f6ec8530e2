"""The contents of a report: the single source of `report.json`, the pages, the terminal and the dashboard's notes.

A number is None if it is unknown or not finite.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass, field
from typing import Any

from basecaller.common.facts import to_json
from basecaller.reporting.published import Published
from basecaller.reporting.stage_contents import StageFacts
from basecaller.training.scores import HeldOutScores


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
    if the defaults gave no model; `error` also with a single read and seed.

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
        fixed: keys of settings that `search.winner` sets, whatever the stages found.
        fallback: whether these are the untuned defaults, because no training of the winner gave a value.
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
    fixed: list[str] = field(default_factory=list)
    fallback: bool = False


@dataclass(frozen=True)
class Decision:
    """A setting of the winner, and what decided it.

    Attributes:
        key, value: the setting.
        untuned: its value in the untuned defaults.
        stages: the stages that decided it; none if it was tuned along with other settings only, or `search.winner` sets it.
        kind: the kind of their verdict, see `VerdictFacts`; None if unknown.
    """

    key: str
    value: Any
    untuned: Any
    stages: list[str]
    kind: str | None


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
        state: state of the search, see `search_state.RUNNING`.
        progress: the search's last written progress; empty if it has ended.
        data: findings of the audit.
        winner: the winner; None before the headline.
        headline: the stage that trained the winner and the untuned defaults alike; one of `stages`, unless another headline has
            begun since. None if its study is gone.
        decisions: what decided each of the winner's settings.
        not_run: stages of the plan that were not reached.
        seconds: duration of the search.
        trial_seconds: time that one worker would have needed for the trials.
    """

    experiment: str
    plan: list[str]
    command: str
    data: list[str]
    winner: WinnerFacts | None
    headline: StageFacts | None
    decisions: list[Decision]
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
    def debug_run(self) -> str:
        """A sentence about a debug run (`debug=...`); empty for all others."""
        words = {word for line in (self.command, *self.provenance.commands) for word in line.split()}
        found = sorted(word for word in words if word.startswith("debug=") and word != "debug=none")
        return f"A debug run ({', '.join(found)}): it shows that everything runs, not which settings are good." if found else ""

    def plain(self) -> dict[str, Any]:
        """The contents of `report.json`: everything but the learning curves, which are in every run's `metrics.csv`."""
        stages = [
            dataclasses.replace(stage, points=[dataclasses.replace(point, curves=[]) for point in stage.points])
            for stage in self.stages
        ]
        content = dataclasses.asdict(dataclasses.replace(self, stages=stages, winner=None, headline=None))
        del content["headline"]
        content["winner"] = to_json(self.winner) if self.winner else {}
        for stage in content["stages"]:
            stage["again"] = stage["again"] or {}
            for point in stage["points"]:
                del point["curves"]
            stage["trials"] = [
                {key: value for key, value in trial.items() if value is not None or key in ("seed", "value")}
                for trial in stage["trials"]
            ]
        return content
