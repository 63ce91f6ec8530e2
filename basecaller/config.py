"""Composition: the resolvers that configs use, a job's config outside a Hydra run, and command lines."""

from __future__ import annotations

import math
import shlex
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from hydra import compose, initialize_config_dir
from hydra.core.global_hydra import GlobalHydra
from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig, OmegaConf, open_dict

from basecaller.data.sources import source_fingerprint
from basecaller.errors import DataError
from basecaller.files import content_digest
from basecaller.hpo.best import best
from basecaller.hpo.identity import run_id
from basecaller.hpo.urls import without_password
from basecaller.messages import is_users, readable
from basecaller.places import conf_dir
from basecaller.resolving import resolve
from basecaller.schema import SECTIONS, typed_config
from basecaller.settings import data_settings, general, settings


def scaled_rate(base: float, factor: float, batch: int = 1, base_batch: int = 1) -> float:
    """The resolver `${rate:base,factor,batch,base_batch}`: base x factor x sqrt(batch / base_batch), to six digits.

    The square root keeps the variance of an update when the batch grows (Krizhevsky, arXiv:1404.5997, 2014).
    """
    return float(f"{base * factor * math.sqrt(batch / base_batch):.6g}")


def _run_id(*, _root_: DictConfig) -> str:
    """The resolver `${run_id:}`: a training's identity, and the name of its folder. All settings are checked before
    there is one."""
    settings(_root_)
    return run_id(job_config(_root_))


def _data_fingerprint(*, _root_: DictConfig) -> str:
    """The resolver `${data_fingerprint:}`: of what the data set is made from."""
    data = data_settings(_root_)
    return source_fingerprint(data.name, data.source)


def file_digest(path: str | None) -> str | None:
    """The resolver `${file_digest:path}`: of a file's content, 16 hex digits; null for none.

    Raises:
        DataError: there is no such file.
    """
    if path is None:
        return None
    try:
        return content_digest(Path(path))
    except OSError as error:
        raise DataError(
            f"train.init={path}: cannot be read ({error.strerror}); give a checkpoint, such as .../best.pt"
        ) from None


def job_config(config: DictConfig) -> dict[str, Any]:
    """A config without Hydra's own part, as plain values of their keys' types, all interpolations resolved; it may be written
    anywhere, so a password in the storage's URL is left out.

    Raises:
        BasecallerError: an interpolation cannot be resolved, or a key cannot have its value.
    """
    values = typed_config(resolve(OmegaConf.masked_copy(config, [str(key) for key in config if key != "hydra"])))
    return values | {"storage": without_password(str(values["storage"]))}


def register_resolvers() -> None:
    """Makes the resolvers known to OmegaConf; again is no harm."""
    for name, function in (
        ("best", best),
        ("rate", scaled_rate),
        ("run_id", _run_id),
        ("data_fingerprint", _data_fingerprint),
        ("file_digest", file_digest),
    ):
        OmegaConf.register_resolver(name, function, replace=True)


register_resolvers()


def composed(overrides: list[str], name: str = "config", sections: Mapping[str, type] = SECTIONS) -> DictConfig:
    """A config of `conf/` with overrides, unresolved and not checked yet; `HydraConfig` has what Hydra knows of it.

    Args:
        overrides: in Hydra's grammar.
        name: of the file, such as `commands/basecall`; config groups are the folders beside it.
        sections: dataclasses that describe its keys, for messages.
    Raises:
        SettingError: an unknown group or key, or an override that cannot be parsed.
    """
    GlobalHydra.instance().clear()
    try:
        file = Path(conf_dir()) / name
        with initialize_config_dir(str(file.parent)):
            config = compose(file.name, overrides, return_hydra_config=True)
    except Exception as error:
        raise readable(error, sections) if is_users(error) else error from error
    HydraConfig.instance().set_config(config)  # for ${hydra:runtime.cwd}
    with open_dict(config):
        del config["hydra"]
    return config


def compose_config(overrides: list[str]) -> DictConfig:
    """A job's config from command-line overrides, for the entries that are no Hydra jobs themselves.

    Raises:
        SettingError: see `composed` and `general`.
    """
    config = composed(overrides)
    general(config)
    return config


def command(module: str, overrides: list[str], multirun: bool = False) -> str:
    """A command line that a user can type; a password in it is left out."""
    shown = [without_password(line) for line in overrides]
    return shlex.join(["python", "-m", f"basecaller.{module}", *(["-m"] if multirun else []), *shown])
