"""Copies and plain values of configs are those of OmegaConf."""

from __future__ import annotations

import copy
import pickle
from collections.abc import Callable
from dataclasses import dataclass, field
from enum import Enum
from importlib.metadata import version
from typing import Any

import pytest
from hydra import initialize_config_dir
from hydra.core.global_hydra import GlobalHydra
from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode
from omegaconf import MISSING, DictConfig, OmegaConf
from omegaconf.errors import InterpolationKeyError, ReadonlyConfigError

from basecaller.common.omegaconf_private import JobConfig, plain
from basecaller.common.places import conf_dir

OMEGACONF = f"omegaconf {version('omegaconf')}"


class Colour(Enum):
    RED = 1


@dataclass
class Below:
    colour: Colour = Colour.RED
    missing: int = MISSING
    either: int | str = 3


@dataclass
class Typed:
    below: Below = field(default_factory=Below)
    nothing: Below | None = None
    lists: list[list[int]] = field(default_factory=lambda: [[1], []])


def typed() -> DictConfig:
    return OmegaConf.structured(Typed)


def untyped() -> DictConfig:
    return OmegaConf.create(
        {
            "a": 1,
            "b": {"c": "${a}", "list": ["${a}", {"d": None}], "same": "${e}", "text": "x${a}", "missing": "???"},
            "e": {"f": "${b.list}"},
            "node": "${b}",
            "escaped": r"\${a}",
            "question": r"\???",
            "gone": "???",
            5: True,
            0.5: b"x",
        }
    )


def composed() -> DictConfig:
    """A config of this program with Hydra's own part."""
    GlobalHydra.instance().clear()
    with initialize_config_dir(conf_dir()):
        config = GlobalHydra.instance().config_loader().load_configuration("config", ["stage=lr_adam"], RunMode.MULTIRUN)
    HydraConfig.instance().set_config(config)
    return config


MAKE = pytest.mark.parametrize("make", [typed, untyped, composed])


@MAKE
def test_plain_values_are_those_of_omegaconf(make: Callable[[], DictConfig]):
    config = make()
    assert plain(config) == OmegaConf.to_container(config, enum_to_str=True), OMEGACONF
    for key in config:
        if key != "hydra" and OmegaConf.is_config(config._get_node(key)):
            section = config._get_node(key)
            expected = OmegaConf.to_container(section, resolve=True, enum_to_str=True)
            assert plain(section, resolve=True) == expected, f"{OMEGACONF}: {key}"
    others = plain(config, resolve=True, without=["hydra"])
    whole = copy.deepcopy(config)
    OmegaConf.set_struct(whole, False)
    whole.pop("hydra", None)
    assert others == OmegaConf.to_container(whole, resolve=True, enum_to_str=True), OMEGACONF


def test_broken_interpolations_raise_as_in_omegaconf():
    config = OmegaConf.create({"a": {"b": ["${nonesuch}"]}})
    assert plain(config) == {"a": {"b": ["${nonesuch}"]}}
    with pytest.raises(InterpolationKeyError) as ours:
        plain(config, resolve=True)
    with pytest.raises(InterpolationKeyError) as theirs:
        OmegaConf.to_container(config, resolve=True)
    assert (ours.value.full_key, str(ours.value)) == (theirs.value.full_key, str(theirs.value)), OMEGACONF


def nodes(node: Any) -> list[Any]:
    """A node and all nodes below it."""
    content = node.__dict__.get("_content")
    below = list(content.values()) if isinstance(content, dict) else content if isinstance(content, list) else []
    return [node, *(each for child in below for each in nodes(child))]


@MAKE
def test_a_copy_is_that_of_omegaconf_and_shares_no_node(make: Callable[[], DictConfig]):
    config = make()
    expected, copied = copy.deepcopy(config), JobConfig.of(config)
    for made in (copied, copy.deepcopy(copied), pickle.loads(pickle.dumps(copied))):
        assert isinstance(made, JobConfig)
        assert made == expected, OMEGACONF
        assert OmegaConf.get_type(made) == OmegaConf.get_type(expected)
        assert [node._metadata for node in nodes(made)] == [node._metadata for node in nodes(expected)], OMEGACONF
        assert not {id(node) for node in nodes(made)} & {id(node) for node in nodes(config)}
        assert all(node._get_root() is made for node in nodes(made))


def test_a_copy_of_a_section_keeps_its_parent_as_in_omegaconf():
    config = JobConfig.of(untyped())
    section = copy.deepcopy(config.b)
    assert section.c == 1
    section.c = 2
    assert config.b.c == 1


def test_flags_and_resolver_cache_of_a_copy_are_its_own():
    config = untyped()
    OmegaConf.get_cache(config)["now"]["x"] = 1
    OmegaConf.set_readonly(config.b, True)
    copied = JobConfig.of(config)
    with pytest.raises(ReadonlyConfigError):
        copied.b.c = 1
    OmegaConf.set_readonly(copied.b, False)
    copied.b.c = 5
    copied.b.list.insert(0, "x")
    OmegaConf.get_cache(copied)["now"]["x"] = 2
    assert OmegaConf.get_cache(config) == {"now": {"x": 1}}
    assert OmegaConf.is_readonly(config.b)
    assert config.b.c == 1
    assert [node._key() for node in nodes(config.b.list)] == ["list", 0, 1, "d"]


def test_a_loaded_config_is_copied_quickly_wherever_hydra_copies_it():
    """Also Hydra's own part, which it copies alone (`HydraConfig.set_config`)."""
    config = JobConfig.of(composed())
    HydraConfig.instance().set_config(config)
    assert isinstance(HydraConfig.get(), JobConfig), OMEGACONF
    assert HydraConfig.get() is not config.hydra
    assert HydraConfig.get().sweep.dir == "outputs/tiny/runs"
