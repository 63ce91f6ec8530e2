"""Errors of Hydra and OmegaConf in this program's words: one line that names the key and says what to do."""

from __future__ import annotations

import difflib
import re
import traceback
from collections.abc import Mapping
from dataclasses import fields

from hydra.errors import HydraException, MissingConfigException, OverrideParseException
from omegaconf.errors import OmegaConfBaseException

from basecaller.common.errors import BasecallerError, SettingError, meant, one_line
from basecaller.common.resolving import user_error
from basecaller.config.schema import SECTIONS
from basecaller.data.sources import SOURCES
from basecaller.hpo.sweeper import STOCK_KEYS

NOT_HERE = STOCK_KEYS | {
    "study_name": "studies are named by experiment, stage and settings; use experiment=NAME",
    "storage": "use storage=URL",
}
"""Keys of Hydra's own sweepers that this one lacks, and what to do instead."""

EXTRAS = {
    ("hydra/launcher", "submitit_slurm"): "slurm",
    ("hydra/launcher", "submitit_local"): "slurm",
    ("hydra/launcher", "ray"): "ray",
    ("hydra/launcher", "ray_aws"): "ray",
}
"""Options of Hydra's plugins that are extras of this program."""


def readable(error: Exception, sections: Mapping[str, type] = SECTIONS) -> BasecallerError:
    """Converts an error of Hydra or OmegaConf to one of this program: the one that it wraps, or else its message on one line.

    Args:
        error: as raised.
        sections: dataclasses that describe the config's keys.
    """
    if found := user_error(error):
        return found
    text = one_line(str(error))
    if isinstance(error, OverrideParseException):
        return SettingError(_unreadable(error.override))
    if isinstance(error, MissingConfigException) and error.missing_cfg_file:
        group, _, option = error.missing_cfg_file.rpartition("/")
        if not group:
            return SettingError(f"{option}: no such config")
        if (group, option) in EXTRAS:
            return SettingError(f"{group}={option}: needs: python -m pip install 'basecaller[{EXTRAS[group, option]}]'")
        return SettingError(f"{group}={option}: no such option; {meant(option, error.options or [], 'options')}")
    if unknown := re.match(r"Could not override '([^']+)'", text):
        return SettingError(f"{unknown[1]}: {_unknown(unknown[1], sections)}")
    if missing := re.match(r"Key '(.*?)' is not in struct", text):
        return SettingError(f"{missing[1]}: missing; every training needs it")
    if several := re.match(r"Ambiguous value for argument '(.*?)' 1\.", text):
        key, _, value = several[1].partition("=")
        return SettingError(f"{several[1]}: several values are a sweep, which needs -m; a list is {key}=[{value}]")
    if merged := re.match(r"Error merging override (.*)", text):
        return SettingError(f"{merged[1]}: {str(error.__cause__ or error).splitlines()[0]}")
    return SettingError(text)


def _unreadable(line: str) -> str:
    key, equals, value = line.partition("=")
    if not equals:
        return f"{line}: must be key=value; --help lists the keys"
    if (value.count("["), value.count("{")) != (value.count("]"), value.count("}")):
        return f"{line}: a bracket is not closed; a list or mapping with spaces needs quotes, as in '{key}=[a, b]'"
    bare = value.strip("'\"") or "text"
    return f"{line}: cannot be read; text with spaces or special characters needs quotes, as in \"{key}='{bare}'\""


def _unknown(key: str, sections: Mapping[str, type]) -> str:
    """The message about a key that no config has."""
    where, _, name = key.rpartition(".")
    if where == "hydra.sweeper" and name in NOT_HERE:
        return NOT_HERE[name]
    if where == "hydra.sweeper.sampler":
        return "this sampler has no such key; choose one first, as in hydra/sweeper/sampler=tpe"
    if where == "hydra.launcher":
        return "this launcher has no such key; choose one first, as in hydra/launcher=joblib"
    places = _places(sections)
    if where not in sections:
        close = difflib.get_close_matches(key, places, n=1, cutoff=0.8)
        return f"unknown key; did you mean {close[0]}?" if close else "unknown key"
    if where.startswith("logger.") and name in {f.name for f in fields(sections[where])}:
        return f"this logger is not chosen; add {where.replace('.', '=')}"
    others = [source for source, kind in SOURCES.items() if name in {f.name for f in fields(kind.settings)}]
    if where == "data" and others:
        return f"this source has no such key; it belongs to {' and '.join(f'data={source}' for source in others)}"
    if where == "model" and name in {f.name for f in fields(sections[where])}:
        return "this network has no such key, only RawCTCNet has; --help with your model=... lists the network's keys"
    if len(elsewhere := [place for place in places if place.rpartition(".")[2] == name]) == 1:
        return f"unknown key; did you mean {elsewhere[0]}?"
    groups = dict.fromkeys(section.partition(".")[0] for section in sections if section)
    here = [place.rpartition(".")[2] for place in places if place.rpartition(".")[0] == where]
    known = here if where else [*here, *groups]
    close = difflib.get_close_matches(name, known, n=1)
    if close:
        return f"unknown key; did you mean {f'{where}.' if where else ''}{close[0]}?"
    if where == "data":
        return "unknown key; --help with your data=... lists the keys of the source"
    network = " of RawCTCNet" if where == "model" else ""
    return f"unknown key; known keys{network} are {', '.join(known)}"


def _places(sections: Mapping[str, type]) -> list[str]:
    """All keys of a config by dotted name, those of every source included."""
    kinds = [*sections.items(), *(("data", kind.settings) for kind in SOURCES.values() if "data" in sections)]
    return list(dict.fromkeys(f"{where}.{f.name}".lstrip(".") for where, kind in kinds for f in fields(kind)))


def is_users(error: BaseException) -> bool:
    """Whether a user caused an error: it is one of ours, or Hydra raised it about a config, of whatever type."""
    if isinstance(error, BasecallerError | HydraException | OmegaConfBaseException):
        return True
    *_, (frame, _) = traceback.walk_tb(error.__traceback__)
    composing = frame.f_globals.get("__name__", "").startswith(("hydra._internal.", "hydra.core.", "omegaconf."))
    return composing and isinstance(error, ValueError | TypeError)
