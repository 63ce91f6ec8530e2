"""Turns a composed config into checked, plain values. `schema.py` describes the keys."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

from omegaconf import MISSING, DictConfig, OmegaConf

from basecaller.common.checking import section, typed
from basecaller.common.errors import DataError, SettingError
from basecaller.common.geometry import Model
from basecaller.common.nested import value_at
from basecaller.common.omegaconf_private import plain
from basecaller.common.places import conf_dir, expanded
from basecaller.common.resolving import resolve
from basecaller.config.schema import (
    GROUPS,
    LASTING,
    DataShared,
    Debug,
    General,
    Padding,
    SearchOptions,
    Stage,
    Top,
    TrialPlace,
    field_of,
)
from basecaller.data import mixture
from basecaller.data.sources import SOURCES
from basecaller.loggers.settings import logger_settings
from basecaller.networks.named import Named, kind_of, model_settings
from basecaller.training.settings import Optimizer, Train


@dataclass(frozen=True)
class HeldOut:
    """A separate test set: name and settings of its source."""

    name: str
    source: Any


@dataclass(frozen=True)
class Data:
    """The keys that every `conf/data/*.yaml` has.

    Attributes:
        name: the source, a key of `sources.SOURCES`, or `mixed`.
        batch_size: chunks in a training batch.
        folder: folder of prepared data sets.
        source: the source's own settings.
        pore_model: file of the k-mer levels that the audit compares labels with; None: R9.4's.
        test: a separate source to test the winner on, if any.
    """

    name: str
    batch_size: int
    folder: str
    source: Any
    pore_model: str | None = None
    test: HeldOut | None = None


GENERAL = ("name", "batch_size", "folder", "fingerprint", "pore_model")
"""Keys of the `data` section that are not the source's own."""


def _values(node: dict[str, Any], where: str) -> dict[str, Any]:
    """A source's own keys."""
    values = {key: value for key, value in node.items() if key not in GENERAL}
    for key, value in values.items():
        if value == MISSING:
            raise SettingError(f"{where}.{key}: must be given, as in: {where}.{key}=...")
    return values


def _as_list(value: Any) -> list[Any]:
    return list(value) if isinstance(value, list | tuple) else [] if value is None else [value]


def _source(name: Any, values: dict[str, Any], where: str) -> Any:
    """A source's checked settings."""
    if name not in SOURCES:
        raise SettingError(f"{where}.name={name}: must be one of {', '.join(SOURCES)}")
    kind = SOURCES[name].settings
    for f in dataclasses.fields(kind):
        if str(f.type).startswith("tuple") and f.name in values:
            values[f.name] = [str(entry) for entry in _as_list(values[f.name])]
    for key in SOURCES[name].places:
        if isinstance(values.get(key), str | list):
            values[key] = [expanded(path) for path in values[key]] if isinstance(values[key], list) else expanded(values[key])
    for f in dataclasses.fields(kind):
        if f.default is not dataclasses.MISSING:
            values.setdefault(f.name, f.default)  # configs of earlier versions lack these keys
    source: Any = section(kind, values, where)
    if source.validation + source.test >= 1:
        raise SettingError(f"{where}.validation + {where}.test: must be below 1, to leave reads for training")
    return source


def _whole(node: Any, shares: dict[str, Any], where: str) -> tuple[str, float, Any]:
    """Name, weight and settings of a source described inside another section; missing keys have the defaults of its file in
    `conf/data/`."""
    if not isinstance(node, dict) or "name" not in node:
        raise SettingError(f"{where}: must describe a source, as in {{name: pod5, pod5: reads.pod5, bam: calls.bam}}")
    own = dict(node)
    name, weight = own.pop("name"), own.pop("weight", 1)
    if name not in SOURCES:
        raise SettingError(f"{where}.name={name}: must be one of {', '.join(SOURCES)}")
    if not isinstance(weight, int | float) or isinstance(weight, bool) or not 0 < weight < math.inf:
        raise SettingError(f"{where}.weight={weight}: must be above 0")
    defaults = resolve(OmegaConf.load(Path(conf_dir()) / "data" / f"{name}.yaml"))
    defaults.pop("defaults", None)
    return name, float(weight), _source(name, _values({**shares, **defaults, **own}, where), where)


def _mixture(sources: Any, shares: dict[str, Any]) -> mixture.Settings:
    if not isinstance(sources, dict) or not sources:
        raise SettingError(
            "data.sources: must name sources, as in {a: {name: pod5, pod5: a.pod5, bam: a.bam, weight: 2}, b: ...}"
        )
    parts = []
    for name, node in sources.items():
        kind, weight, source = _whole(node, shares, f"data.sources.{name}")
        parts.append(mixture.Part(str(name), kind, weight, source))
    return mixture.Settings(tuple(parts))


def data_settings(cfg: DictConfig) -> Data:
    """The `data` section.

    Raises:
        SettingError: see `section`; DataError: a source file that the section names is missing.
    """
    return _data(resolve(cfg.data, "data"))


def _data(node: dict[str, Any]) -> Data:
    name, values = node.get("name"), _values(node, "data")
    written = {"pore_model": None} | {key: node[key] for key in ("batch_size", "folder", "pore_model") if key in node}
    shared = section(DataShared, written, "data")  # configs of earlier versions have no pore_model
    test = None
    if isinstance(values.get("test"), dict):  # a separate source; this one keeps no test split
        kind, _, source = _whole(values["test"], {"validation": 0.1, "test": 0.8}, "data.test")
        test, values["test"] = HeldOut(kind, source), 0.0
    elif values.get("test") == 0:
        raise SettingError(
            "data.test=0: must be a share above 0, or a separate source, as in data.test={name: bonito, path: DIR}"
        )
    shares = {key: values.get(key) for key in ("validation", "test")}
    source = _mixture(values.get("sources"), shares) if name == "mixed" else _source(name, values, "data")
    if test is not None:
        mixture.check_alike({**mixture.placed(source), "data.test": test.source})
    if shared.pore_model is not None and not Path(shared.pore_model).is_file():
        raise DataError(
            f"data.pore_model: {shared.pore_model} is not a file; give a table of k-mers and levels, or null for R9.4's"
        )
    return Data(str(name), shared.batch_size, shared.folder, source, shared.pore_model, test)


@dataclass(frozen=True)
class Settings(General):
    """All settings, checked. `padding` is its mode."""

    model: Model | Named
    optimizer: Optimizer
    train: Train
    data: Data
    padding: str


NO_DEBUG, DEBUG = "none", "debug"
"""`debug.name` of all other runs, and the beginning of the experiment names of debug runs."""

TRAINING = ("model", "optimizer", "padding", "train", "data")
"""Sections that describe the training itself."""


def general(cfg: DictConfig) -> General:
    """The settings that do not describe the training itself.

    Raises:
        SettingError: a key is unknown or missing, or a value is invalid.
    """
    _check_sections(cfg)
    values = resolve(cfg, without=("hydra", *TRAINING))
    return _general(values, str(cfg.data.name), kind_of(cfg.model, values["networks"]))


def _check_sections(cfg: DictConfig) -> None:
    """Checks that the config has exactly the sections it must have, and that values in `LASTING` do not depend on the time."""
    known = [f.name for f in dataclasses.fields(Settings)]
    written = plain(cfg, without=("hydra",))
    for name in written:
        if name not in known:
            raise SettingError(f"{name}: unknown key; known keys are {', '.join(known)}")
    for name in known:
        if written.get(name, MISSING) == MISSING:
            raise SettingError(f"{name}: missing; every training needs it")
    for key in LASTING:
        value = value_at(written, key)
        if "${now:" in str(value):
            raise SettingError(f"{key}={value}: must not depend on the time, or no command finds earlier results again")


def _general(values: dict[str, Any], source: str, model: type) -> General:
    top = section(Top, {f.name: values[f.name] for f in dataclasses.fields(Top)}, "")
    search = section(SearchOptions, values["search"], "search")
    _check_winner(search.winner, source, model)
    stage, trial = section(Stage, values["stage"], "stage"), section(TrialPlace, values["trial"], "trial")
    if stage.choice and stage.choice not in GROUPS and not any(field_of(stage.choice, source, model) for source in SOURCES):
        raise SettingError(
            f"stage.choice={stage.choice}: no such setting; it must be a key or group that the stage sweeps, or null"
        )
    debug = section(Debug, values["debug"], "debug")
    if debug.name != NO_DEBUG and not top.experiment.startswith(DEBUG):
        raise SettingError(
            f"experiment={top.experiment}: a debug run must not be mistaken for a result; leave experiment out, or use "
            f"experiment={DEBUG}-{top.experiment}"
        )
    logger = logger_settings(resolve(values["logger"], "logger"))
    return General(**vars(top), search=search, stage=stage, trial=trial, logger=logger, debug=debug)


def _check_winner(winner: dict[str, Any], source: str, model: type) -> None:
    """Checks that `search.winner` holds settings of a training; the search checks its config groups."""
    for key, value in _leaves(winner):
        shown = f"search.winner.{key}"
        if key in GROUPS:
            continue
        if key in ("optimizer.name", "padding.mode"):
            raise SettingError(f"{shown}: is set by its group; give search.winner.{key.partition('.')[0]}={value}")
        if key.partition(".")[0] not in (*GROUPS, "train") or field_of(key, source, model) is None:
            raise SettingError(f"{shown}: unknown key; it must be a setting of a training, as in search.winner.train.epochs")
        typed(*cast(tuple[type, str], field_of(key, source, model)), value, shown)


def _leaves(node: dict[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for name, value in node.items():
        if isinstance(value, dict):
            yield from _leaves(value, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", value


def settings(cfg: DictConfig) -> Settings:
    """The checked settings of a composed config.

    Raises:
        SettingError: a key is unknown or missing, or a value is invalid.
        DataError: a source file is missing.
    """
    return settings_and_values(cfg)[0]


def settings_and_values(cfg: DictConfig) -> tuple[Settings, dict[str, Any]]:
    """The checked settings of a composed config, and the config's plain values, resolved, without Hydra's own part.

    Raises:
        BasecallerError: see `settings`.
    """
    _check_sections(cfg)
    values = resolve(cfg, without=("hydra",))
    data = resolve(values["data"], "data")
    above = _general(values, str(data.get("name")), kind_of(resolve(values["model"], "model"), values["networks"]))
    checked = Settings(
        **vars(above),
        model=model_settings(values["model"], above.networks),
        optimizer=section(Optimizer, values["optimizer"], "optimizer"),
        train=section(Train, values["train"], "train"),
        data=_data(data),
        padding=section(Padding, values["padding"], "padding").mode,
    )
    return checked, values
