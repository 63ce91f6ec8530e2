"""What the sweeper is told of its jobs: an application implements `Task` once, and names it in `hydra.sweeper.task`.

All else in this package needs Hydra, Optuna and this; `tests/hpo/test_toy_task.py` sweeps a task of a few lines. Hydra runs the
jobs. A job claims its trial (`trial.claim`), may report a learning curve (`JobTrial.report`), and ends it (`JobTrial.end`).
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf

from basecaller.resolving import resolve


@dataclass(frozen=True, kw_only=True)
class Stage:
    """The question that a sweep asks. An application may make it a section of its config, and add keys of its own.

    Attributes:
        name: Name of the stage.
        question: The question in words.
        choice: The key that the question is about, the scientific hyperparameter. null: every point is a choice of its own.
        simple_first: The values of the choice go from simple to complex; of equally good ones the simpler wins.
        measure: What points are compared by: a number that jobs report beside the objective, lower is better. null: the
            objective.
        design: How runs are spent. `halving` drops half of the points from seed to seed; `rounds` tunes the nuisance
            hyperparameter of each choice, then runs the best point of every choice at more and more seeds.
        replicates: Seeds for the best points; twice as many with `rounds`.
        extend: How often the grid may grow outward when the winner is at its edge.
        asking: How often the question has been asked. The study is called NAME.2, NAME.3, ... when it is asked again.
        incumbent: The choice so far, kept unless another is better by more than a standard error.
    """

    name: str
    question: str = ""
    choice: str | None = None
    simple_first: bool = False
    measure: str | None = None
    design: str = field(default="halving", metadata={"choices": ("halving", "rounds")})
    replicates: int = field(default=1, metadata={"least": 1})
    extend: int = field(default=0, metadata={"least": 0})
    asking: int = field(default=1, metadata={"least": 1})
    incumbent: Any = None


@dataclass(frozen=True, kw_only=True)
class Place:
    """Where a sweep and its earlier stages are kept.

    Attributes:
        url: of the Optuna storage; messages call it `storage=`.
        experiment: the first part of the names of its studies.
        folder: for locks.
        command: what runs a stage, with `{stage}` in place of its name; messages show it.
        studies: the study that `${best:stage,key}` reads, by stage; of a stage that is not in it, the one asked for last.
        workers: jobs at once, where the launcher's settings do not say.
    """

    url: str
    experiment: str
    folder: Path
    command: str
    studies: Mapping[str, str] = field(default_factory=dict)
    workers: int | None = None


@dataclass(frozen=True)
class Objective:
    """What jobs minimise, in words.

    Attributes:
        name: of it.
        unit: of its values.
        others: what a stage may compare points by instead (`Stage.measure`): how a difference in it is described, by name.
    """

    name: str = "objective"
    unit: str = ""
    others: Mapping[str, str] = field(default_factory=dict)

    def shown(self, value: float) -> str:
        """A value with its unit."""
        return f"{value:.4f} {self.unit}".rstrip()

    def of(self, measure: str | None) -> str:
        """The words after a difference that say what it is of; empty for the objective itself."""
        return "" if measure in (None, self.name) else self.others.get(str(measure), f" of {measure}")


class Task(ABC):
    """What an application tells of its jobs.

    Attributes:
        seed: key of the seed. Values of it are replicates of a point, never an axis of a grid.
        ignored: dotted keys that cannot change a result. Trials that differ only in these share a study.
        objective: what jobs minimise.
    """

    seed: str = "seed"
    ignored: tuple[str, ...] = ()
    objective: Objective = Objective()

    @abstractmethod
    def place(self, config: DictConfig) -> Place:
        """Where a sweep is kept, by a composed config."""

    @abstractmethod
    def stage(self, config: DictConfig) -> Stage:
        """The question that a sweep asks, by the composed config of its first point."""

    @abstractmethod
    def trial_overrides(self, study: str, number: int) -> list[str]:
        """The overrides that tell a job which trial it works for."""

    def check(self, config: DictConfig) -> dict[str, Any]:
        """Holds a job's composed config against all that can be known before it runs. Nothing is stored yet.

        Returns:
            The config as plain values of their keys' types: configs that mean the same are equal.
        Raises:
            BasecallerError: the job could not run.
        """
        return resolve(config, without=("hydra",))

    def begins(self, config: DictConfig) -> None:  # noqa: B027 - a task without it does nothing here
        """Called once all points have been checked, before anything is stored.

        Args:
            config: composed without what is swept.
        """

    def apart(self, values: dict[str, Any]) -> list[Any]:
        """Plain values that keep studies apart though their keys are `ignored`."""
        return []

    def field_of(self, key: str, config: DictConfig) -> tuple[type, str] | None:
        """The dataclass and field that describe a dotted key, see `checking.py`; None where nothing does. Types, bounds and
        choices come from there."""
        return None

    def why_unswept(self, key: str) -> str:
        """Why a key cannot be swept; empty where it can."""
        return ""


def register_best(task: Task) -> None:
    """Makes the resolver `${best:stage,key}` known to OmegaConf, see `best.best`. Those of a stage are resolved once, in the
    sweeper; the values travel to the jobs as ordinary overrides."""

    def resolver(stages: str, key: str, *, _root_: DictConfig) -> Any:
        from basecaller.hpo.best import best  # here: with Optuna, which what takes nothing from a winner starts without

        return best(task, stages, key, _root_)

    OmegaConf.register_resolver("best", resolver, replace=True)
