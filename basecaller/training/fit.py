"""The training loop: epochs of batches, points of a learning curve, checkpoints, and the final metrics."""

from __future__ import annotations

import csv
import itertools
import logging
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch

from basecaller.common.errors import DataError, DivergedError, InfeasibleError
from basecaller.common.files import replacing
from basecaller.common.geometry import output_length
from basecaller.data.batches import Batch, check_padding, training_batches
from basecaller.data.dataset import Dataset
from basecaller.networks.base import Network
from basecaller.networks.rawctcnet import RawCTCNet
from basecaller.training import checkpoint
from basecaller.training.batch_plan import BatchPlan
from basecaller.training.engine import choose_path
from basecaller.training.evaluate import evaluate
from basecaller.training.optim import build_optimizer, build_schedule
from basecaller.training.progress import Meter
from basecaller.training.scores import ValidationScores
from basecaller.training.settings import Optimizer, Train

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Recipe:
    """One training, as plain values.

    Attributes:
        optimizer, train: their settings.
        padding: one of `batches.PADDINGS`.
        batch_size: chunks per batch.
        seed: seed of the initial weights, the choice of chunks and their order.
        folder: folder for checkpoints and the curve.
        alone: whether no other training runs here, so that this one may show its progress.
    """

    optimizer: Optimizer
    train: Train
    padding: str
    batch_size: int
    seed: int
    folder: Path
    alone: bool = False


@dataclass
class CurvePoint:
    """One point of the learning curve.

    Attributes:
        epoch: passes over the training chunks so far.
        updates: optimizer updates so far.
        reads: chunks seen so far, counted again in every pass.
        samples: signal samples seen so far.
        train_loss: mean over the batches since the last point, nats per base.
        val_loss: nats per base.
        progress: epochs done, in steps of `1 / validations`; with another budget, the spent share of it.
        lr: learning rate of the next update.
        seconds: training time so far, with validation and pauses, without the time between kill and resume.
    """

    epoch: float
    updates: int
    reads: int
    samples: int
    train_loss: float
    val_loss: float
    progress: float
    lr: float
    seconds: float


@dataclass(frozen=True)
class TrainingFacts:
    """Sizes and counts of a finished training.

    Attributes:
        parameters: number of weights.
        receptive_field: samples that one frame of scores depends on.
        updates, reads, samples: what the training has worked through; a chunk counts as a read.
        chunks, validation_chunks: size of the two splits, without chunks that CTC cannot align.
        seconds: time of the training, including earlier processes.
        device: PyTorch's name of the device.
        path: how it was computed, such as `native float32`.
        precision: precision of the products.
        threads: number of PyTorch's threads.
        only_blanks: whether the best checkpoint calls no base at all.
    """

    parameters: int
    receptive_field: int
    updates: int
    reads: int
    samples: int
    chunks: int
    validation_chunks: int
    seconds: float
    device: str
    path: str
    precision: str
    threads: int
    only_blanks: bool


@dataclass
class FitResult:
    """The result of a finished training.

    Attributes:
        metrics: `val_loss` and the other numbers of the best checkpoint, on the validation split.
        curve: the learning curve.
        facts: its sizes and counts.
    """

    metrics: dict[str, float]
    curve: list[CurvePoint]
    facts: TrainingFacts


@dataclass
class _State:
    """The state of the loop. A resumed run needs only this and the states of network, optimizer and schedule."""

    epoch: int = 0
    batch: int = 0  # batches of this epoch that are done
    updates: int = 0
    reads: int = 0
    samples: int = 0
    skipped: int = 0  # cropped chunks left out because CTC could not align them
    seconds: float = 0.0
    curve: list[CurvePoint] = field(default_factory=list)
    norms: list[float] = field(default_factory=list)  # norms of the last gradients, if `train.clip_factor` is set


NORMS = 100
"""Number of gradient norms whose median `train.clip_factor` uses; it clips nothing until it has half of them. Both as in
Bonito."""

RUN_LENGTH = 1_000_003
"""Distance between the random streams of two seeds, larger than the number of updates of most trainings."""

ROUNDING = 1e-9
"""Tolerance for shares, so that rounding does not put k / n below itself."""


def area_under(curve: list[CurvePoint]) -> float:
    """Mean validation loss over the training, nats per base: the area under the learning curve over samples, by the
    trapezoid rule, divided by its width. The curve starts at its first point; the loss before any training says nothing.
    """
    samples = np.array([point.samples for point in curve], float)
    losses = np.array([point.val_loss for point in curve])
    if len(curve) < 2:
        return float(losses[-1])
    return float(np.trapezoid(losses, samples) / (samples[-1] - samples[0]))


def choose(dataset: Dataset, split: str | None, limit: int | None, stride: int, tolerated: float, seed: int = 0) -> np.ndarray:
    """A random choice of chunks, without those whose targets need more frames than the network gives: int64 [n], ascending.

    Trainings of one seed share their chunks, so they can be compared. Other seeds draw other chunks, so that the spread between
    seeds includes this choice.

    Args:
        dataset: data set to choose from.
        split: split of the data set; None: all of it, and `limit` is ignored.
        limit: number of chunks; None: all.
        stride: samples per frame.
        tolerated: largest share of chunks that may be left out.
        seed: decides the choice.
    Raises:
        InfeasibleError: the targets of more than the tolerated share do not fit.
        DataError: the split is empty.
    """
    indices = dataset.choice(split, limit, seed) if split else np.arange(len(dataset))
    if not len(indices):
        raise DataError(f"{dataset.folder}: its {split} split is empty; prepare it again with more reads")
    outside = dataset.infeasible(indices, stride)
    if len(outside) > tolerated * len(indices):
        worst = outside[np.argmax(dataset.frames_needed[outside])]
        raise InfeasibleError(
            f"{len(outside)} of {len(indices)} {split or 'test'} chunks have more labels than the network gives frames at "
            f"model.stride={stride}: read {dataset.read_ids[worst].decode()} needs {dataset.frames_needed[worst]} and gets "
            f"{output_length(int(dataset.lengths[worst]), stride)}; lower model.stride, or leave such chunks out with "
            f"train.infeasible={np.ceil(len(outside) / len(indices) * 100) / 100:.2f} (the share of chunks that may be skipped)"
        )
    return indices[~np.isin(indices, outside)]


class Trainer:
    """A training in progress."""

    def __init__(self, network: Network, dataset: Dataset, recipe: Recipe) -> None:
        self.network, self.dataset, self.recipe = network, dataset, recipe
        self.device, self.stride = network.device, network.stride
        settings = recipe.train
        self.path = choose_path(
            network.settings,
            self.device,
            settings.native,
            settings.precision,
            1 + len(network.alphabet),
            settings.label_smoothing,
        )
        self.engine = self.path.engine(network, settings.label_smoothing)
        check_padding(dataset, recipe.padding, recipe.batch_size)
        self.train, self.validation = (
            choose(dataset, split, limit, self.stride, settings.infeasible, recipe.seed)
            for split, limit in (("train", settings.chunks), ("validation", settings.validation_chunks))
        )
        self.plan = BatchPlan(len(self.train), recipe.batch_size, settings.batch_schedule, settings.epochs)
        self.optimizer = build_optimizer(recipe.optimizer, [self.engine.parameter])
        self.updates = self._updates()
        self.schedule = build_schedule(recipe.train, self.optimizer, self.updates, self.plan)
        self.state = _State()
        self.scored: ValidationScores | None = None  # of the best checkpoint, if it is the last point
        if recipe.train.resume and (recipe.folder / "last.pt").exists():
            self._restore(checkpoint.load(recipe.folder / "last.pt"))

    def _updates(self) -> int:
        """Number of updates of the whole training; approximate with a budget of samples."""
        settings = self.recipe.train
        if settings.budget == "updates":
            return settings.updates
        if settings.budget == "samples":
            of_a_batch = self.dataset.lengths[self.train].sum() / self.plan.batches(0)
            return max(1, round(settings.samples / of_a_batch))
        return self.plan.updates

    def progress(self) -> float:
        """Epochs done; with another budget, the spent share of it, at most 1."""
        settings, state = self.recipe.train, self.state
        if settings.budget == "updates":
            return state.updates / settings.updates
        if settings.budget == "samples":
            return min(1.0, state.samples / settings.samples)
        return state.epoch + self.plan.share(state.epoch, state.batch)

    @property
    def spent(self) -> bool:
        """Whether the training has its full length."""
        return self.progress() >= (self.recipe.train.epochs if self.recipe.train.budget == "epochs" else 1)

    def _restore(self, content: dict[str, Any]) -> None:
        if content["path"] != str(self.path):  # a mix of two paths could not be reproduced by either
            log.warning("%s: was begun with %s, so it begins again with %s", self.recipe.folder, content["path"], self.path)
            return
        self.network.load_state_dict(content["network"])
        self.optimizer.load_state_dict(content["optimizer"])
        self.schedule.load_state_dict(content["schedule"])
        state = dict(content["state"])
        curve = [CurvePoint(**point) for point in state.pop("curve")]
        self.state = _State(**state, curve=curve)

    def _save(self, best: bool) -> None:
        content = checkpoint.network_content(self.network)
        if best:
            checkpoint.save(self.recipe.folder / "best.pt", content)
        whole = content | {
            "optimizer": self.optimizer.state_dict(),
            "schedule": self.schedule.state_dict(),
            "state": asdict(self.state),
            "path": str(self.path),
        }
        with replacing(self.recipe.folder / "metrics.csv") as partial, partial.open("w", newline="", encoding="utf-8") as file:
            writer = csv.DictWriter(file, list(CurvePoint.__dataclass_fields__))
            writer.writeheader()
            writer.writerows(map(asdict, self.state.curve))
        checkpoint.save(self.recipe.folder / "last.pt", whole)  # at the end: a resumed run writes only later points

    def step(self, batch: Batch) -> float:
        """One update; returns the loss in nats per base."""
        if not isinstance(self.network, RawCTCNet):  # it may draw random numbers (dropout): a resumed run draws the same
            torch.manual_seed((self.recipe.seed * RUN_LENGTH + self.state.updates) % 2**63)
        value = self.engine.gradients(batch, self.recipe.padding == "masked")
        if not np.isfinite(value):
            raise DivergedError(self.state.updates + 1, value)
        if self.recipe.train.clip is not None or self.recipe.train.clip_factor is not None:
            self._clip()
        self.optimizer.step()
        self.schedule.step()
        return value

    def _clip(self) -> None:
        """Like `torch.nn.utils.clip_grad_norm_`, but for a single vector."""
        most, factor = self.recipe.train.clip, self.recipe.train.clip_factor
        gradient, norms = self.engine.gradient, self.state.norms
        norm = float(torch.linalg.vector_norm(gradient))
        if factor is not None:
            if 2 * len(norms) >= NORMS:
                typical = factor * float(np.median(norms))
                most = typical if most is None else min(most, typical)
            norms[:] = [*norms, norm][-NORMS:]
        if most is not None and norm > most:
            gradient.mul_(most / (norm + 1e-6))

    def epoch_batches(self) -> itertools.islice[Batch]:
        """The remaining batches of this epoch after the last saved point."""
        batches = training_batches(
            self.dataset,
            self.train,
            self.plan.parts(self.state.epoch),
            self.recipe.padding,
            self.stride,
            self.recipe.seed,
            self.state.epoch,
        )
        return itertools.islice(batches, self.state.batch, None)

    def loop(self, on_point: Callable[[CurvePoint], None], meter: Meter) -> None:
        state, losses = self.state, list[float]()
        parts = self.recipe.train.validations
        started = time.perf_counter() - state.seconds
        while not self.spent:
            for batch in self.epoch_batches():
                before = self.progress()
                losses.append(self.step(batch))
                state.batch += 1
                state.updates += 1
                state.reads += len(batch.lengths)
                state.samples += int(batch.lengths.sum())
                meter.advance(losses[-1], int(batch.lengths.sum()))
                # the batch that reaches a k-th part of the epoch is followed by a point of the curve
                if int(self.progress() * parts + ROUNDING) > int(before * parts + ROUNDING):
                    state.seconds = time.perf_counter() - started
                    point = self.point(float(np.mean(losses)))
                    losses.clear()
                    meter.point(point.train_loss, point.val_loss)
                    on_point(point)
                if self.spent:
                    break
            if state.batch == self.plan.batches(state.epoch):
                state.epoch, state.batch = state.epoch + 1, 0

    def point(self, train_loss: float) -> CurvePoint:
        """Validates, adds a point to the curve, and saves it all."""
        state, parts = self.state, self.recipe.train.validations
        before = time.perf_counter()
        scored = evaluate(self.engine, self.dataset, self.validation, basecall=self.spent)
        if not np.isfinite(scored.loss):
            raise DivergedError(state.updates, scored.loss, "validation loss")
        best = all(scored.loss < point.val_loss for point in state.curve)
        if best and self.spent:
            self.scored = scored
        state.seconds += time.perf_counter() - before
        rate = float(self.schedule.get_last_lr()[0])
        point = CurvePoint(
            epoch=state.epoch + self.plan.share(state.epoch, state.batch),
            updates=state.updates,
            reads=state.reads,
            samples=state.samples,
            train_loss=train_loss,
            val_loss=scored.loss,
            progress=int(self.progress() * parts + ROUNDING) / parts,
            lr=rate,
            seconds=round(state.seconds, 3),
        )
        state.curve.append(point)
        self._save(best)
        return point


def fit(
    network: Network, dataset: Dataset, recipe: Recipe, on_point: Callable[[CurvePoint], None] = lambda point: None
) -> FitResult:
    """Trains a network and scores its best checkpoint on the validation split.

    If `recipe.folder` has a checkpoint of the same training, it continues from there.

    Args:
        network: the network on its device; its weights are changed.
        dataset: data set with `train` and `validation` splits.
        recipe: how to train.
        on_point: called with every point of the learning curve, first with those of an earlier, killed run. An exception that
            it raises ends the training, with the checkpoint in place.
    Raises:
        DivergedError: the loss is no longer finite.
        InfeasibleError: too many targets are longer than the output.
        DataError: the data set is broken.
    """
    run = Trainer(network, dataset, recipe)
    for point in run.state.curve:
        on_point(point)
    with Meter(run.updates, run.state.updates, recipe.alone, recipe.folder.name) as meter:
        run.loop(on_point, meter)
    if not (scored := run.scored):
        network.load_state_dict(checkpoint.load(recipe.folder / "best.pt")["network"])
        scored = evaluate(run.engine, dataset, run.validation)
    assert scored.basecalls is not None
    metrics = {
        "val_loss": scored.loss,
        "loss_per_read": scored.loss_per_read,
        **vars(scored.basecalls),
        "area_under_curve": area_under(run.state.curve),
    }
    facts = TrainingFacts(
        parameters=sum(p.numel() for p in network.parameters()),
        receptive_field=network.receptive_field,
        updates=run.state.updates,
        reads=run.state.reads,
        samples=run.state.samples,
        chunks=len(run.train),
        validation_chunks=len(run.validation),
        seconds=round(run.state.seconds, 3),
        device=str(run.device),
        path=str(run.path),
        precision=run.path.precision,
        threads=torch.get_num_threads(),
        only_blanks=scored.basecalls.blank_fraction == 1.0,
    )
    return FitResult(metrics, run.state.curve, facts)
