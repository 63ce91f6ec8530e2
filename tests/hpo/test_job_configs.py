"""Job configs that are composed once equal those that Hydra composes from its files."""

from __future__ import annotations

import pickle
from collections.abc import Iterator

import pytest
from hydra import initialize_config_dir
from hydra.core.global_hydra import GlobalHydra
from hydra.errors import ConfigCompositionException
from hydra.types import RunMode
from omegaconf import DictConfig

from basecaller.common.places import conf_dir
from basecaller.hpo import job_configs
from basecaller.hpo.job_configs import OnceComposed


class Counting:
    """Hydra's loader, and how often it composes."""

    def __init__(self, loader: object) -> None:
        self.loader, self.calls = loader, 0

    def __getattr__(self, name: str) -> object:
        return getattr(self.loader, name)

    def load_sweep_config(self, *given: object) -> DictConfig:
        self.calls += 1
        return self.loader.load_sweep_config(*given)


@pytest.fixture
def hydras(monkeypatch: pytest.MonkeyPatch) -> Iterator[Counting]:
    """Hydra's loader, for nothing composed yet."""
    monkeypatch.setattr(job_configs, "_composed", {})
    GlobalHydra.instance().clear()
    with initialize_config_dir(conf_dir()):
        yield Counting(GlobalHydra.instance().config_loader())


def master(loader: Counting) -> DictConfig:
    return loader.load_configuration("config", ["experiment=x"], RunMode.MULTIRUN)


@pytest.mark.slow
@pytest.mark.parametrize(
    "line",
    [
        ["optimizer.lr=0.5", "seed=3"],
        ["optimizer=sgd", "optimizer.lr=0.5"],
        ["optimizer.lr=0.5", "optimizer=sgd"],
        ["data.folder='a b'", "train.clip=null", "plan=[padding]"],
        ["++train.chunks=5", "~search.pruner_args", "stage.name=x"],
        ["hydra.job.chdir=true", "model=rawctcnet_small"],
    ],
)
def test_a_jobs_config_is_that_of_hydra(hydras, line):
    config = OnceComposed(hydras).load_sweep_config(master(hydras), line)
    expected = hydras.load_sweep_config(master(hydras), line)
    assert config == expected
    assert config.hydra.overrides == expected.hydra.overrides


def test_plain_values_need_no_further_composing(hydras):
    loader, first = OnceComposed(hydras), master(hydras)
    found = [loader.load_sweep_config(first, [f"optimizer.lr={rate}"]) for rate in (0.1, 0.2)]
    assert [config.optimizer.lr for config in found] == [0.1, 0.2]
    assert hydras.calls == 1
    loader.load_sweep_config(first, ["optimizer=sgd", "optimizer.lr=0.1"])
    assert hydras.calls == 2


def test_a_key_that_no_config_has_is_refused(hydras):
    with pytest.raises(ConfigCompositionException):
        OnceComposed(hydras).load_sweep_config(master(hydras), ["optimizer.colour=1"])


def test_a_loader_goes_to_other_processes(hydras):
    loader = OnceComposed(hydras.loader)
    copy = pickle.loads(pickle.dumps(loader))
    assert copy.get_group_options("padding") == loader.get_group_options("padding")
