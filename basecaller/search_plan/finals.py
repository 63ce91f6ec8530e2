"""The end of a search: finalists, combined changes and contenders, which train like the winner, and the headline."""

from __future__ import annotations

import math
from typing import Any

from rich.console import Console

from basecaller.common.errors import BasecallerError, StageError
from basecaller.config.schema import OBJECTIVE
from basecaller.hpo.grid import as_text, parse_overrides
from basecaller.hpo.records import store_study
from basecaller.hpo.standing import Standing, standing
from basecaller.hpo.storage import open_study
from basecaller.hpo.task import CANDIDATE
from basecaller.hpo.verdicts import named
from basecaller.reporting.contents import WinnerFacts
from basecaller.reporting.contests import contest_of
from basecaller.reporting.stage_contents import StageFacts
from basecaller.search_plan.budget import shortened, winner_training
from basecaller.search_plan.candidates import (
    INCUMBENT,
    LARGER_BATCH,
    Candidates,
    combined_candidates,
    contender_candidates,
    finalist_candidates,
)
from basecaller.search_plan.incumbent import BATCH, differences
from basecaller.search_plan.questions import Questions
from basecaller.search_plan.request import Request
from basecaller.search_plan.runner import Runner
from basecaller.search_plan.stages import COMBINED, CONTENDERS, FINALISTS, HEADLINE, Step, unswept
from basecaller.search_plan.winner import write_winner
from basecaller.task import TASK


class Finals:
    """The stages of a search that compare whole configurations.

    Args:
        request: the search.
        questions: its answered questions.
        runner: runs the stages.
        console: prints what is skipped, and why the best configuration changes.
    """

    def __init__(self, request: Request, questions: Questions, runner: Runner, console: Console) -> None:
        self.request, self.questions, self.runner, self.console = request, questions, runner, console

    def finalists(self) -> Candidates:
        """Trains the incumbent, its variants and the untuned defaults like the winner, for a share of its length; then the
        changes that helped, together and taken further.

        Returns:
            The best of them, and the untuned defaults.
        """
        assert self.questions.incumbent is not None
        request, options = self.request, self.request.options
        stands = [(asked, standing(open_study(request.url, asked.study))) for asked in self.questions.latest.values()]
        train = winner_training(request.cfg)
        batches = options.batch_schedule if train.budget == "epochs" and not train.batch_schedule else None  # it divides epochs
        candidates = finalist_candidates(
            self.questions.incumbent,
            stands,
            request.files,
            self.questions.axes,
            unswept(request.overrides),
            options.finalists,
            batches,
            request.recipe,
            self.can_train,
            bool(train.batch_schedule),
        )
        if options.finalists < 2:
            return candidates
        if train.batch_schedule and BATCH in request.keys:
            sizes = as_text(list(train.batch_schedule))
            self.console.print(f"skipped: {LARGER_BATCH}: train.batch_schedule={sizes} sets the size of every batch")
        own = [*self._share(options.finalist_share), f"stage.replicates={options.finalist_seeds}"]
        won = self.compare(FINALISTS, own, candidates)
        if not won.winner:
            self._note(won, "No finalist gave a value, so the search keeps the settings that won in short trials")
            return candidates.best(INCUMBENT)
        name = str(won.winner[CANDIDATE])
        behind = self._behind(won)
        ranked = list(behind)
        if INCUMBENT in ranked[1:]:
            self._note(won, f"The incumbent won in short trials, but {name} is ahead of it when both train longer")
        allows = request.files[request.plan[0]].allows
        together = combined_candidates(candidates, ranked, self.questions.axes, options.combined, allows, self.can_train)
        if len(together.settings) > 1:
            won = self.compare(COMBINED, own, together)
            best = str(won.winner.get(CANDIDATE, name))
            if best != name:
                self._note(won, f"The best finalist, {name}, is behind {best}")
            name = best
        found = Candidates(candidates.settings | together.settings, candidates.given)
        margin = behind.get(LARGER_BATCH, math.inf) - behind.get(INCUMBENT, 0.0)
        if options.batch_margin is not None and margin <= options.batch_margin:
            return self._contenders(found, name)
        return found.best(name)

    def _contenders(self, finalists: Candidates, best: str) -> Candidates:
        """Trains the best configuration longer, as it is and with a larger batch.

        Returns:
            The better of both, and the untuned defaults.
        """
        pair = contender_candidates(finalists, best)
        if len(pair.settings) == 1 or not all(self.can_train(name, of) for name, of in pair.settings.items()):
            return finalists.best(best)
        won = self.compare(CONTENDERS, [*self._share(self.request.options.contender_share), "stage.replicates=1"], pair)
        behind = self._behind(won) if won.winner else {}
        name = next(iter(behind), best)
        if name != best:
            self._note(won, larger_batch_won(pair, best, name, behind))
        return Candidates(finalists.settings | pair.settings, finalists.given).best(name)

    def headline(self, candidates: Candidates) -> WinnerFacts:
        """Trains the winner and the untuned defaults with the same budget and new seeds, and tests both on the test split.

        Raises:
            StageError: all these trainings failed.
        """
        request = self.request
        new = [f"seed={int(request.cfg.seed) + 1000}", f"stage.replicates={request.options.headline_seeds}"]
        facts = self.compare(HEADLINE, new, candidates)
        if not facts.winner:
            raise StageError(
                f"{facts.study}: neither the winner nor the untuned defaults gave a model. {facts.verdict.text} Lower "
                "optimizer.lr, or change search.winner, and search again"
            )
        with self.runner.progress.testing():
            winner = write_winner(request.cfg, request.url, facts.study, candidates, request.of_winner, request.workers)
        store_study(open_study(request.url, facts.study), note=winner.gain.text.removesuffix("."))
        return winner

    # -- what they share

    def compare(self, stage: str, own: list[str], candidates: Candidates) -> StageFacts:
        """Trains candidates like the winner, but for some overrides. None is pruned: larger networks and large first batches
        are slow at first.

        Returns:
            The facts of the stage; without a winner if no candidate gave a value.
        """
        request = self.request
        unpruned = ["search.pruner=null"] if request.options.pruner else []
        shared = [f"stage={stage}", *unswept(request.overrides), *candidates.sweep(), *request.of_winner, *unpruned]
        lines = parse_overrides([*shared, *own])
        swept = self.runner.run(Step(stage, [str(o.input_line) for o in lines.values()]))
        self.runner.compared[stage] = swept.facts.study
        self.runner.save(report=swept.ran)
        return swept.facts

    def can_train(self, name: str, settings: dict[str, Any]) -> bool:
        """Whether a candidate can train; prints why not."""
        try:
            config = self.request.trained_with(Candidates({name: settings}, ()).lines(name))
            TASK.check(config)
            TASK.prepare(config)
        except BasecallerError as error:
            self.console.print(f"skipped: {name}: {error}")
            return False
        return True

    def _share(self, share: float) -> list[str]:
        """Overrides that make a training a share as long as the winner's."""
        return shortened(self.request.cfg, self.request.dataset, share)

    def _behind(self, stage: StageFacts) -> dict[str, float]:
        """See `behind`."""
        return behind(standing(open_study(self.request.url, stage.study)))

    def _note(self, stage: StageFacts, note: str) -> None:
        """Prints a note on a stage, and stores it for the report."""
        self.console.print(f"{note}.")
        store_study(open_study(self.request.url, stage.study), note=note)


def larger_batch_won(pair: Candidates, best: str, name: str, behind: dict[str, float]) -> str:
    """The note on contenders if the larger batch is better.

    Args:
        pair: the contenders.
        best: the best configuration so far.
        name: the same with the larger batch.
        behind: how far each is behind the winner of the stage, see `behind`; without those that failed.
    """
    changed = differences(pair.settings[best], pair.settings[name])
    before, after = (", ".join(named(key, pair.settings[of][key]) for key in changed) for of in (best, name))
    if best not in behind:
        return f"{name} ({after}) is used, since {best} ({before}) gave no value"
    return (
        f"In this longer training, {name} ({after}) is better than {best} ({before}) by "
        f"{OBJECTIVE.shown(behind[best] - behind[name])}"
    )


def behind(stand: Standing) -> dict[str, float]:
    """The candidates of a stage and how far each is behind the winner over shared seeds, the winner first and then the nearest,
    without those that failed."""
    contest, first = contest_of(stand, stand.measure), str(stand.conclusion.winner)
    others = {point: contest.gap(point, first).mean for point in contest.values if point != first}
    return {
        str(stand.choices[point]): ({first: 0.0} | others)[point] for point in (first, *sorted(others, key=others.__getitem__))
    }
