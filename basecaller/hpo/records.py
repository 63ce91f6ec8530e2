"""What a study and a trial keep in the storage. No other file names a user attribute of Optuna.

A field of a record has the name of its attribute. What is not stored (yet) is None or empty.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import TYPE_CHECKING, Any

from basecaller.hpo.designs import Design, Entry
from basecaller.hpo.identity import digest

if TYPE_CHECKING:
    from datetime import datetime

    import optuna

FORMAT = 1
"""Of the records; it changes when another version could not go on with what is stored."""


class Outcome(StrEnum):
    """How a trial ended."""

    COMPLETE = "complete"
    PRUNED = "pruned"
    DIVERGED = "diverged"
    OUT_OF_MEMORY = "out of memory"
    INFEASIBLE = "infeasible"
    FAILED = "failed"
    ABANDONED = "abandoned"
    """Its process died; the point runs again."""
    KILLED = "killed"
    """Its process died so often that the point itself must be the cause."""


CONCLUSIVE = (Outcome.DIVERGED, Outcome.INFEASIBLE)
"""Outcomes that the same settings would reach again: such a point is not tried again. Others are, by the next sweep."""


# -- studies


@dataclass(frozen=True)
class Concluded:
    """The winner of a finished study, kept so that finding it costs the same however many trials there are.

    Attributes:
        trial: Optuna's id of the winner's trial at the first seed.
        mean: of its objective, over so many `seeds`.
        asked: `StudyRecord.asked_for` when it was concluded.
    """

    trial: int
    mean: float
    seeds: int
    asked: str


@dataclass(frozen=True)
class StudyRecord:
    """What a study keeps.

    Attributes:
        format: see `FORMAT`.
        asked: when the study was asked for last, seconds since 1970; the latest is the current study of its stage.
        question: of the stage, in words.
        arguments: the command line's overrides.
        fixed: overrides that all trials share, by key.
        injected: where values of `${best:...}` came from, by key.
        sampler: class of the sampler, where a space is sampled.
        n_trials: how many trials are wanted, where a space is sampled.
        seeds: of the replicates.
        points: keys of the grid's points, in its order; None: a space is sampled.
        settings: the swept settings of every point.
        axes: the swept values by key.
        design: which point runs at which seed; None: every point at every seed.
        choice: the key that the stage asks about; None: every point is a choice of its own.
        simple_first: its values from simple to complex, where the stage orders them.
        measure: what points are compared by, see `TrialRecord.measured`.
        incumbent: the choice that is kept unless another is clearly better, where the question is asked again.
        edges: axes at whose end the winner lies: `lowest` or `highest` by key.
        concluded: the winner; None: look it up.
        convergence: how many samples each trial needed, for optuna-dashboard.
        skipped: why there was nothing to ask.
        note: what a reader must know of the stage.
    """

    format: int | None = None
    asked: float = 0.0
    question: str = ""
    arguments: list[str] = field(default_factory=list)
    fixed: dict[str, str] = field(default_factory=dict)
    injected: dict[str, list[str]] = field(default_factory=dict)
    sampler: str | None = None
    n_trials: int | None = None
    seeds: list[int] = field(default_factory=list)
    points: list[str] | None = None
    settings: dict[str, dict[str, Any]] = field(default_factory=dict)
    axes: dict[str, list[Any]] = field(default_factory=dict)
    design: Design | None = None
    choice: str | None = None
    simple_first: list[Any] | None = None
    measure: str | None = None
    incumbent: Any = None
    edges: dict[str, str] = field(default_factory=dict)
    concluded: Concluded | None = None
    convergence: dict[str, Any] | None = None
    skipped: str = ""
    note: str = ""

    @classmethod
    def of(cls, study: optuna.Study) -> StudyRecord:
        """Reads a study's record, with one query."""
        stored = _known(study.user_attrs, _STUDY)
        for name, kind in (("design", Design), ("concluded", Concluded)):
            if stored.get(name) is not None:
                stored[name] = kind(**stored[name])
        return cls(**stored)

    @property
    def asked_for(self) -> str:
        """Digest of what is wanted of the study: with other points or seeds a conclusion is void."""
        design = None if self.design is None else dataclasses.asdict(self.design)
        return digest([self.points, self.seeds, design, self.n_trials, self.incumbent])


_STUDY = frozenset(each.name for each in dataclasses.fields(StudyRecord))


def format_of(study: optuna.Study) -> int | None:
    """The format that a study was written in; the rest of another format's record cannot be read."""
    return study.user_attrs.get("format")


def asked_at(study: optuna.Study) -> float:
    """`StudyRecord.asked`, of a study of any format."""
    return float(study.user_attrs.get("asked", 0.0))


def store_study(study: optuna.Study, **fields: Any) -> None:
    """Stores some fields of a study's record, in one commit, and none where they are stored already.

    Raises:
        TypeError: a study keeps no such field.
    """
    if unknown := fields.keys() - _STUDY:
        raise TypeError(f"a study keeps no {', '.join(sorted(unknown))}")
    from basecaller.hpo import optuna_private  # here, as below: with SQLAlchemy, which the start of `report` does without

    plain = {name: dataclasses.asdict(v) if isinstance(v, Design | Concluded) else v for name, v in fields.items()}
    stored = study.user_attrs
    changed = {name: value for name, value in plain.items() if name not in stored or not _same(value, stored[name])}
    optuna_private.set_study_attributes(study, changed)


def _same(value: Any, stored: Any) -> bool:
    return json.dumps(value) == json.dumps(stored)


# -- trials


@dataclass(frozen=True)
class TrialRecord:
    """What a trial keeps, and what Optuna knows of it.

    Attributes:
        trial_id, number, value, params, ended: of Optuna; `value` is the objective.
        state: of Optuna: waiting, running, complete, pruned, fail.
        point, seed: which point of the grid, at which seed.
        sweeper: the lock of the process that asked for a sampled trial.
        claimed: the place (see `queue.place`) of the job that works, or worked, on it.
        outcome, message: how it ended, and why.
        config: of the job, resolved.
        choices: of config groups.
        overrides: of the job, without those that say where and for whom it ran.
        folder: of the job.
        taken_over: the job had been done before.
        curve: points of the learning curve, as the application writes them.
        facts: what else the job told, by name; the application knows what. Optuna's users and its dashboard may keep attributes
            of their own here.
    """

    trial_id: int
    number: int
    state: str
    value: float | None
    params: dict[str, Any]
    ended: datetime | None
    point: str | None = None
    seed: int | None = None
    sweeper: str | None = None
    claimed: str | None = None
    outcome: Outcome | None = None
    message: str | None = None
    config: dict[str, Any] = field(default_factory=dict)
    choices: dict[str, str] = field(default_factory=dict)
    overrides: list[str] = field(default_factory=list)
    folder: str | None = None
    taken_over: bool | None = None
    curve: list[dict[str, Any]] = field(default_factory=list)
    facts: dict[str, Any] = field(default_factory=dict)

    @classmethod
    def of(cls, trial: optuna.trial.FrozenTrial) -> TrialRecord:
        """A trial's record; its lists and dicts are the storage's own, not to be changed."""
        from basecaller.hpo.optuna_private import trial_id  # as above

        stored = _known(trial.user_attrs, _TRIAL)
        stored["facts"] = {name: value for name, value in trial.user_attrs.items() if name not in _TRIAL}
        if "outcome" in stored:
            stored["outcome"] = Outcome(stored["outcome"])
        state = trial.state.name.lower()
        return cls(trial_id(trial), trial.number, state, trial.value, trial.params, trial.datetime_complete, **stored)

    @property
    def entry(self) -> Entry | None:
        """Its point and seed; None where it belongs to no sweep."""
        return None if self.point is None or self.seed is None else (self.point, self.seed)

    @property
    def is_finished(self) -> bool:
        return self.state not in ("waiting", "running")

    @property
    def is_complete(self) -> bool:
        """Whether it gave a value."""
        return self.state == "complete"

    @property
    def standing(self) -> str:
        """Its outcome; Optuna's state where it has none yet."""
        return str(self.outcome or self.state)

    def measured(self, measure: str | None = None) -> float:
        """What points are compared by: one of the `facts`, or the objective, which no fact needs to repeat; lower is better."""
        return float(self.facts.get(measure or "", self.value or 0))


_OF_OPTUNA = {"trial_id", "number", "state", "value", "params", "ended"}
_TRIAL = frozenset(each.name for each in dataclasses.fields(TrialRecord)) - _OF_OPTUNA - {"facts"}


def trials_of(study: optuna.Study, *states: optuna.trial.TrialState) -> list[TrialRecord]:
    """The records of a study's trials, by number.

    Args:
        study: of them.
        states: only of trials in one of these; none: of all.
    """
    return [TrialRecord.of(trial) for trial in study.get_trials(deepcopy=False, states=states or None)]


def read_trial(study: optuna.Study, trial_id: int) -> TrialRecord:
    """The record of one trial, without reading the others."""
    from basecaller.hpo.optuna_private import storage_of  # as above

    return TrialRecord.of(storage_of(study).get_trial(trial_id))


def store_trial(study: optuna.Study, trial_id: int, **fields: Any) -> None:
    """Stores fields of a trial's record, and what else its job tells, in one commit.

    Raises:
        optuna.exceptions.UpdateFinishedTrialError: the trial has ended.
    """
    from basecaller.hpo.optuna_private import write_trial  # as above

    write_trial(study, trial_id, fields, {})


def queued(entry: Entry) -> dict[str, Any]:
    """What a trial keeps from the start, while it waits in the queue."""
    return {"point": entry[0], "seed": entry[1]}


def _known(attributes: Mapping[str, Any], names: frozenset[str]) -> dict[str, Any]:
    """Optuna's users and its dashboard may keep attributes of their own."""
    return {name: value for name, value in attributes.items() if name in names}
