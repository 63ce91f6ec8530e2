"""What `conf/logger/*.yaml` sets, and which package each logger needs."""

from __future__ import annotations

from dataclasses import dataclass, field
from importlib.util import find_spec
from typing import Any

from basecaller.checking import section
from basecaller.errors import SettingError


@dataclass(frozen=True)
class Csv:
    """What `conf/logger/csv.yaml` sets.

    Attributes:
        folder: Folder of the logs; each training has a folder in it, with metrics.csv and hparams.yaml.
    """

    folder: str


@dataclass(frozen=True)
class TensorBoard:
    """What `conf/logger/tensorboard.yaml` sets.

    Attributes:
        folder: Folder of the event files, as `tensorboard --logdir` takes it; each training is a run in it.
    """

    folder: str


@dataclass(frozen=True)
class MLflow:
    """What `conf/logger/mlflow.yaml` sets.

    Attributes:
        uri: Folder of a file store, or the tracking URI of a server or a database, such as http://127.0.0.1:5000.
        experiment: MLflow experiment that the trainings belong to.
    """

    uri: str
    experiment: str


@dataclass(frozen=True)
class WandB:
    """What `conf/logger/wandb.yaml` sets.

    Attributes:
        folder: Folder in which the folder wandb/ is made.
        project: W&B project that the trainings belong to.
        entity: User or team of the project. null: your own.
        mode: `offline` writes files that `wandb sync` uploads later; `online` uploads them now; `disabled` does nothing. The
            environment variable WANDB_MODE sets the default.
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
        package: that it needs, which `pip install 'basecaller[NAME]'` installs under the logger's name; None: none.
    """

    settings: type
    package: str | None = None


LOGGERS = {
    "csv": Kind(Csv),
    "tensorboard": Kind(TensorBoard, "tensorboard"),
    "mlflow": Kind(MLflow, "mlflow"),
    "wandb": Kind(WandB, "wandb"),
}
"""By name: the option of the config group `logger`, and the module `basecaller.loggers.NAME` with its `Logger`."""


def logger_settings(node: dict[str, Any]) -> dict[str, Any]:
    """The checked settings of the chosen loggers, by name.

    Raises:
        SettingError: an unknown logger or key, a value that cannot be, or a package that is not installed.
    """
    for name in node:
        if name not in LOGGERS:
            raise SettingError(
                f"logger.{name}: no such logger; there are {', '.join(LOGGERS)}, as in logger={next(iter(LOGGERS))}"
            )
        if (package := LOGGERS[name].package) and not _is_installed(package):
            raise SettingError(f"logger={name}: needs {package}: python -m pip install 'basecaller[{name}]'")
    return {name: section(LOGGERS[name].settings, values, f"logger.{name}") for name, values in node.items()}


def _is_installed(package: str) -> bool:
    spec = find_spec(package)
    return spec is not None and spec.origin is not None  # a folder of that name, such as wandb/, is no package
