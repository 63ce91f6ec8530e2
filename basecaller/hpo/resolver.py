"""The resolver `${best:stage,key}`, by which a stage's config takes a setting from an earlier stage."""

from __future__ import annotations

from typing import Any

from omegaconf import DictConfig, OmegaConf

from basecaller.hpo.task import Task


def register_best(task: Task) -> None:
    """Registers the resolver `${best:stage,key}` with OmegaConf, see `winners.best`. The sweeper resolves a stage's uses of it
    once; jobs get the values as ordinary overrides."""

    def resolver(stages: str, key: str, *, _root_: DictConfig) -> Any:
        from basecaller.hpo.winners import best  # here: Optuna starts slowly, and only winners need it

        return best(task, stages, key, _root_)

    OmegaConf.register_resolver("best", resolver, replace=True)
