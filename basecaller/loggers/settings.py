"""The settings of `conf/logger/*.yaml`, and the package that each logger needs."""

from __future__ import annotations

from dataclasses import dataclass, field
from importlib.util import find_spec
from typing import Any

from basecaller.common.checking import section
from basecaller.common.errors import SettingError


@dataclass(frozen=True)
class Csv:
    """Settings of `conf/logger/csv.yaml`.

    Attributes:
        folder: Folder of the logs; each training has a folder in it, with metrics.csv and hparams.yaml.
    """

    folder: str


@dataclass(frozen=True)
class TensorBoard:
    """Settings of `conf/logger/tensorboard.yaml`.

    Attributes:
        folder: Folder of the event files, for `tensorboard --logdir`; each training is a run in it.
    """

    folder: str


@dataclass(frozen=True)
class MLflow:
    """Settings of `conf/logger/mlflow.yaml`.

    Attributes:
        uri: Folder of a file store, or the tracking URI of a server or a database, such as http://127.0.0.1:5000.
        experiment: MLflow experiment that the trainings belong to.
    """

    uri: str
    experiment: str


@dataclass(frozen=True)
class WandB:
    """Settings of `conf/logger/wandb.yaml`.

    Attributes:
        folder: Folder in which W&B makes its own folder, wandb/.
        project: W&B project that the trainings belong to.
        entity: User or team that the project belongs to. null: your own user.
        mode: `offline` writes files that `wandb sync` uploads later, `online` uploads while training, `disabled` does nothing.
            The environment variable WANDB_MODE sets the default.
    """

    folder: str
    project: str
    entity: str | None
    mode: str = field(metadata={"choices": ("offline", "online", "disabled")})


@dataclass(frozen=True)
class Kind:
    """A kind of logger.

    Attributes:
        settings: dataclass of its keys.
        package: package that it needs, installed by `pip install 'basecaller[NAME]'` with the logger's name; None for none.
    """

    settings: type
    package: str | None = None


LOGGERS = {
    "csv": Kind(Csv),
    "tensorboard": Kind(TensorBoard, "tensorboard"),
    "mlflow": Kind(MLflow, "mlflow"),
    "wandb": Kind(WandB, "wandb"),
}
"""Loggers by name, which is an option of the config group `logger` and a module `basecaller.loggers.NAME` with a `Logger`."""


def logger_settings(node: dict[str, Any]) -> dict[str, Any]:
    """The checked settings of the chosen loggers, by name.

    Raises:
        SettingError: an unknown logger or key, an invalid value, or a package that is not installed.
    """
    for name in node:
        if name not in LOGGERS:
            raise SettingError(
                f"logger.{name}: no such logger; loggers are {', '.join(LOGGERS)}, as in logger={next(iter(LOGGERS))}"
            )
        if (package := LOGGERS[name].package) and not _is_installed(package):
            raise SettingError(f"logger={name}: needs {package}: python -m pip install 'basecaller[{name}]'")
    return {name: section(LOGGERS[name].settings, values, f"logger.{name}") for name, values in node.items()}


def _is_installed(package: str) -> bool:
    spec = find_spec(package)
    return spec is not None and spec.origin is not None  # a folder of that name, such as wandb/, is not a package
