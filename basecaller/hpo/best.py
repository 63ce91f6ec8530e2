"""Winners, and `${best:stage,key}`: how one stage takes a setting from those before it."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any

from omegaconf import DictConfig

from basecaller.errors import StageError
from basecaller.hpo.identity import digest
from basecaller.hpo.ranking import Conclusion, Values, conclude, promoted
from basecaller.hpo.storage import current_study, open_study
from basecaller.hpo.urls import without_password

if TYPE_CHECKING:
    import optuna

    Trial = optuna.trial.FrozenTrial


@dataclass(frozen=True)
class Standing:
    """How a study stands, over the points and seeds that were asked for last.

    Attributes:
        points: in the grid's order.
        seeds: of the replicates.
        halving: whether only the better points run at later seeds.
        complete: the trial of each point and seed that gave a value.
        ended: every point and seed that has a trial which ended, in any state.
        failed: points of which a trial ended without a value, and how.
        choice: the key that the stage asks about; None: every point is a choice of its own.
        simple_first: its values from simple to complex, where the stage orders them.
        settings: the swept settings of every point that has a trial.
    """

    points: list[str]
    seeds: list[int]
    halving: bool
    complete: dict[tuple[str, int], Trial]
    ended: set[tuple[str, int]]
    failed: dict[str, str]
    choice: str | None = None
    simple_first: list[Any] | None = None
    settings: dict[str, dict[str, Any]] = field(default_factory=dict)

    @cached_property
    def choices(self) -> dict[str, Any]:
        """The choice that each point stands for, in the grid's order."""
        return {p: self.settings.get(p, {}).get(self.choice, p) if self.choice else p for p in self.points}

    @cached_property
    def _measured(self) -> Values:
        """All that was measured, of points that failed at another seed too."""
        found: Values = {point: {} for point in self.points}
        for (point, seed), trial in self.complete.items():
            found.get(point, {})[seed] = float(trial.value or 0)
        return found

    def values(self, seeds: Sequence[int]) -> Values:
        """What was measured at some of the seeds; a point that failed is not in it."""
        return {
            point: {seed: value for seed, value in of.items() if seed in seeds}
            for point, of in self._measured.items()
            if point not in self.failed
        }

    def wanted(self, rung: int) -> list[tuple[str, int]]:
        """Points and seeds of one rung, as far as the rungs before tell them. A point that failed at this very rung is
        still wanted: the next sweep may try it again."""
        on = promoted(self._measured, self.choices, self.seeds, rung, self.halving)
        return [(point, self.seeds[rung]) for point in on]

    @cached_property
    def open(self) -> list[tuple[str, int]]:
        """What is wanted and has not ended, of the first rung that misses something."""
        for rung in range(len(self.seeds)):
            missing = [entry for entry in self.wanted(rung) if entry not in self.ended]
            if missing:
                return missing
        return []

    def conclusion_at(self, rung: int) -> Conclusion:
        """What can be said from the seeds up to a rung."""
        return conclude(self.values(self.seeds[: rung + 1]), self.choices, self.simple_first, self.halving)

    @cached_property
    def conclusion(self) -> Conclusion:
        return self.conclusion_at(len(self.seeds))

    @property
    def winner(self) -> Trial | None:
        """The winning point's trial at its first seed."""
        found = self.conclusion.winner
        return None if found is None else self.trials_of(found)[0]

    def trials_of(self, point: str) -> list[Trial]:
        """A point's complete trials, by seed."""
        return [self.complete[point, seed] for seed in self.seeds if (point, seed) in self.complete]


def standing(study: optuna.Study) -> Standing:
    """Where a study stands, over the points that were asked for last.

    A point and seed count as ended when one of their trials ended in any state but `abandoned`; their value is that of a
    complete one.
    """
    from optuna.trial import TrialState

    trials = [t for t in study.get_trials(deepcopy=False) if {"point", "seed"} <= t.user_attrs.keys()]
    seeds = [int(seed) for seed in study.user_attrs.get("seeds", [])]
    points = study.user_attrs.get("points")
    if points is None:  # a sampled space: what was asked for is a number of trials
        points = list(dict.fromkeys(t.user_attrs["point"] for t in trials))
        missing = int(study.user_attrs.get("n_trials", 0)) - len(points)
        points += [f"trial {len(points) + i + 1}" for i in range(missing)]
    entry = {t.number: (str(t.user_attrs["point"]), int(t.user_attrs["seed"])) for t in trials}
    complete = {entry[t.number]: t for t in reversed(trials) if t.state == TrialState.COMPLETE}
    ended = {entry[t.number]: t for t in trials if t.state.is_finished() and t.user_attrs.get("outcome") != "abandoned"}
    failed = {
        point: str(t.user_attrs.get("outcome", t.state.name.lower())) + (f" at seed {seed}" if len(seeds) > 1 else "")
        for (point, seed), t in ended.items()
        if (point, seed) not in complete and point in points and seed in seeds
    }
    return Standing(
        points, seeds, bool(study.user_attrs.get("halving")), complete, set(ended), failed,
        study.user_attrs.get("choice"), study.user_attrs.get("simple_first"), {entry[t.number][0]: t.params for t in trials},
    )  # fmt: skip


def conclude_study(study: optuna.Study, stand: Standing) -> None:
    """Keeps a finished study's winner with it: looking it up later costs the same however many trials there are."""
    assert stand.winner is not None
    kept = {"trial": stand.winner._trial_id, "mean": stand.conclusion.mean, "seeds": stand.conclusion.seeds}
    study.set_user_attr("concluded", kept | {"asked": _asked(study.user_attrs)})


def _asked(attributes: dict[str, Any]) -> str:
    """Digest of what a study was asked for: with other points or seeds a conclusion is void."""
    return digest([attributes.get(key) for key in ("points", "seeds", "n_trials")])


@dataclass(frozen=True)
class Winner:
    """The winner of a stage: its study, its trial at the first seed, its mean over so many seeds."""

    study: optuna.Study
    trial: Trial
    mean: float
    seeds: int


def winner_of(url: str, experiment: str, stages: list[str], studies: Mapping[str, str] | None = None) -> Winner:
    """The winner of several stages' current studies: of one stage its own, of several the one with the best mean.

    Args:
        url: of the storage.
        experiment: its name.
        stages: their names.
        studies: the study to read, by stage; of a stage that is not in it, the one that was asked for last.

    Raises:
        StageError: one of the stages was never run, is unfinished, or all its trials failed.
    """
    found = []
    for stage in stages:
        known = (studies or {}).get(stage)
        study = open_study(url, known) if known else current_study(url, experiment, stage)
        command = f"python -m basecaller.train -m stage={stage} experiment={experiment}"
        where = f"stage {stage} of experiment {experiment}, storage {without_password(url)}"
        if study is None:
            raise StageError(f"{where}: was never run; run it with: {command}")
        attributes = study.user_attrs
        kept = attributes.get("concluded")
        if kept and kept["asked"] == _asked(attributes):
            found.append(Winner(study, study._storage.get_trial(kept["trial"]), kept["mean"], kept["seeds"]))
            continue
        stand = standing(study)
        if stand.open:
            raise StageError(f"{where}: {len(stand.open)} of its trials are unfinished; finish them with: {command}")
        if stand.winner is None:
            reasons = "; ".join(f"{point}: {outcome}" for point, outcome in stand.failed.items())
            raise StageError(f"{where}: none of its trials gave a value ({reasons}); mend the cause and run: {command}")
        found.append(Winner(study, stand.winner, stand.conclusion.mean, stand.conclusion.seeds))
    return min(found, key=lambda each: each.mean)


def setting_of(trial: Trial, key: str) -> Any:
    """A setting that a trial ran with: the choice of a config group, or the value of a dotted key.

    Raises:
        StageError: the trial has no such setting.
    """
    choices = trial.user_attrs.get("choices", {})
    if key in choices:
        return choices[key]
    value: Any = trial.user_attrs.get("config", {})
    for part in key.split("."):
        value = value.get(part) if isinstance(value, dict) else None
    if value is None:
        raise StageError(f"best: trial {trial.number} has no setting {key}; it has {', '.join(choices)} and dotted keys")
    return value


def injections(raw: str, url: str, experiment: str, studies: Mapping[str, str] | None = None) -> list[str]:
    """Where a setting that was written with `${best:...}` came from, for people: one line for each winner in it."""
    lines = []
    for stages, key in re.findall(r"\$\{best:([^,}]+),([^}]+)\}", raw):
        found = winner_of(url, experiment, stages.split("|"), studies)
        value = setting_of(found.trial, key.strip())
        seeds = f", mean of {found.seeds} seeds" if found.seeds > 1 else ""
        source = f"trial {found.trial.number} of {found.study.study_name}"
        lines.append(f"{key}={value} from {source}, val_loss {found.mean:.4f}{seeds}")
    return lines


def best(stages: str, key: str, *, _root_: DictConfig) -> Any:
    """The resolver `${best:stage,key}`: a setting of the winner of a stage, `a|b|c` the best of several stages.

    It runs in the sweeper, once; the value travels to the jobs as an ordinary override.

    Raises:
        StageError: see `winner_of` and `setting_of`.
    """
    won = winner_of(str(_root_.storage), str(_root_.experiment), stages.split("|"), _root_.stage.studies)
    return setting_of(won.trial, key)
