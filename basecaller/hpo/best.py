"""Winners, and `${best:stage,key}`: how one stage takes a setting from those before it."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from omegaconf import DictConfig, OmegaConf

from basecaller.errors import StageError
from basecaller.hpo.storage import current_study, without_password

if TYPE_CHECKING:
    import optuna


@dataclass(frozen=True)
class Standing:
    """How a study's wanted points stand.

    Attributes:
        open: points that have no trial that ended.
        ranked: the complete trial of each point, best value first. A trial that failed is never ranked.
        failed: points that ended without a value, and how.
    """

    open: list[str]
    ranked: list[optuna.trial.FrozenTrial]
    failed: dict[str, str]

    @property
    def winner(self) -> optuna.trial.FrozenTrial | None:
        return self.ranked[0] if self.ranked else None


def standing(study: optuna.Study) -> Standing:
    """Where a study stands, over the points that were asked for last.

    A point counts as ended when one of its trials ended in any state; its value is that of a complete one.
    """
    from optuna.trial import TrialState

    trials = study.get_trials(deepcopy=False)
    wanted = study.user_attrs.get("points")
    if wanted is None:  # a sampled space: what was asked for is a number of trials
        wanted = [t.user_attrs["point"] for t in trials if "point" in t.user_attrs]
        missing = int(study.user_attrs.get("n_trials", 0)) - len(set(wanted))
        wanted = wanted + [f"trial {len(wanted) + i + 1}" for i in range(missing)]
    complete = {t.user_attrs.get("point"): t for t in reversed(trials) if t.state == TrialState.COMPLETE}
    ended = {t.user_attrs.get("point"): t for t in trials if t.state.is_finished()}
    failed = {
        point: str(ended[point].user_attrs.get("outcome", ended[point].state.name.lower()))
        for point in wanted
        if point in ended and point not in complete
    }
    ranked = sorted((complete[p] for p in dict.fromkeys(wanted) if p in complete), key=lambda t: float(t.value or 0))
    return Standing([p for p in wanted if p not in ended], ranked, failed)


def winner_of(url: str, experiment: str, stages: list[str]) -> tuple[optuna.Study, optuna.trial.FrozenTrial]:
    """The best trial of several stages' current studies.

    Raises:
        StageError: one of the stages was never run, is unfinished, or all its trials failed.
    """
    found = []
    for stage in stages:
        study = current_study(url, experiment, stage)
        command = f"python -m basecaller.train -m stage={stage} experiment={experiment}"
        where = f"stage {stage} of experiment {experiment}, storage {without_password(url)}"
        if study is None:
            raise StageError(f"{where}: was never run; run it with: {command}")
        stand = standing(study)
        if stand.open:
            raise StageError(f"{where}: {len(stand.open)} of its points are unfinished; finish them with: {command}")
        if stand.winner is None:
            reasons = "; ".join(f"{point}: {outcome}" for point, outcome in stand.failed.items())
            raise StageError(f"{where}: none of its trials gave a value ({reasons}); mend the cause and run: {command}")
        found.append((study, stand.winner))
    return min(found, key=lambda pair: float(pair[1].value or 0))


def setting_of(trial: optuna.trial.FrozenTrial, key: str) -> Any:
    """A setting that a trial ran with: the choice of a config group, or the value of a dotted key.

    Raises:
        StageError: the trial has no such setting.
    """
    choices = trial.user_attrs.get("choices", {})
    if key in choices:
        return choices[key]
    value = OmegaConf.select(OmegaConf.create(trial.user_attrs.get("config", {})), key)
    if value is None:
        raise StageError(f"best: trial {trial.number} has no setting {key}; it has {', '.join(choices)} and dotted keys")
    return value


def injections(raw: str, url: str, experiment: str) -> list[str]:
    """Where a setting that was written with `${best:...}` came from, for people: one line for each winner in it."""
    lines = []
    for stages, key in re.findall(r"\$\{best:([^,}]+),([^}]+)\}", raw):
        study, trial = winner_of(url, experiment, stages.split("|"))
        value = setting_of(trial, key.strip())
        lines.append(f"{key}={value} from trial {trial.number} of {study.study_name}, val_loss {trial.value:.4f}")
    return lines


def best(stages: str, key: str, *, _root_: DictConfig) -> Any:
    """The resolver `${best:stage,key}`: a setting of the winner of a stage, `a|b|c` the best of several stages.

    It runs in the sweeper, once; the value travels to the jobs as an ordinary override.

    Raises:
        StageError: see `winner_of` and `setting_of`.
    """
    _, trial = winner_of(str(_root_.storage), str(_root_.experiment), stages.split("|"))
    return setting_of(trial, key)
