"""`logger=tensorboard`: event files for `tensorboard --logdir`."""

from __future__ import annotations

from typing import Any, cast

from torch.utils.tensorboard import SummaryWriter
from torch.utils.tensorboard.summary import hparams

from basecaller.loggers.settings import TensorBoard
from basecaller.loggers.training import Training

COMPARED = "val/loss"
"""The metric that TensorBoard's table of hyperparameters shows."""


class Logger:
    """Writes event files; see `loggers.training.Logger`.

    A resumed training opens another event file. It first removes all earlier points (TensorBoard's `purge_step`), then logs
    them again.
    """

    def __init__(self, settings: TensorBoard, training: Training) -> None:
        self.writer = SummaryWriter(training.place(settings.folder), purge_step=0)
        self.file = cast(Any, self.writer.file_writer)
        began, told, self.ended = hparams(training.hyperparameters | training.tags, {COMPARED: 0.0})
        self.file.add_summary(began)
        self.file.add_summary(told)
        self.writer.flush()

    def log(self, step: int, metrics: dict[str, float]) -> None:
        for key, value in metrics.items():
            self.writer.add_scalar(key, value, step)
        self.writer.flush()

    def close(self, error: BaseException | None) -> None:
        if error is None:
            self.file.add_summary(self.ended)
        self.writer.close()
