"""All use of Hydra's private interface; `tests/hpo/test_private_names.py` lists the names and the reasons."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

from hydra._internal.config_loader_impl import ConfigLoaderImpl
from hydra._internal.core_plugins import file_config_source
from hydra._internal.hydra import Hydra
from hydra._internal.sources_registry import SourcesRegistry
from hydra._internal.utils import get_args_parser
from hydra.core.override_parser.types import Override
from hydra.core.utils import JobReturn
from hydra.plugins.config_source import ConfigResult
from omegaconf import DictConfig

from basecaller.common.omegaconf_private import JobConfig
from basecaller.common.places import conf_dir

__all__ = ["Hydra", "apply_overrides", "error_of", "parse_files_once", "parsed_value", "unknown_flags"]

_parsed: dict[tuple[str, ...], ConfigResult] = {}
"""Parsed config files by place, name and text."""


class FileConfigSource(file_config_source.FileConfigSource):
    """Hydra's source of config files, except that a file of this program is parsed again only if its text has changed. It has
    the name of Hydra's class, since Hydra refuses another one for the same kind of source."""

    def load_config(self, config_path: str) -> ConfigResult:
        """A file's config, see Hydra's `ConfigSource`."""
        file = Path(self.path, self._normalize_file_name(config_path))
        if not file.is_file() or not file.is_relative_to(conf_dir()):  # Hydra's error, or files of another application
            return super().load_config(config_path)
        key = (self.provider, self.path, config_path, file.read_text(encoding="utf-8"))
        if (result := _parsed.get(key)) is None:
            result = _parsed[key] = super().load_config(config_path)
        if not isinstance(result.config, DictConfig):  # an error, which Hydra reports
            return result
        return replace(result, config=JobConfig.of(result.config), header=dict(result.header))  # Hydra changes both


def parse_files_once() -> None:
    """Makes Hydra parse each config file of this program once in a process: parsing takes two fifths of composing."""
    SourcesRegistry.instance().types["file"] = FileConfigSource


def apply_overrides(overrides: list[Override], config: DictConfig) -> None:
    """Sets plain values in a composed config, with Hydra's own checks. Hydra's public API only composes from the files.

    Raises:
        hydra.errors.ConfigCompositionException: the config has no such key.
    """
    ConfigLoaderImpl._apply_overrides_to_config(overrides, config)


def unknown_flags(arguments: list[str]) -> list[str]:
    """The flags on a command line that `hydra.main` does not know: it would print its usage and exit."""
    _, others = get_args_parser().parse_known_args(arguments)
    return [argument for argument in others if argument.startswith("-")]


def error_of(job: JobReturn) -> BaseException:
    """The exception that a failed job raised. `JobReturn.return_value` raises it too, but prints all overrides first."""
    return job._return_value


def parsed_value(override: Override) -> Any:
    """The value of an override as Hydra's grammar reads it. `Override.value` does not tell whether text is quoted."""
    return override._value
