"""Every key of every command: type, bounds and meaning. A new key is one field here, and its default in `conf/`.

The keys of a training are described where they are used: `geometry.Model`, `training.settings`, and the settings of
each source of data. `checking.py` explains how a field describes its key; `--help` and shell completion show it.
"""

from __future__ import annotations

from dataclasses import dataclass, field, fields
from functools import cache
from typing import Any

from basecaller.common.checking import typed_scalar
from basecaller.common.errors import SettingError
from basecaller.common.geometry import Model
from basecaller.data.batches import PADDINGS
from basecaller.data.sources import SOURCES
from basecaller.data.splits import SPLITS
from basecaller.hpo import task
from basecaller.loggers.settings import LOGGERS
from basecaller.networks.decode import DECODERS
from basecaller.training.batch_plan import check_schedule
from basecaller.training.settings import Optimizer, Train

NAME = {"matches": (r"\w[\w.-]*", "letters, digits, '_', '-' and '.', the first a letter or digit"), "longest": 100}
"""Rules of a name that becomes part of folders, studies and commands."""

FORMATS = ("fastq", "sam", "bam")
"""Formats of basecalls."""

EXPORTS = {"torchscript": "pt", "onnx": "onnx"}
"""Formats of an exported model, and their file extensions."""

DEVICE = {"matches": (r"auto|cpu|mps|cuda(:\d+)?", "auto, cpu, cuda or cuda:N")}


OBJECTIVE = task.Objective(
    "val_loss", "nats per base", {"area_under_curve": " of mean loss along the way (area under the curve)"}
)
"""The quantity that trainings minimise, and the other measures that a stage may compare them by."""

NO_STAGE = "sweep"
"""Name of the stage of `conf/stage/sweep.yaml`, which a sweep has that is no stage of a plan."""


@dataclass(frozen=True, kw_only=True)
class Stage(task.Stage):
    """Settings of `conf/stage/*.yaml`: the question that a sweep asks. `hpo/task.py` describes the keys that the sweeper reads.

    Attributes:
        measure: Measure by which points are compared. `val_loss` is the loss of the best checkpoint; `area_under_curve`, the
            area under the learning curve, is for questions about speed.
        design: How runs are spent. `halving` drops half of the points from seed to seed. `rounds` tunes the learning rate of
            each choice, then runs the best point of every choice at more and more seeds.
        rate_factor: Factor of a learning rate that an earlier stage decided; swept by stages that tune the rate again.
        asking: Number of this asking, set by the search; the study of a repeated question is called NAME.2, NAME.3, ...
        incumbent: Answer so far, kept unless another choice is better by more than a standard error. Set by the search.
        nuisance: Keys that are tuned along with the choice when the question is asked again.
        studies: Study that `${best:stage,key}` reads, by stage. Set by the search. null: the latest study of each stage.
        candidate: Finalist that a trial belongs to; swept by the stages that compare whole configurations.
        candidates: Settings of each finalist, by name. Set by the search.
    """

    name: str = field(metadata=NAME)
    measure: str = field(metadata={"choices": (OBJECTIVE.name, *OBJECTIVE.others)})
    rate_factor: float = field(metadata={"above": 0})
    nuisance: tuple[str, ...] = field(metadata={"distinct": True})
    studies: dict[str, str] | None
    candidate: str | None
    candidates: dict[str, Any] | None


OF_SEARCH = ("stage", "stage.name", "stage.question", "stage.choice", "stage.asking", "stage.incumbent", "stage.studies",
             "stage.candidate", "stage.candidates", "trial.study", "trial.number")  # fmt: skip
"""Keys that a search sets itself, for each stage of its plan."""


@dataclass(frozen=True)
class SearchOptions:
    """The `search` section: how stages run, and what follows them.

    Attributes:
        workers: Number of trainings that run at the same time. null: one per GPU, or one per core.
        replicates: Number of seeds for the best points of a stage; with `stage.design=rounds`, up to twice as many plus two. 1:
            every point has one seed.
        pruner: Class name of an Optuna pruner that stops poor trials of the first seed, such as MedianPruner. null: none.
        pruner_args: Arguments of the pruner, as in {n_warmup_steps: 50}. null: none.
        preview: List every trial and estimate the time, but run nothing.
        rounds: Largest number of rounds. The first asks the questions of the plan; later ones ask them again around the best
            settings so far, until no answer changes.
        round_budget: Length of a trial in later rounds, as a multiple of its length in the first.
        finalists: Largest number of configurations that compete in longer trainings: the best settings, their variants, the
            untuned defaults. 0: none.
        finalist_share: Length of a finalist's training, as a share of the winner's.
        finalist_seeds: Number of seeds for the best finalists.
        batch_schedule: `train.batch_schedule` of one finalist, if the winner trains for epochs. null: no such finalist.
        combined: Largest number of combinations of the finalists' changes to train, if changes helped. 0: none.
        batch_margin: Loss, in nats per base, by which a finalist with a batch four times as large may be behind for the best
            configuration to train longer with and without that batch. null: it never does.
        contender_share: Length of these two trainings, as a share of the winner's.
        headline_seeds: Number of new seeds at which the winner and the untuned defaults are trained alike and tested.
        winner: Settings that these last trainings have instead of a trial's.
    """

    workers: int | None = field(metadata={"least": 1})
    replicates: int = field(metadata={"least": 1})
    pruner: str | None
    pruner_args: dict[str, Any] | None
    preview: bool
    rounds: int = field(metadata={"least": 1})
    round_budget: int = field(metadata={"least": 1})
    finalists: int = field(metadata={"least": 0})
    finalist_share: float = field(metadata={"above": 0, "most": 1})
    finalist_seeds: int = field(metadata={"least": 1})
    batch_schedule: tuple[int, ...] | None
    combined: int = field(metadata={"least": 0})
    batch_margin: float | None = field(metadata={"least": 0})
    contender_share: float = field(metadata={"above": 0, "most": 1})
    headline_seeds: int = field(metadata={"least": 1})
    winner: dict[str, Any]

    def check_keys(self, where: str) -> None:
        """Checks that batches can follow `batch_schedule`; a list without sizes is none."""
        if wrong := check_schedule(self.batch_schedule or None, "epochs"):
            raise SettingError(f"{where}.batch_schedule={list(self.batch_schedule or ())}: {wrong}")


@dataclass(frozen=True)
class TrialPlace:
    """The trial that a job works for; the sweeper sets it. Both keys are null in a single training.

    Attributes:
        study: Name of the trial's study. Set by the sweeper.
        number: Number of the trial in its study. Set by the sweeper.
    """

    study: str | None
    number: int | None = field(metadata={"least": 0})


@dataclass(frozen=True)
class Padding:
    """Settings of `conf/padding/*.yaml`.

    Attributes:
        mode: How chunks of unequal length share a batch. `off` crops them to the shortest, `on` pads them with zeros, `masked`
            also hides the zeros from every layer.
    """

    mode: str = field(metadata={"choices": PADDINGS})


@dataclass(frozen=True)
class Top:
    """The keys at the top of `conf/config.yaml`.

    Attributes:
        experiment: Name of the experiment, part of the names of its studies, runs and report.
        seed: Seed of the initial weights, the choice of chunks, and their order.
        device: Device to compute on. `auto` uses a GPU if there is one.
        threads: Number of threads of one training. null: its share of the cores.
        storage: Storage of the trials: any Optuna URL, or journal:///FILE. For one with a password, use '${oc.env:NAME}'.
        output_dir: Folder of the experiment's runs, winner and report.
        plan: Stages that a search runs, in order.
        networks: Modules and packages of your own networks (`model._target_`) that may be imported, as in [mynet].
        print_config: Print the composed config, without passwords, before anything runs.
    """

    experiment: str = field(metadata=NAME)
    seed: int = field(metadata={"least": 0})
    device: str = field(metadata=DEVICE)
    threads: int | None = field(metadata={"least": 1})
    storage: str
    output_dir: str
    plan: tuple[str, ...] = field(metadata={"distinct": True})
    networks: tuple[str, ...] = field(metadata={"distinct": True})
    print_config: bool


@dataclass(frozen=True)
class Debug:
    """Settings of `conf/debug/*.yaml`.

    Attributes:
        name: Name of the debug run; `none`: no debug run. Set by `debug=...`.
        learned: Training loss, in nats per base, below which the batch counts as memorised and the training stops. null: never.
        profile: Profiler of the training. `python` times Python's functions (cProfile), `torch` PyTorch's operations and GPU
            kernels (torch.profiler). null: none.
    """

    name: str = field(metadata=NAME)
    learned: float | None = field(metadata={"above": 0})
    profile: str | None = field(metadata={"choices": ("python", "torch")})


@dataclass(frozen=True)
class General(Top):
    """All settings other than those of the training itself. `logger` has the settings of each chosen logger, by name."""

    search: SearchOptions
    stage: Stage
    trial: TrialPlace
    logger: dict[str, Any]
    debug: Debug


@dataclass(frozen=True)
class DataShared:
    """Keys that `conf/data/*.yaml` share.

    Attributes:
        batch_size: Number of chunks in a training batch.
        folder: Folder of prepared data sets.
        pore_model: Table of k-mer levels with which the audit compares labels. null: the R9.4 pore's.
    """

    batch_size: int = field(metadata={"least": 1})
    folder: str
    pore_model: str | None


@dataclass(frozen=True)
class Mixed:
    """Settings of `conf/data/mixed.yaml`.

    Attributes:
        sources: Sources under names of your choice, each with its `name`, `weight` and other keys, as in
            {a: {name: pod5, pod5: a.pod5, bam: a.bam, weight: 2}, b: {name: bonito, path: DIR}}.
        validation: Share of the reads for validation, in sources that do not set their own.
        test: Share of the reads for the test, in sources that do not set their own; or a separate source, as in
            {name: bonito, path: DIR}.
    """

    sources: dict[str, Any]
    validation: float
    test: Any


@dataclass(frozen=True)
class BasecallOptions:
    """Settings of `conf/commands/basecall.yaml`.

    Attributes:
        model: Folder of a training, such as outputs/tiny/winner, or the best.pt in it.
        reads: POD5 file, or a folder of them.
        output: Folder of the basecalls of one model, one file per POD5 file; existing files are kept.
        format: Format of the basecalls; SAM and BAM have move tables (mv) and mean qualities (qs).
        decoder: Decoder of the bases: beam search, or the best path (`greedy`).
        calibration: Calibration of the qualities: the calibration.json of `basecaller evaluate`, or its folder. null: the
            model's.
        chunk_samples: Length of the chunks in which a read is called, in samples. null: long enough that little is computed
            twice.
        batch_size: Number of chunks that are computed together.
        device: Device to compute on. `auto` uses a GPU if there is one.
        threads: Number of threads of this process. null: all cores.
        networks: Modules and packages that may be imported for a model of your own network, as in [mynet].
    """

    model: str = field(metadata={"path": True})
    reads: str = field(metadata={"path": True})
    output: str = field(metadata={"path": True})
    format: str = field(metadata={"choices": FORMATS})
    decoder: str = field(metadata={"choices": DECODERS})
    calibration: str | None = field(metadata={"path": True})
    chunk_samples: int | None = field(metadata={"least": 1})
    batch_size: int = field(metadata={"least": 1})
    device: str = field(metadata=DEVICE)
    threads: int | None = field(metadata={"least": 1})
    networks: tuple[str, ...] = field(metadata={"distinct": True})


@dataclass(frozen=True)
class EvaluateOptions:
    """Settings of `conf/commands/evaluate.yaml`.

    Attributes:
        model: Folder of a training, such as outputs/tiny/winner, or the best.pt in it.
        split: Split of the data set to evaluate on.
        limit: Number of randomly chosen chunks, or of `reads`, to evaluate. null: all.
        decoder: Decoder of the bases: beam search, or the best path (`greedy`).
        reads: POD5 file or folder to basecall and align to `reference`, instead of a data set.
        reference: FASTA file, or an index of minimap2, to which `reads` are aligned.
        output: Folder for all output, including the calibration. null: evaluation/ in the model's folder; the calibration goes
            to the model's folder itself.
        device: Device to compute on. `auto` uses a GPU if there is one.
        threads: Number of threads of this process. null: all cores.
        networks: Modules and packages that may be imported for a model of your own network, as in [mynet].
    """

    model: str = field(metadata={"path": True})
    split: str = field(metadata={"choices": (*SPLITS, "all")})
    limit: int | None = field(metadata={"least": 1})
    decoder: str = field(metadata={"choices": DECODERS})
    reads: str | None = field(metadata={"path": True})
    reference: str | None = field(metadata={"path": True})
    output: str | None = field(metadata={"path": True})
    device: str = field(metadata=DEVICE)
    threads: int | None = field(metadata={"least": 1})
    networks: tuple[str, ...] = field(metadata={"distinct": True})


@dataclass(frozen=True)
class ExportOptions:
    """Settings of `conf/commands/export.yaml`.

    Attributes:
        model: Folder of a training, such as outputs/tiny/winner, or the best.pt in it.
        format: Format of the exported model.
        output: File to write. null: model.pt or model.onnx in the model's folder.
        reads: POD5 file or folder to check the exported model on. null: the validation split of the model's own data.
        limit: Number of reads to check on.
        networks: Modules and packages that may be imported for a model of your own network, as in [mynet].
    """

    model: str = field(metadata={"path": True})
    format: str = field(metadata={"choices": tuple(EXPORTS)})
    output: str | None = field(metadata={"path": True})
    reads: str | None = field(metadata={"path": True})
    limit: int = field(metadata={"least": 1})
    networks: tuple[str, ...] = field(metadata={"distinct": True})


@dataclass(frozen=True)
class ReportOptions:
    """Settings of `conf/commands/report.yaml`.

    Attributes:
        watch: Update the report until the search ends. An open page reloads itself.
        every: Time between two updates, in seconds.
        serve: Port at which the updated page is served to this machine only, http://127.0.0.1:PORT/, until Ctrl-C. 0: any free
            port. null: it is not served.
    """

    watch: bool
    every: float = field(metadata={"least": 1})
    serve: int | None = field(metadata={"least": 0, "below": 65536})


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
    "debug": Debug,
} | {f"logger.{name}": kind.settings for name, kind in LOGGERS.items()}
"""The dataclass that describes the keys of each section of `conf/config.yaml`; for those of a source see `source_keys`."""

PATHS = frozenset(
    {"output_dir", "data.folder", "data.pore_model", "train.init"}
    | {f"logger.{name}.folder" for name in ("csv", "tensorboard", "wandb")}
    | {f"data.{key}" for source in SOURCES.values() for key in source.places}
)
"""Keys of `conf/config.yaml` whose values are paths; `~` is the home folder there."""

GROUPS = ("model", "optimizer", "padding", "data")
"""Config groups that a training is made of."""

LASTING = ("experiment", "storage", "output_dir", "data.folder")
"""Keys by which a command finds the results of an earlier one."""


def source_keys(source: str) -> type | None:
    """The dataclass that describes the keys of a source, by `data.name`; None if there is no such source."""
    return Mixed if source == "mixed" else SOURCES[source].settings if source in SOURCES else None


@cache
def field_of(key: str, source: str, model: type = Model) -> tuple[type, str] | None:
    """The dataclass and the field that describe a dotted key; None for a key that nothing describes.

    Args:
        key: a dotted key, such as `optimizer.lr`.
        source: `data.name`, which decides the other keys of the `data` section.
        model: dataclass that describes the `model` section, see `networks.named.kind_of`.
    """
    where, _, name = key.rpartition(".")
    kinds = [model if where == "model" else SECTIONS[where]] if where in SECTIONS else []
    if where == "data" and source in SOURCES:
        kinds.append(SOURCES[source].settings)
    return next(((kind, name) for kind in kinds if name in {f.name for f in fields(kind)}), None)


def typed_setting(key: str, value: Any, source: str, model: type = Model) -> Any:
    """Converts a value to its key's type, and checks it; see `checking.typed_scalar`.

    Raises:
        SettingError: the key cannot have that value.
    """
    return typed_scalar(field_of(key, source, model), value, key)


def typed_config(values: dict[str, Any], model: type = Model) -> dict[str, Any]:
    """A resolved config with all values typed: equivalent configs are equal.

    Args:
        values: the config.
        model: see `field_of`.
    Raises:
        SettingError: a key cannot have its value.
    """
    source = str(values["data"]["name"])

    def of(where: str, node: dict[str, Any]) -> dict[str, Any]:
        return {name: typed_setting(f"{where}.{name}" if where else name, value, source, model) for name, value in node.items()}

    return {
        name: of(name, value) if name in SECTIONS and isinstance(value, dict) else value
        for name, value in of("", values).items()
    }
