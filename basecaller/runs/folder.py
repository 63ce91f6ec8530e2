"""The folder of a run. It holds one training, which continues from its checkpoint or returns its stored result.

run.json      the run id of the folder's training
config.yaml   the resolved config
.hydra/       the configs that Hydra composes it from
last.pt       the latest checkpoint, to continue from
best.pt       the best checkpoint
metrics.csv   the learning curve
result.json   the result of a finished training
mlflow.json, wandb.json   the run in these trackers
"""

from __future__ import annotations

import logging
import math
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from functools import cached_property
from typing import Any

from basecaller.common.facts import from_json
from basecaller.common.files import holding, read_json, shared_lock, write_json, write_yaml
from basecaller.runs.job import Job
from basecaller.training.device import choose_device
from basecaller.training.engine import choose_path
from basecaller.training.fit import CurvePoint, TrainingFacts

log = logging.getLogger(__name__)

LEFT = ("result.json", "last.pt", "best.pt", "metrics.csv", "mlflow.json", "wandb.json")
"""Files of a training other than its marker and its config."""


@dataclass(frozen=True)
class RunFacts(TrainingFacts):
    """Facts of a run: those of its training, and the data and the program behind it.

    Attributes:
        data: fingerprint of the data set.
        commit: the program's commit, see `provenance.commit`; None if unknown.
        versions: versions of Python and of packages by name.
        run_id: the run's id.
        sample_rates: sample rates of the reads in Hz; empty if they are unknown.
    """

    data: str
    commit: str | None
    versions: dict[str, str]
    run_id: str
    sample_rates: list[int] = field(default_factory=list)


@dataclass(frozen=True)
class Result:
    """The result of a training, stored as `result.json`.

    Attributes:
        metrics: metrics of the best checkpoint on the validation split; `val_loss`, nats per base, is the objective.
        curve: the learning curve.
        facts: sizes and counts, and where it ran.
        reused: whether it was trained before and is read from its folder.
    """

    metrics: dict[str, float]
    curve: list[CurvePoint]
    facts: RunFacts
    reused: bool = False

    def __str__(self) -> str:
        m, f = self.metrics, self.facts
        state = "trained before" if self.reused else f"{f.seconds:.1f} s"
        blanks = ", only blanks called" if f.only_blanks else ""
        return (
            f"val_loss {m['val_loss']:.4f} nats/base, identity {m['identity_mean']:.1%} "
            f"(unrelated {m['identity_floor']:.1%}), {f.updates} update{'' if f.updates == 1 else 's'}, {state}{blanks}"
        )


class RunFolder:
    """The folder of a job.

    Args:
        job: the job to train in its `folder`.
    """

    def __init__(self, job: Job) -> None:
        self.job, self.path = job, job.folder

    def __str__(self) -> str:
        return os.path.relpath(self.path)

    @contextmanager
    def held(self) -> Iterator[None]:
        """Creates the folder if missing, and locks it; another process with the same training waits."""
        self.path.mkdir(parents=True, exist_ok=True)
        with holding(shared_lock(self.path / ".lock"), f"trains the same in {self}"):
            yield

    def finished(self) -> Result | None:
        """The stored result of the job; None if there is none, or if this process would compute it differently."""
        found = read_json(self.path / "result.json") if self._is_own() else None
        if not found or self._otherwise(found) or not math.isfinite(found["metrics"]["val_loss"]):
            return None
        curve = [CurvePoint(**point) for point in found["curve"]]
        return Result(found["metrics"], curve, from_json(RunFacts, found["facts"]), reused=True)

    def take(self) -> None:
        """Prepares the folder for the job. Removes the files of another training, or of one that must not be resumed, and a
        result that this process would compute differently."""
        if not self._is_own():
            for name in LEFT:
                (self.path / name).unlink(missing_ok=True)
            write_json(self.path / "run.json", {"run_id": self.job.run_id})
            write_yaml(self.path / "config.yaml", self.job.config)
            if self.job.hydra:
                self.job.hydra.write(self.path)
        elif (found := read_json(self.path / "result.json")) and (other := self._otherwise(found)):
            log.warning("%s: %s, so it is trained again", self, other)
            (self.path / "result.json").unlink()

    def keep(self, result: Result) -> None:
        """Stores the result, which marks the training as finished."""
        curve = [asdict(point) for point in result.curve]
        content = {"metrics": result.metrics, "facts": asdict(result.facts), "curve": curve, "config": self.job.config}
        write_json(self.path / "result.json", content)

    def _is_own(self) -> bool:
        """Whether the folder holds this training, and the job may resume it."""
        return self.job.settings.train.resume and read_json(self.path / "run.json") == {"run_id": self.job.run_id}

    def _otherwise(self, found: dict[str, Any]) -> str:
        """Describes how a stored result was computed if this process would compute it differently; else empty. Results with
        different rounding cannot be paired."""
        there = found["facts"].get("path")
        return "" if there == self._way else f"computed by {there}, here it would be {self._way}"

    @cached_property
    def _way(self) -> str:
        """The path by which this process would compute the result."""
        chosen = self.job.settings
        device, train = choose_device(chosen.device), chosen.train
        return str(choose_path(chosen.model, device, train.native, train.precision, label_smoothing=train.label_smoothing))
