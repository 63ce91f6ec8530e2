"""The facts of an experiment, read from its storage and folder: the contents of its report."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import optuna

from basecaller.common.errors import DataError
from basecaller.common.facts import from_json
from basecaller.common.files import read_json
from basecaller.hpo.records import trials_of
from basecaller.hpo.standing import Standing, standing
from basecaller.hpo.storage import current_study, known_study, open_study, stages_of
from basecaller.reporting.contents import OptimizerFacts, Provenance, ReportFacts, ReusedTrial, WinnerFacts
from basecaller.reporting.contests import optimizers
from basecaller.reporting.decisions import decisions
from basecaller.reporting.published import against_published
from basecaller.reporting.search_state import FINISHED, RUNNING, STOPPED, SearchState
from basecaller.reporting.stage_contents import StageFacts
from basecaller.reporting.stage_facts import stage_facts
from basecaller.runs.summary import summary_of


def studies_of(url: str, experiment: str, plan: list[str], search: SearchState) -> dict[str, optuna.Study]:
    """The studies of an experiment by stage: in the order of the search's questions, then stages of the plan that it has not
    reached, then other stages.

    Args:
        url: URL of the storage.
        experiment: name of the experiment.
        plan: the stages that the search runs.
        search: the state of the search.
    """
    asked = search.studies
    names = dict.fromkeys([*asked, *plan, *stages_of(url, experiment)])
    found = {name: open_study(url, asked[name]) if name in asked else current_study(url, experiment, name) for name in names}
    return {name: study for name, study in found.items() if study is not None}


def experiment_facts(
    url: str, experiment: str, folder: Path, plan: list[str], search: SearchState, studies: dict[str, optuna.Study]
) -> ReportFacts:
    """The whole contents of the report.

    Args:
        url: URL of the storage.
        experiment: name of the experiment.
        folder: folder of the experiment's outputs.
        plan: the stages that the search runs.
        search: the state of the search.
        studies: see `studies_of`.
    """
    stands = {name: standing(study) for name, study in studies.items()}
    history, asked = {asking.name: asking for asking in search.history}, search.studies
    stages = [stage_facts(name, study, stands[name], history.get(name)) for name, study in studies.items()]
    winner, optimizer = winner_facts(folder), optimizer_facts(stands, stages)
    headline = headline_study(url, winner, studies) if winner else None
    # a winner of an earlier search was decided by stages that are not known any more
    of_search = {name: stands[name] for name in asked} if winner and winner.study in asked.values() else {}
    state = search.state or (FINISHED if winner else STOPPED)
    return ReportFacts(
        experiment=experiment,
        plan=plan,
        command=search.command or (f"python -m basecaller.search experiment={experiment}" if plan else ""),
        data=search.data,
        winner=winner,
        headline=stage_facts("headline", headline, standing(headline)) if headline else None,
        decisions=decisions(winner, of_search, optimizer, standing(headline) if headline else None) if winner else [],
        stages=stages,
        not_run=[name for name in plan if name not in studies],
        reused=reused_trials(stages),
        optimizers=optimizer,
        published=against_published(stands, stages),
        provenance=provenance(studies, stages),
        seconds=search.seconds,
        trial_seconds=round(sum(t.seconds or 0.0 for stage in stages for t in stage.trials if not t.reused), 1),
        state=state,
        progress=(read_json(folder / "progress.json") or {}).get("text", "") if state == RUNNING else "",
    )


def winner_facts(folder: Path) -> WinnerFacts | None:
    """The winner of an experiment; None before the headline.

    Args:
        folder: folder of the experiment's outputs.
    Raises:
        DataError: `winner/winner.json` was not written by a search.
    """
    file = folder / "winner" / "winner.json"
    found = read_json(file)
    try:
        return from_json(WinnerFacts, found) if found else None
    except ValueError as error:
        raise DataError(f"{file}: {error}; delete it, and the next search writes it again") from error


def headline_study(url: str, winner: WinnerFacts, studies: dict[str, optuna.Study]) -> optuna.Study | None:
    """The study that trained the winner and the untuned defaults alike; None if it is gone. It is not the latest headline if
    another has begun since.

    Args:
        url: URL of the storage.
        winner: the winner.
        studies: see `studies_of`.
    """
    found = (study for study in studies.values() if study.study_name == winner.study)
    return next(found, None) or known_study(url, winner.study)


def optimizer_facts(stands: dict[str, Standing], stages: list[StageFacts]) -> OptimizerFacts:
    """The verdict on the optimizer, over the stages that tune each optimizer's learning rate."""
    found = optimizers(stands)
    if isinstance(found, str):
        return OptimizerFacts(None, None, found[0].upper() + found[1:] + ".", [])
    compared = [stage for stage in stages if stage.name in found.stages]
    doubts = list(dict.fromkeys(stage.confounding for stage in compared if stage.confounding))
    if guesses := [stage.name for stage in compared if stage.guessing]:
        doubts.insert(0, f"But {', '.join(guesses)} compared networks that had hardly begun to learn.")
    conclusion, text = found.contest.found, " ".join([found.text, *doubts])
    return OptimizerFacts(conclusion.kind, conclusion.winner, text, list(found.stages))


def reused_trials(stages: list[StageFacts]) -> list[ReusedTrial]:
    """Trials whose result already existed, and the time that training them would have taken."""
    return [
        ReusedTrial(stage.name, trial.point, trial.seed, trial.seconds or 0.0)
        for stage in stages
        for trial in stage.trials
        if trial.reused
    ]


def provenance(studies: dict[str, optuna.Study], stages: list[StageFacts]) -> Provenance:
    """Versions, commits, data, devices and paths of all trials, and the command of every stage."""
    trials = [trial for study in studies.values() for trial in trials_of(study)]

    def seen(values: Iterable[str | None]) -> list[str]:
        return [value for value in dict.fromkeys(values) if value]

    trainings = [summary_of(trial) for trial in trials]
    versions = (", ".join(f"{k} {v}" for k, v in each.versions.items()) for each in trainings if each.versions)
    return Provenance(
        versions=list(dict.fromkeys(versions)),
        commit=seen(each.commit for each in trainings),
        data=seen(each.data for each in trainings),
        device=seen(each.device for each in trainings),
        path=seen(each.path for each in trainings),
        commands=[stage.command for stage in stages],
    )
