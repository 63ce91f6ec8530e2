"""The folder of a run: one training at a time, which goes on from what it left there, or finds that it had finished.

run.json      whose folder it is: a run id
config.yaml   its config, resolved
.hydra/       what Hydra composed it from
last.pt       the last checkpoint, to go on from
best.pt       the checkpoint that is kept
metrics.csv   the learning curve
result.json   what it gave, once it has finished
mlflow.json, wandb.json   which run of these loggers is the training's
"""

from __future__ import annotations

import logging
import math
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from functools import cached_property
from typing import Any

from basecaller.files import holding, read_json, shared_lock, write_json, write_yaml
from basecaller.runs.job import Job
from basecaller.training.device import choose_device
from basecaller.training.engine import choose_path
from basecaller.training.fit import Point

log = logging.getLogger(__name__)

LEFT = ("result.json", "last.pt", "best.pt", "metrics.csv", "mlflow.json", "wandb.json")
"""What a training leaves beside its marker and its config."""


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


class RunFolder:
    """The folder of a job.

    Args:
        job: whose `folder` it is, and what shall be trained there.
    """

    def __init__(self, job: Job) -> None:
        self.job, self.path = job, job.folder

    def __str__(self) -> str:
        return os.path.relpath(self.path)

    @contextmanager
    def held(self) -> Iterator[None]:
        """Makes the folder if it is not there, and holds its lock: another process that trains the same waits."""
        self.path.mkdir(parents=True, exist_ok=True)
        with holding(shared_lock(self.path / ".lock"), f"trains the same in {self}"):
            yield

    def finished(self) -> Result | None:
        """The job's result, where the folder holds it and this process would compute it the same way."""
        found = read_json(self.path / "result.json") if self._is_own() else None
        if not found or self._otherwise(found) or not math.isfinite(found["metrics"]["val_loss"]):
            return None
        return Result(found["metrics"], [Point(**point) for point in found["curve"]], found["facts"], taken_over=True)

    def take(self) -> None:
        """Makes the folder the job's own, to go on from its checkpoint, or to begin anew where it held another training, or the
        job shall not resume. A result that this process would compute in another way goes, too."""
        if not self._is_own():
            for name in LEFT:
                (self.path / name).unlink(missing_ok=True)
            write_json(self.path / "run.json", {"run_id": self.job.run_id})
            write_yaml(self.path / "config.yaml", self.job.config)
            if self.job.hydra:
                self.job.hydra.write(self.path)
        elif (found := read_json(self.path / "result.json")) and (other := self._otherwise(found)):
            log.warning("%s: %s; trained again here", self, other)
            (self.path / "result.json").unlink()

    def keep(self, result: Result) -> None:
        """Writes the result: the training has finished."""
        curve = [asdict(point) for point in result.curve]
        content = {"metrics": result.metrics, "facts": result.facts, "curve": curve, "config": self.job.config}
        write_json(self.path / "result.json", content)

    def _is_own(self) -> bool:
        """Whether what the folder holds is this job's, to go on from."""
        return self.job.settings.train.resume and read_json(self.path / "run.json") == {"run_id": self.job.run_id}

    def _otherwise(self, found: dict[str, Any]) -> str:
        """How a result was computed, if this process would compute it in another way, with other rounding: then the two cannot
        be paired. Empty if it is the same way."""
        there = found["facts"].get("path")
        return "" if there == self._way else f"computed by {there}, here it would be {self._way}"

    @cached_property
    def _way(self) -> str:
        """How this process would compute it."""
        chosen = self.job.settings
        device, train = choose_device(chosen.device), chosen.train
        return str(choose_path(chosen.model, device, train.native, train.precision, label_smoothing=train.label_smoothing))
