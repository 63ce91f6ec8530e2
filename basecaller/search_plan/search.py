"""A whole search, in order: the questions of its plan, the rounds that ask them again, the finalists, the headline, and the
report."""

from __future__ import annotations

from contextlib import suppress

from rich.console import Console

from basecaller.common.errors import BasecallerError, StorageError
from basecaller.common.facts import to_json
from basecaller.common.files import read_json
from basecaller.reporting.contents import ReportFacts, WinnerFacts
from basecaller.reporting.search_state import FINISHED, STOPPED, Asked
from basecaller.reporting.terminal import print_report
from basecaller.search_plan.finals import Finals
from basecaller.search_plan.incumbent import RATE
from basecaller.search_plan.questions import Questions
from basecaller.search_plan.request import Request
from basecaller.search_plan.runner import Runner
from basecaller.search_plan.stages import Step


class Search:
    """A search of an experiment.

    Args:
        request: what the user asked for.
        console: prints the tables.
    """

    def __init__(self, request: Request, console: Console) -> None:
        self.request, self.console = request, console
        self.questions = Questions(request)
        self.runner = Runner(request, self.questions, console)
        self.finals = Finals(request, self.questions, self.runner, console)

    def run(self) -> ReportFacts:
        """Runs the missing trainings of the search. The report is updated after every step that ran any, while the next one
        trains.

        Returns:
            The facts of the report.
        Raises:
            BasecallerError: a setting is invalid or the data cannot be used; nothing was stored.
        """
        self.request.check()
        self.request.prepare()
        self.runner.save(report=False)
        if not (self.request.folder / "report.html").exists():
            self.runner.report()
        try:
            self.first_round()
            for number in range(2, self.request.options.rounds + 1):
                if not self.later_round(number):
                    break
            candidates = self.finals.finalists()
            return self._report(self.finals.headline(candidates))
        except BaseException as error:
            with suppress(BasecallerError, OSError):  # so that the error that ended the search is the one that is shown
                self.runner.save(report=False, state=STOPPED)
                if not isinstance(error, StorageError):  # then the report could not be read either
                    self.runner.report()
            raise

    # -- the rounds

    def first_round(self) -> None:
        """Asks the questions of the plan in order. A question whose networks learned nothing is asked again once a later stage
        finds a learning rate at which they learn; if its answer changes, the rate is asked again too. Of several stages that
        answer one question, only the one with the winner is asked again, since it would have the others' settings."""
        questions, contests = self.questions, list(self.request.contests())
        for contest in contests:
            for name in contest:
                self.run_stage(name)
            questions.take(contest)
            if questions.latest[questions.holder(contest)].guessing:
                continue
            holders = [questions.holder(other) for other in contests if other != contest and other[-1] in questions.latest]
            open_questions = [name for name in holders if questions.latest[name].guessing and questions.stale(name)]
            for name in open_questions:
                self.ask_again(name, "its networks had learned nothing")
            rates = [c for c in contests if self.request.files[c[0]].choice == RATE and c[-1] in questions.latest]
            for name in map(questions.holder, rates):
                if open_questions and (why := questions.stale(name)):
                    self.ask_again(name, why)

    def later_round(self, number: int) -> bool:
        """Asks questions again, with more chunks, if the incumbent's other settings have changed since.

        Returns:
            Whether an answer changed.
        """
        self.questions.begin_round(number)
        self.console.rule(f"round {number}", style="bold")
        changed = False
        for contest in self.request.contests():
            name = self.questions.holder(contest)
            if why := self.questions.stale(name):
                asked, choice = self.ask_again(name, why), self.request.files[name].choice
                changed |= choice is not None and asked.answer.get(choice) != asked.before.get(choice)
        return changed

    def run_stage(self, name: str) -> Asked:
        """Asks a question of the plan for the first time."""
        return self._ask(self.questions.first(name))

    def ask_again(self, name: str, why: str) -> Asked:
        """Asks a question again around the incumbent. The winner becomes the incumbent."""
        return self._ask(self.questions.again(name, why))

    def _ask(self, step: Step) -> Asked:
        swept = self.runner.run(step)
        if swept.failure:
            raise swept.failure
        asked = self.questions.remember(step, swept.facts)
        self.runner.save(report=swept.ran)
        return asked

    # -- the report

    def _report(self, winner: WinnerFacts) -> ReportFacts:
        folder = self.request.folder
        reported = read_json(folder / "report.json") or {}
        self.console.rule("report")
        self.runner.save(report=False, state=FINISHED)
        pages = self.runner.ran or reported.get("winner") != to_json(winner) or reported.get("state") != FINISHED
        facts = self.runner.report(pages)
        print_report(facts, self.console)
        self.console.print(f"report: {folder / 'report.html'}")
        return facts
