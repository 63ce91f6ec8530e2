"""The interface between the sweeper and its jobs: an application implements `Task` and names it in `hydra.sweeper.task`.

The rest of this package needs only Hydra, Optuna and this file; `tests/hpo/test_toy_task.py` sweeps a task of a few lines.
Hydra runs the jobs. A job claims its trial (`trial.claim`), may report a learning curve (`JobTrial.report`), and ends it
(`JobTrial.end`).
"""

from __future__ import annotations

import logging
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from omegaconf import DictConfig

from basecaller.common.resolving import resolve

if TYPE_CHECKING:
    import optuna

log = logging.getLogger(__name__)

CANDIDATE = "stage.candidate"
"""The key of a stage that compares whole configurations, by their names."""


@dataclass(frozen=True, kw_only=True)
class Stage:
    """The question that a sweep asks. An application may make it a section of its config and add keys.

    Attributes:
        name: Name of the stage.
        question: The question, as the report shows it.
        choice: Key that the question is about, the scientific hyperparameter. null: every point is a separate choice.
        simple_first: Whether the values of the choice go from simple to complex; of equally good ones, the simplest then wins.
        measure: Measure by which points are compared: a number that jobs report besides the objective; lower is better. null:
            the objective.
        design: How runs are spent. `halving` drops half of the points from seed to seed. `rounds` tunes the nuisance
            hyperparameter of each choice, then runs the best point of every choice at more and more seeds.
        replicates: Number of seeds for the best points; with `stage.design=rounds`, up to twice as many plus two.
        extend: Number of times that the grid may grow outward when the winner is at its edge.
        asking: Number of this asking; the study of a repeated question is called NAME.2, NAME.3, ...
        incumbent: Answer so far, kept unless another choice is better by more than a standard error.
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
    """Where a sweep and its earlier stages are stored.

    Attributes:
        url: URL of the Optuna storage; messages call it `storage=`.
        experiment: the first part of the studies' names.
        folder: folder of the locks.
        command: the command that runs a stage, with `{stage}` in place of its name; messages show it.
        studies: the study that `${best:stage,key}` reads, by stage; by default a stage's last requested study.
        workers: number of parallel jobs, if the launcher's settings do not give it.
    """

    url: str
    experiment: str
    folder: Path
    command: str
    studies: Mapping[str, str] = field(default_factory=dict)
    workers: int | None = None


@dataclass(frozen=True)
class Objective:
    """The quantity that jobs minimise, in words.

    Attributes:
        name: its name.
        unit: unit of its values.
        others: other measures that a stage may compare points by (`Stage.measure`): the words for a difference, by name.
    """

    name: str = "objective"
    unit: str = ""
    others: Mapping[str, str] = field(default_factory=dict)

    def __str__(self) -> str:
        """The name with the unit."""
        return f"{self.name} ({self.unit})" if self.unit else self.name

    def shown(self, value: float) -> str:
        """A value with the unit."""
        return f"{value:.4f} {self.unit}".rstrip()

    def of(self, measure: str | None) -> str:
        """The words after a difference that name the measure; empty for the objective itself."""
        return "" if measure in (None, self.name) else self.others.get(str(measure), f" of {measure}")


class Task(ABC):
    """An application's description of its jobs.

    Attributes:
        seed: key of the seed. Its values are replicates of a point, never an axis of a grid.
        ignored: dotted keys that cannot change a result. Trials that differ only in these share a study.
        objective: the quantity that jobs minimise.
    """

    seed: str = "seed"
    ignored: tuple[str, ...] = ()
    objective: Objective = Objective()

    @abstractmethod
    def place(self, config: DictConfig) -> Place:
        """Where a composed config's sweep is stored."""

    @abstractmethod
    def stage(self, config: DictConfig) -> Stage:
        """The question that a sweep asks, by the composed config of its first point."""

    @abstractmethod
    def trial_overrides(self, study: str, number: int) -> list[str]:
        """The overrides that tell a job its trial."""

    def check(self, config: DictConfig) -> dict[str, Any]:
        """Checks a job's composed config as far as that is quick. Nothing is stored yet.

        Returns:
            The config as plain values of their keys' types: equivalent configs are equal.
        Raises:
            BasecallerError: the job could not run.
        """
        return resolve(config, without=("hydra",))

    def prepare(self, config: DictConfig) -> None:  # noqa: B027 - a task without it does nothing here
        """Makes what a job needs, such as its data set, and checks the config with it. Called for each point once all points
        and the storage have been checked; nothing is stored yet.

        Raises:
            BasecallerError: the job could not run.
        """

    def begins(self, config: DictConfig) -> None:  # noqa: B027 - a task without it does nothing here
        """Called once all points have been prepared, before anything is stored.

        Args:
            config: the config composed without the swept keys.
        """

    def apart(self, values: dict[str, Any]) -> list[Any]:
        """Plain values that keep studies apart though their keys are `ignored`."""
        return []

    def field_of(self, key: str, config: DictConfig) -> tuple[type, str] | None:
        """The dataclass and field that describe a dotted key, see `checking.py`; None if nothing does. They give types, bounds
        and choices."""
        return None

    def why_unswept(self, key: str) -> str:
        """Why a key cannot be swept; empty if it can."""
        return ""

    def concluded(self, study: str, verdict: str) -> None:
        """Tells the user the verdict of an ended sweep; by default in the log.

        Args:
            study: name of its study.
            verdict: its conclusion in words.
        """
        log.info("%s: %s", study, verdict)

    def ended(self, study: optuna.Study) -> None:  # noqa: B027 (nothing to do by default)
        """Called in the sweeper's process with the study of an ended sweep, with or without a winner."""
