"""`logger=mlflow`: runs in a file store, in a database, or on a tracking server."""

from __future__ import annotations

import os
import time
from contextlib import nullcontext
from pathlib import Path

os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")  # read by the import: a training sends no telemetry
os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "2")  # fails within seconds, not minutes, if there is no server

from mlflow import MlflowClient
from mlflow.entities import Metric, Param, RunTag
from mlflow.exceptions import MlflowException

from basecaller.common.errors import BasecallerError
from basecaller.common.files import holding, read_json, shared_lock, write_json
from basecaller.loggers.settings import MLflow
from basecaller.loggers.training import Training

PARAMS_AT_ONCE, LONGEST_PARAM = 100, 500
"""Limits of MLflow: parameters per request, and characters of a value that every version accepts."""


class Logger:
    """Logs a training as an MLflow run; see `loggers.training.Logger`.

    `mlflow.json` in the training's folder names the run, for a training that is resumed.
    """

    def __init__(self, settings: MLflow, training: Training) -> None:
        self.training, self.kept = training, training.folder / "mlflow.json"
        self.folder = None if ":" in settings.uri or settings.uri == "databricks" else Path(settings.uri).resolve()
        if self.folder:
            os.environ.setdefault("MLFLOW_ALLOW_FILE_STORE", "true")  # MLflow 3.7 and later refuse a folder without it
        self.uri = self.folder.as_uri() if self.folder else settings.uri
        self.client = MlflowClient(tracking_uri=self.uri)
        self.experiment = self._experiment(settings.experiment)
        self.run_id = self._earlier() or self._new()
        self.client.update_run(self.run_id, status="RUNNING", name=training.name)
        self.client.log_batch(self.run_id, tags=[RunTag(key, value) for key, value in training.tags.items()])

    def _experiment(self, name: str) -> str:
        """The id of an experiment, which is created if missing."""
        if self.folder:  # two processes could make two of one name there; a server refuses the second
            self.folder.mkdir(parents=True, exist_ok=True)
        with holding(shared_lock(self.folder / ".lock"), "makes the experiment") if self.folder else nullcontext():
            if found := self.client.get_experiment_by_name(name):
                return str(found.experiment_id)
            try:
                return str(self.client.create_experiment(name))
            except MlflowException:
                if found := self.client.get_experiment_by_name(name):
                    return str(found.experiment_id)
                raise

    def _earlier(self) -> str | None:
        """The run of this training before it was killed; None if there is none."""
        known = read_json(self.kept)
        if not known or known["uri"] != self.uri:
            return None
        try:
            run = self.client.get_run(known["run"])
        except MlflowException:
            return None
        self.logged: dict[str, dict[int, float]] = {
            key: {m.step: m.value for m in self.client.get_metric_history(run.info.run_id, key)} for key in run.data.metrics
        }
        return None if run.info.lifecycle_stage == "deleted" else str(run.info.run_id)

    def _new(self) -> str:
        """Creates a run with the training's settings."""
        run = self.client.create_run(self.experiment, run_name=self.training.name)
        run_id = str(run.info.run_id)
        params = [
            Param(key, "null" if value is None else str(value)[:LONGEST_PARAM])
            for key, value in self.training.hyperparameters.items()
        ]
        for first in range(0, len(params), PARAMS_AT_ONCE):
            self.client.log_batch(run_id, params=params[first : first + PARAMS_AT_ONCE])
        write_json(self.kept, {"uri": self.uri, "run": run_id})
        self.logged = {}
        return run_id

    def log(self, step: int, metrics: dict[str, float]) -> None:
        missing = {key: value for key, value in metrics.items() if self.logged.get(key, {}).get(step) != value}
        if any(step in self.logged.get(key, {}) for key in missing):  # another value: the training began again
            self.client.set_terminated(self.run_id, "KILLED")
            self.run_id, missing = self._new(), metrics
        now = round(time.time() * 1000)
        self.client.log_batch(self.run_id, metrics=[Metric(key, value, now, step) for key, value in missing.items()])
        for key, value in missing.items():
            self.logged.setdefault(key, {})[step] = value

    def close(self, error: BaseException | None) -> None:
        failed = isinstance(error, BasecallerError | OSError | MemoryError)
        self.client.set_terminated(self.run_id, "FINISHED" if error is None else "FAILED" if failed else "KILLED")
