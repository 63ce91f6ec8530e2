"""Pruning: the choice of Optuna's pruner, and the trials that it may stop."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import optuna

from basecaller.common.errors import SettingError
from basecaller.hpo.designs import screens
from basecaller.hpo.records import StudyRecord


def pruner_of(name: str | None, arguments: Mapping[str, Any] | None, key: str) -> optuna.pruners.BasePruner | None:
    """Optuna's pruner by name; None prunes nothing.

    Args:
        name: name of the pruner's class.
        arguments: arguments of the class.
        key: the config key of the name, for messages; the key of the arguments is `<key>_args`.
    Raises:
        SettingError: Optuna has no such pruner, or it takes no such arguments.
    """
    if name is None:
        return None
    kind = getattr(optuna.pruners, name, None)
    if not (isinstance(kind, type) and issubclass(kind, optuna.pruners.BasePruner)):
        known = ", ".join(name for name in dir(optuna.pruners) if name.endswith("Pruner") and name != "BasePruner")
        raise SettingError(f"{key}={name}: no such pruner; Optuna has {known}")
    try:
        return kind(**(arguments or {}))
    except (TypeError, ValueError) as error:
        raise SettingError(f"{key}={name} {key}_args={arguments}: {error}") from None


def is_screening(study: optuna.Study, seed: int) -> bool:
    """Whether trials at a seed may be pruned: at the first seed of a grid that drops points at the second anyway, or that has
    no second.

    Replicates are never pruned: a mean over only the seeds that went well would be biased.
    """
    asked = StudyRecord.of(study)
    choices = [asked.settings[point].get(asked.choice or "", point) for point in asked.points or []]
    return len(asked.seeds) == 1 or bool(seed == asked.seeds[0] and choices and asked.design and screens(asked.design, choices))
