"""The finished and the remaining trials of a search, as far as they are known, for the forecast of its end."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator
from dataclasses import dataclass
from statistics import fmean
from typing import Any

import optuna
from omegaconf import OmegaConf

from basecaller.hpo.designs import most_runs, rung_size
from basecaller.hpo.records import StudyRecord, TrialRecord, trials_of
from basecaller.hpo.standing import standing
from basecaller.hpo.storage import current_study, open_study
from basecaller.networks.named import CODE
from basecaller.reporting.search_state import FINISHED
from basecaller.runs.summary import STEPS, summary_of
from basecaller.search_plan.budget import longer, shortened
from basecaller.search_plan.costs import estimate, most_trials, testing_seconds, training_seconds
from basecaller.search_plan.forecast import RECENT, Planned, Training, seconds_left
from basecaller.search_plan.incumbent import RATE
from basecaller.search_plan.questions import Questions
from basecaller.search_plan.request import Request
from basecaller.search_plan.stages import COMBINED, CONTENDERS, FINALISTS, HEADLINE

SHARE = 0.8
"""Share of the possible trials of a question that are trained; assumed until the first question has ended."""

LIKELY = 0.5
"""Share of the questions that each round after the second is assumed to ask again, and probability that contenders train."""


@dataclass(frozen=True)
class Tally:
    """The trials of one question.

    Attributes:
        most: largest possible number of trials.
        open: number of trials that it needs now.
        ended: number of ended trials.
        trained: ended trials that were trained, not reused from earlier ones.
        running: running trials.
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
            [trial for trial in ended if _seconds(trial) and not trial.reused],
            [trial for trial in trials if trial.state == "running"],
        )


@dataclass(frozen=True)
class State:
    """The progress of a search.

    Attributes:
        ended, running: numbers of trials.
        expected: expected total number of trials.
        left: expected seconds until the end.
    """

    ended: int
    running: int
    expected: int
    left: float


class Agenda:
    """The finished and the remaining trials of a search.

    Args:
        request: the search.
        questions: its questions so far.
    """

    def __init__(self, request: Request, questions: Questions) -> None:
        self.request, self.questions = request, questions
        self.stage = self.name = ""
        self.asked_at = self.closed_at = time.time()
        self.wall = 0.0
        self.mine: list[TrialRecord] = []
        self.tallies: list[Tally] = []
        self.parts: dict[int, Training] = {}
        self.shares: dict[int, float] = {}
        self.cached: tuple[tuple[Any, ...], list[Planned]] | None = None

    def ask(self, stage: str, name: str) -> None:
        """Notes that a question begins.

        Args:
            stage: name of its stage.
            name: name of its study without the experiment, such as `padding.2`.
        """
        if not self.name:
            estimate(self.request, {})  # times a training step while nothing trains; later estimates use it
            self.closed_at = time.time()  # the time before that was spent on preparing the data
        now = time.time()
        self.stage, self.name, self.asked_at = stage, name, now
        self.parts, self.shares = {}, {}

    def close(self, study: str) -> None:
        """Notes that the question has ended.

        Args:
            study: name of its study.
        """
        now, tally = time.time(), Tally.of(open_study(self.request.url, study))
        if mine := self._of_this_run(tally):
            self.wall += now - self._begun(mine)
            self.mine += mine
        self.tallies.append(tally)
        self.closed_at = now

    def _begun(self, trials: list[TrialRecord]) -> float:
        """When workers began a question: for the first one, the start of its first trial, since workers take time to start."""
        return self.closed_at if self.mine else min(trial.started.timestamp() for trial in trials if trial.started)

    def _of_this_run(self, tally: Tally) -> list[TrialRecord]:
        """The trials trained since the question was asked; in a resumed search, most trials are older."""
        return [trial for trial in tally.trained if trial.ended and trial.ended.timestamp() >= self.asked_at]

    def state(self, ended: bool = False) -> State:
        """The current progress of the search.

        Args:
            ended: whether the question has been closed.
        """
        now, current = time.time(), None if ended else self._current()
        tallies = [*self.tallies, *([current] if current else [])]
        latest = sorted((trial for each in tallies for trial in each.trained), key=lambda trial: str(trial.ended))[-RECENT:]
        measured = [Training(self._cost(trial), _seconds(trial)) for trial in latest]
        if current:
            measured += self._under_way(current, now)
        planned = [*self._asked_now(current, ended, now), *self._to_come(current is None, ended)]
        at_once, pause = self._pace(current, now)
        done = sum(each.ended for each in tallies)
        return State(
            done,
            len(current.running) if current else 0,
            done + math.ceil(math.fsum(group.count for group in planned)),
            seconds_left([*planned, *self._testing()], measured, at_once, pause),
        )

    def _current(self) -> Tally | None:
        """The tally of the current question; None until its sweep has created the study."""
        study = current_study(self.request.url, self.request.experiment, self.name)
        if study is None or StudyRecord.of(study).asked < self.asked_at:
            return None
        return Tally.of(study)

    def _pace(self, current: Tally | None, now: float) -> tuple[int, float]:
        """The number of parallel trainings, and the pause between two trainings of a worker in seconds."""
        running = current.running if current else []
        here = [*self._of_this_run(current), *running] if current else []
        mine = self.mine + here[: len(here) - len(running)]
        wall = self.wall + (now - self._begun(here) if here else 0.0)
        busy = math.fsum([*(_seconds(trial) for trial in mine), *(min(_age(trial, now), wall) for trial in running)])
        at_once = max(self.request.workers.count, round(busy / wall) if wall else 0)  # other processes may share the work
        return at_once, max(0.0, wall * at_once - busy) / len(mine) if mine else 0.0

    def _under_way(self, current: Tally, now: float) -> list[Training]:
        """The finished share of each running training at the latest point of its curve, timed when the point is first seen."""
        for trial in current.running:
            train = trial.config.get("train")
            share = trial.step / STEPS / (train["epochs"] if train["budget"] == "epochs" else 1) if train else 0.0
            if share > self.shares.get(trial.number, 0.0):
                self.shares[trial.number] = share
                self.parts[trial.number] = Training(share * self._cost(trial), _age(trial, now))
        return [self.parts[trial.number] for trial in current.running if trial.number in self.parts]

    # -- remaining trainings

    @property
    def _share(self) -> float:
        """Share of the possible trials of a question that are trained."""
        asked = [tally for tally in self.tallies if tally.trained]
        return sum(len(tally.trained) for tally in asked) / sum(tally.most for tally in asked) if asked else SHARE

    def _asked_now(self, current: Tally | None, ended: bool, now: float) -> Iterator[Planned]:
        """The remaining trainings of the current question."""
        if current:
            share = self._share if self.stage in self.request.files else 1.0
            costs = [self._cost(trial) for trial in (*current.trained, *current.running)[-RECENT:] if trial.config]
            spent = fmean(_age(trial, now) for trial in current.running) if current.running else 0.0
            cost = fmean(costs) if costs else self._cost_of(self.stage)
            yield Planned(max(current.open, share * current.most - current.ended), cost, spent)
        elif self.stage in self.request.files and not ended and (self.questions.round, self.stage) not in self._known():
            yield self._question(self.stage)

    def _question(self, stage: str) -> Planned:
        return Planned(self._share * most_trials(self.request, stage)[0], self._cost_of(stage))

    def _to_come(self, unasked: bool, ended: bool) -> list[Planned]:
        """The expected trainings after the current question, as of its start.

        Args:
            unasked: whether its sweep has not created the study yet.
            ended: whether it has ended.
        """
        key = (len(self.tallies), self.name, unasked, ended)
        if self.cached is None or self.cached[0] != key:
            self.cached = key, list(self._following(unasked and not ended))
        return self.cached[1]

    def _following(self, unasked: bool) -> Iterator[Planned]:
        request, options = self.request, self.request.options
        order = (FINALISTS, COMBINED, CONTENDERS, HEADLINE)
        here = order.index(self.stage) + 1 - unasked if self.stage in order else 0
        if self.stage not in order:
            yield from (self._question(stage) for stage in self._first_round())
            cost = self._of_incumbent(longer(request.cfg, request.dataset, options.round_budget))
            for stage, likely in self._later_rounds():
                yield Planned(likely * self._share * most_trials(request, stage)[0], cost)
        if self.questions.before.state == FINISHED and self._known():
            return
        for place, count in enumerate([options.finalists, options.combined]):
            for rung in range(options.finalist_seeds if options.finalists > 1 and here <= place else 0):
                yield Planned(rung_size(count, rung), self._cost_of(FINALISTS))
        if options.finalists > 1 and options.batch_margin is not None and here <= order.index(CONTENDERS):
            yield Planned(2 if self.stage == CONTENDERS else 2 * LIKELY, self._cost_of(CONTENDERS))
        if here < len(order):
            yield Planned(2 * options.headline_seeds, self._cost_of(HEADLINE))

    def _testing(self) -> list[Planned]:
        """The tests of the headline's models."""
        return [Planned(2 * self.request.options.headline_seeds, testing_seconds(self.request))]

    def _first_round(self) -> Iterator[str]:
        """Stages that the first round has not asked yet, and those that it will ask again: their networks learned nothing, and
        a later stage finds a rate at which they learn."""
        request, questions, known = self.request, self.questions, self._known()
        if questions.round > 1:
            return
        asked = {self.stage, *questions.latest}
        yield from (name for name in request.plan if name not in asked and (1, name) not in known)
        learned = {self.stage, *(name for name, answer in questions.latest.items() if not answer.guessing)}
        contests = [contest for contest in request.contests() if contest[-1] in questions.latest]
        guessed = [contest[0] for contest in contests if not learned & set(contest)]
        rates = [contest for contest in request.contests() if request.files[contest[0]].choice == RATE]
        asked_twice = {answer.stage for answer in questions.history if answer.asking > 1} | {self.stage}
        again = [*guessed, *(contest[0] for contest in rates if guessed and not asked_twice & set(contest))]
        yield from (name for name in again if not known)

    def _later_rounds(self) -> Iterator[tuple[str, float]]:
        """Stages that later rounds may ask again, with their probability; one stage for each question."""
        questions, known = self.questions, self._known()
        contests = list(self.request.contests())
        for number in range(max(2, questions.round), self.request.options.rounds + 1):
            asked = {answer.stage for answer in questions.history if answer.round == number}
            if number == questions.round:
                asked.add(self.stage)
            last = max((place for place, contest in enumerate(contests) if asked & set(contest)), default=-1)
            for contest in contests[last + 1 :]:
                if not any((number, name) in known for name in contest):
                    yield contest[0], LIKELY ** (number - 2)

    def _known(self) -> set[tuple[int, str]]:
        """Rounds and stages that were answered before this search started; empty once it has taken another course."""
        now, before = self.questions.history, self.questions.before.history
        same = all(asked.study == known.study for asked, known in zip(now, before, strict=False))
        return {(known.round, known.stage) for known in before} if same else set()

    # -- costs

    def _cost(self, trial: TrialRecord) -> float:
        """The estimated cost of a trial, from its own config."""
        config, path = trial.config, "torch" if str(summary_of(trial).path).startswith("torch") else "native"
        model = {key: value for key, value in config["model"].items() if key != CODE}
        return training_seconds(self.request, model, config["train"], config["data"]["batch_size"], path)

    def _cost_of(self, stage: str) -> float:
        """The estimated mean cost of the trials of a stage, around the best settings so far."""
        request = self.request
        if stage == HEADLINE:
            return fmean(estimate(request, settings, config=request.winner_config) for settings in (self._best, {}))
        if stage in (FINALISTS, COMBINED, CONTENDERS):
            share = request.options.contender_share if stage == CONTENDERS else request.options.finalist_share
            short = OmegaConf.from_dotlist(shortened(request.cfg, request.dataset, share))
            train = OmegaConf.merge({"train": request.winner_config.train}, short).train
            return estimate(request, self._best, train, request.winner_config)
        file, space = request.files[stage], request.spaces[stage]
        known = {key: value for key, value in self._best.items() if "${" in file.params.get(key, "${")}
        return fmean(estimate(request, known | point.values) for point in space.points())

    def _of_incumbent(self, lines: list[str]) -> float:
        """The estimated cost of a longer training with the best settings so far."""
        train = OmegaConf.merge({"train": self.request.cfg.train}, OmegaConf.from_dotlist(lines)).train
        return estimate(self.request, self._best, train)

    @property
    def _best(self) -> dict[str, Any]:
        """The best settings so far, or those of the config."""
        return self.questions.incumbent.settings if self.questions.incumbent else {}


def _seconds(trial: TrialRecord) -> float:
    """Duration of the training of a trial in seconds; 0 without a result."""
    return summary_of(trial).seconds or 0.0


def _age(trial: TrialRecord, now: float) -> float:
    """Seconds since a trial was claimed."""
    return max(0.0, now - trial.started.timestamp()) if trial.started else 0.0
