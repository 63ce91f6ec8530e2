"""The Python API, as in `from basecaller import run_search`: a search, a sweep, a training, and a model that calls reads.

Settings are overrides as on the command line. Paths are relative to the current directory at the time of the call. Messages go
to the logger `basecaller`. No function here sets up logging or exits the program.
"""

from __future__ import annotations

import gc
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from hydra.core.global_hydra import GlobalHydra
from hydra.core.hydra_config import HydraConfig
from hydra.core.utils import JobRuntime
from numpy.typing import ArrayLike
from omegaconf import DictConfig
from rich.console import Console

from basecaller.calling.caller import Caller
from basecaller.calling.model import Trained, load_model
from basecaller.calling.quality import UNCALIBRATED
from basecaller.cli.arguments import as_typed
from basecaller.common.errors import BasecallerError, DataError, SettingError
from basecaller.common.facts import to_json
from basecaller.common.workers import cores
from basecaller.config.composition import compose_config
from basecaller.config.messages import is_users, readable
from basecaller.config.schema import NO_STAGE
from basecaller.data.records import mean_quality
from basecaller.data.signal import normalise
from basecaller.hpo.standing import standing
from basecaller.hpo.storage import open_storage, open_study
from basecaller.networks.decode import DECODERS, Decoder
from basecaller.reporting.contents import ReportFacts
from basecaller.reporting.stage_contents import StageFacts
from basecaller.reporting.stage_facts import stage_facts
from basecaller.runs.job import resolve_job
from basecaller.runs.training import train
from basecaller.search_plan import stages
from basecaller.search_plan.pool import shut_down
from basecaller.search_plan.request import Request
from basecaller.search_plan.search import Search
from basecaller.search_plan.stages import unswept
from basecaller.training.fit import CurvePoint

UNLOGGED = ("hydra/job_logging=none", "hydra/hydra_logging=none")
"""Overrides that keep Hydra from replacing the handlers of Python's root logger."""


@dataclass(frozen=True)
class SearchResult:
    """The result of a search.

    Attributes:
        folder: Folder of the experiment; `report.html` is there.
        model: Folder of the winner, for `Basecaller.load`.
        settings: The winner's settings by override key, such as `optimizer.lr`.
        metrics: The winner on the test split: `loss` (nats per base), `identity_mean`, `identity_median` and others.
        gain: A sentence that says what tuning gained over the untuned defaults.
        report: The contents of the report.
    """

    folder: Path
    model: Path
    settings: dict[str, Any]
    metrics: dict[str, Any]
    gain: str
    report: ReportFacts


@dataclass(frozen=True)
class TrainingResult:
    """The result of a training.

    Attributes:
        folder: Folder of the training, a model for `Basecaller.load`.
        loss: Validation loss of the best checkpoint, nats per base.
        metrics: All metrics of that checkpoint on the validation split: `val_loss`, `identity_mean` and others.
        curve: The learning curve.
        reused: Whether the same configuration had been trained before and was not trained again.
    """

    folder: Path
    loss: float
    metrics: dict[str, float]
    curve: list[CurvePoint]
    reused: bool


def run_search(overrides: Sequence[str] = (), verbose: bool = False) -> SearchResult:
    """Runs a whole search, as `basecaller search` does. A search that was interrupted continues.

    Args:
        overrides: Settings as on the command line, such as `["experiment=mine", "data=bonito", "data.path=reads"]`.
        verbose: Print the tables that the command prints.

    Raises:
        BasecallerError: A setting is invalid, or data or storage cannot be used.
    """
    with _guest(), _ending_workers():
        request = Request(as_typed(list(overrides)), UNLOGGED)
        if request.options.preview:
            raise SettingError("search.preview=true: runs nothing; use basecaller search on the command line")
        facts = Search(request, Console(markup=False, quiet=not verbose)).run()
        folder, winner = request.folder.resolve(), facts.winner
    assert winner is not None  # every finished search has one
    return SearchResult(folder, folder / "winner", winner.settings, to_json(winner.test), winner.gain.text, facts)


def run_sweep(overrides: Sequence[str]) -> StageFacts:
    """Runs the missing trials of a sweep, as `basecaller train -m` does.

    Args:
        overrides: Settings as on the command line: a stage, as in `["stage=lr_adam"]`, or keys with several values, as in
            `["optimizer.lr=0.001,0.002", "seed=1,2"]`.

    Returns:
        Facts of the stage, as in the report: its winner, verdict, points and trials.

    Raises:
        BasecallerError: A setting is invalid, or data or storage cannot be used.
    """
    with _guest(), _ending_workers():
        lines = as_typed(list(overrides))
        cfg = compose_config(unswept(lines))
        study = open_study(str(cfg.storage), stages.run_sweep([*UNLOGGED, *lines]))
        return stage_facts(str(cfg.stage.name), study, standing(study))


def run_training(overrides: Sequence[str] = ()) -> TrainingResult:
    """Trains once, as `basecaller train` does. A training that was interrupted continues; one that has finished is only read.

    Args:
        overrides: Settings as on the command line, such as `["optimizer.lr=0.002", "train.epochs=3"]`.

    Raises:
        BasecallerError: A setting is invalid, the data cannot be used, or the training diverged.
    """
    with _guest():
        cfg = compose_config(as_typed(list(overrides)))
        _check_single(cfg)
        job = resolve_job(cfg, Path(HydraConfig.get().run.dir).resolve())
        torch.set_num_threads(job.settings.threads or cores())
        result = train(job)
    return TrainingResult(job.folder, result.metrics["val_loss"], result.metrics, result.curve, result.reused)


def _check_single(cfg: DictConfig) -> None:
    if cfg.stage.name != NO_STAGE:
        raise SettingError(f"stage={cfg.stage.name}: is a sweep; use run_sweep")
    if cfg.trial.study is not None or cfg.trial.number is not None:
        raise SettingError("trial.study, trial.number: the sweeper sets the trial of a job; leave them out")
    if cfg.debug.learned is not None or cfg.debug.profile:
        raise SettingError(f"debug={cfg.debug.name}: use basecaller train on the command line")


@dataclass(frozen=True)
class Basecall:
    """The bases of a read.

    Attributes:
        sequence: Letters of the bases.
        qualities: Phred quality of each base, float [bases].
    """

    sequence: str
    qualities: np.ndarray

    @property
    def mean_quality(self) -> float:
        """Phred of the mean error probability, as Dorado's `qs` tag; 0 if there is no base."""
        return mean_quality(self.qualities)


class Basecaller:
    """A trained model that calls reads.

    Args:
        model: The model with its weights and calibration.
        decoder: `beam` search, or the best path (`greedy`).
        batch_size: Chunks of signal that are computed together.

    Raises:
        SettingError: No such decoder.
    """

    def __init__(self, model: Trained, decoder: Decoder = "beam", batch_size: int = 16) -> None:
        if decoder not in DECODERS:
            raise SettingError(f"decoder={decoder}: must be one of {', '.join(DECODERS)}")
        self.model = model
        self.quality = model.calibration or UNCALIBRATED
        self.caller = Caller(model.network, None, batch_size, decoder)

    @classmethod
    def load(
        cls,
        model: str | Path,
        device: str = "auto",
        decoder: Decoder = "beam",
        batch_size: int = 16,
        networks: Sequence[str] = (),
    ) -> Basecaller:
        """Loads a model.

        Args:
            model: Folder of a training or of a search's winner, such as `outputs/tiny/winner`, or the `best.pt` in it.
            device: `cpu`, `cuda`, `cuda:N`, or `auto`.
            decoder: See `Basecaller`.
            batch_size: See `Basecaller`.
            networks: Modules and packages that may be imported for a model of your own network, such as `["mynet"]`.

        Raises:
            DataError: There is no model, or it cannot be read.
            SettingError: Its network must not or cannot be imported.
        """
        return cls(load_model(str(model), device, networks), decoder, batch_size)

    def call(self, signal: ArrayLike) -> Basecall:
        """Calls one read.

        Args:
            signal: Raw signal of the read, [samples], in any unit, such as POD5's `read.signal`. A model that was trained with
                `data.normalisation=quantile` or `standardise` needs pA: POD5's `read.signal_pa`.

        Raises:
            DataError: The signal is empty, not one-dimensional, or not finite.
        """
        return next(self.calls([signal]))

    def calls(self, signals: Iterable[ArrayLike]) -> Iterator[Basecall]:
        """Calls many reads, in their order. Chunks of several reads are computed together, so this is faster than `call`.

        Args:
            signals: Raw signals, each as for `call`.

        Raises:
            DataError: See `call`.
        """
        for call in self.caller.calls((str(number), self._prepared(number, each)) for number, each in enumerate(signals)):
            yield Basecall(call.sequence, self.quality(call.probabilities))

    def _prepared(self, number: int, signal: ArrayLike) -> np.ndarray:
        """The network's input for a raw signal: normalised, and reversed if the model was trained on direct RNA."""
        raw = np.asarray(signal, np.float32)
        if raw.ndim != 1 or not len(raw) or not np.isfinite(raw).all():
            raise DataError(f"signal {number}: shape {raw.shape}; must be one-dimensional, finite and not empty")
        return np.ascontiguousarray(normalise(raw, self.model.signals)[:: -1 if self.model.rna else 1])


@contextmanager
def _guest() -> Iterator[None]:
    """Runs inside the caller's program, which may be a Hydra application itself: Hydra's global state and PyTorch's number of
    threads are restored, its objects are collected again (see `task._freeze`), and Hydra's errors are raised as errors of this
    package."""
    app, config, name = GlobalHydra.instance().hydra, HydraConfig.instance().cfg, JobRuntime.instance().get("name")
    threads, frozen = torch.get_num_threads(), gc.get_freeze_count()
    open_storage.cache_clear()  # a relative path in a URL is another file after a change of directory
    try:
        yield
    except Exception as error:
        if is_users(error) and not isinstance(error, BasecallerError):
            raise readable(error) from error
        raise
    finally:
        GlobalHydra.instance().hydra, HydraConfig.instance().cfg = app, config
        JobRuntime.instance().set("name", name)
        torch.set_num_threads(threads)
        if not frozen:
            gc.unfreeze()


@contextmanager
def _ending_workers() -> Iterator[None]:
    """Ends the worker processes of sweeps."""
    try:
        yield
    finally:
        shut_down()
