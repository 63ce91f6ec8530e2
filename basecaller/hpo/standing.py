"""The state of a study: what was measured, what runs next, and what follows."""

from __future__ import annotations

from collections.abc import Sequence, Set
from dataclasses import dataclass, field
from functools import cached_property
from statistics import fmean
from typing import Any

import optuna

from basecaller.hpo.designs import EVERY, Design, Entry, Values, wanted
from basecaller.hpo.ranking import Conclusion, conclude, mean_of
from basecaller.hpo.records import Concluded, Outcome, StudyRecord, TrialRecord, store_study, trials_of


@dataclass(frozen=True)
class Standing:
    """The state of a study, over the points and seeds that were requested last.

    Attributes:
        points: keys of the points, in the grid's order.
        seeds: seeds of the replicates.
        design: which point runs at which seed.
        complete: the trial with a value, for each point and seed that has one.
        dead: how the trials ended, for each point and seed that has no value.
        choice: the key that the stage asks about; None: every point is a separate choice.
        simple_first: values of the choice from simple to complex, if the stage orders them.
        settings: the swept settings of every point.
        measure: the number that points are compared by, see `TrialRecord.measured`.
        incumbent: the choice that is kept unless another is clearly better, if the question is asked again.
    """

    points: list[str]
    seeds: list[int]
    design: Design
    complete: dict[Entry, TrialRecord]
    dead: dict[Entry, str]
    choice: str | None = None
    simple_first: list[Any] | None = None
    settings: dict[str, dict[str, Any]] = field(default_factory=dict)
    measure: str | None = None
    incumbent: Any = None

    @cached_property
    def choices(self) -> dict[str, Any]:
        """The choice that each point stands for, in the grid's order."""
        return {p: self.settings.get(p, {}).get(self.choice, p) if self.choice else p for p in self.points}

    @cached_property
    def failed(self) -> dict[str, str]:
        """Points with a trial that ended without a value, and how it ended."""
        several = len(self.seeds) > 1
        return {point: how + (f" at seed {seed}" if several else "") for (point, seed), how in self.dead.items()}

    @cached_property
    def _measured(self) -> Values:
        """All measured values, including those of points that failed at another seed."""
        found: Values = {point: {} for point in self.points}
        for (point, seed), trial in self.complete.items():
            if point in found and seed in self.seeds:
                found[point][seed] = trial.measured(self.measure)
        return found

    def values(self, seeds: Sequence[int]) -> Values:
        """Values measured at the given seeds, without points that failed."""
        return {
            point: {seed: value for seed, value in by_seed.items() if seed in seeds}
            for point, by_seed in self._measured.items()
            if point not in self.failed
        }

    def wanted(self, level: int, again: Set[Entry] = frozenset()) -> list[Entry]:
        """Entries that must run next at the first `level` seeds; empty if these are finished.

        Args:
            level: number of seeds.
            again: failed entries to try again before other points take their place.
        """
        dead = self.dead.keys() - again
        return wanted(self.design, self._measured, self.choices, self.seeds[:level], dead)

    @cached_property
    def open(self) -> list[Entry]:
        """Wanted entries that have not ended."""
        return self.wanted(len(self.seeds))

    def conclusion_at(self, level: int) -> Conclusion:
        """The conclusion from the first `level` seeds."""
        values = self.values(self.seeds[:level])
        return conclude(values, self.choices, self.simple_first, self.design, len(self.seeds), self.incumbent)

    @cached_property
    def conclusion(self) -> Conclusion:
        """The conclusion from all seeds."""
        return self.conclusion_at(len(self.seeds))

    @property
    def winner(self) -> TrialRecord | None:
        """The winning point's trial at its first seed."""
        found = self.conclusion.winner
        return None if found is None else self.trials_of(found)[0]

    def trials_of(self, point: str) -> list[TrialRecord]:
        """A point's complete trials, by seed."""
        return [self.complete[point, seed] for seed in self.seeds if (point, seed) in self.complete]

    def best_of(self, choice: Any) -> str | None:
        """The best point of a choice, by what the stage compares, among those with the most seeds; None if none gave a value.
        A point that was dropped early has the mean of other seeds, which says nothing about its distance from the others."""
        values = self.values(self.seeds)
        points = [point for point, known in values.items() if known and self.choices[point] == choice]
        return min(points, key=lambda point: (-len(values[point]), mean_of(values[point])), default=None)

    def loss_of(self, point: str) -> float:
        """A point's mean objective over its seeds, whatever the stage compares."""
        return fmean(trial.measured() for trial in self.trials_of(point))


def standing(study: optuna.Study) -> Standing:
    """The state of a study, over the points that were requested last.

    A point and seed count as ended when one of their trials ended in any state but `abandoned`. Their value comes from a
    complete trial.
    """
    asked = StudyRecord.of(study)
    trials = [(trial.entry, trial) for trial in trials_of(study) if trial.entry]
    points = asked.points
    if points is None:  # a sampled space: a number of trials was requested
        points = list(dict.fromkeys(point for (point, _), _ in trials))
        missing = (asked.n_trials or 0) - len(points)
        points += [f"trial {len(points) + i + 1}" for i in range(missing)]
    complete = {entry: trial for entry, trial in reversed(trials) if trial.is_complete}
    ended = {entry: trial for entry, trial in trials if trial.is_finished and trial.outcome != Outcome.ABANDONED}
    known, seeds = set(points), set(asked.seeds)
    dead = {
        (point, seed): trial.standing
        for (point, seed), trial in ended.items()
        if (point, seed) not in complete and point in known and seed in seeds
    }
    settings = {point: trial.params for (point, _), trial in trials} | asked.settings
    return Standing(
        points=points,
        seeds=asked.seeds,
        design=asked.design or EVERY,
        complete=complete,
        dead=dead,
        choice=asked.choice,
        simple_first=asked.simple_first,
        settings=settings,
        measure=asked.measure,
        incumbent=asked.incumbent,
    )


def conclude_study(study: optuna.Study, stand: Standing) -> None:
    """Stores the winner of a finished study in the study, so that later lookups do not read all its trials."""
    winner = stand.conclusion.winner
    assert winner is not None
    trials = stand.trials_of(winner)
    asked = StudyRecord.of(study).asked_for
    store_study(study, concluded=Concluded(trials[0].trial_id, stand.loss_of(winner), len(trials), asked))
