"""Loggers, read back with their own readers: every point once, also after a kill; and none of them can harm a training."""

from __future__ import annotations

import csv
import dataclasses
import errno
import json
import logging
import subprocess
import sys
import time
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any
from unittest.mock import Mock

import pytest
from omegaconf import OmegaConf

from basecaller.common.errors import BasecallerError, SettingError
from basecaller.config.composition import compose_config
from basecaller.hpo.records import trials_of
from basecaller.loggers.csv import Logger as CsvLogger
from basecaller.loggers.settings import LOGGERS, Csv, Kind
from basecaller.runs.folder import Result
from basecaller.runs.job import Job, resolve_job
from basecaller.runs.run_id import run_id
from basecaller.runs.training import train
from basecaller.training.fit import CurvePoint
from tests.conftest import TINY
from tests.helpers.sweeping import sweep

pytestmark = pytest.mark.usefixtures("folder")

BASE = [*TINY, "train.validations=4", "seed=3"]
TRACKERS = [
    pytest.param(name, marks=needed)
    for name, needed in {
        "csv": (),
        "tensorboard": pytest.mark.skipif(find_spec("tensorboard") is None, reason="tensorboard is not installed"),
        "mlflow": [pytest.mark.slow, pytest.mark.skipif(find_spec("mlflow") is None, reason="mlflow is not installed")],
        "wandb": [pytest.mark.slow, pytest.mark.skipif(find_spec("wandb") is None, reason="wandb is not installed")],
    }.items()
]

Points = dict[str, list[tuple[int, float]]]
"""Updates and value of every point by metric, as logged."""


def job_of(*overrides: str) -> Job:
    job = resolve_job(compose_config([*BASE, *overrides]), Path("outputs/tiny/runs/x"))
    return Job(job.settings, job.config, job.run_id, Path("outputs/tiny/runs") / job.run_id)


def read_csv() -> tuple[list[Points], list[dict[str, Any]]]:
    points, settings = [], []
    for file in sorted(Path("outputs/tiny/csv").glob("*/metrics.csv")):
        rows = list(csv.DictReader(file.open(encoding="utf-8")))
        keys = [key for key in rows[0] if key != "step"]
        points.append({key: [(int(row["step"]), float(row[key])) for row in rows if row[key]] for key in keys})
        settings.append(dict(OmegaConf.load(file.with_name("hparams.yaml"))))
    return points, settings


def read_tensorboard() -> tuple[list[Points], list[dict[str, Any]]]:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
    from tensorboard.plugins.hparams.plugin_data_pb2 import HParamsPluginData

    points, settings = [], []
    for folder in sorted(Path("outputs/tiny/tensorboard").iterdir()):
        events = EventAccumulator(str(folder)).Reload()
        points.append({tag: [(e.step, e.value) for e in events.Scalars(tag)] for tag in events.Tags()["scalars"]})
        kept = events.summary_metadata["_hparams_/session_start_info"].plugin_data.content
        told = HParamsPluginData.FromString(kept).session_start_info.hparams
        settings.append({key: getattr(value, value.WhichOneof("kind")) for key, value in told.items()})
    return points, settings


def read_mlflow() -> tuple[list[Points], list[dict[str, Any]]]:
    from mlflow import MlflowClient

    client = MlflowClient(tracking_uri=Path("outputs/tiny/mlruns").resolve().as_uri())
    experiment = client.get_experiment_by_name("tiny")
    runs = client.search_runs([experiment.experiment_id])
    points = [
        {key: [(m.step, m.value) for m in client.get_metric_history(run.info.run_id, key)] for key in run.data.metrics}
        for run in runs
    ]
    assert {run.info.status for run in runs} <= {"FINISHED", "KILLED"}
    return points, [run.data.params | run.data.tags for run in runs]


def leveldb_records(data: bytes) -> Iterator[bytes]:
    """Records of W&B's files: seven bytes, then LevelDB's format, https://github.com/google/leveldb/blob/main/doc/log_format.md."""
    at, whole = 7, b""
    while at + 7 <= len(data):
        if (left := 32768 - at % 32768) < 7:  # the rest of a block is too short for a header
            at += left
            continue
        length, kind = int.from_bytes(data[at + 4 : at + 6], "little"), data[at + 6]
        whole += data[at + 7 : at + 7 + length]
        at += 7 + length
        if kind in (1, 4):  # whole, or the last part
            yield whole
            whole = b""


def wandb_records(file: Path) -> list[Any]:
    """W&B's service may still be writing a file when its run has finished; the last record says that it is complete."""
    from wandb.proto.wandb_internal_pb2 import Record

    deadline = time.monotonic() + 30
    while True:
        records = [Record.FromString(data) for data in leveldb_records(file.read_bytes())]
        if (records and records[-1].WhichOneof("record_type") == "exit") or time.monotonic() > deadline:
            return records
        time.sleep(0.05)


def read_wandb() -> tuple[list[Points], list[dict[str, Any]]]:
    """Reads the files that W&B writes offline; several folders may belong to one run."""
    found: dict[str, tuple[Points, dict[str, Any]]] = {}
    for file in sorted(Path("outputs/tiny/wandb").glob("offline-run-*/run-*.wandb")):
        points, settings = found.setdefault(file.stem, ({}, {}))
        for record in wandb_records(file):
            settings |= {item.key: json.loads(item.value_json) for item in record.run.config.update}
            row = {item.key or item.nested_key[0]: json.loads(item.value_json) for item in record.history.item}
            for key in row.keys() - {"updates"}:
                if not key.startswith("_"):
                    points.setdefault(key, []).append((row["updates"], row[key]))
    return [points for points, _ in found.values()], [settings for _, settings in found.values()]


READ = {"csv": read_csv, "tensorboard": read_tensorboard, "mlflow": read_mlflow, "wandb": read_wandb}


def assert_logged(points: Points, result: Result) -> None:
    """Every point of the curve once, and the best checkpoint's scores with the last."""
    curve = result.curve
    expected = {"train/loss": "train_loss", "val/loss": "val_loss", "lr": "lr", "epoch": "epoch", "samples": "samples"}
    for key, attribute in expected.items():
        assert [step for step, _ in points[key]] == [point.updates for point in curve], key
        assert [value for _, value in points[key]] == pytest.approx([getattr(point, attribute) for point in curve], rel=1e-6)
    for key, metric in {"val/best_loss": "val_loss", "val/identity": "identity_mean"}.items():
        assert points[key] == [(curve[-1].updates, pytest.approx(result.metrics[metric], rel=1e-6))]


class Killed(BaseException):
    """Stands for a kill: nothing catches it."""


def killed_after(count: int):
    seen: list[CurvePoint] = []

    def on_point(point: CurvePoint) -> None:
        seen.append(point)
        if len(seen) == count:
            raise Killed

    return on_point


@pytest.mark.slow
@pytest.mark.parametrize("name", TRACKERS)
def test_a_killed_training_continues_in_its_run_and_repeats_no_point(name):
    job = job_of(f"logger={name}")
    for count in (1, 3):  # also if it is killed again after repeating the points of the first run
        with pytest.raises(Killed):
            train(job, killed_after(count))
        if name == "wandb":
            time.sleep(1.1)  # its folders are named by the second
    result = train(job)
    (points,), (settings,) = READ[name]()
    assert_logged(points, result)
    assert float(settings["optimizer.lr"]) == 0.001
    assert settings["optimizer.name"] == "adam"
    assert (settings["experiment"], settings["seed"]) == ("tiny", "3")
    assert settings["run_id"] == job.run_id


@pytest.mark.parametrize("name", TRACKERS)
def test_a_training_that_starts_again_leaves_no_earlier_point(name, monkeypatch):
    """As if a GPU continued what a CPU began: the checkpoint is not used."""
    job = job_of(f"logger={name}")
    with pytest.raises(Killed):
        train(job, killed_after(2))
    (job.folder / "last.pt").unlink()
    from basecaller.training import fit

    real = fit.evaluate

    def other(*arguments, **options):
        scored = real(*arguments, **options)
        return dataclasses.replace(scored, loss=scored.loss + 1e-3)

    monkeypatch.setattr(fit, "evaluate", other)
    result = train(job)
    found, _ = READ[name]()
    assert_logged(max(found, key=lambda points: len(points["val/loss"])), result)  # W&B and MLflow keep the first one's run


def test_a_reused_result_is_not_logged_again(caplog):
    train(job_of())
    with caplog.at_level(logging.INFO):
        assert train(job_of("logger=csv")).reused
        assert train(job_of("logger=[csv,tensorboard]")).reused
    assert "is already finished, so logger=csv does not log it again" in caplog.text
    assert "logger=[csv,tensorboard] does not" in caplog.text
    assert not Path("outputs/tiny/csv").exists()


def test_loggers_are_not_part_of_a_result(tmp_path):
    plain = train(job_of())
    logged = job_of("logger=[csv,tensorboard]", "train.resume=false")
    assert logged.run_id == job_of().run_id
    again = train(logged)
    assert [point.val_loss for point in again.curve] == [point.val_loss for point in plain.curve]
    assert {path.parent.name for path in Path("outputs/tiny").glob("*/*" + logged.run_id)} == {"csv", "runs", "tensorboard"}


@pytest.mark.parametrize("broken", ["__init__", "log", "close"])
def test_a_failing_logger_gives_one_warning_and_the_training_continues(monkeypatch, caplog, broken):
    def full(*_: Any) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(CsvLogger, broken, full)
    result = train(job_of("logger=[csv,tensorboard]"))
    warnings = [record.getMessage() for record in caplog.records if "logger=" in record.getMessage()]
    assert warnings == ["logger=csv: [Errno 28] No space left on device; the training continues without it"]
    (points,), _ = read_tensorboard()
    assert_logged(points, result)


def test_an_error_of_a_server_shows_no_password(monkeypatch, caplog):
    def refused(*_: Any) -> None:
        raise RuntimeError("request to https://me:secret@host/api failed: https://host/api, https://you:hidden@host")

    monkeypatch.setattr(CsvLogger, "log", refused)
    train(job_of("logger=csv"))
    assert "https://me:***@host/api failed: https://host/api, https://you:***@host" in caplog.text
    assert "secret" not in caplog.text


@pytest.mark.parametrize("name", [name for name, kind in LOGGERS.items() if kind.package])
def test_the_error_about_a_missing_package_names_the_extra(monkeypatch, name, folder):
    monkeypatch.setattr("basecaller.loggers.settings.find_spec", lambda package: None)
    with pytest.raises(SettingError, match=rf"logger={name}: needs {name}: .*pip install 'basecaller\[{name}\]'"):
        compose_config([f"logger={name}"])
    with pytest.raises(BasecallerError, match=f"logger={name}: needs {name}"):
        sweep(f"logger={name}", "optimizer.lr=0.1,0.2")
    assert not list(folder.iterdir())


def test_a_folder_with_the_name_of_a_package_is_not_a_package(folder, monkeypatch):
    """W&B's own folder wandb/, in the folder where the command is typed."""
    (folder / "loggers_test_package").mkdir()
    monkeypatch.syspath_prepend(str(folder))
    assert find_spec("loggers_test_package") is not None
    monkeypatch.setitem(LOGGERS, "csv", Kind(Csv, "loggers_test_package"))
    with pytest.raises(SettingError, match="logger=csv: needs loggers_test_package"):
        compose_config(["logger=csv"])


WRONG = {
    "an unknown logger": (["logger=abacus"], "logger=abacus: no such option; options are csv, mlflow, none"),
    "a key of a logger that is not chosen": (["logger.mlflow.uri=x"], "this logger is not chosen; add logger=mlflow"),
    "an unknown key": (["logger=csv", "logger.csv.foldr=x"], "logger.csv.foldr: unknown key; did you mean logger.csv.folder?"),
    "another mode": (["logger=wandb", "logger.wandb.mode=on"], "logger.wandb.mode=on: must be one of offline, online"),
}


@pytest.mark.parametrize("kind", WRONG)
def test_wrong_settings_of_loggers_are_named(kind):
    overrides, words = WRONG[kind]
    with pytest.raises(SettingError) as told:
        compose_config(overrides)
    assert words in str(told.value)


def test_loggers_cannot_be_swept():
    with pytest.raises(BasecallerError, match="logger=csv,tensorboard: cannot be swept"):
        sweep("logger=csv,tensorboard")


@pytest.mark.slow
def test_every_trial_of_a_sweep_is_a_run_with_its_place_in_the_study():
    study = sweep("logger=[csv,tensorboard,mlflow]", "optimizer.lr=0.01,0.001")
    for name in ("csv", "tensorboard", "mlflow"):
        _, settings = READ[name]()
        rates = {int(each["trial"]): float(each["optimizer.lr"]) for each in settings}
        assert rates == {trial.number: trial.params["optimizer.lr"] for trial in study.trials}
        assert {each["study"] for each in settings} == {study.study_name}
    first = trials_of(study)[0]
    assert "logger" not in first.choices
    assert not any("logger" in line for line in first.overrides)


def test_offline_is_wandbs_mode_unless_the_user_asks(monkeypatch):
    monkeypatch.delenv("WANDB_MODE", raising=False)
    assert compose_config(["logger=wandb"]).logger.wandb.mode == "offline"
    monkeypatch.setenv("WANDB_MODE", "online")
    assert compose_config(["logger=wandb"]).logger.wandb.mode == "online"


@pytest.mark.skipif(find_spec("wandb") is None, reason="wandb is not installed")
@pytest.mark.parametrize(
    ("overrides", "mode", "resume"),
    [
        ((), "offline", None),
        (("logger.wandb.mode=online",), "online", "allow"),
        (("logger.wandb.mode=disabled",), "disabled", None),
    ],
)
def test_wandb_starts_in_the_mode_of_its_key(monkeypatch, overrides, mode, resume):
    import wandb

    monkeypatch.delenv("WANDB_MODE", raising=False)
    started = Mock()
    monkeypatch.setattr(wandb, "init", started)
    train(job_of("logger=wandb", *overrides))
    assert [(call.kwargs["mode"], call.kwargs["resume"]) for call in started.call_args_list] == [(mode, resume)]
    logged = [call.args[0] for call in started.return_value.log.call_args_list]
    assert any("val/loss" in row for row in logged)
    started.return_value.finish.assert_called_once_with(exit_code=0)


def test_a_password_of_a_tracking_server_is_stored_nowhere():
    job = job_of("logger=mlflow", "logger.mlflow.uri=https://me:secret@host/x")
    assert job.settings.logger["mlflow"].uri == "https://me:secret@host/x"
    assert job.config["logger"]["mlflow"]["uri"] == "https://me:***@host/x"
    assert run_id(job.config) == job_of().run_id


def test_nothing_of_a_logger_is_imported_until_it_is_chosen():
    code = "import basecaller.train, sys; print([m for m in ('tensorboard', 'mlflow', 'wandb', 'torch') if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
