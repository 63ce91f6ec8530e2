"""What a search has run and what it still has to run, as far as that can be known: its expected end is made from it."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator
from dataclasses import dataclass
from statistics import fmean
from typing import TYPE_CHECKING

from omegaconf import OmegaConf

from basecaller.hpo.best import standing
from basecaller.hpo.designs import most_runs, rung_size
from basecaller.hpo.records import StudyRecord, TrialRecord, trials_of
from basecaller.hpo.storage import current_study, open_study
from basecaller.search_plan.budget import longer
from basecaller.search_plan.forecast import Planned, Training, seconds_left
from basecaller.search_plan.incumbent import RATE
from basecaller.search_plan.preview import estimate, most_trials, sizes, testing_seconds, training_seconds

if TYPE_CHECKING:
    import optuna
    from omegaconf import DictConfig

    from basecaller.search_plan.search import Search

FINALISTS, HEADLINE = "finalists", "headline"
"""The stages that compare whole configurations, longer trained."""

SHARE = 0.8
"""Of the trials that a question has at most, those that are trained, before a question of the search has told."""

LIKELY = 0.5
"""Share of the questions that each round after the second asks again."""


@dataclass(frozen=True)
class Tally:
    """The trials of one question.

    Attributes:
        most: how many it may have.
        open: how many it wants now.
        ended: how many have ended.
        trained: those of them that were trained, not taken over from earlier ones.
        running: those under way.
    """

    most: int
    open: int
    ended: int
    trained: list[TrialRecord]
    running: list[TrialRecord]

    @classmethod
    def of(cls, study: optuna.Study) -> Tally:
        trials, stand = [trial for trial in trials_of(study) if trial.entry], standing(study)
        ended = [trial for trial in trials if trial.is_finished]
        return cls(
            max(len(ended), most_runs(stand.design, list(stand.choices.values()), len(stand.seeds))),
            len(stand.open),
            len(ended),
            [trial for trial in ended if trial.seconds and not trial.taken_over],
            [trial for trial in trials if trial.state == "running"],
        )


@dataclass(frozen=True)
class State:
    """How far a search is.

    Attributes:
        ended, running: trials.
        expected: trials in all.
        left: seconds until the end, as expected.
    """

    ended: int
    running: int
    expected: int
    left: float


class Agenda:
    """What a search has run and still has to run.

    Args:
        search: of which.
    """

    def __init__(self, search: Search) -> None:
        self.search = search
        self.stage = self.name = ""
        self.asked_at = self.closed_at = time.time()
        self.wall = 0.0
        self.mine: list[TrialRecord] = []
        self.tallies: list[Tally] = []
        self.parts: dict[int, Training] = {}
        self.shares: dict[int, float] = {}

    def ask(self, stage: str, name: str) -> None:
        """A question begins: that of a stage, kept under a name such as `padding.2`."""
        now = time.time()
        if not self.name:
            self.closed_at = now  # what came before was no training: the data was made
        self.stage, self.name, self.asked_at = stage, name, now
        self.parts, self.shares = {}, {}

    def close(self, study: str) -> None:
        """The question has ended; its study is this one."""
        now, tally = time.time(), Tally.of(open_study(self.search.url, study))
        if mine := self._of_this_run(tally):
            self.mine += mine
            self.wall += now - self.closed_at
        self.tallies.append(tally)
        self.closed_at = now

    def _of_this_run(self, tally: Tally) -> list[TrialRecord]:
        """The trials that were trained since the question was asked; of a search that goes on, most were before."""
        return [trial for trial in tally.trained if trial.ended and trial.ended.timestamp() >= self.asked_at]

    def state(self, ended: bool = False) -> State:
        """How far the search is now.

        Args:
            ended: the question has been closed.
        """
        now, current = time.time(), None if ended else self._current()
        tallies = [*self.tallies, *([current] if current else [])]
        trained = sorted((trial for each in tallies for trial in each.trained), key=lambda trial: str(trial.ended))
        measured = [Training(self._cost(trial), trial.seconds or 0.0) for trial in trained]
        if current:
            measured += self._under_way(current, now)
        planned = list(self._ahead(current, ended, now))
        at_once, pause = self._pace(current, now)
        done = sum(each.ended for each in tallies)
        return State(
            done,
            len(current.running) if current else 0,
            done + math.ceil(math.fsum(group.count for group in planned)),
            seconds_left([*planned, *self._testing()], measured, at_once, pause),
        )

    def _current(self) -> Tally | None:
        """Of the question that is asked now; None until its sweep has stored it."""
        study = current_study(self.search.url, self.search.experiment, self.name)
        if study is None or StudyRecord.of(study).asked < self.asked_at:
            return None
        return Tally.of(study)

    def _pace(self, current: Tally | None, now: float) -> tuple[int, float]:
        """How many trainings run side by side, and the seconds between two of a worker."""
        mine, running = self.mine + (self._of_this_run(current) if current else []), current.running if current else []
        wall = self.wall + (now - self.closed_at if current else 0.0)
        busy = math.fsum([*(trial.seconds or 0.0 for trial in mine), *(min(_age(trial, now), wall) for trial in running)])
        at_once = max(self.search.workers.count, round(busy / wall) if wall else 0)  # other processes may share the work
        return at_once, max(0.0, wall * at_once - busy) / len(mine) if mine else 0.0

    def _under_way(self, current: Tally, now: float) -> list[Training]:
        """Of each running training the part up to the latest point of its curve, measured when that is first seen."""
        for trial in current.running:
            train = trial.config.get("train")
            share = trial.progress / (train["epochs"] if train["budget"] == "epochs" else 1) if train else 0.0
            if share > self.shares.get(trial.number, 0.0):
                self.shares[trial.number] = share
                self.parts[trial.number] = Training(share * self._cost(trial), _age(trial, now))
        return [self.parts[trial.number] for trial in current.running if trial.number in self.parts]

    # -- what is to come

    def _ahead(self, current: Tally | None, ended: bool, now: float) -> Iterator[Planned]:
        """The trainings that are still to run, in order."""
        search, options = self.search, self.search.options
        asked = [tally for tally in self.tallies if tally.trained]
        share = sum(len(tally.trained) for tally in asked) / sum(tally.most for tally in asked) if asked else SHARE
        if current:
            likely = 1.0 if self.stage in (FINALISTS, HEADLINE) else share
            costs = [self._cost(trial) for trial in (*current.trained, *current.running) if trial.config]
            spent = fmean(_age(trial, now) for trial in current.running) if current.running else 0.0
            cost = fmean(costs) if costs else self._cost_of(self.stage)
            yield Planned(max(current.open, likely * current.most - current.ended), cost, spent)
        elif self.stage in search.files and not ended and (search.round, self.stage) not in self._known():
            yield Planned(share * most_trials(search, self.stage)[0], self._cost_of(self.stage))
        if self.stage not in (FINALISTS, HEADLINE):
            for stage in self._first_round():
                yield Planned(share * most_trials(search, stage)[0], self._cost_of(stage))
            cost = self._of_incumbent(longer(search.cfg, search.dataset, options.round_budget))
            for stage, likely in self._later_rounds():
                yield Planned(likely * share * most_trials(search, stage)[0], cost)
        if search.finished_before and self._known():
            return
        if options.finalists > 1 and self._is_ahead(FINALISTS, current, ended):
            cost = self._of_incumbent(longer(search.cfg, search.dataset, options.finalist_budget))
            for rung in range(options.finalist_seeds):
                yield Planned(rung_size(options.finalists, rung), cost)
        if self._is_ahead(HEADLINE, current, ended):
            final = OmegaConf.merge(search.cfg.train, search.cfg.search.winner.get("train", {}))
            best = search.incumbent.settings if search.incumbent else {}
            yield Planned(2 * options.headline_seeds, fmean([estimate(search, best, final), estimate(search, {}, final)]))

    def _is_ahead(self, stage: str, current: Tally | None, ended: bool) -> bool:
        """Whether all of a stage that ends a search is still to run."""
        order = (FINALISTS, HEADLINE)
        here = order.index(self.stage) if self.stage in order else -1
        return order.index(stage) > here or (self.stage == stage and current is None and not ended)

    def _testing(self) -> list[Planned]:
        """The winner's test, one model after the other, which runs beside nothing."""
        return [Planned(1, 2 * self.search.options.headline_seeds * testing_seconds(self.search))]

    def _first_round(self) -> Iterator[str]:
        """Stages that the first round has not asked yet, and those that it will ask again: their networks had learned
        nothing, and a later stage shows a rate at which they do."""
        search, known = self.search, self._known()
        if search.round > 1:
            return
        asked = {self.stage, *search.latest}
        yield from (name for name in search.plan if name not in asked and (1, name) not in known)
        guessed = [name for name, of in search.latest.items() if of.guessing and name != self.stage]
        rates = [contest for contest in search.contests() if search.files[contest[0]].choice == RATE]
        asked_twice = {of.stage for of in search.history if of.asking > 1} | {self.stage}
        again = [*guessed, *(contest[0] for contest in rates if guessed and not asked_twice & set(contest))]
        yield from (name for name in again if not known)

    def _later_rounds(self) -> Iterator[tuple[str, float]]:
        """Stages that later rounds will ask again, and how likely that is; of several that ask one question, one."""
        search, known = self.search, self._known()
        contests = list(search.contests())
        for number in range(max(2, search.round), search.options.rounds + 1):
            asked = {of.stage for of in search.history if of.round == number}
            if number == search.round:
                asked.add(self.stage)
            last = max((place for place, contest in enumerate(contests) if asked & set(contest)), default=-1)
            for contest in contests[last + 1 :]:
                if not any((number, name) in known for name in contest):
                    yield contest[0], LIKELY ** (number - 2)

    def _known(self) -> set[tuple[int, str]]:
        """Rounds and stages that this search had answered when it was started, as long as it goes the same way again."""
        search = self.search
        before = search.answered_before
        same = all(asked.study == study for asked, (_, _, study) in zip(search.history, before, strict=False))
        return {(number, stage) for number, stage, _ in before} if same else set()

    # -- what it costs

    def _cost(self, trial: TrialRecord) -> float:
        """The estimate for a trial's training, by its own config."""
        config, path = trial.config, "torch" if str(trial.path).startswith("torch") else "native"
        return training_seconds(config["model"], config["train"], config["data"]["batch_size"], sizes(self.search), path)

    def _cost_of(self, stage: str) -> float:
        """The mean estimate for the trials of a stage, around the best settings so far."""
        file, space = self.search.files[stage], self.search.spaces[stage]
        best = self.search.incumbent.settings if self.search.incumbent else {}
        known = {key: value for key, value in best.items() if "${" in file.params.get(key, "${")}
        return fmean(estimate(self.search, known | point.values) for point in space.points())

    def _of_incumbent(self, lines: list[str]) -> float:
        """The estimate for a longer training of the best settings so far."""
        train: DictConfig = OmegaConf.merge(self.search.cfg, OmegaConf.from_dotlist(lines)).train
        return estimate(self.search, self.search.incumbent.settings if self.search.incumbent else {}, train)


def _age(trial: TrialRecord, now: float) -> float:
    """Seconds since a trial was claimed."""
    return max(0.0, now - trial.started.timestamp()) if trial.started else 0.0
