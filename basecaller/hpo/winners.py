"""Winners of stages, and `${best:stage,key}`, by which a stage takes a setting from an earlier one."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

import optuna
from omegaconf import DictConfig

from basecaller.common.errors import StageError
from basecaller.common.nested import value_at
from basecaller.hpo.grid import as_text
from basecaller.hpo.records import StudyRecord, TrialRecord, read_trial
from basecaller.hpo.standing import standing
from basecaller.hpo.storage import current_study, open_study
from basecaller.hpo.task import Place, Task
from basecaller.hpo.urls import without_password


@dataclass(frozen=True)
class Winner:
    """The winner of a stage: its study, its trial at the first seed, its mean and the number of seeds."""

    study: optuna.Study
    trial: TrialRecord
    mean: float
    seeds: int


def winner_of(place: Place, stages: list[str]) -> Winner:
    """The winner of the stages' current studies; of several stages, the winner with the best mean.

    Args:
        place: where the stages are kept.
        stages: names of the stages.
    Raises:
        StageError: one of the stages was never run, is unfinished, or all its trials failed.
    """
    found = []
    for stage in stages:
        known = place.studies.get(stage)
        study = open_study(place.url, known) if known else current_study(place.url, place.experiment, stage)
        command = place.command.format(stage=stage)
        where = f"stage {stage} of experiment {place.experiment}, storage {without_password(place.url)}"
        if study is None:
            raise StageError(f"{where}: has not run yet; run it, with your other settings: {command}")
        record = StudyRecord.of(study)
        kept = record.concluded
        if kept and kept.asked == record.asked_for:
            found.append(Winner(study, read_trial(study, kept.trial), kept.mean, kept.seeds))
            continue
        stand = standing(study)
        if stand.open:
            raise StageError(f"{where}: {len(stand.open)} of its trials are unfinished; finish them with: {command}")
        if stand.winner is None:
            reasons = "; ".join(f"{point}: {outcome}" for point, outcome in stand.failed.items())
            raise StageError(f"{where}: none of its trials gave a value ({reasons}); fix the cause, then run: {command}")
        assert stand.conclusion.winner is not None
        found.append(Winner(study, stand.winner, stand.loss_of(stand.conclusion.winner), stand.conclusion.seeds))
    return min(found, key=lambda each: each.mean)


def setting_of(trial: TrialRecord, key: str) -> Any:
    """A setting that a trial ran with: the choice of a config group, or the value of a dotted key.

    Raises:
        StageError: the trial has no such setting.
    """
    if key in trial.choices:
        return trial.choices[key]
    value = value_at(trial.config, key)
    if value is None:
        raise StageError(f"best: trial {trial.number} has no setting {key}; it has {', '.join(trial.choices)} and dotted keys")
    return value


def uses(raw: str) -> list[tuple[list[str], str]]:
    """The stages and the key of every `${best:stage,key}` in a setting."""
    return [(stages.split("|"), key.strip()) for stages, key in re.findall(r"\$\{best:([^,}]+),([^}]+)\}", raw)]


def injections(raw: str, task: Task, config: DictConfig) -> list[str]:
    """Describes where the values in a setting with `${best:...}` come from: one line for each winner."""
    lines = []
    for stages, key in uses(raw):
        found = winner_of(task.place(config), stages)
        value = setting_of(found.trial, key)
        seeds = f", mean of {found.seeds} seeds" if found.seeds > 1 else ""
        source = f"trial {found.trial.number} of {found.study.study_name}"
        lines.append(f"{key}={as_text(value)} from {source}, {task.objective.name} {found.mean:.4f}{seeds}")
    return lines


def best(task: Task, stages: str, key: str, config: DictConfig) -> Any:
    """A setting of a stage's winner, or of the best winner of several stages (`a|b|c`), as a config holds it.

    Raises:
        StageError: see `winner_of` and `setting_of`.
    """
    return setting_of(winner_of(task.place(config), stages.split("|")).trial, key)
