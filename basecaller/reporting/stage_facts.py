"""The facts of a stage, read from its study."""

from __future__ import annotations

import math
import statistics
from collections.abc import Iterable
from typing import Any

import optuna

from basecaller.config.composition import command
from basecaller.config.schema import NO_STAGE, OBJECTIVE
from basecaller.data.dataset import ALPHABET
from basecaller.hpo.edges import is_ordered
from basecaller.hpo.records import StudyRecord, TrialRecord, trials_of
from basecaller.hpo.standing import Standing
from basecaller.hpo.task import CANDIDATE
from basecaller.hpo.verdicts import at_edges, label, short, shown, verdict
from basecaller.hpo.winners import setting_of
from basecaller.reporting.contests import contest_of
from basecaller.reporting.convergence import convergence, per_cost, reached, same_loss
from basecaller.reporting.decisions import changes
from basecaller.reporting.guessing import guessing
from basecaller.reporting.search_state import Asked
from basecaller.reporting.stage_contents import AskedAgain, ChoiceFacts, PointFacts, StageFacts, TrialFacts, VerdictFacts
from basecaller.runs.summary import summary_of


def stage_facts(name: str, study: optuna.Study, stand: Standing, asked: Asked | None = None) -> StageFacts:
    """One stage: its question, points, winner and verdict.

    Args:
        name: name of the stage, with the number of its asking.
        study: the stage's study.
        stand: state of the study.
        asked: the search's record of the question; None if it belongs to no search.
    """
    found, winner = stand.conclusion, stand.winner
    record = StudyRecord.of(study)
    edges = record.edges if winner else {}
    level = same_loss(stand)
    points = [point_facts(stand, point, level) for point in stand.points]
    chosen: dict[str, Any] = {}
    if winner:
        chosen = dict(winner.params) | {"optimizer.lr": setting_of(winner, "optimizer.lr")}
    state = "running" if stand.open else "failed" if winner is None else "complete"
    trials = trials_of(study)
    confounded = confounding(stand, points)
    return StageFacts(
        name=name,
        study=study.study_name,
        question=record.question,
        command=command_of(name, record),
        state=state,
        skipped=record.skipped,
        note=record.note,
        open=len(stand.open),
        winner=chosen,
        value=finite(stand.loss_of(found.winner)) if found.winner is not None else None,
        trial=winner.number if winner else None,
        winner_label=label(stand, found.winner) if found.winner is not None else "",
        choice=stand.choice,
        measure=stand.measure or OBJECTIVE.name,
        seeds=stand.seeds,
        verdict=_verdict_facts(stand),
        edges=edges,
        edge_text=at_edges(edges, winner.params) if winner else "",
        guessing=_guessing(stand),
        convergence=convergence(stand),
        same_loss=finite(level),
        confounding=" ".join(filter(None, (confounded, unequal_chunks(trials), mixed_paths(trials)))),
        per_cost=per_cost(stand) if confounded else "",
        points=points,
        choices=choice_facts(stand),
        axes=record.axes,
        fixed=record.fixed,
        injected=record.injected,
        trials=[trial_facts(trial) for trial in trials],
        again=again_facts(asked),
    )


def command_of(name: str, study: StudyRecord) -> str:
    """The command line that runs a stage again."""
    own = ("threads=", "hydra/launcher", "hydra.launcher")
    asked = [line for line in study.arguments if not line.startswith(own)]
    if name != NO_STAGE and not any(line.startswith("stage=") for line in asked):
        asked = [f"stage={name}", *asked]
    return command("train", asked, multirun=True)


def _verdict_facts(stand: Standing) -> VerdictFacts:
    found = stand.conclusion
    return VerdictFacts(
        kind="running" if found.kind == "failed" and stand.open else found.kind,
        text=("So far: " if stand.open else "") + verdict(stand, OBJECTIVE),
        rival=label(stand, found.rival) if found.rival is not None else None,
        margin=finite(found.margin),
        error=finite(found.error),
        seeds=found.seeds,
        shared_seeds=found.shared,
        noise=finite(found.noise),
        freedom=found.freedom,
        needed=finite(found.needed),
        limit=finite(found.limit),
        undecided=[label(stand, point) for point in found.undecided],
    )


def choice_facts(stand: Standing) -> list[ChoiceFacts]:
    """The choices of a stage compared with its winner, see `StageFacts.choices`; empty if nothing has won."""
    contest, found = contest_of(stand, stand.measure), stand.conclusion
    if found.winner is None:
        return []
    choices = list(dict.fromkeys(contest.choices.values()))
    facts = []
    for choice in sorted(choices) if is_ordered(choices) else choices:
        wins = choice == stand.choices[found.winner]
        point = found.winner if wins else contest.best([choice])
        assert point is not None  # the contest has only points with a value
        gap = contest.gap(point, found.winner)
        if gap.seeds:
            facts.append(
                ChoiceFacts(
                    label=shown(choice) if stand.choice else label(stand, point),
                    wins=wins,
                    nearest=point == found.rival,
                    difference=gap.mean,
                    low=None if wins else finite(gap.low),
                    high=None if wins else finite(gap.high),
                    seeds=gap.seeds,
                )
            )
    return facts


def _guessing(stand: Standing) -> str:
    """The sentence about a winner that has learned nothing; empty otherwise."""
    if stand.winner is None or stand.conclusion.winner is None:
        return ""
    data = stand.winner.config.get("data", {})
    letters = max(len(source.get("alphabet", ALPHABET)) for source in (data, *data.get("sources", {}).values()))
    trainings = [summary_of(trial) for trial in stand.trials_of(stand.conclusion.winner)]
    identity, floor = (
        statistics.fmean(math.nan if value is None else value for value in values)
        for values in ([t.identity_mean for t in trainings], [t.identity_floor for t in trainings])
    )
    return guessing(stand.loss_of(stand.conclusion.winner), letters, identity, floor)


def confounding(stand: Standing, points: list[PointFacts]) -> str:
    """Describes how the number of updates differs between the choices of a stage; empty if it does not."""
    updates = sorted({round(point.updates) for point in points if point.updates})
    if len(updates) < 2 or updates[-1] < 1.1 * updates[0]:
        return ""
    what = "the candidates" if stand.choice == CANDIDATE else short(stand.choice or "the points")
    return (
        f"Budget: the points had from {updates[0]:,} to {updates[-1]:,} updates over about the same number of samples. So this "
        f"compares {what} at equal data, not at equal updates: a choice with few updates may look worse than it is. "
        f"train.budget=updates compares at equal updates."
    )


def unequal_chunks(trials: list[TrialRecord]) -> str:
    """The sentence about trials of one seed that were not validated on the same chunks; empty if they were."""
    of_seeds: dict[int | None, set[int]] = {}
    for trial in trials:
        if number := summary_of(trial).validation_chunks:
            of_seeds.setdefault(trial.seed, set()).add(number)
    unequal = [numbers for numbers in of_seeds.values() if len(numbers) > 1]
    if not unequal:
        return ""
    return (
        f"Validation: a chunk with more labels than a stride has frames is left out, so trials of one seed were validated on "
        f"{min(map(min, unequal)):,} to {max(map(max, unequal)):,} chunks. The densest chunks count at small strides only."
    )


def mixed_paths(trials: list[TrialRecord]) -> str:
    """The sentence about compared trials that were not computed in the same way; empty if they were."""
    paths = sorted({path for trial in trials if (path := summary_of(trial).path)})
    if len(paths) < 2:
        return ""
    return (
        f"Rounding: the trials were computed in {len(paths)} ways ({', '.join(paths)}) on different machines. Each rounds "
        "differently, so seeds pair less well; with train.native=off train.precision=float32 all are computed alike."
    )


def again_facts(asked: Asked | None) -> AskedAgain | None:
    """Why a question was asked again, and which answers changed; None if it was asked once."""
    if asked is None or asked.asking == 1:
        return None
    changed = {
        key: [shown(asked.before.get(key)), shown(value)]
        for key, value in asked.answer.items()
        if asked.before.get(key) != value
    }
    return AskedAgain(asked.round, asked.why, changed)


def point_facts(stand: Standing, point: str, level: float) -> PointFacts:
    """One point of a stage: means over its seeds.

    Args:
        stand: state of the stage's study.
        point: key of the point.
        level: a loss in nats per base; `seconds_to_level` is the time until the point first reaches it.
    """
    trials = stand.trials_of(point)
    trainings = [summary_of(trial) for trial in trials]
    found = stand.conclusion
    values = {trial.seed: trial.measured() for trial in trials if trial.seed is not None}
    settings = dict(stand.settings.get(point, {}))
    if trials and "optimizer.lr" not in settings:
        settings["optimizer.lr"] = setting_of(trials[0], "optimizer.lr")
    return PointFacts(
        point=point,
        label=label(stand, point),
        settings=settings,
        mean=_mean(values.values()),
        error=finite(found.noise / math.sqrt(len(values))) if values and stand.measure in (None, OBJECTIVE.name) else None,
        seeds=len(values),
        values=values,
        measured={trial.seed: trial.measured(stand.measure) for trial in trials if trial.seed is not None},
        identity_mean=_mean(t.identity_mean for t in trainings),
        loss_per_read=_mean(t.loss_per_read for t in trainings),
        updates=_mean(t.updates for t in trainings),
        samples=_mean(t.samples for t in trainings),
        seconds=_mean(t.seconds for t in trainings),
        area_under_curve=_mean(t.area_under_curve for t in trainings),
        seconds_to_level=finite(statistics.fmean(reached(t.curve, level, "seconds") for t in trials)) if trials else None,
        parameters=trainings[0].parameters if trainings else None,
        state=state_of(stand, point),
        reused=sum(bool(t.reused) for t in trials),
        curves=[t.curve for t in trials],
        changes=changes(stand, point),
    )


def state_of(stand: Standing, point: str) -> str:
    """The state of a point: how it failed, `winner`, `waiting`, `complete`, `out (n)` (dropped after n seeds), or `not needed`
    (below rates that no longer helped)."""
    ran = len(stand.trials_of(point))
    if point in stand.failed:
        return stand.failed[point]
    if point == stand.conclusion.winner:
        return "winner"
    if any(point == other for other, _ in stand.open):
        return "waiting"
    if not ran:
        return "waiting" if stand.open else "not needed"
    return "complete" if ran >= stand.conclusion.seeds else f"out ({ran})"


def trial_facts(trial: TrialRecord) -> TrialFacts:
    """The report's facts of a trial."""
    training = summary_of(trial)
    return TrialFacts(
        number=trial.number,
        point=trial.point or "",
        seed=trial.seed,
        state=trial.standing,
        value=trial.value if trial.is_complete else None,
        identity_mean=training.identity_mean,
        loss_per_read=training.loss_per_read,
        updates=training.updates,
        samples=training.samples,
        parameters=training.parameters,
        receptive_field=training.receptive_field,
        seconds=training.seconds,
        device=training.device,
        reused=trial.reused,
        folder=trial.folder,
        message=trial.message,
    )


def finite(value: float) -> float | None:
    """A number for JSON, which has no NaN."""
    return value if math.isfinite(value) else None


def _mean(values: Iterable[float | None]) -> float | None:
    """The mean of the known values; None if there are none."""
    known = [value for value in values if value is not None]
    return statistics.fmean(known) if known else None
