"""Checks of a plan before anything runs: a search should not fail in its last stage for a reason that is known at its start."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Mapping, Sequence

from omegaconf import DictConfig, OmegaConf

from basecaller.common.errors import SettingError, meant
from basecaller.config.composition import composed, group_options
from basecaller.config.schema import GROUPS, NO_STAGE
from basecaller.hpo.grid import parse_overrides
from basecaller.hpo.winners import uses
from basecaller.search_plan.stages import COMBINED, CONTENDERS, FINALISTS, HEADLINE, StageFile, read_stage

UNPLANNED = (NO_STAGE, FINALISTS, COMBINED, CONTENDERS, HEADLINE)
"""Files in `conf/stage/` that are not for a plan: the search runs these stages itself."""


def check_plan(plan: Sequence[str], overrides: list[str]) -> None:
    """Checks that there are such stages.

    Args:
        plan: names of the stages.
        overrides: the user's overrides.
    Raises:
        SettingError: a stage is unknown or not for a plan, or the plan is empty.
    """
    known = [name for name in group_options("stage", overrides) if name not in UNPLANNED]
    if unknown := [name for name in plan if name not in known]:
        raise SettingError(f"plan: there is no stage {', '.join(unknown)}; {meant(unknown[0], known, 'stages')}")
    if not plan:
        raise SettingError("plan: must name at least one stage, as in 'plan=[padding,batch_norm]'")


def check_network(files: Mapping[str, StageFile], cfg: DictConfig) -> None:
    """Checks that the stages set only keys that the network has.

    Args:
        files: the stages of the plan, in order.
        cfg: the search's config.
    Raises:
        SettingError: a stage is written for another network.
    """
    for name, file in files.items():
        for key in file.params:
            if key.startswith("model.") and OmegaConf.select(cfg, key) is None:
                raise SettingError(
                    f"plan: stage {name} sets {key}, but the network of model.name={cfg.model.name} has no such key; "
                    "give a plan of stages for it, as recipe=bonito_ctc does"
                )


def check_order(files: Mapping[str, StageFile], overrides: list[str], answered: Iterable[str]) -> None:
    """Checks that every stage comes after the stages that it takes settings from.

    Args:
        files: the stages of the plan, in order.
        overrides: the user's overrides; no stage decides their keys.
        answered: stages that ran before this search.
    Raises:
        SettingError: a stage is missing, or comes too late.
    """
    given, known = parse_overrides(overrides), set(answered)

    def needed(file: StageFile) -> dict[str, list[str]]:
        """The unanswered stages that a stage takes settings from, by key."""
        return {
            key: [stage for stages, _ in uses(value) for stage in stages if stage not in known]
            for key, value in file.params.items()
            if key not in given
        }

    def complete(name: str, plan: list[str], begun: tuple[str, ...] = ()) -> None:
        """Adds a stage to a plan, after all stages that it needs."""
        if name not in (*plan, *begun):
            file = files.get(name) or read_stage(name, overrides)
            for stage in itertools.chain(*needed(file).values()):
                complete(stage, plan, (*begun, name))
            plan.append(name)

    for name, file in files.items():
        wanted = {key: stages for key, stages in needed(file).items() if stages}
        if wanted:
            plan: list[str] = []
            for stage in files:
                complete(stage, plan)
            raise SettingError(
                f"plan: stage {name} needs the winners of {', '.join(dict.fromkeys(itertools.chain(*wanted.values())))}: give "
                f"'plan=[{','.join(plan)}]', or set {' '.join(f'{key}=...' for key in wanted)}"
            )
        known.add(name)


def check_winner(keys: Iterable[str], cfg: DictConfig, overrides: list[str]) -> None:
    """Checks the config groups of `search.winner`.

    Args:
        keys: keys that the plan decides.
        cfg: the search's config.
        overrides: the user's overrides that sweep nothing.
    Raises:
        SettingError: an option does not exist, or the winner's network lacks one of the keys.
    """
    groups = [f"{name}={option}" for name in GROUPS if isinstance(option := cfg.search.winner.get(name), str)]
    try:
        config = composed([*overrides, *groups])
    except SettingError as error:
        raise SettingError(f"search.winner: {error}") from error
    for key in keys:
        if key.startswith("model.") and OmegaConf.select(config, key) is None:
            raise SettingError(
                f"search.winner.model={config.model.name}: this network has no {key}, which the plan decides; "
                "search with model= of the same kind, or without the stage that sweeps the key"
            )
