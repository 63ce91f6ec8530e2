"""The records of studies and trials in the storage. No other file names an attribute of Optuna.

Fields for people are user attributes with the field's name: optuna-dashboard shows these. All others are system attributes: a
study has one for each field, a trial one for each write. A field that is not stored (yet) is None or empty.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Any

import optuna

from basecaller.common.nested import digest
from basecaller.hpo.designs import Design, Entry
from basecaller.hpo.optuna_private import (
    Attributes,
    claim_trial,
    set_study_attributes,
    storage_of,
    study_attributes,
    trial_id,
    write_trial,
)

FORMAT = 2
"""Version of the record format; it changes when other versions cannot continue with the stored records."""

USER_FORMAT = 1
"""The format that had only user attributes. Its records are read from these, and `adopt` upgrades such a study."""

OWN = "basecaller:"
"""Prefix of the system attributes' names: Optuna and its dashboard keep their own in the same place."""


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
"""Outcomes that the same settings would reach again: such a point is not retried. The next sweep retries all others."""


# -- studies


@dataclass(frozen=True)
class Concluded:
    """The winner of a finished study, stored so that finding it does not read all trials.

    Attributes:
        trial: Optuna's id of the winner's trial at the first seed.
        mean: mean of the winner's objective over its `seeds`.
        asked: `StudyRecord.asked_for` when the study was concluded.
    """

    trial: int
    mean: float
    seeds: int
    asked: str


@dataclass(frozen=True)
class StudyRecord:
    """The record of a study.

    Attributes:
        format: see `FORMAT`.
        asked: when the study was last requested, seconds since 1970; the latest is the current study of its stage.
        question: the stage's question in words.
        arguments: the command line's overrides.
        fixed: overrides that all trials share, by key.
        injected: where values of `${best:...}` came from, by key.
        sampler: class of the sampler, if a space is sampled.
        n_trials: number of wanted trials, if a space is sampled.
        seeds: seeds of the replicates.
        points: keys of the grid's points, in grid order; None if a space is sampled.
        settings: the swept settings of every point.
        axes: the swept values by key.
        design: which point runs at which seed; None: every point at every seed.
        choice: the key that the stage asks about; None: every point is a separate choice.
        simple_first: values of the choice from simple to complex, if the stage orders them.
        measure: the number that points are compared by, see `TrialRecord.measured`.
        incumbent: the choice that is kept unless another is clearly better, if the question is asked again.
        edges: axes on which the winner lies at an end: `lowest` or `highest` by key.
        concluded: the winner; None: look it up.
        skipped: why there was nothing to ask.
        note: a remark about the stage for its readers.
        shown: digests of the application's entries for optuna-dashboard, by name.
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
    skipped: str = ""
    note: str = ""
    shown: dict[str, str] = field(default_factory=dict)

    @classmethod
    def of(cls, study: optuna.Study) -> StudyRecord:
        """Reads a study's record."""
        stored = _stored(study)
        for name, kind in (("design", Design), ("concluded", Concluded)):
            if stored.get(name) is not None:
                stored[name] = kind(**stored[name])
        return cls(**stored)

    @property
    def asked_for(self) -> str:
        """Digest of what the study is asked for: other points or seeds make a conclusion void."""
        design = None if self.design is None else dataclasses.asdict(self.design)
        return digest([self.points, self.seeds, design, self.n_trials, self.incumbent])


_STUDY = frozenset(each.name for each in dataclasses.fields(StudyRecord))
_STUDY_READ = frozenset(("question", "skipped", "note"))
"""Fields of a study that a person reads."""


def _stored(study: optuna.Study) -> dict[str, Any]:
    user, system = study_attributes(study)
    own = {key.removeprefix(OWN): value for key, value in system.items() if key.startswith(OWN)}
    return {name: value for name, value in {**user, **own}.items() if name in _STUDY}


def format_of(study: optuna.Study) -> int | None:
    """The format of a study's record; of a later format, nothing else can be read."""
    return _stored(study).get("format")


def asked_at(study: optuna.Study) -> float:
    """`StudyRecord.asked` of a study of any format."""
    return float(_stored(study).get("asked", 0.0))


def adopt(study: optuna.Study) -> None:
    """Upgrades a study of `USER_FORMAT`. Its attributes stay in place; earlier versions look for the format there and refuse
    the study from now on."""
    store_study(study, format=FORMAT)
    study.set_user_attr("format", FORMAT)


def store_study(study: optuna.Study, **fields: Any) -> None:
    """Stores some fields of a study's record in one commit, without those whose value is already stored or is the default.

    Raises:
        TypeError: a study has no such field.
    """
    if unknown := fields.keys() - _STUDY:
        raise TypeError(f"a study keeps no {', '.join(sorted(unknown))}")
    plain = {name: dataclasses.asdict(v) if isinstance(v, Design | Concluded) else v for name, v in fields.items()}
    before = vars(StudyRecord()) | _stored(study)
    changed = {name: value for name, value in plain.items() if not _same(value, before[name])}
    user = {name: value for name, value in changed.items() if name in _STUDY_READ}
    system = {OWN + name: value for name, value in changed.items() if name not in _STUDY_READ}
    set_study_attributes(study, Attributes(user, system))


def _same(value: Any, stored: Any) -> bool:
    return json.dumps(value) == json.dumps(stored)


# -- trials


@dataclass(frozen=True)
class TrialRecord:
    """The record of a trial, with Optuna's own fields.

    Attributes:
        trial_id, number, value, params, ended, started: Optuna's fields; `value` is the objective.
        state: Optuna's state: waiting, running, complete, pruned, fail.
        step: step of the last intermediate value in Optuna; 0 before the first.
        point, seed: the trial's point of the grid and its seed.
        sweeper: the lock of the process that requested a sampled trial.
        claimed: the place (see `queue.place`) of the job that works, or worked, on the trial.
        outcome, message: how the trial ended, and why.
        config: the job's resolved config.
        choices: choices of config groups.
        overrides: the job's overrides, without those that say where and for whom it ran.
        folder: the job's folder.
        reused: whether the job had been done before.
        curve: points of the learning curve, as the application writes them.
        facts: other values that the job reported, by name. A task decides what its jobs report (a training: its metrics and
            `runs.folder.RunFacts`), and Optuna's users and its dashboard may add attributes, so there are no fixed names.
    """

    trial_id: int
    number: int
    state: str
    value: float | None
    params: dict[str, Any]
    ended: datetime | None
    started: datetime | None = None
    step: int = 0
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
    reused: bool | None = None
    curve: list[dict[str, Any]] = field(default_factory=list)
    facts: dict[str, Any] = field(default_factory=dict)

    @classmethod
    def of(cls, trial: optuna.trial.FrozenTrial) -> TrialRecord:
        """A trial's record. Its lists and dicts belong to the storage and must not be changed."""
        parts = [part for key, part in trial.system_attrs.items() if key.startswith(OWN)]
        told = {_NAMES.get(key, key): value for part in (trial.user_attrs, *parts) for key, value in part.items()}
        stored = {name: value for name, value in told.items() if name in _TRIAL}
        stored["facts"] = {name: value for name, value in told.items() if name not in _TRIAL}
        if "outcome" in stored:
            stored["outcome"] = Outcome(stored["outcome"])
        return cls(
            trial_id=trial_id(trial),
            number=trial.number,
            state=trial.state.name.lower(),
            value=trial.value,
            params=trial.params,
            ended=trial.datetime_complete,
            started=trial.datetime_start,
            step=max(trial.intermediate_values, default=0),
            **stored,
        )

    @property
    def entry(self) -> Entry | None:
        """The trial's point and seed; None if it belongs to no sweep."""
        return None if self.point is None or self.seed is None else (self.point, self.seed)

    @property
    def is_finished(self) -> bool:
        return self.state not in ("waiting", "running")

    @property
    def is_complete(self) -> bool:
        """Whether the trial gave a value."""
        return self.state == "complete"

    @property
    def standing(self) -> str:
        """The trial's outcome, or Optuna's state if it has none yet."""
        return str(self.outcome or self.state)

    def measured(self, measure: str | None = None) -> float:
        """The number that points are compared by: one of the `facts` or, by default, the objective. Lower is better."""
        return float(self.facts.get(measure or "", self.value or 0))


_OF_OPTUNA = {"trial_id", "number", "state", "value", "params", "ended", "started", "step"}
_TRIAL = frozenset(each.name for each in dataclasses.fields(TrialRecord)) - _OF_OPTUNA - {"facts"}
_TRIAL_READ = frozenset(("seed", "outcome", "message", "folder", "reused"))
"""Fields of a trial that a person reads, besides the facts that a job shows: optuna-dashboard has a column for each."""
_KEYS = {"reused": "taken_over"}
"""Keys that fields are stored under, where they differ from the fields' names: studies keep the key of earlier versions."""
_NAMES = {key: name for name, key in _KEYS.items()}
_TRIAL_PARTS = {"point": "queue", "sweeper": "queue"} | dict.fromkeys(("claimed", "config", "choices", "overrides"), "job")
"""The system attribute that holds a field; all other fields and facts are in `result`. Each is written once: as the trial is
queued, claimed, and ended."""


def trials_of(study: optuna.Study, *states: optuna.trial.TrialState) -> list[TrialRecord]:
    """The records of a study's trials, by number.

    Args:
        study: the trials' study.
        states: states of the trials to read; none for all.
    """
    return [TrialRecord.of(trial) for trial in study.get_trials(deepcopy=False, states=states or None)]


def read_trial(study: optuna.Study, trial_id: int) -> TrialRecord:
    """The record of one trial, without reading the others."""
    return TrialRecord.of(storage_of(study).get_trial(trial_id))


def claim_queued(study: optuna.Study, trial_id: int, fields: Mapping[str, Any]) -> dict[str, Any] | None:
    """Claims a waiting trial, and stores fields of its record in the same commit.

    Returns:
        The fields that it was queued with; None if it does not wait, and nothing is stored then.
    """
    before = claim_trial(study, trial_id, trial_attributes(fields))
    return None if before is None else before.get(f"{OWN}queue", {})


def store_trial(study: optuna.Study, trial_id: int, **fields: Any) -> None:
    """Stores fields of a trial's record and other facts of its job in one commit.

    Raises:
        optuna.exceptions.UpdateFinishedTrialError: the trial has ended.
    """
    write_trial(study, trial_id, trial_attributes(fields), {})


def trial_attributes(fields: Mapping[str, Any], shown: Collection[str] = ()) -> Attributes:
    """The attributes that store fields of a trial's record and other facts of its job.

    Args:
        fields: fields and facts by name.
        shown: names of facts that a person reads.
    """
    user: dict[str, Any] = {}
    system: dict[str, dict[str, Any]] = {}
    for name, value in fields.items():
        if name in _TRIAL_READ or name in shown:
            user[_KEYS.get(name, name)] = value
        else:
            system.setdefault(OWN + _TRIAL_PARTS.get(name, "result"), {})[name] = value
    return Attributes(user, system)


def queued(entry: Entry) -> Attributes:
    """The attributes of a trial that waits in the queue."""
    return trial_attributes({"point": entry[0], "seed": entry[1]})
