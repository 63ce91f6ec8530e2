"""How the signals of a model are normalised, and in which direction they run."""

from __future__ import annotations

from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, cast

from omegaconf import DictConfig, OmegaConf

from basecaller.data import mixture
from basecaller.data.signal import Normalisation, normalisation_of
from basecaller.errors import SettingError


@dataclass(frozen=True)
class _Direction:
    """Converts `no` and `off` to truth values: in an unchecked config they are strings."""

    rna: bool = False


@dataclass(frozen=True, kw_only=True)
class Signals(Normalisation):
    """The signals that a model was trained on: how they are normalised, and their direction.

    Attributes:
        rna: `data.rna`, or the common value of a mixture's sources: whether they run from the 3' end. None if it is not
            recorded.
    """

    rna: bool | None = None

    @classmethod
    def of(cls, config: DictConfig | None) -> Signals:
        """The signals of a training by its config, as far as it tells."""
        config = config or OmegaConf.create()
        mixed = OmegaConf.select(config, "data.sources") or {}
        sources = [each for each in (OmegaConf.select(config, "data"), *mixed.values()) if isinstance(each, DictConfig)]
        known = [OmegaConf.merge(OmegaConf.structured(_Direction), {"rna": of.rna}).rna for of in sources if "rna" in of]
        known += [False for of in mixed.values() if of.name == "pod5" and "rna" not in of]  # the default
        told = next((of for of in sources if "normalisation" in of), OmegaConf.create())
        keys = {f.name: told[f.name] for f in fields(Normalisation) if f.name in told}
        return cls(**keys, rna=any(known) if known else None)

    def check(self, source: Any, model: str) -> None:
        """Checks that the signals of a source are like the model's.

        Args:
            source: settings of the source.
            model: the model, as the message names it.
        Raises:
            SettingError: they are normalised in another way, or run in the other direction.
        """
        for where, of in mixture.placed(source).items():
            if normalisation_of(of) != normalisation_of(self):
                data = self.told(where) if isinstance(of, Normalisation) else "other data"
                raise SettingError(
                    f"{model} was trained with {self.told('data')}, and the signals of {where} have "
                    f"{normalisation_of(of).told(where)}; give {data} or another model"
                )
            if self.rna is not None and getattr(of, "rna", self.rna) != self.rna:
                mine, other = (str(rna).lower() for rna in (self.rna, not self.rna))
                raise SettingError(
                    f"{model} was trained with data.rna={mine}, and these reads have {where}.rna={other}: signals of direct "
                    f"RNA and DNA run in opposite directions; give {where}.rna={mine} if they are such reads, or another model"
                )


def stored_config(folder: Path) -> DictConfig | None:
    """The config in the folder of a training; None if there is only a checkpoint."""
    file = folder / "config.yaml"
    return cast(DictConfig, OmegaConf.load(file)) if file.is_file() else None
