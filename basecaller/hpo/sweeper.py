"""The sweeper as a Hydra plugin, `hydra/sweeper=stages`: its options and its start. The sweep itself is in `sweep.py`.
`docs/design.md` compares it with the stock OptunaSweeper.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass, field
from typing import Any

from hydra.core.config_store import ConfigStore
from hydra.core.plugins import Plugins
from hydra.plugins.launcher import Launcher
from hydra.plugins.sweeper import Sweeper
from hydra.types import HydraContext, TaskFunction
from hydra.utils import get_object
from omegaconf import MISSING, DictConfig

from basecaller.common.checking import typed
from basecaller.common.errors import SettingError
from basecaller.hpo.job_configs import OnceComposed
from basecaller.hpo.resolver import register_best
from basecaller.hpo.task import Task


@dataclass
class SweeperConfig:
    """The config section `hydra.sweeper`.

    Attributes:
        params: the stage's grid and injected settings, by override key: text in Hydra's grammar, or a YAML list of values.
        sampler: Optuna's sampler. With one, chosen by `hydra/sweeper/sampler=...`, all swept keys are sampled. null: a grid is
            walked, and a space with intervals is sampled by TPE.
        n_trials: total number of trials of a sampled space.
        task: dotted name of the `task.Task` that describes the jobs.
    """

    _target_: str = "basecaller.hpo.sweeper.StageSweeper"
    defaults: list[Any] = field(default_factory=lambda: ["_self_", {"sampler": None}])
    params: dict[str, Any] = field(default_factory=dict)
    sampler: Any = None
    n_trials: int = field(default=20, metadata={"least": 1})
    task: str = MISSING


STOCK_KEYS = {
    "direction": "the objective is always minimised",
    "n_jobs": "use hydra/launcher=joblib hydra.launcher.n_jobs=N",
    "max_batch_size": "use hydra/launcher=joblib hydra.launcher.n_jobs=N",
    "study_name": "studies are named by experiment, stage and settings",
    "storage": "hydra.sweeper.task says where studies are stored",
    "max_failure_rate": "a trial that fails never ends a sweep",
    "custom_search_space": "sweep keys on the command line, or in a stage's hydra.sweeper.params",
    "search_space": "sweep keys on the command line, or in a stage's hydra.sweeper.params",
}
"""Keys of Hydra's own sweepers that this one lacks, and what to do instead."""


ConfigStore.instance().store(group="hydra/sweeper", name="stages", node=SweeperConfig, provider="basecaller")


class StageSweeper(Sweeper):
    """Runs a sweep's missing trials through Hydra's launcher."""

    # set by `setup`, which Hydra calls first
    hydra_context: HydraContext
    config: DictConfig
    launcher: Launcher

    def __init__(self, params: DictConfig, sampler: Any, n_trials: int, task: str, **unknown: Any) -> None:
        for key in unknown:
            raise SettingError(
                f"hydra.sweeper.{key}: {STOCK_KEYS.get(key, 'unknown key; known keys are params, sampler, n_trials, task')}"
            )
        self.sampler = sampler
        self.n_trials = typed(SweeperConfig, "n_trials", n_trials, "hydra.sweeper.n_trials")
        self.task: Task = get_object(task)
        register_best(self.task)

    def setup(self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig) -> None:
        loader: Any = OnceComposed(hydra_context.config_loader)
        self.config, self.hydra_context = config, dataclasses.replace(hydra_context, config_loader=loader)
        self.launcher = Plugins.instance().instantiate_launcher(
            config=config, hydra_context=self.hydra_context, task_function=task_function
        )

    def sweep(self, arguments: list[str]) -> str:
        """Runs the missing trials.

        Returns:
            The study's name.
        Raises:
            BasecallerError: the sweep is invalid; nothing was stored.
        """
        from basecaller.hpo.sweep import Sweep  # here: Optuna starts slowly, and Hydra imports its plugins for every command

        loader = self.hydra_context.config_loader
        return Sweep(self.task, self.config, loader, self.launcher, self.sampler, self.n_trials).run(arguments)
