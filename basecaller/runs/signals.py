"""The signals of a model: their normalisation, direction and sample rate."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import yaml
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from basecaller.common.errors import DataError, SettingError, one_line
from basecaller.common.files import read_json
from basecaller.common.omegaconf_private import plain
from basecaller.data import mixture
from basecaller.data.signal import Normalisation, normalisation_of


@dataclass(frozen=True)
class _Direction:
    """Converts `no` and `off` to truth values: in an unchecked config they are strings."""

    rna: bool = False


@dataclass(frozen=True, kw_only=True)
class Signals(Normalisation):
    """The signals that a model was trained on: their normalisation, direction and sample rate.

    Attributes:
        rna: `data.rna`, or the common value of a mixture's sources: whether they run from the 3' end. None if it is not
            recorded.
        sample_rates: in Hz; empty if they are not recorded.
    """

    rna: bool | None = None
    sample_rates: tuple[int, ...] = ()

    def rate_warning(self, sample_rates: Iterable[int]) -> str:
        """A warning about reads at other sample rates than the model's; empty if there are none.

        Args:
            sample_rates: those of the reads, in Hz.
        """
        others = sorted(set(sample_rates) - set(self.sample_rates)) if self.sample_rates else []
        if not others:
            return ""
        theirs, own = (" and ".join(f"{rate:,}" for rate in rates) for rates in (others, self.sample_rates))
        return (
            f"reads were sampled at {theirs} Hz, and the model was trained on reads at {own} Hz: bases differ in length, so "
            "expect more errors"
        )

    @classmethod
    def of(cls, config: DictConfig | None) -> Signals:
        """The signals of a training by its config, as far as it tells."""
        config = config or OmegaConf.create()
        mixed = _sections(OmegaConf.select(config, "data.sources"))
        data = OmegaConf.select(config, "data")
        sources = [data, *mixed] if isinstance(data, DictConfig) else mixed
        known = [OmegaConf.merge(OmegaConf.structured(_Direction), {"rna": node.rna}).rna for node in sources if "rna" in node]
        known += [False for node in mixed if OmegaConf.select(node, "name") == "pod5" and "rna" not in node]  # the default
        normalised = next((node for node in sources if "normalisation" in node), OmegaConf.create())
        keys = {f.name: normalised[f.name] for f in fields(Normalisation) if f.name in normalised}
        return cls(**keys, rna=any(known) if known else None)

    def check(self, source: Any, model: str) -> None:
        """Checks that the signals of a source are like the model's.

        Args:
            source: settings of the source.
            model: the model, as the message names it.
        Raises:
            SettingError: they are normalised in another way, or run in the other direction.
        """
        for where, own in mixture.placed(source).items():
            if normalisation_of(own) != normalisation_of(self):
                data = self.told(where) if isinstance(own, Normalisation) else "other data"
                raise SettingError(
                    f"{model} was trained with {self.told('data')}, and the signals of {where} have "
                    f"{normalisation_of(own).told(where)}; give {data} or another model"
                )
            if self.rna is not None and getattr(own, "rna", self.rna) != self.rna:
                mine, other = (str(rna).lower() for rna in (self.rna, not self.rna))
                raise SettingError(
                    f"{model} was trained with data.rna={mine}, and these reads have {where}.rna={other}: signals of direct "
                    f"RNA and DNA run in opposite directions; give {where}.rna={mine} if they are such reads, or another model"
                )


def _sections(node: Any) -> list[DictConfig]:
    """The sections inside a section."""
    return [each for each in node.values() if isinstance(each, DictConfig)] if isinstance(node, DictConfig) else []


def stored_config(folder: Path) -> DictConfig | None:
    """The config in the folder of a training; None if there is only a checkpoint.

    Raises:
        DataError: it cannot be read, or has interpolations. A stored config has none, and those of an untrusted one could read
            environment variables and open a storage.
    """
    file = folder / "config.yaml"
    if not file.is_file():
        return None
    try:
        config = OmegaConf.load(file)
        if not isinstance(config, DictConfig) or "${" in str(plain(config)):
            raise DataError(f"{file}: not the config of a training, which has plain keys and values only; give another model")
        Signals.of(config)
    except (OSError, yaml.YAMLError, UnicodeDecodeError, RecursionError, OmegaConfBaseException) as error:
        problem = one_line(str(error))
        raise DataError(f"{file}: cannot be read as a config ({problem}); restore it, or give another model") from error
    return config


def stored_rates(folder: Path) -> tuple[int, ...]:
    """The sample rates of the reads that a training in a folder saw, in Hz; empty if they are not recorded.

    Raises:
        DataError: they are not a list of numbers.
    """
    file = folder / "result.json"
    found = read_json(file)
    facts = found.get("facts") if isinstance(found, dict) else None
    rates = facts.get("sample_rates", []) if isinstance(facts, dict) else []
    if not isinstance(rates, list) or not all(type(rate) is int and rate > 0 for rate in rates):
        raise DataError(f"{file}: facts.sample_rates must be a list of rates in Hz, is {rates!r:.60}")
    return tuple(rates)
