"""The `.hydra/` of a run's folder, like Hydra's `output_subdir`, but without the storage's password, which Hydra writes."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from omegaconf import DictConfig

from basecaller.common.files import write_yaml
from basecaller.hpo.urls import shown_config

FOLDER = ".hydra"


@dataclass(frozen=True)
class HydraFiles:
    """The configs that Hydra composed for a job.

    Attributes:
        task: the job's config, unresolved.
        hydra: Hydra's own part, below the key `hydra`.
    """

    task: DictConfig
    hydra: DictConfig

    def write(self, folder: Path) -> None:
        """Writes `config.yaml`, `hydra.yaml` and `overrides.yaml`, from which `--experimental-rerun` runs the job again."""
        for name, node in (("config", self.task), ("hydra", self.hydra), ("overrides", self.hydra.hydra.overrides.task)):
            write_yaml(folder / FOLDER / f"{name}.yaml", shown_config(node))
