"""What stops a command is found before it makes the data set."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from basecaller.common.errors import BasecallerError, file_problem
from basecaller.config.composition import compose_config
from basecaller.data import sources
from basecaller.runs.job import resolve_job
from basecaller.runs.training import train
from tests.conftest import TINY, Command
from tests.helpers.models import network, save_model
from tests.helpers.searching import search
from tests.helpers.sweeping import RATES, sweep

OF_TRAININGS = {
    "train.init=file": "file: cannot be read as a checkpoint",
    "train.init=other/best.pt": "train.init=other/best.pt: it was trained with model.channels=8",
    "train.native=on": "train.native=on: model.channels=4 and model.skip_channels=4 must be multiples",
}
OF_SWEEPS = {
    "output_dir=file": "file: is a file, not a folder",
    "storage=mine.db": "storage=mine.db: cannot be opened",
    "storage=sqlite:///file/optuna.db": "storage=sqlite:///file/optuna.db: file: is a file, not a folder",
    "storage=journal:///file/optuna.log": "storage=journal:///file/optuna.log: file: is a file",
    "search.pruner=Median": "search.pruner=Median: no such pruner",
    "device=cuda:99": "device=cuda:99: this machine has ",
    "data.pore_model=file": "data.pore_model: file",
    "data.test={name: bonito, path: gone}": "data.test: data.path: gone is not a directory",
}


@pytest.fixture(autouse=True)
def early(folder, monkeypatch) -> None:
    """A folder with a file and a model, in which making a data set fails the test."""
    Path("file").touch()
    save_model(folder / "other", network())
    monkeypatch.setattr(sources, "_made", lambda *of: pytest.fail("a data set was made"))


def check(run, words: str) -> None:
    with pytest.raises((BasecallerError, OSError)) as caught:
        run()
    error = caught.value
    assert words in (file_problem(error) if isinstance(error, OSError) else str(error))


@pytest.mark.parametrize("wrong", OF_TRAININGS)
def test_by_a_training(folder, wrong):
    config = compose_config([*(line for line in TINY if not line.startswith("search.")), wrong])
    check(lambda: train(resolve_job(config, Path(config.output_dir) / "runs/x")), OF_TRAININGS[wrong])


@pytest.mark.parametrize("wrong", OF_TRAININGS | OF_SWEEPS)
def test_by_a_sweep(wrong):
    check(lambda: sweep(RATES, wrong), (OF_TRAININGS | OF_SWEEPS)[wrong])


def test_by_a_sweep_at_any_point():
    check(lambda: sweep("train.native=on", "model.skip_channels=16", "model.channels=16,4"), "model.channels=4 and")


@pytest.mark.parametrize("wrong", OF_TRAININGS | OF_SWEEPS)
def test_by_a_search(wrong):
    check(lambda: search(*TINY, "plan=[padding]", wrong).run(), (OF_TRAININGS | OF_SWEEPS)[wrong])
    assert not Path("outputs/optuna.db").exists()


def test_by_prepare(call: Command):
    told = call("prepare", "data.test={name: bonito, path: gone}", code=2).stderr
    assert re.match("error: data.test: data.path: gone is not a directory", told)
