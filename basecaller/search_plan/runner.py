"""Runs the steps of a search, shows what they found, and writes its state."""

from __future__ import annotations

import logging
import time
from dataclasses import dataclass

from rich.console import Console

from basecaller.common.errors import BasecallerError, FailedStageError
from basecaller.config.composition import command
from basecaller.hpo.records import store_study, trials_of
from basecaller.hpo.standing import standing
from basecaller.hpo.storage import open_study
from basecaller.reporting.contents import ReportFacts
from basecaller.reporting.search_state import RUNNING, SearchState
from basecaller.reporting.stage_contents import StageFacts
from basecaller.reporting.stage_facts import stage_facts
from basecaller.reporting.terminal import print_stage
from basecaller.reporting.writing import write_report
from basecaller.search_plan.progress import Progress
from basecaller.search_plan.questions import Questions
from basecaller.search_plan.request import Request
from basecaller.search_plan.stages import SEARCHING, Step, read_stage, run_sweep

log = logging.getLogger(__name__)

REPORT_SHARE = 0.05
"""Largest share of the time that a search spends on reports while it trains; they slow the trainings down."""


@dataclass(frozen=True)
class Swept:
    """A finished sweep.

    Attributes:
        facts: the facts of its stage.
        ran: whether it ran any trial.
        failure: the error if none of its trials gave a value.
    """

    facts: StageFacts
    ran: bool
    failure: FailedStageError | None


class Runner:
    """Runs the steps of a search.

    Args:
        request: the search.
        questions: its questions so far.
        console: prints the tables.
    Attributes:
        compared: studies of the stages that compare whole configurations, by stage.
        ran: whether any trial has run.
        due: whether the report lacks the last step.
        next_report: the earliest time of the next report while trainings run, on the clock of `time.monotonic`.
    """

    def __init__(self, request: Request, questions: Questions, console: Console) -> None:
        self.request, self.questions, self.console = request, questions, console
        self.progress = Progress(request, questions, console.quiet, self._report_if_due)
        self.compared: dict[str, str] = {}
        self.ran, self.due, self.next_report, self.started = False, False, 0.0, time.monotonic()

    def run(self, step: Step) -> Swept:
        """Runs the missing trials of a step, and prints its table."""
        self.console.rule(step.name)
        file = self.request.files.get(step.stage) or read_stage(step.stage, [])
        self.console.print(file.stage.question, style="italic")
        if step.why:
            self.console.print(f"asked again: {step.why}")
        if step.skipped or step.note:
            self.console.print(f"skipped: {step.skipped}" if step.skipped else step.note, style="bold")
        self.console.print(command("train", step.overrides, multirun=True), style="dim", soft_wrap=True)
        before, failure = time.time(), None
        own = [] if self.console.quiet else [f"hydra.sweeper.task={SEARCHING.__module__}.SEARCHING"]
        with self.progress.asking(step.stage, step.name):
            try:
                study_name = run_sweep([*self.request.of_hydra, *own, *self.request.workers.overrides, *step.overrides])
            except FailedStageError as error:
                study_name, failure = error.study, error
        self.progress.agenda.close(study_name)
        study = open_study(self.request.url, study_name)
        store_study(study, skipped=step.skipped, note=step.note)
        facts = stage_facts(step.name, study, standing(study))
        ended = [trial.ended.timestamp() for trial in trials_of(study) if trial.ended]
        ran = max(ended, default=0.0) >= before
        self.ran |= ran
        print_stage(facts, self.console)
        return Swept(facts, ran, failure)

    def save(self, report: bool, state: str = RUNNING) -> None:
        """Writes the state of the search.

        Args:
            report: whether to write the report too, while the next step trains.
            state: see `SearchState`.
        """
        request, questions = self.request, self.questions
        seconds = questions.before.seconds + time.monotonic() - self.started
        SearchState(
            command=command("search", request.typed),
            plan=request.plan,
            history=questions.history,
            compared=self.compared,
            data=request.findings,
            seconds=round(seconds, 1),
            state=state,
        ).write(request.folder)
        self.due |= report

    def _report_if_due(self) -> None:
        if not self.due or (begun := time.monotonic()) < self.next_report:
            return
        self.due = False
        try:
            self.report()
        except (BasecallerError, OSError) as error:  # the end of the search writes it again
            log.warning("the report is not up to date: %s", error)
        except Exception:  # in this thread nobody else would show it, and the search goes on
            log.warning("the report is not up to date", exc_info=True)
        now = time.monotonic()
        self.next_report = now + (now - begun) / REPORT_SHARE

    def report(self, pages: bool = True) -> ReportFacts:
        """Writes the report, see `write_report`."""
        request = self.request
        return write_report(request.url, request.experiment, request.folder, request.plan, pages)
