"""One training from a composed config: what `python -m basecaller.train` runs once, and a sweep many times."""

from __future__ import annotations

import logging
import math
import os
from collections.abc import Callable
from contextlib import chdir, nullcontext
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig, OmegaConf

from basecaller.config import job_config
from basecaller.data.audit import audit, infeasible_at, leaks, seen_in_training, verdict
from basecaller.data.batches import check_padding
from basecaller.data.dataset import Dataset
from basecaller.data.pore import pore_of
from basecaller.data.sources import prepare
from basecaller.entry import as_message
from basecaller.errors import DataError, DivergedError, InfeasibleError, SettingError, StorageError, file_problem, one_line
from basecaller.files import holding, read_json, replacing, shared_lock, write_json
from basecaller.hpo.identity import run_id
from basecaller.hpo.pruning import pruner_of, screening_pruner
from basecaller.hpo.records import Outcome
from basecaller.provenance import provenance
from basecaller.settings import Settings, settings
from basecaller.workers import threads_of_job

if TYPE_CHECKING:
    from basecaller.hpo.trial import JobTrial
    from basecaller.training.fit import Point

log = logging.getLogger(__name__)


OWN_OVERRIDES = ("trial.", "stage=", "storage=", "threads=", "experiment=")
"""Overrides of a sweep's job that say where and for whom it runs, not what it trains."""


@dataclass(frozen=True)
class Result:
    """What one training gave; `result.json` in its folder holds the same.

    Attributes:
        metrics: of the best checkpoint on the validation split; `val_loss`, nats per base, is the objective.
        curve: the learning curve.
        facts: sizes, counts, and where it ran: see `training.fit.Outcome` and `provenance.provenance`.
        taken_over: it had been trained before and was read from its folder.
    """

    metrics: dict[str, float]
    curve: list[Point]
    facts: dict[str, Any]
    taken_over: bool = False

    def __str__(self) -> str:
        m, f = self.metrics, self.facts
        state = "trained before" if self.taken_over else f"{f['seconds']:.1f} s"
        blanks = ", only blanks called" if f["only_blanks"] else ""
        return (
            f"val_loss {m['val_loss']:.4f} nats/base, identity {m['identity_mean']:.1%} "
            f"(unrelated {m['identity_floor']:.1%}), {f['updates']} updates, {state}{blanks}"
        )


def train(cfg: DictConfig, folder: Path, on_point: Callable[[Point], None] = lambda point: None) -> Result:
    """Trains what a config says, in a folder; goes on from there if it was killed, and only reads it if it had finished.

    Args:
        cfg: a job's composed config.
        folder: for `config.yaml` (resolved), checkpoints, the curve and `result.json`. One that holds another training is
            begun anew.
        on_point: called with every point of the learning curve, earlier ones included.
    Raises:
        BasecallerError: bad settings or data, or the training diverged.
    """
    checked = settings(cfg)
    config = job_config(cfg)
    resume = checked.train.resume
    # without the lock first: what is finished may lie where this user may only read
    if found := _finished(folder, config, checked, on_point):
        return found
    folder.mkdir(parents=True, exist_ok=True)
    with holding(shared_lock(folder / ".lock"), f"trains the same in {os.path.relpath(folder)}"):
        _own(folder, config, resume)
        if found := _finished(folder, config, checked, on_point):
            return found
        if other := _another_path(read_json(folder / "result.json"), checked):
            log.warning("%s: %s; trained again here", os.path.relpath(folder), other)
            (folder / "result.json").unlink()
        result = _fit(checked, config, folder, on_point)
        write_json(
            folder / "result.json",
            {
                "metrics": result.metrics,
                "facts": result.facts,
                "curve": [asdict(point) for point in result.curve],
                "config": config,
            },
        )
    return result


def _is_own(folder: Path, config: dict[str, Any], resume: bool) -> bool:
    """Whether what the folder holds is this training's, to go on from."""
    return resume and read_json(folder / "run.json") == {"run_id": run_id(config)}


def _finished(folder: Path, config: dict[str, Any], checked: Settings, on_point: Callable[[Point], None]) -> Result | None:
    """The training's result, where the folder holds it and this process would compute it the same way."""
    finished = read_json(folder / "result.json") if _is_own(folder, config, checked.train.resume) else None
    if not finished or _another_path(finished, checked) or not math.isfinite(finished["metrics"]["val_loss"]):
        return None
    from basecaller.training.fit import Point

    curve = [Point(**point) for point in finished["curve"]]
    for point in curve:
        on_point(point)
    return Result(finished["metrics"], curve, finished["facts"], taken_over=True)


def _own(folder: Path, config: dict[str, Any], resume: bool) -> None:
    """Makes the folder this training's own: leftovers of another one, or all where it shall not resume, go."""
    if not _is_own(folder, config, resume):
        for name in ("result.json", "last.pt", "best.pt", "metrics.csv"):
            (folder / name).unlink(missing_ok=True)
        write_json(folder / "run.json", {"run_id": run_id(config)})
        with replacing(folder / "config.yaml") as partial:
            OmegaConf.save(OmegaConf.create(config), partial)


def _another_path(finished: dict[str, Any] | None, checked: Settings) -> str:
    """How a result was computed, if this process would compute it in another way, with other rounding: then the two cannot be
    paired. Empty if it is the same way, or if there is no result.
    """
    if not finished:
        return ""
    from basecaller.training.device import choose_device
    from basecaller.training.engine import choose_path

    here = choose_path(checked.model, choose_device(checked.device), checked.train.native, checked.train.precision)
    there = finished["facts"].get("path")
    return "" if there == str(here) else f"computed by {there}, here it would be {here}"


def _fit(checked: Settings, config: dict[str, Any], folder: Path, on_point: Callable[[Point], None]) -> Result:
    from basecaller.network import RawCTCNet
    from basecaller.training.checkpoint import start_from
    from basecaller.training.device import choose_device
    from basecaller.training.fit import Job, fit

    dataset = prepare(checked.data.name, checked.data.source, Path(checked.data.folder))
    if config["trial"]["study"] is None:  # a sweep has said it before
        warn_once(dataset, checked)
    device = choose_device(checked.device)
    network = RawCTCNet(checked.model, dataset.alphabet, checked.seed)
    if checked.train.init:
        start_from(network, Path(checked.train.init))
    network = network.to(device)
    job = Job(
        optimizer=checked.optimizer,
        train=checked.train,
        padding=checked.padding,
        batch_size=checked.data.batch_size,
        seed=checked.seed,
        folder=folder,
        alone=config["trial"]["study"] is None,
    )
    outcome = fit(network, dataset, job, on_point)
    return Result(outcome.metrics, outcome.curve, outcome.facts | provenance(config, dataset.fingerprint))


def _run_folder(cfg: DictConfig) -> Path:
    """Where a job trains: in Hydra's folder for it; in a sweep always in the one that its settings name, whatever
    `hydra.sweep.subdir` says, so that no job takes another's folder."""
    hydra = HydraConfig.get()
    if cfg.trial.study is not None:
        return Path(hydra.sweep.dir) / run_id(job_config(cfg))
    return Path(hydra.runtime.output_dir)


def job(cfg: DictConfig) -> float | None:
    """What Hydra runs: a single training, or one trial of a sweep.

    Paths stay relative to the folder where the command was typed, with `hydra.job.chdir` too: all jobs share the storage.

    Returns:
        The objective, nats per base; None for a trial that gave none.
    """
    hydra = HydraConfig.get()
    with chdir(hydra.runtime.cwd) if hydra.job.chdir else nullcontext():
        return _job(cfg)


def _job(cfg: DictConfig) -> float | None:
    import torch

    torch.set_num_threads(threads_of_job(cfg))
    return _train_alone(cfg) if cfg.trial.study is None else run_trial(cfg)


@as_message  # here already: Hydra would print all overrides before the message
def _train_alone(cfg: DictConfig) -> float:
    if cfg.stage.name != "none":
        raise SettingError(
            f"stage={cfg.stage.name} is a sweep: add -m, as in: python -m basecaller.train -m stage={cfg.stage.name}"
        )
    folder = _run_folder(cfg)
    result = train(cfg, folder)
    log.info("%s", result)
    log.info("in %s", os.path.relpath(folder))
    if result.taken_over:
        log.info("it had finished before; train.resume=false trains it again")
    return result.metrics["val_loss"]


def check(cfg: DictConfig) -> None:
    """What the sweeper holds every swept value against before it stores anything: settings, and the data set.

    Raises:
        BasecallerError: see `settings.settings` and `data.sources.prepare`.
    """
    checked = settings(cfg)
    pruner_of(cfg)
    if checked.device.startswith("cuda"):
        from basecaller.training.device import check_gpu

        check_gpu(checked.device)
    dataset = prepare(checked.data.name, checked.data.source, Path(checked.data.folder))
    check_padding(dataset, checked.padding, checked.data.batch_size)
    warn_once(dataset, checked)


_looked_at: set[tuple[str, int]] = set()


def warn_once(dataset: Dataset, checked: Settings) -> None:
    """Says what the audit found that will go wrong, once in a process for each data set and stride."""
    key = dataset.fingerprint, checked.model.stride
    if key in _looked_at:
        return
    _looked_at.add(key)
    for line in _findings(dataset, checked):
        log.warning("data: %s", line)


def _findings(dataset: Dataset, checked: Settings, only_tested: bool = False) -> list[str]:
    facts = audit(dataset, pore_of(checked.data.pore_model))
    dense = infeasible_at(facts, checked.model.stride, checked.train.infeasible)
    return [*verdict(facts, only_tested), *([dense] if dense else [])]


def data_findings(cfg: DictConfig) -> list[str]:
    """What the audits found that a reader of a search's results must know: of the data, and of a test set from elsewhere
    (`data.test`), which is made now, so that it fails before a search and not at its end.

    Raises:
        BasecallerError: a data set cannot be used, or the test set has other letters than the data that trains.
    """
    checked = settings(cfg)
    data, folder = checked.data, Path(checked.data.folder)
    dataset = prepare(data.name, data.source, folder)
    found = _findings(dataset, checked)
    if data.test is not None:
        tested = prepare(data.test.name, data.test.source, folder)
        if tested.alphabet != dataset.alphabet:
            raise DataError(f"data.test: its letters are {tested.alphabet}, those to train on {dataset.alphabet}")
        seen = seen_in_training(dataset, {"data.test": (tested, np.arange(len(tested)))})["seen"]
        of_test = [f"data.test: {line}" for line in _findings(tested, checked, only_tested=True)] + leaks(seen)
        for line in of_test:
            log.warning(line)
        found += of_test
    return found


job.check = check  # type: ignore[attr-defined]


def run_trial(cfg: DictConfig) -> float | None:
    """Claims the config's trial, trains it, and ends it in a named state; a bad trial never ends the search.

    Raises:
        StorageError: the storage is away. The training is finished before, and its result lies in its folder, where the
            next sweep finds it.
    """
    import optuna

    from basecaller.hpo.trial import claim

    with claim(str(cfg.storage), cfg.trial.study, cfg.trial.number, Path(cfg.output_dir), screening_pruner(cfg)) as trial:
        if trial is None:
            log.info("trial %s is another process's", cfg.trial.number)
            return None
        name = f"{cfg.stage.name} {trial.point} seed={cfg.seed}"
        try:
            return _run_claimed(trial, cfg, name)
        except optuna.exceptions.UpdateFinishedTrialError:
            log.warning("%s: nothing had been heard of this process for long, and another one has this trial now", name)
            return None


def _run_claimed(trial: JobTrial, cfg: DictConfig, name: str) -> float | None:
    import optuna
    import torch

    report, folder = _Reporter(trial), _run_folder(cfg)
    try:
        _note_start(trial, cfg, folder)
        result = train(cfg, folder, report)
        if report.lost:
            log.error("%s: %s; its result is kept in %s", name, result, os.path.relpath(folder))
            raise report.lost
        facts = result.metrics | result.facts
        curve = [asdict(point) for point in result.curve]
        trial.end(Outcome.COMPLETE, result.metrics["val_loss"], **facts, taken_over=result.taken_over, curve=curve)
    except (StorageError, optuna.exceptions.UpdateFinishedTrialError):
        raise
    except optuna.TrialPruned:
        trial.end(Outcome.PRUNED)
        log.info("%s: pruned", name)
    except DivergedError as error:
        _fail(trial, name, Outcome.DIVERGED, error)
    except InfeasibleError as error:
        _fail(trial, name, Outcome.INFEASIBLE, error)
    except (MemoryError, torch.OutOfMemoryError) as error:
        _fail(trial, name, Outcome.OUT_OF_MEMORY, error)
    except Exception as error:
        log.debug("%s", name, exc_info=True)
        _fail(trial, name, Outcome.FAILED, error)
    else:
        log.info("%s: %s", name, result)
        return result.metrics["val_loss"]
    return None


class _Reporter:
    """Tells a trial its learning curve; once the storage is lost the training goes on without."""

    def __init__(self, trial: JobTrial) -> None:
        self.trial = trial
        self.lost: StorageError | None = None

    def __call__(self, point: Point) -> None:
        if self.lost is None:
            try:
                self.trial.report(point.val_loss, round(100 * point.progress))
            except StorageError as error:
                log.warning("%s", error)
                self.lost = error


def _note_start(trial: JobTrial, cfg: DictConfig, folder: Path) -> None:
    hydra = HydraConfig.get()
    groups = {key: choice for key, choice in hydra.runtime.choices.items() if not key.startswith("hydra/")}
    # unresolved: an override that is computed from others stays as it was written
    written = OmegaConf.to_container(hydra.overrides.task, resolve=False)
    assert isinstance(written, list)
    trial.note(
        config=job_config(cfg),
        choices=groups,
        overrides=[line for line in written if not str(line).lstrip("+").startswith(OWN_OVERRIDES)],
        folder=os.path.relpath(folder),
    )


def _fail(trial: JobTrial, name: str, outcome: Outcome, error: Exception) -> None:
    problem = file_problem(error) if isinstance(error, OSError) else None
    message = problem or one_line(str(error)) or type(error).__name__
    trial.end(outcome, message=message)
    log.warning("%s: %s: %s", name, outcome, message)
