"""Pruning: which of Optuna's pruners, and which trials it may give up."""

from __future__ import annotations

from typing import TYPE_CHECKING

from basecaller.errors import SettingError
from basecaller.hpo.designs import screens
from basecaller.hpo.records import StudyRecord
from basecaller.hpo.storage import open_study

if TYPE_CHECKING:
    import optuna

    from basecaller.schema import General, SearchOptions


def pruner_of(search: SearchOptions) -> optuna.pruners.BasePruner | None:
    """Optuna's pruner of `search.pruner`; None prunes nothing.

    Raises:
        SettingError: Optuna has no such pruner, or it takes no such arguments.
    """
    import optuna

    if search.pruner is None:
        return None
    kind = getattr(optuna.pruners, search.pruner, None)
    if not (isinstance(kind, type) and issubclass(kind, optuna.pruners.BasePruner)):
        known = ", ".join(name for name in dir(optuna.pruners) if name.endswith("Pruner") and name != "BasePruner")
        raise SettingError(f"search.pruner={search.pruner}: no such pruner; Optuna has {known}")
    try:
        return kind(**(search.pruner_args or {}))
    except (TypeError, ValueError) as error:
        raise SettingError(f"search.pruner={search.pruner} search.pruner_args={search.pruner_args}: {error}") from None


def screening_pruner(chosen: General) -> optuna.pruners.BasePruner | None:
    """The pruner where it may prune: at the first seed of a grid of which some points are left out at the second anyway.

    Replicates are never pruned: a mean over the seeds that went well would be no mean.
    """
    if chosen.search.pruner is None or chosen.trial.study is None:
        return None
    study = StudyRecord.of(open_study(chosen.storage, chosen.trial.study))
    choices = [study.settings[point].get(study.choice or "", point) for point in study.points or []]
    screening = chosen.seed == study.seeds[0] and choices and study.design and screens(study.design, choices)
    return pruner_of(chosen.search) if len(study.seeds) == 1 or screening else None
