"""`logger=wandb`: runs of Weights & Biases, offline unless the user asks for more."""

from __future__ import annotations

import os
import secrets
from pathlib import Path
from typing import Any, cast

os.environ.setdefault("WANDB_ERROR_REPORTING", "false")  # read by the import: a training sends no error reports

import wandb

from basecaller.common.files import read_json, write_json
from basecaller.loggers.settings import WandB
from basecaller.loggers.training import Training

AXIS = "updates"
"""The metric on the x axis. W&B's own step must grow with every row, but the last update has two rows."""


class Logger:
    """Logs a training as a W&B run; see `loggers.training.Logger`.

    Offline, every start of the program writes a new folder, and `wandb sync` joins the folders of one run. Files written
    offline cannot be queried, so `wandb.json` in the training's folder keeps the logged points.
    """

    def __init__(self, settings: WandB, training: Training) -> None:
        self.settings, self.training, self.kept = settings, training, training.folder / "wandb.json"
        known = read_json(self.kept) or {}
        self.logged: dict[str, dict[str, float]] = known.get("logged", {})
        self._open(known.get("run"))

    def _open(self, run: str | None) -> None:
        tags, folder = self.training.tags, Path(self.settings.folder).resolve()  # W&B's service has another working folder
        folder.mkdir(parents=True, exist_ok=True)  # else W&B writes to a folder for temporary files
        self.id = run or f"{self.training.run_id}-{secrets.token_hex(3)}"
        self.run = wandb.init(
            id=self.id,
            resume="allow" if self.settings.mode == "online" else None,
            name=self.training.name,
            project=self.settings.project,
            entity=self.settings.entity,
            group=tags.get("stage"),
            tags=[f"{key}:{value}"[:64] for key, value in tags.items()],
            config=self.training.hyperparameters | tags,
            dir=folder,
            mode=cast(Any, self.settings.mode),
            settings=wandb.Settings(silent=True, console="off", disable_git=True, disable_code=True),
        )
        self.run.define_metric("*", step_metric=AXIS)

    def log(self, step: int, metrics: dict[str, float]) -> None:
        before = self.logged.get(str(step), {})
        missing = {key: value for key, value in metrics.items() if before.get(key) != value}
        if any(key in before for key in missing):  # another value: the training began again
            self.run.finish(exit_code=1)
            self.logged, missing, before = {}, metrics, {}
            self._open(None)
        if missing:
            self.logged[str(step)] = before | missing
            write_json(self.kept, {"run": self.id, "logged": self.logged})  # first, so that a kill in between repeats no point
            self.run.log({AXIS: step, **missing})

    def close(self, error: BaseException | None) -> None:
        self.run.finish(exit_code=0 if error is None else 1)
