"""`logger=csv`: a table of metrics by update, and the settings next to it."""

from __future__ import annotations

import csv

from basecaller.common.files import replacing, write_yaml
from basecaller.loggers.settings import Csv
from basecaller.loggers.training import Training


class Logger:
    """Writes metrics.csv, whole at every point, and hparams.yaml; see `loggers.training.Logger`."""

    def __init__(self, settings: Csv, training: Training) -> None:
        self.folder = training.place(settings.folder)
        self.rows: dict[int, dict[str, float]] = {}
        write_yaml(self.folder / "hparams.yaml", training.hyperparameters | training.tags)

    def log(self, step: int, metrics: dict[str, float]) -> None:
        self.rows[step] = self.rows.get(step, {"step": step}) | metrics
        columns = list(dict.fromkeys(key for row in self.rows.values() for key in row))
        with (
            replacing(self.folder / "metrics.csv") as partial,
            partial.open("w", newline="", encoding="utf-8") as file,
        ):
            writer = csv.DictWriter(file, columns)
            writer.writeheader()
            writer.writerows(self.rows.values())

    def close(self, error: BaseException | None) -> None:
        pass
