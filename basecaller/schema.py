"""Every key of `conf/config.yaml`: its type and bounds, and what it means. A new key is one field here, and its default there.

The keys of a training are described where they are used: `geometry.Model`, `training.settings`, and the settings of
each source of data. `checking.py` says how a field describes its key.
"""

from __future__ import annotations

from dataclasses import dataclass, field, fields
from functools import cache
from typing import Any

from basecaller.checking import type_of, typed
from basecaller.data.batches import PADDINGS
from basecaller.data.sources import SOURCES
from basecaller.geometry import Model
from basecaller.training.settings import Optimizer, Train

NAME = {"matches": (r"\w[\w.-]*", "letters, digits, '_', '-' and '.', the first a letter or digit"), "longest": 100}
"""Rules of a name that becomes part of folders, studies and commands."""

DEVICE = {"matches": (r"auto|cpu|mps|cuda(:\d+)?", "auto, cpu, cuda or cuda:N")}


@dataclass(frozen=True)
class Stage:
    """What `conf/stage/*.yaml` sets: the question that a sweep asks.

    Attributes:
        name: of the stage.
        question: in words.
        choice: the key that it is about, the scientific hyperparameter; null: every point is a choice of its own.
        simple_first: the choice's values go from simple to complex, and of equals the simpler wins.
        measure: what points are compared by.
        design: how runs are spent, see `hpo.designs`.
        replicates: seeds that the best points run at; twice as many with rounds.
        rate_factor: times a rate that earlier stages decided; swept by stages that must tune it again.
        extend: times that the grid may grow outward from a winner at its edge.
        asking: 1; a search that asks again sets 2, 3, ..., and the study is kept as `NAME.2`, `NAME.3`, ...
        incumbent: the choice so far, which is kept unless another is better by more than a standard error; set by a search that
            asks again.
        nuisance: keys that are tuned along with the choice when the question is asked again.
        studies: the study that `${best:stage,key}` reads, by stage, set by a search; else the one that was asked for last.
        candidate: the finalist that a trial is; swept by the stages that compare whole configurations.
        candidates: the settings of each finalist, by name.
    """

    name: str = field(metadata=NAME)
    question: str
    choice: str | None
    simple_first: bool
    measure: str = field(metadata={"choices": ("val_loss", "area_under_curve")})
    design: str = field(metadata={"choices": ("halving", "rounds")})
    replicates: int = field(metadata={"least": 1})
    rate_factor: float = field(metadata={"above": 0})
    extend: int = field(metadata={"least": 0})
    asking: int = field(metadata={"least": 1})
    incumbent: Any
    nuisance: tuple[str, ...] = field(metadata={"distinct": True})
    studies: dict[str, str] | None
    candidate: str | None
    candidates: dict[str, Any] | None


@dataclass(frozen=True)
class SearchOptions:
    """The `search` section: how stages run, and what follows them.

    Attributes:
        workers: trainings at once; null: one for each GPU, or for each core.
        replicates: seeds of a stage's best points.
        pruner: of Optuna, by class name; null: none.
        pruner_args: its arguments; null: none.
        preview: only list what would run.
        rounds: the first asks the plan's questions; each later one asks again around the best settings so far.
        round_budget: a trial of a later round is so many times as long as one of the first.
        finalists: configurations that are compared when trained longer; 0: none.
        finalist_budget: so many times as long as a trial of the first round.
        finalist_seeds: seeds of the best finalists.
        batch_schedule: a `train.batch_schedule` that one finalist has; null: none.
        headline_seeds: new seeds at which the winner and the untuned defaults are trained alike.
        winner: settings that differ in those trainings.
    """

    workers: int | None = field(metadata={"least": 1})
    replicates: int = field(metadata={"least": 1})
    pruner: str | None
    pruner_args: dict[str, Any] | None
    preview: bool
    rounds: int = field(metadata={"least": 1})
    round_budget: int = field(metadata={"least": 1})
    finalists: int = field(metadata={"least": 0})
    finalist_budget: int = field(metadata={"least": 1})
    finalist_seeds: int = field(metadata={"least": 1})
    batch_schedule: tuple[int, ...] | None
    headline_seeds: int = field(metadata={"least": 1})
    winner: dict[str, Any]


@dataclass(frozen=True)
class TrialPlace:
    """The trial that a job works for; the sweeper sets it. Both are null in a training of its own."""

    study: str | None
    number: int | None = field(metadata={"least": 0})


@dataclass(frozen=True)
class Padding:
    """What `conf/padding/*.yaml` sets."""

    mode: str = field(metadata={"choices": PADDINGS})


@dataclass(frozen=True)
class Top:
    """The keys at the top of `conf/config.yaml`.

    Attributes:
        experiment: the name under which studies, runs and reports are kept.
        seed: of initial weights, the choice of chunks, and their order.
        device: `auto`, `cpu`, `cuda` or `cuda:N`.
        threads: of a job; null: its share of the cores.
        storage: an Optuna URL.
        output_dir: folder of the experiment.
        plan: names of the stages that a search runs, in order.
    """

    experiment: str = field(metadata=NAME)
    seed: int = field(metadata={"least": 0})
    device: str = field(metadata=DEVICE)
    threads: int | None = field(metadata={"least": 1})
    storage: str
    output_dir: str
    plan: tuple[str, ...] = field(metadata={"distinct": True})


@dataclass(frozen=True)
class General(Top):
    """All that does not describe the training itself."""

    search: SearchOptions
    stage: Stage
    trial: TrialPlace


@dataclass(frozen=True)
class DataShared:
    """Keys that `conf/data/*.yaml` share: see `settings.Data`."""

    batch_size: int = field(metadata={"least": 1})
    folder: str
    pore_model: str | None


SECTIONS: dict[str, type] = {
    "": Top,
    "search": SearchOptions,
    "stage": Stage,
    "trial": TrialPlace,
    "model": Model,
    "optimizer": Optimizer,
    "padding": Padding,
    "train": Train,
    "data": DataShared,
}
"""The dataclass that describes the keys of each section; those of a source are described by `sources.SOURCES` too."""

GROUPS = ("model", "optimizer", "padding", "data")
"""Config groups that a training is made of."""

LASTING = ("experiment", "storage", "output_dir", "data.folder")
"""Keys by which a command finds what an earlier one left."""


@cache
def field_of(key: str, source: str) -> tuple[type, str] | None:
    """The dataclass and the field that describe a dotted key; None for a key that nothing describes.

    Args:
        key: such as `optimizer.lr`.
        source: `data.name`, which says what else the `data` section holds.
    """
    where, _, name = key.rpartition(".")
    kinds = [SECTIONS[where]] if where in SECTIONS else []
    if where == "data" and source in SOURCES:
        kinds.append(SOURCES[source].settings)
    return next(((kind, name) for kind in kinds if name in {f.name for f in fields(kind)}), None)


def typed_setting(key: str, value: Any, source: str) -> Any:
    """A number, text, truth value or null as its key's type, checked; anything else, and what no field describes, as it is.

    Raises:
        SettingError: the key cannot have that value.
    """
    found = field_of(key, source)
    if found is None or isinstance(value, list | dict) or type_of(*found)[0] not in (int, float, bool, str):
        return value
    return typed(*found, value, key)


def typed_config(values: dict[str, Any]) -> dict[str, Any]:
    """A resolved config with all values typed: configs that mean the same are equal.

    Raises:
        SettingError: a key cannot have its value.
    """
    source = str(values["data"]["name"])

    def of(where: str, node: dict[str, Any]) -> dict[str, Any]:
        return {name: typed_setting(f"{where}.{name}" if where else name, value, source) for name, value in node.items()}

    return {
        name: of(name, value) if name in SECTIONS and isinstance(value, dict) else value
        for name, value in of("", values).items()
    }
