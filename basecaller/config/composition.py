"""Composes configs outside a Hydra run, registers the resolvers that they use, and writes command lines."""

from __future__ import annotations

import math
import shlex
import sys
from collections.abc import Mapping
from dataclasses import make_dataclass
from pathlib import Path

from hydra import compose, initialize_config_dir
from hydra.core.global_hydra import GlobalHydra
from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig, OmegaConf, open_dict

from basecaller.common.places import conf_dir
from basecaller.config.messages import is_users, readable
from basecaller.config.schema import SECTIONS
from basecaller.config.settings import general
from basecaller.hpo.hydra_private import parse_files_once
from basecaller.hpo.urls import without_password


def scaled_rate(base: float, factor: float, batch: int = 1, base_batch: int = 1) -> float:
    """The resolver `${rate:base,factor,batch,base_batch}`: base x factor x sqrt(batch / base_batch), to six digits.

    The square root keeps the variance of an update when the batch grows (Krizhevsky, arXiv:1404.5997, 2014).
    """
    return float(f"{base * factor * math.sqrt(batch / base_batch):.6g}")


def _line_end() -> str:
    """The resolver `${line_end:}`: clears the rest of a terminal's line, which may show the progress of a search."""
    return "\x1b[K" if sys.stderr.isatty() else ""


def register_resolvers() -> None:
    """Registers the resolvers with OmegaConf; may be called repeatedly. `runs/job.py` registers `${run_id:}`, and
    `hpo/resolver.py` registers `${best:...}`."""
    OmegaConf.register_resolver("rate", scaled_rate, replace=True)
    OmegaConf.register_resolver("line_end", _line_end, replace=True)


register_resolvers()
parse_files_once()


def composed(overrides: list[str], name: str = "config", sections: Mapping[str, type] = SECTIONS) -> DictConfig:
    """Composes a config of `conf/` with overrides, without resolving or checking it. Also sets `HydraConfig`.

    Args:
        overrides: overrides in Hydra's grammar.
        name: name of the file, such as `commands/basecall`; config groups are the folders next to it.
        sections: dataclasses that describe its keys, for messages.
    Raises:
        SettingError: an unknown group or key, or an override that cannot be parsed.
    """
    GlobalHydra.instance().clear()
    try:
        file = Path(conf_dir()) / name
        # the winner may differ from a trial in any setting, also in settings that conf/ does not list
        overrides = [f"++{line}" if line.startswith("search.winner.") else line for line in overrides]
        with initialize_config_dir(str(file.parent)):
            config = compose(file.name, overrides, return_hydra_config=True)
    except Exception as error:
        raise readable(error, sections) if is_users(error) else error from error
    HydraConfig.instance().set_config(config)  # for ${hydra:runtime.cwd}
    with open_dict(config):
        del config["hydra"]
    return config


def group_options(group: str, overrides: list[str]) -> list[str]:
    """The options of a config group, including those of folders in `hydra.searchpath`."""
    places = [line for line in overrides if line.startswith("hydra.searchpath=")]
    GlobalHydra.instance().clear()
    with initialize_config_dir(conf_dir()):
        return list(GlobalHydra.instance().config_loader().get_group_options(group, config_name="config", overrides=places))


def compose_config(overrides: list[str], options: type | None = None) -> DictConfig:
    """A job's config from command-line overrides, for commands that are not Hydra jobs.

    Args:
        overrides: overrides in Hydra's grammar.
        options: dataclass of the command's own keys, which messages about unknown keys offer too.
    Raises:
        SettingError: see `composed` and `general`.
    """
    own = {"": make_dataclass("Keys", [], bases=(SECTIONS[""], options), frozen=True)} if options else {}
    config = composed(overrides, sections=SECTIONS | own)
    general(config)
    return config


def command(module: str, overrides: list[str], multirun: bool = False) -> str:
    """A command line that a user can type, without passwords."""
    shown = [without_password(line) for line in overrides]
    return shlex.join(["python", "-m", f"basecaller.{module}", *(["-m"] if multirun else []), *shown])
