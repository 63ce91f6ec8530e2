"""`logger=wandb`: runs of Weights & Biases, offline unless the user asks for more."""

from __future__ import annotations

import os
import secrets
from pathlib import Path
from typing import Any, cast

os.environ.setdefault("WANDB_ERROR_REPORTING", "false")  # read by the import: a training tells nobody of itself

import wandb

from basecaller.files import read_json, write_json
from basecaller.loggers.settings import WandB
from basecaller.loggers.training import Training

AXIS = "updates"
"""The metric that others are drawn over. W&B's own step must grow with every row, and the last update has two."""


class Logger:
    """Logs a training as a W&B run; see `loggers.training.Logger`.

    Offline, every start of the program writes a folder of its own, and `wandb sync` joins those of one run. Files that were
    written offline cannot be queried, so `wandb.json` in the training's folder keeps what was logged.
    """

    def __init__(self, settings: WandB, training: Training) -> None:
        self.settings, self.training, self.kept = settings, training, training.folder / "wandb.json"
        known = read_json(self.kept) or {}
        self.logged: dict[str, dict[str, float]] = known.get("logged", {})
        self._open(known.get("run"))

    def _open(self, run: str | None) -> None:
        tags, folder = self.training.tags, Path(self.settings.folder).resolve()  # W&B's service has a working folder of its own
        folder.mkdir(parents=True, exist_ok=True)  # W&B would write to a folder for temporary files
        self.id = run or f"{self.training.run_id}-{secrets.token_hex(3)}"
        self.run = wandb.init(
            id=self.id,
            resume="allow" if self.settings.mode == "online" else None,
            name=self.training.name,
            project=self.settings.project,
            entity=self.settings.entity,
            group=tags["stage"],
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
        if any(key in before for key in missing):  # another value: the training was begun anew
            self.run.finish(exit_code=1)
            self.logged, missing, before = {}, metrics, {}
            self._open(None)
        if missing:
            self.logged[str(step)] = before | missing
            write_json(self.kept, {"run": self.id, "logged": self.logged})  # first: a kill between the two doubles no point
            self.run.log({AXIS: step, **missing})

    def close(self, error: BaseException | None) -> None:
        self.run.finish(exit_code=0 if error is None else 1)
