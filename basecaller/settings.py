"""From a composed config to checked, plain values. A key's type and range stand beside its field; see `_check`."""

from __future__ import annotations

import dataclasses
import json
import math
from dataclasses import dataclass
from functools import cache
from typing import Any, TypeVar, cast

from omegaconf import DictConfig, ListConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from basecaller.data import pod5, simulator
from basecaller.data.batches import PADDINGS
from basecaller.errors import SettingError
from basecaller.geometry import Model
from basecaller.resolving import resolve
from basecaller.training.settings import Optimizer, Train

Section = TypeVar("Section")

SOURCES: dict[str, type] = {"simulated": simulator.Settings, "pod5": pod5.Settings}


def _check(where: str, name: str, value: Any, rule: dict[str, Any]) -> None:
    """Holds one value against its field's metadata: least, above, below, choices, odd, power_of_two."""
    key = f"{where}.{name}" if where else name
    if value is None:
        return
    if isinstance(value, float) and not math.isfinite(value):
        raise SettingError(f"{key}={value}: must be a finite number")
    if "least" in rule and value < rule["least"]:
        raise SettingError(f"{key}={value}: must be at least {rule['least']}")
    if "above" in rule and value <= rule["above"]:
        raise SettingError(f"{key}={value}: must be above {rule['above']}")
    if "below" in rule and value >= rule["below"]:
        raise SettingError(f"{key}={value}: must be below {rule['below']}")
    if "choices" in rule and value not in rule["choices"]:
        raise SettingError(f"{key}={value}: must be one of {', '.join(rule['choices'])}")
    if rule.get("odd") and value % 2 == 0:
        raise SettingError(f"{key}={value}: must be odd")
    if rule.get("power_of_two") and value & (value - 1):
        raise SettingError(f"{key}={value}: must be a power of two")


def section(kind: type[Section], node: Any, where: str) -> Section:
    """A config section as a checked dataclass.

    Args:
        kind: dataclass whose fields name, type and bound the keys.
        node: the section; every field must be there, and nothing else.
        where: its dotted place, for messages.
    Raises:
        SettingError: an unknown or missing key, a value of another type or out of range.
    """
    return cast(Section, _checked(cast(Any, kind), json.dumps(resolve(node, where)), where))


@cache  # a sweep checks the same sections for every trial
def _checked(kind: type, values_json: str, where: str) -> Any:
    fields = {f.name: f for f in dataclasses.fields(kind)}
    values = json.loads(values_json)
    for name in values:
        if name not in fields:
            raise SettingError(f"{where}.{name}: unknown key; known are {', '.join(fields)}")
    for name in fields:
        if name not in values:
            raise SettingError(f"{where}.{name}: missing")
    try:
        checked = OmegaConf.to_object(OmegaConf.merge(OmegaConf.structured(kind), values))
    except OmegaConfBaseException as error:
        key = f"{where}.{error.full_key}" if error.full_key else where
        raise SettingError(f"{key}={OmegaConf.select(OmegaConf.create(values), error.full_key or '')}: {error.msg}") from error
    for name, f in fields.items():
        _check(where, name, getattr(checked, name), dict(f.metadata))
    return checked


@dataclass(frozen=True)
class Data:
    """The keys that every `conf/data/*.yaml` has.

    Attributes:
        name: the source, a key of `SOURCES`.
        batch_size: chunks in a training batch.
        folder: where prepared data sets are kept.
        source: the source's own settings.
    """

    name: str
    batch_size: int
    folder: str
    source: Any


@dataclass(frozen=True)
class _Batch:
    batch_size: int = dataclasses.field(metadata={"least": 1})


@dataclass(frozen=True)
class _Top:
    seed: int = dataclasses.field(metadata={"least": 0})
    threads: int | None = dataclasses.field(metadata={"least": 1})
    device: str


def _value(node: DictConfig, key: Any) -> Any:
    if OmegaConf.is_missing(node, key):
        raise SettingError(f"data.{key}: must be given, as in: data.{key}=...")
    return node[key]


def _as_list(value: Any) -> list[Any]:
    return list(value) if isinstance(value, list | tuple | ListConfig) else [] if value is None else [value]


def data_settings(cfg: DictConfig) -> Data:
    """The `data` section.

    Raises:
        SettingError: see `section`; DataError: a source file that the section names is missing.
    """
    # `fingerprint` is made from these settings: it must not be resolved on the way to them
    values = {str(key): _value(cfg.data, key) for key in cfg.data if key != "fingerprint"}
    name, batch_size, folder = (values.pop(key, None) for key in ("name", "batch_size", "folder"))
    if name not in SOURCES:
        raise SettingError(f"data.name={name}: must be one of {', '.join(SOURCES)}")
    for key in ("pod5", "bam"):
        if key in values:
            values[key] = [str(entry) for entry in _as_list(values[key])]
    section(_Batch, OmegaConf.create({"batch_size": batch_size}), "data")
    source: Any = section(SOURCES[name], OmegaConf.create(values), "data")
    if isinstance(source, simulator.Settings):
        if source.max_bases < source.min_bases:
            raise SettingError(f"data.max_bases={source.max_bases}: must be at least data.min_bases={source.min_bases}")
        if source.genome_bases < source.max_bases + 2 * simulator.FLANK:
            raise SettingError(f"data.genome_bases={source.genome_bases}: shorter than a read of data.max_bases")
    if source.validation + source.test >= 1:
        raise SettingError("data.validation + data.test: must leave something to train on (below 1)")
    return Data(name, int(batch_size), str(folder), source)


@dataclass(frozen=True)
class Settings:
    """All that decides a training, checked."""

    model: Model
    optimizer: Optimizer
    train: Train
    data: Data
    padding: str
    seed: int
    threads: int | None
    device: str


def settings(cfg: DictConfig) -> Settings:
    """The checked settings of a composed config.

    Raises:
        SettingError: a key or value that cannot be; the message names it.
        DataError: a source file is missing.
    """
    padding = resolve(cfg.padding, "padding").get("mode")
    if padding not in PADDINGS:
        raise SettingError(f"padding.mode={padding}: must be one of {', '.join(PADDINGS)}")
    top = section(_Top, OmegaConf.create({k: cfg[k] for k in ("seed", "threads", "device")}), "")
    return Settings(
        model=section(Model, cfg.model, "model"),
        optimizer=section(Optimizer, cfg.optimizer, "optimizer"),
        train=section(Train, cfg.train, "train"),
        data=data_settings(cfg),
        padding=padding,
        seed=top.seed,
        threads=top.threads,
        device=top.device,
    )
