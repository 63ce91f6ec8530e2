"""Fixtures: a small simulated data set, and a working folder in which commands run."""

from __future__ import annotations

import gc
import importlib
import logging
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch
from hypothesis import HealthCheck, settings

from basecaller.data import Dataset, simulator
from basecaller.data.sources import prepare
from basecaller.hpo.storage import open_storage
from tests.helpers.postgres import AbsentError, Server, temporary_server

# examples are the same in every run, and take as long as a busy machine needs
settings.register_profile("basecaller", deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
settings.load_profile("basecaller")

SIMULATED = simulator.Settings(
    reads=80, min_bases=20, max_bases=60, genome_bases=100_000, simulator_seed=3, validation=0.2, test=0.2
)
TINY = [
    "data.reads=60", "data.min_bases=20", "data.max_bases=40", "data.genome_bases=50000", "data.validation=0.2",
    "data.test=0.2", "model.channels=4", "model.skip_channels=4", "train.validations=2", "train.chunks=null",
    "train.validation_chunks=null", "search.winner.train.epochs=1", "search.replicates=1", "search.rounds=1",
    "search.finalists=0", "search.headline_seeds=1", "threads=1",
]  # fmt: skip
"""Overrides that make a training a matter of a fraction of a second."""


ON_SERVER = pytest.param("postgresql", marks=[pytest.mark.slow, pytest.mark.server])
"""A parameter of tests that run on every kind of storage: they ask for the fixture `server` themselves."""

STARTING = {"run", "another", "console", "hosts", "project", "site", "server", "far_server"}
"""Fixtures that start commands or a server."""


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Marks the tests that start commands as `slow`, and those that start a server as `server` too."""
    for item in items:
        used = STARTING.intersection(getattr(item, "fixturenames", ()))
        if used:
            item.add_marker(pytest.mark.slow)
        if used & {"server", "far_server"}:
            item.add_marker(pytest.mark.server)


def pytest_collection_finish() -> None:
    """Spares every garbage collection the million objects of imported modules, which stay anyway."""
    gc.freeze()


@pytest.fixture(autouse=True)
def one_thread() -> None:
    torch.set_num_threads(1)


@pytest.fixture(scope="session")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    return prepare("simulated", SIMULATED, tmp_path_factory.mktemp("data"))


@pytest.fixture(scope="session")
def server() -> Iterator[Server]:
    """PostgreSQL on loopback."""
    try:
        with temporary_server() as made:
            yield made
    except AbsentError as absent:
        pytest.skip(str(absent))


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty working folder, for commands that run in this process."""
    monkeypatch.chdir(tmp_path)
    open_storage.cache_clear()
    return tmp_path


Command = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture
def run(tmp_path: Path) -> Command:
    """Runs `python -m basecaller.<module> arguments...` in an empty folder, as a user would."""

    def command(module: str, *arguments: str, code: int | None = 0) -> subprocess.CompletedProcess[str]:
        done = subprocess.run(
            [sys.executable, "-m", f"basecaller.{module}", *arguments],
            cwd=tmp_path,
            env=os.environ | {"COLUMNS": "160"},
            capture_output=True,
            text=True,
            check=False,
        )
        if code is not None:
            assert done.returncode == code, done.stdout + done.stderr
        return done

    return command


@pytest.fixture
def call(folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Iterator[Command]:
    """Runs a command in this process, in an empty folder, which spares the seconds that a process takes to start. Not for
    `train`: Hydra sets up the whole process for it."""
    log = logging.getLogger("basecaller")
    level = log.level  # a command sets it
    monkeypatch.setenv("HYDRA_FULL_ERROR", "1")
    monkeypatch.setenv("COLUMNS", "160")
    monkeypatch.setattr(logging, "raiseExceptions", logging.raiseExceptions)
    monkeypatch.setattr(sys, "unraisablehook", sys.unraisablehook)

    def command(module: str, *arguments: str, code: int = 0) -> subprocess.CompletedProcess[str]:
        monkeypatch.setattr(sys, "argv", [module, *arguments])
        status: str | int | None = 0
        try:
            importlib.import_module(f"basecaller.{module}").main()
        except SystemExit as ended:
            status = ended.code
        done = subprocess.CompletedProcess([module, *arguments], status or 0, *capsys.readouterr())
        assert done.returncode == code, done.stdout + done.stderr
        return done

    yield command
    log.setLevel(level)
