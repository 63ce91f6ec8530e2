"""The incumbent, the best settings known so far, and how a question is asked again around it.

The words are those of the Deep Learning Tuning Playbook (Godbole et al., 2023): a question is about its *scientific*
hyperparameter (`stage.choice`); *nuisance* hyperparameters, above all the learning rate, are tuned along with it, so that each
choice is judged at its own best point; all others are *fixed* at the incumbent's values.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

from basecaller.hpo.edges import is_ordered, outward
from basecaller.hpo.grid import as_text
from basecaller.hpo.records import TrialRecord
from basecaller.hpo.winners import setting_of
from basecaller.search_plan.stages import StageFile

RATE = "optimizer.lr"
FACTOR = "stage.rate_factor"
BATCH = "data.batch_size"

RATE_FACTORS = (2.0, 1.0, 0.5)
"""Factors of the incumbent's learning rate to tune along with another choice."""

RATE_CHOICES = (4.0, 2.0, 1.0, 0.5, 0.25)
"""Factors of the incumbent's learning rate to try if the question is the rate itself."""


@dataclass(frozen=True)
class Incumbent:
    """The best settings known so far.

    Attributes:
        settings: settings by override key, such as `padding`, `model.batch_norm`, `optimizer`, `optimizer.lr`.
        study, trial: where they were found.
        mean: mean validation loss of that study's winner, nats per base.
    """

    settings: dict[str, Any]
    study: str
    trial: int
    mean: float


def decided_keys(files: Iterable[StageFile]) -> list[str]:
    """The settings that the stages of a plan sweep, fix or take from each other, in their order, without the settings of the
    `stage` section itself and those that only make trainings longer or shorter: of `train`, the choices of stages count."""
    keys = [key for file in files for key in file.params if key == file.choice or not key.startswith(("stage.", "train."))]
    return sorted(dict.fromkeys(keys), key=lambda key: ("." in key, keys.index(key)))  # config groups before their keys


def settings_of(trial: TrialRecord, keys: Iterable[str]) -> dict[str, Any]:
    """The settings that a trial ran with, by override key."""
    return {key: setting_of(trial, key) for key in keys}


def differences(before: Mapping[str, Any], after: Mapping[str, Any]) -> dict[str, tuple[Any, Any]]:
    """The settings that differ between two sets: key -> values before and after."""
    return {key: (before.get(key), value) for key, value in after.items() if before.get(key) != value}


def neighbours(values: Iterable[Any], incumbent: Any, allows: Callable[[Any], bool] = lambda value: True) -> list[Any]:
    """A narrowed axis: the incumbent and the next value on either side; at an end, a value beyond it by the axis's ratio, if
    that is allowed.

    All values without an order stay.
    """
    known = list(dict.fromkeys([*values, incumbent]))
    if not is_ordered(known):
        return known
    known.sort()
    for end in ("lowest", "highest"):
        if incumbent == (known[0] if end == "lowest" else known[-1]):
            beyond = outward(known, end, allows)
            known = known if beyond is None else sorted([*known, beyond])
    place = known.index(incumbent)
    return known[max(0, place - 1) : place + 2]


def scaled(rate: float, factor: float) -> float:
    """A learning rate times a factor, to six digits."""
    return float(f"{float(rate) * factor:.6g}")


def asking_again(
    file: StageFile,
    incumbent: Incumbent,
    axes: Mapping[str, list[Any]],
    given: Iterable[str],
    allows: Callable[[str, Any], bool] | None = None,
) -> list[str]:
    """The overrides that ask a question again: its choice on a narrowed grid, its nuisance hyperparameters around the
    incumbent, everything else at the incumbent.

    Args:
        file: the stage's file.
        incumbent: the best settings so far.
        axes: the values tried so far, by key.
        given: keys that the user set, which stay unchanged.
        allows: whether a key can have a value; None: see `StageFile.allows`.
    """
    fixed, swept = dict(incumbent.settings), dict[str, list[Any]]()
    rate = fixed.pop(RATE, None)
    for key in (file.choice, *file.stage.nuisance):
        if key in fixed:
            swept[key] = neighbours(axes.get(key, []), fixed.pop(key), partial(allows or file.allows, key))
    if file.choice == RATE and rate is not None:
        swept[RATE] = [scaled(rate, factor) for factor in RATE_CHOICES]
    elif FACTOR in file.stage.nuisance and RATE not in given:
        swept[FACTOR] = list(RATE_FACTORS)
    lines = {key: value for key, value in file.params.items() if key.startswith("train.")}
    lines |= {key: as_text(value) for key, value in fixed.items()}
    lines |= {key: ",".join(map(as_text, values)) for key, values in swept.items()}
    if rate is not None and RATE not in swept:
        batch = incumbent.settings.get(BATCH)
        by_batch = f",${{{BATCH}}},{batch}" if BATCH in swept else ""
        factor = f"${{{FACTOR}}}" if FACTOR in swept else "1.0"
        lines[RATE] = f"'${{rate:{rate},{factor}{by_batch}}}'" if by_batch or FACTOR in swept else as_text(rate)
    if file.choice in swept:
        lines["stage.incumbent"] = as_text(incumbent.settings[file.choice])
    return [f"{key}={value}" for key, value in lines.items() if key not in given]
