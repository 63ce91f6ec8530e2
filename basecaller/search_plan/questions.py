"""The questions of a search: what has been answered, which question must be asked again, and how it is asked."""

from __future__ import annotations

import dataclasses
from functools import partial
from typing import Any

from basecaller.common.errors import SettingError
from basecaller.data.batches import check_padding, padding_question
from basecaller.hpo.grid import as_text, parse_overrides
from basecaller.hpo.standing import standing
from basecaller.hpo.storage import open_study
from basecaller.hpo.winners import Winner, winner_of
from basecaller.reporting.search_state import Asked, SearchState
from basecaller.reporting.stage_contents import StageFacts
from basecaller.search_plan.budget import longer
from basecaller.search_plan.incumbent import BATCH, RATE, Incumbent, asking_again, differences, settings_of
from basecaller.search_plan.request import Request
from basecaller.search_plan.stages import Step, unswept
from basecaller.task import TASK


class Questions:
    """The questions of a search so far.

    Args:
        request: the search.
    Attributes:
        before: the state in which an earlier process left the search.
        history: all questions so far, in their order.
        axes: the values tried so far, by key.
        round: number of the current round.
        budget: overrides that make the trials of this round longer.
        incumbent: the best settings so far; None before the first answer.
    """

    def __init__(self, request: Request) -> None:
        self.request = request
        self.before = SearchState.read(request.folder)
        self.history: list[Asked] = []
        self.axes: dict[str, list[Any]] = {}
        self.round = 1
        self.budget: list[str] = []
        self.incumbent: Incumbent | None = None

    @property
    def latest(self) -> dict[str, Asked]:
        """The latest asking of each stage."""
        return {asked.stage: asked for asked in self.history}

    # -- what to ask

    def begin_round(self, number: int) -> None:
        """Makes all trials from here on as long as those of a later round."""
        request = self.request
        self.round, self.budget = number, longer(request.cfg, request.dataset, request.options.round_budget)

    def stale(self, name: str) -> str:
        """Why a question must be asked again; empty if its fixed settings are unchanged, or if all its choices now train alike:
        a batch of one chunk has no padding."""
        assert self.incumbent is not None
        asked, file, train = self.latest[name], self.request.files[name], self.request.cfg.train
        unpadded = self.incumbent.settings.get(BATCH) == 1 and not train.batch_schedule
        if len(self.choices_left(name)[1]) == 1 or (unpadded and self.request.swept(name) == {"padding"}):
            return ""
        if asked.guessing:
            return "its networks had learned nothing"
        tuned = {file.choice, RATE, *file.stage.nuisance}
        now = {key: value for key, value in self.incumbent.settings.items() if key not in tuned}
        changed = differences({k: asked.under.get(k) for k in now}, now)
        if changed:
            return "since then " + ", ".join(f"{k} went from {as_text(a)} to {as_text(b)}" for k, (a, b) in changed.items())
        return "with longer training" if self.budget != asked.budget else ""

    def holder(self, contest: list[str]) -> str:
        """The stage that has the winner of a contest."""
        if len(contest) == 1:
            return contest[0]
        won = self._winner_of(contest).study.study_name
        return next(name for name in contest if self.latest[name].study == won)

    def _winner_of(self, contest: list[str]) -> Winner:
        studies = {name: asked.study for name, asked in self.latest.items()}
        return winner_of(dataclasses.replace(TASK.place(self.request.cfg), studies=studies), contest)

    # -- how to ask it

    def first(self, name: str) -> Step:
        """A question as its stage asks it."""
        overrides = [f"stage={name}", *self.request.overrides]
        studies = {stage: asked.study for stage, asked in self.latest.items()}
        if studies:
            overrides.append(f"stage.studies={as_text(studies)}")
        key, choices, why = self.choices_left(name)
        if choices:
            overrides.append(f"{key}={','.join(choices)}")
        return Step(name, overrides, skipped=why) if len(choices) == 1 else Step(name, overrides, note=why)

    def again(self, name: str, why: str) -> Step:
        """A question around the incumbent, in a new study.

        Args:
            name: name of the stage.
            why: why it is asked again.
        """
        assert self.incumbent is not None
        request, asking = self.request, self.latest[name].asking + 1
        own = [f"stage={name}", f"stage.asking={asking}"]
        grid = asking_again(request.files[name], self.incumbent, self.axes, request.given, partial(self.allows, name))
        lines = parse_overrides([*own, *self.budget, *unswept(request.overrides), *grid])
        return Step(name, [str(o.input_line) for o in lines.values()], asking, why)

    def choices_left(self, name: str) -> tuple[str, list[str], str]:
        """A key of a stage whose values do not all differ, those that do, and the reason; empty if all differ: the paddings may
        not on this data, and batch sizes do not if a schedule sets the batches."""
        request, schedule = self.request, self.request.cfg.train.batch_schedule
        if request.swept(name) == {"padding"}:
            choices, why = padding_question(request.dataset, request.largest_batch)
            return ("padding", choices, why) if why else ("", [], "")
        if BATCH in request.swept(name) and schedule:
            why = f"train.batch_schedule={as_text(list(schedule))} sets the size of every batch"
            return BATCH, [str(request.cfg.data.batch_size)], why
        return "", [], ""

    def allows(self, name: str, key: str, value: Any) -> bool:
        """Whether a stage that is asked again can try a value of a key."""
        assert self.incumbent is not None
        if key == BATCH:
            padding = self.incumbent.settings.get("padding", str(self.request.cfg.padding.mode))
            try:
                check_padding(self.request.dataset, padding, value)
            except SettingError:
                return False
        return self.request.files[name].allows(key, value)

    # -- its answer

    def remember(self, step: Step, facts: StageFacts) -> Asked:
        """Notes the answer to a question. The winner of a question that was asked again becomes the incumbent."""
        stand = standing(open_study(self.request.url, facts.study))
        assert stand.winner is not None
        for key, values in facts.axes.items():
            self.axes[key] = list(dict.fromkeys([*self.axes.get(key, []), *values]))
        answer = settings_of(stand.winner, self.request.keys)
        under = {key: value for key, value in answer.items() if key not in facts.axes}
        before, budget, guessing = dict[str, Any](), list[str](), bool(facts.guessing)
        if step.asking > 1:
            before, budget = self.latest[step.stage].answer, self.budget
            self.incumbent = Incumbent(answer, facts.study, stand.winner.number, stand.conclusion.mean)
        asked = Asked(step.stage, step.asking, self.round, step.why, facts.study, under, answer, guessing, before, budget)
        self.history.append(asked)
        return asked

    def take(self, contest: list[str]) -> None:
        """Makes the winner of a contest the incumbent."""
        won = self._winner_of(contest)
        settings = settings_of(won.trial, self.request.keys)
        self.incumbent = Incumbent(settings, won.study.study_name, won.trial.number, won.mean)
