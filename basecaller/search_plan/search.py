"""A whole search: the plan's questions, the rounds that ask them again, the finalists, the headline, and the report."""

from __future__ import annotations

import dataclasses
import math
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import cached_property, partial
from pathlib import Path
from typing import Any

from omegaconf import DictConfig
from rich.console import Console

from basecaller.checking import typed_scalar
from basecaller.config import command, composed
from basecaller.data.batches import check_padding, padding_question
from basecaller.data.dataset import Dataset
from basecaller.data.sources import prepare
from basecaller.errors import BasecallerError, SettingError
from basecaller.facts import to_json
from basecaller.files import check_writable, read_json, write_json
from basecaller.hpo.best import Standing, Winner, standing, winner_of
from basecaller.hpo.grid import as_text, parse_overrides
from basecaller.hpo.records import store_study, trials_of
from basecaller.hpo.storage import check_storage, open_study, stages_of
from basecaller.hpo.task import CANDIDATE
from basecaller.reporting.contents import FINISHED, RUNNING, STOPPED, ReportFacts, WinnerFacts
from basecaller.reporting.contests import contest_of
from basecaller.reporting.facts import stage_facts
from basecaller.reporting.stage_contents import StageFacts
from basecaller.reporting.terminal import print_report, print_stage
from basecaller.reporting.writing import write_report
from basecaller.runs.findings import data_findings
from basecaller.schema import OF_SEARCH
from basecaller.search_plan.budget import longer, shortened, winner_training
from basecaller.search_plan.checks import check_network, check_order, check_plan, check_winner
from basecaller.search_plan.finalists import (
    DEFAULTS,
    INCUMBENT,
    LARGER_BATCH,
    Candidates,
    combined_candidates,
    contender_candidates,
    finalist_candidates,
)
from basecaller.search_plan.incumbent import (
    BATCH,
    RATE,
    Asked,
    Incumbent,
    asking_again,
    decided_keys,
    differences,
    settings_of,
    study_stage,
)
from basecaller.search_plan.progress import Progress
from basecaller.search_plan.stages import COMBINED, CONTENDERS, FINALISTS, HEADLINE, flat, read_stage, run_sweep, unswept
from basecaller.search_plan.winner import write_winner
from basecaller.settings import general, settings
from basecaller.task import TASK
from basecaller.workers import divide

OWN = ("plan=", "search.workers=", "search.preview=", "search.winner", "search.rounds=", "search.round_budget=",
       "search.finalist", "search.combined=", "search.batch_margin=", "search.headline",
       "search.batch_schedule=", "print_config=")  # fmt: skip
"""Keys that select what a search runs and do not affect its trials."""


@dataclass(frozen=True)
class Swept:
    """A finished sweep: the facts of its stage, and whether it ran any trial."""

    facts: StageFacts
    ran: bool


@contextmanager
def _about_winner() -> Iterator[None]:
    """Makes the message of a wrong setting say that it is one of the winner's training."""
    try:
        yield
    except SettingError as error:
        raise SettingError(f"search.winner: {error}") from error


def _behind(stand: Standing) -> dict[str, float]:
    """The candidates of a stage and how far each is behind the winner over shared seeds, the winner first and then the nearest,
    without those that failed."""
    contest, first = contest_of(stand, stand.measure), str(stand.conclusion.winner)
    others = {point: contest.gap(point, first).mean for point in contest.values if point != first}
    return {
        str(stand.choices[point]): ({first: 0.0} | others)[point] for point in (first, *sorted(others, key=others.__getitem__))
    }


class Search:
    """A search of an experiment.

    Args:
        cfg: the config composed from the overrides.
        overrides: the user's overrides, passed on to every stage.
        console: prints the tables.
        of_hydra: overrides of Hydra's own config for every sweep; neither shown nor stored.
    Raises:
        SettingError: the plan cannot run as it is, see `checks`.
    """

    def __init__(self, cfg: DictConfig, overrides: list[str], console: Console, of_hydra: Sequence[str] = ()) -> None:
        self.cfg, self.console, self.of_hydra = cfg, console, of_hydra
        self.typed, self.started = overrides, time.monotonic()
        self.overrides = [line for line in overrides if not line.startswith(OWN)]
        self.given = set(parse_overrides(unswept(self.overrides)))
        if "stage" in self.given:
            raise SettingError("stage: a search runs the stages of its plan; give them as in 'plan=[padding,lr_adam]'")
        if own := sorted(self.given.intersection(OF_SEARCH)):
            raise SettingError(f"{own[0]}: a search sets this key itself; leave it out")
        self.url, self.experiment = str(cfg.storage), str(cfg.experiment)
        self.folder = Path(cfg.output_dir)
        before = read_json(self.folder / "search.json") or {}
        self.seconds_before = float(before.get("seconds", 0))
        self.finished_before = before.get("state") == FINISHED
        self.answered_before = [(of["round"], of["stage"], of["study"]) for of in before.get("history", [])]
        self.plan = [str(name) for name in cfg.plan]
        self.options = general(cfg).search
        self.workers = divide(self.options.workers, str(cfg.device), cfg.threads)
        check_plan(self.plan, self.overrides)
        self.files = {name: read_stage(name, self.overrides) for name in self.plan}
        check_network(self.files, self.cfg)
        check_order(self.files, self.overrides, stages_of(self.url, self.experiment))
        self.spaces = {name: file.planned(self.overrides)[0] for name, file in self.files.items()}
        self.keys = [key for key in decided_keys(self.files.values()) if key not in self.given]
        check_winner(self.keys, self.cfg, unswept(self.overrides))
        self.history: list[Asked] = []
        self.compared: dict[str, str] = {}  # studies of finalists, combined changes and headline
        self.axes: dict[str, list[Any]] = {}
        self.incumbent: Incumbent | None = None
        self.ran, self.round = False, 1
        self.progress = Progress(self)

    # -- the whole

    def run(self) -> ReportFacts:
        """Runs the missing trainings of the search, and updates the report after every step that ran any.

        Returns:
            The facts of the report.
        Raises:
            BasecallerError: a setting is invalid or the data cannot be used; nothing was stored.
        """
        TASK.check(self.cfg)
        with _about_winner():
            TASK.check(self.winner_config)
        check_storage(self.url)
        check_writable(self.folder)
        TASK.prepare(self.cfg)
        if not any("padding" in self._swept(name) for name in self.plan):
            check_padding(self.dataset, str(self.cfg.padding.mode), self._largest_batch)
        with _about_winner():
            TASK.prepare(self.winner_config)
        self._save(report=not (self.folder / "report.html").exists())
        try:
            return self._run()
        except BaseException:
            with suppress(OSError):  # so that the error that ended the search is reported
                self._save(report=False, state=STOPPED)
            raise

    def _run(self) -> ReportFacts:
        self.first_round()
        for number in range(2, self.options.rounds + 1):
            if not self.later_round(number):
                break
        candidates = self.run_finalists()
        winner = self.run_headline(candidates)
        reported = read_json(self.folder / "report.json") or {}
        self.console.rule("report")
        self._save(report=False, state=FINISHED)
        pages = self.ran or reported.get("winner") != to_json(winner) or reported.get("state") != FINISHED
        facts = write_report(self.url, self.experiment, self.folder, self.plan, pages)
        print_report(facts, self.console)
        self.console.print(f"report: {self.folder / 'report.html'}")
        return facts

    def first_round(self) -> None:
        """Asks the questions of the plan in order. A question whose networks learned nothing is asked again once a later stage
        finds a learning rate at which they learn; if its answer changes, the rate is asked again too. Of several stages that
        answer one question, only the one with the winner is asked again, since it would have the others' settings."""
        for contest in self.contests():
            for name in contest:
                self.run_stage(name)
            self._take(contest)
            if self.latest[self._holder(contest)].guessing:
                continue
            holders = [self._holder(other) for other in self.contests() if other != contest and other[-1] in self.latest]
            open_questions = [name for name in holders if self.latest[name].guessing and self._stale(name, [])]
            for name in open_questions:
                self.ask_again(name, 1, "its networks had learned nothing")
            rates = [self._holder(c) for c in self.contests() if self.files[c[0]].choice == RATE and c[-1] in self.latest]
            for name in rates:
                if open_questions and (why := self._stale(name, [])):
                    self.ask_again(name, 1, why)

    def later_round(self, number: int) -> bool:
        """Asks questions again, with more chunks, if the incumbent's other settings have changed since.

        Returns:
            Whether an answer changed.
        """
        budget, changed = longer(self.cfg, self.dataset, self.options.round_budget), False
        self.round = number
        self.console.rule(f"round {number}", style="bold")
        for contest in self.contests():
            name = self._holder(contest)
            why = self._stale(name, budget)
            if why:
                asked = self.ask_again(name, number, why, budget)
                choice = self.files[name].choice
                changed |= choice is not None and asked.answer.get(choice) != asked.before.get(choice)
        return changed

    # -- questions

    def contests(self) -> Iterator[list[str]]:
        """The stages of the plan, grouped by question: successive stages that sweep the same keys answer one question."""
        contest: list[str] = []
        for name in self.plan:
            if contest and self._swept(name) != self._swept(contest[-1]):
                yield contest
                contest = []
            contest.append(name)
        yield contest

    def _swept(self, name: str) -> set[str]:
        return set(self.spaces[name].axes)

    @property
    def latest(self) -> dict[str, Asked]:
        """The latest asking of each stage."""
        return {asked.stage: asked for asked in self.history}

    def _holder(self, contest: list[str]) -> str:
        """The stage that has the winner of a contest."""
        if len(contest) == 1:
            return contest[0]
        won = self._winner_of(contest).study.study_name
        return next(name for name in contest if self.latest[name].study == won)

    def _winner_of(self, contest: list[str]) -> Winner:
        studies = {name: asked.study for name, asked in self.latest.items()}
        return winner_of(dataclasses.replace(TASK.place(self.cfg), studies=studies), contest)

    def _take(self, contest: list[str]) -> None:
        """Makes the winner of a contest the incumbent."""
        won = self._winner_of(contest)
        self.incumbent = Incumbent(settings_of(won.trial, self.keys), won.study.study_name, won.trial.number, won.mean)

    def _stale(self, name: str, budget: list[str]) -> str:
        """Why a question must be asked again; empty if its fixed settings are unchanged."""
        assert self.incumbent is not None
        asked = self.latest[name]
        if len(self._choices_left(name)[1]) == 1:
            return ""
        if asked.guessing:
            return "its networks had learned nothing"
        tuned = {self.files[name].choice, RATE, *self.files[name].stage.nuisance}
        now = {key: value for key, value in self.incumbent.settings.items() if key not in tuned}
        changed = differences({k: asked.under.get(k) for k in now}, now)
        if changed:
            return "since then " + ", ".join(f"{k} went from {as_text(a)} to {as_text(b)}" for k, (a, b) in changed.items())
        return "with longer training" if budget != asked.under.get("budget", []) else ""

    def run_stage(self, name: str) -> None:
        """Runs the missing trials of a stage, and prints its table."""
        overrides = [f"stage={name}", *self.overrides]
        studies = {stage: asked.study for stage, asked in self.latest.items()}
        if studies:
            overrides.append(f"stage.studies={as_text(studies)}")
        key, choices, why = self._choices_left(name)
        if choices:
            overrides.append(f"{key}={','.join(choices)}")
        swept = self._sweep(name, 1, overrides, skipped=why if len(choices) == 1 else "", note=why)
        self._remember(name, 1, 1, "", swept, [])

    def ask_again(self, name: str, number: int, why: str, budget: list[str] | None = None) -> Asked:
        """Asks a question again around the incumbent, in a new study. The winner becomes the incumbent."""
        assert self.incumbent is not None
        before, budget = self.latest[name], budget or []
        asking = before.asking + 1
        own = [f"stage={name}", f"stage.asking={asking}"]
        grid = asking_again(self.files[name], self.incumbent, self.axes, self.given, partial(self._allows, name))
        lines = parse_overrides([*own, *budget, *unswept(self.overrides), *grid])
        swept = self._sweep(name, asking, [str(o.input_line) for o in lines.values()], why=why)
        return self._remember(name, asking, number, why, swept, budget, before.answer)

    def _remember(
        self, name: str, asking: int, number: int, why: str, of: Swept, budget: list[str],
        before: dict[str, Any] | None = None,
    ) -> Asked:  # fmt: skip
        facts = of.facts
        stand = standing(open_study(self.url, facts.study))
        assert stand.winner is not None
        for key, values in facts.axes.items():
            self.axes[key] = list(dict.fromkeys([*self.axes.get(key, []), *values]))
        answer = settings_of(stand.winner, self.keys)
        swept = set(facts.axes)
        under = {key: value for key, value in answer.items() if key not in swept} | {"budget": budget}
        asked = Asked(name, asking, number, why, facts.study, under, answer, bool(facts.guessing), before or {})
        self.history.append(asked)
        if asking > 1:
            self.incumbent = Incumbent(answer, facts.study, stand.winner.number, stand.conclusion.mean)
        self._save(report=of.ran)
        return asked

    def _sweep(self, name: str, asking: int, overrides: list[str], skipped: str = "", why: str = "", note: str = "") -> Swept:
        """Runs a sweep and prints its table."""
        self.console.rule(study_stage(name, asking))
        file = self.files.get(name) or read_stage(name, [])
        self.console.print(file.stage.question, style="italic")
        if why:
            self.console.print(f"asked again: {why}")
        if note:
            self.console.print(f"skipped: {note}" if skipped else note, style="bold")
        self.console.print(command("train", overrides, multirun=True), style="dim", soft_wrap=True)
        before = time.time()
        with self.progress.asking(name, study_stage(name, asking)):
            study_name = run_sweep([*self.of_hydra, *self.workers.overrides, *overrides])
        self.progress.agenda.close(study_name)
        study = open_study(self.url, study_name)
        store_study(study, skipped=skipped, note="" if skipped else note)
        facts = stage_facts(study_stage(name, asking), study, standing(study))
        ended = [trial.ended.timestamp() for trial in trials_of(study) if trial.ended]
        ran = max(ended, default=0.0) >= before
        self.ran |= ran
        print_stage(facts, self.console)
        return Swept(facts, ran)

    def _choices_left(self, name: str) -> tuple[str, list[str], str]:
        """A key of a stage whose values do not all differ, those that do, and the reason; empty if all differ: the paddings may
        not on this data, and batch sizes do not if a schedule sets the batches."""
        schedule = self.cfg.train.batch_schedule
        if self._swept(name) == {"padding"}:
            choices, why = padding_question(self.dataset, self._largest_batch)
            return ("padding", choices, why) if why else ("", [], "")
        if BATCH in self._swept(name) and schedule:
            why = f"train.batch_schedule={as_text(list(schedule))} sets the size of every batch"
            return BATCH, [str(self.cfg.data.batch_size)], why
        return "", [], ""

    @property
    def _largest_batch(self) -> int:
        """The largest batch of the plan's stages."""
        if schedule := self.cfg.train.batch_schedule:
            return max(schedule)
        return max([self.cfg.data.batch_size, *(size for space in self.spaces.values() for size in space.axes.get(BATCH, []))])

    def _allows(self, name: str, key: str, value: Any) -> bool:
        """Whether a stage that is asked again can try a value of a key."""
        assert self.incumbent is not None
        if key == BATCH:
            try:
                check_padding(self.dataset, self.incumbent.settings.get("padding", str(self.cfg.padding.mode)), value)
            except SettingError:
                return False
        return self.files[name].allows(key, value)

    # -- finalists and headline

    def run_finalists(self) -> Candidates:
        """Trains the incumbent, its variants and the untuned defaults like the winner, for a share of its length; then the
        changes that helped, together and taken further.

        Returns:
            The best of them, and the untuned defaults.
        """
        assert self.incumbent is not None
        options = self.options
        stands = [(asked, standing(open_study(self.url, asked.study))) for asked in self.latest.values()]
        train = winner_training(self.cfg)
        batches = options.batch_schedule if train.budget == "epochs" and not train.batch_schedule else None  # it divides epochs
        candidates = finalist_candidates(
            self.incumbent, stands, self.files, self.axes, unswept(self.overrides), options.finalists, batches, self.recipe,
            self._can_train, bool(train.batch_schedule),
        )  # fmt: skip
        if options.finalists < 2:
            return candidates
        if train.batch_schedule and BATCH in self.keys:
            sizes = as_text(list(train.batch_schedule))
            self.console.print(f"skipped: {LARGER_BATCH}: train.batch_schedule={sizes} sets the size of every batch")
        own = shortened(self.cfg, self.dataset, options.finalist_share)
        own.append(f"stage.replicates={options.finalist_seeds}")
        won = self._compare(FINALISTS, own, candidates)
        name = str(won.winner[CANDIDATE])
        behind = _behind(standing(open_study(self.url, won.study)))
        ranked = list(behind)
        if INCUMBENT in ranked[1:]:
            self._note(won, f"The incumbent won in short trials, but {name} is ahead of it when both train longer")
        allows = self.files[self.plan[0]].allows
        together = combined_candidates(candidates, ranked, self.axes, options.combined, allows, self._can_train)
        if len(together.settings) > 1:
            won = self._compare(COMBINED, own, together)
            best = str(won.winner[CANDIDATE])
            if best != name:
                self._note(won, f"The best finalist, {name}, is behind {best}")
            name = best
        found = Candidates(candidates.settings | together.settings, candidates.given)
        margin = behind.get(LARGER_BATCH, math.inf) - behind.get(INCUMBENT, 0.0)
        if options.batch_margin is not None and margin <= options.batch_margin:
            return self._run_contenders(found, name)
        return found.best(name)

    def _run_contenders(self, finalists: Candidates, best: str) -> Candidates:
        """Trains the best configuration as long as the winner, as it is and with a larger batch. The headline uses these
        trainings.

        Returns:
            The better of both on validation reads, and the untuned defaults.
        """
        pair = contender_candidates(finalists, best)
        if len(pair.settings) == 1 or not all(self._can_train(name, of) for name, of in pair.settings.items()):
            return finalists.best(best)
        won = self._compare(CONTENDERS, self._new_seeds(1), pair)
        name = next(name for name in _behind(standing(open_study(self.url, won.study))) if name != DEFAULTS)
        if name != best:
            self._note(won, f"With fewer and larger batches, {best} is better when it trains as long as the winner")
        return pair.best(name)

    def _note(self, stage: StageFacts, note: str) -> None:
        """Prints a note on a stage, and stores it for the report."""
        self.console.print(f"{note}.")
        store_study(open_study(self.url, stage.study), note=note)

    def run_headline(self, candidates: Candidates) -> WinnerFacts:
        """Trains the winner and the untuned defaults with the same budget and new seeds, and tests both on the test split."""
        facts = self._compare(HEADLINE, self._new_seeds(self.options.headline_seeds), candidates)
        with self.progress.testing():
            winner = write_winner(self.cfg, self.url, facts.study, candidates, self._of_winner, self.console)
        store_study(open_study(self.url, facts.study), note=winner.gain.text.removesuffix("."))
        return winner

    def _new_seeds(self, count: int) -> list[str]:
        """Overrides for seeds that no stage of the plan has used."""
        return [f"seed={int(self.cfg.seed) + 1000}", f"stage.replicates={count}"]

    @cached_property
    def recipe(self) -> dict[str, Any]:
        """The settings of the winner's training by key (`search.winner`). An optimizer setting that the user gave for all
        trainings stays, unless they gave one for the winner too."""

        def of_winner(key: str) -> bool:
            return any(f"search.winner.{key}.".startswith(f"{line.split('=')[0].lstrip('+')}.") for line in self.typed)

        return {
            key: typed_scalar(TASK.field_of(key, self.cfg), value, f"search.winner.{key}")
            for key, value in flat(self.cfg.search.winner).items()
            if not (key.startswith("optimizer.") and key in self.given) or of_winner(key)
        }

    @property
    def _of_winner(self) -> list[str]:
        """The overrides of the winner's training."""
        return [f"{key}={as_text(value)}" for key, value in self.recipe.items()]

    def _composed(self, settings: Iterable[str]) -> DictConfig:
        """The config of the winner's training with some settings."""
        lines = parse_overrides([*unswept(self.overrides), *settings, *self._of_winner])
        return composed([str(of.input_line) for of in lines.values()])

    @cached_property
    def winner_config(self) -> DictConfig:
        """The config of the winner's training with the untuned settings."""
        return self._composed([])

    def _can_train(self, name: str, settings: dict[str, Any]) -> bool:
        """Whether a candidate can train; prints why not."""
        try:
            config = self._composed(Candidates({name: settings}, ()).lines(name))
            TASK.check(config)
            TASK.prepare(config)
        except BasecallerError as error:
            self.console.print(f"skipped: {name}: {error}")
            return False
        return True

    def _compare(self, stage: str, own: list[str], candidates: Candidates) -> StageFacts:
        """Trains candidates like the winner, but for some overrides. None is pruned: larger networks and large first batches
        are slow at first."""
        unpruned = ["search.pruner=null"] if self.options.pruner else []
        shared = [f"stage={stage}", *unswept(self.overrides), *candidates.sweep(), *self._of_winner, *unpruned]
        lines = parse_overrides([*shared, *own])
        swept = self._sweep(stage, 1, [str(o.input_line) for o in lines.values()])
        self.compared[stage] = swept.facts.study
        self._save(report=swept.ran)
        return swept.facts

    # -- data and report

    @cached_property
    def dataset(self) -> Dataset:
        """The data set that the search trains on."""
        data = settings(self.cfg).data
        return prepare(data.name, data.source, Path(data.folder))

    @cached_property
    def findings(self) -> list[str]:
        """See `runs.findings.data_findings`."""
        return data_findings(settings(self.cfg))

    def _save(self, report: bool, state: str = RUNNING) -> None:
        """Writes questions and answers to `search.json`, and optionally the report."""
        seconds = self.seconds_before + time.monotonic() - self.started
        content = {
            "command": command("search", self.typed),
            "plan": self.plan,
            "history": [dataclasses.asdict(asked) | {"name": asked.name} for asked in self.history],
            "compared": self.compared,
            "data": self.findings,
            "seconds": round(seconds, 1),
            "state": state,
        }
        write_json(self.folder / "search.json", content)
        if report:
            write_report(self.url, self.experiment, self.folder, self.plan)
