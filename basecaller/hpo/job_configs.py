"""The configs of a sweep's jobs: composed by Hydra once, then varied.

Hydra composes every job's config from its files again, which takes longer than everything else around the training of a
short trial.
"""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path
from typing import Any

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override
from omegaconf import DictConfig

from basecaller.common.omegaconf_private import JobConfig
from basecaller.hpo.hydra_private import apply_overrides

_composed: dict[Any, DictConfig] = {}
"""Configs composed in this process, by everything that Hydra composes them from. A worker process keeps them between jobs."""


@lru_cache(maxsize=1024)  # the jobs of a sweep share most of their lines
def _parsed(line: str) -> Override:
    return OverridesParser.create().parse_override(line)


class OnceComposed:
    """Hydra's config loader, except that sweep configs which differ only in plain values (`key=value`, where the key is not a
    config group) are composed once. Hydra's own code sets the values.

    Args:
        loader: Hydra's.
    """

    def __init__(self, loader: Any) -> None:
        self.loader = loader
        self.groups: dict[str, bool] = {}

    def __getattr__(self, name: str) -> Any:
        if name == "loader":  # asked for by unpickling
            raise AttributeError(name)
        return getattr(self.loader, name)

    def load_sweep_config(self, master_config: DictConfig, sweep_overrides: list[str]) -> DictConfig:
        """A job's config, see Hydra's `ConfigLoader`."""
        parsed = [_parsed(line) for line in sweep_overrides]
        plain = [override for override in parsed if self._is_plain(override)]
        shaping = [str(override.input_line) for override in parsed if override not in plain]
        hydras = tuple(master_config.hydra.overrides.hydra)
        key = (str(self.loader.get_search_path()), Path.cwd(), hydras, *shaping)
        if key not in _composed:
            _composed[key] = self.loader.load_sweep_config(master_config, shaping)
        config = JobConfig.of(_composed[key])
        apply_overrides(plain, config)
        config.hydra.overrides.task = [str(o.input_line) for o in parsed if not o.is_hydra_override()]
        return config

    def _is_plain(self, override: Override) -> bool:
        name = override.key_or_group
        if override.is_add() or override.is_delete() or override.package is not None or name.partition(".")[0] == "hydra":
            return False
        if name not in self.groups:
            self.groups[name] = bool(self.loader.get_group_options(name))
        return not self.groups[name]
