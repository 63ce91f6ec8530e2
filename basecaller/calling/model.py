"""A trained model: the folder of a training and its contents."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf

from basecaller.calling.quality import Calibration, read_calibration
from basecaller.common.checking import typed
from basecaller.common.errors import DataError, SettingError
from basecaller.config.composition import compose_config
from basecaller.config.settings import Data, data_settings
from basecaller.data import mixture
from basecaller.data.dataset import Dataset
from basecaller.data.signal import Normalisation
from basecaller.data.sources import prepare
from basecaller.networks.base import Network
from basecaller.runs.signals import Signals, stored_config, stored_rates
from basecaller.training.checkpoint import load_network
from basecaller.training.device import choose_device


@dataclass(frozen=True)
class Trained:
    """A training's result.

    Attributes:
        folder: folder of the training.
        network: network with its weights, on its device, in evaluation mode.
        config: config of the training; None if there is only the checkpoint.
        calibration: calibration of its qualities; None if it was not evaluated yet.
        sample_rates: sample rates of the reads that it was trained on, in Hz; empty if they are unknown.
    """

    folder: Path
    network: Network
    config: DictConfig | None
    calibration: Calibration | None
    sample_rates: tuple[int, ...] = ()

    @property
    def signals(self) -> Signals:
        """The signals that it was trained on."""
        return replace(Signals.of(self.config), sample_rates=self.sample_rates)

    @property
    def rna(self) -> bool:
        """Whether it was trained on direct RNA, whose signals run from the 3' end."""
        return bool(self.signals.rna)

    def data(self, overrides: list[str]) -> Data:
        """The settings of the data described by overrides, with the model's normalisation and direction; without overrides,
        those of the training data.

        Raises:
            BasecallerError: there are no such settings, or they normalise or turn reads in another way.
        """
        config = compose_config(overrides) if overrides else self.config
        if config is None:
            raise DataError(
                f"{self.folder}: has no config.yaml that names its data set; give one, as in data=bonito data.path=DIR"
            )
        own = OmegaConf.select(self.config or config, "data.name", default=config.data.name)
        if config.data.name != own and not any(line.startswith("data=") for line in overrides):
            raise SettingError(
                f"{overrides[-1]}: is read with the default data={config.data.name}, but {self.folder} was trained with "
                f"data={own}; add data=... and its keys, or leave it out to use the model's own data set"
            )
        for key in (f.name for f in fields(Normalisation)):
            given = next((line for line in reversed(overrides) if line.startswith(f"data.{key}=")), None)
            if given and typed(Normalisation, key, config.data[key], f"data.{key}") != getattr(self.signals, key):
                raise SettingError(f"{given}: {self.folder} was trained with {self.signals.told('data')}; leave it out")
        data = data_settings(config)
        return self._as_trained(data) if overrides else data

    def _as_trained(self, data: Data) -> Data:
        """Settings of data whose reads are normalised and turned as the model's are, as far as its config tells."""
        own = asdict(self.signals)
        if own["rna"] is None:
            del own["rna"]

        def changed(source: Any) -> Any:
            if isinstance(source, mixture.Settings):
                return mixture.Settings(tuple(replace(part, source=changed(part.source)) for part in source.parts))
            if getattr(source, "rna", False) and not own.get("rna", True):
                raise SettingError(f"data.rna=true: {self.folder} was not trained on direct RNA (data.rna=false); leave it out")
            return replace(source, **{key: value for key, value in own.items() if hasattr(source, key)})

        source, test = changed(data.source), data.test and replace(data.test, source=changed(data.test.source))
        for used in (source, *([test.source] if test else [])):
            self.signals.check(used, str(self.folder))
        return replace(data, source=source, test=test)


def split_of(data: Data, split: str) -> tuple[Dataset, str | None]:
    """The data set that holds a split, and the split's name there; None for the whole data set, for example if `data.test` is a
    separate source.

    Args:
        data: settings of the data.
        split: one of `SPLITS`, or `all` for the whole training source.
    Raises:
        DataError: the source cannot be used.
    """
    if split == "test" and data.test is not None:
        return prepare(data.test.name, data.test.source, Path(data.folder)), None
    return prepare(data.name, data.source, Path(data.folder)), None if split == "all" else split


def load_model(model: str, device: str = "auto", networks: Sequence[str] = ()) -> Trained:
    """Loads a model from a folder, or from the `best.pt` in it.

    Args:
        model: path of the folder or the file.
        device: see `choose_device`.
        networks: modules that may be imported for it.
    Raises:
        DataError: the model is missing or cannot be read.
        SettingError: its network must not or cannot be imported.
    """
    folder = Path(model)
    if folder.name == "best.pt":
        folder = folder.parent
    if not (folder / "best.pt").is_file():
        within = folder / "winner"
        such = within if (within / "best.pt").is_file() else Path("outputs/tiny/winner")
        raise DataError(f"model={model}: has no best.pt; give the folder of a training, such as {such}")
    network = load_network(folder / "best.pt", networks).to(choose_device(device)).eval()
    return Trained(folder, network, stored_config(folder), read_calibration(folder), stored_rates(folder))
