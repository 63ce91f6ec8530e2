"""Truncated, corrupted and malicious files: one clear error, nothing half written, no code run."""

from __future__ import annotations

import contextlib
import os
import pickle
import signal
import tempfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from basecaller.common.errors import BasecallerError, DataError
from basecaller.data import Dataset, bonito, pod5, tensors
from basecaller.data.sources import prepare
from basecaller.training import checkpoint
from tests.helpers import reads as files
from tests.helpers.importing import SETTINGS

EXAMPLES = settings(max_examples=25)

DAMAGE = st.one_of(
    st.tuples(st.just("cut"), st.floats(0, 1), st.just(0)),
    st.tuples(st.just("flip"), st.floats(0, 1, exclude_max=True), st.integers(0, 7)),
)
"""How to damage a file: cut at a share of its length, or flip a bit there."""


def damaged(content: bytes, damage: tuple[str, float, int]) -> bytes:
    kind, where, bit = damage
    at = int(where * len(content))
    if kind == "cut":
        return content[:at]
    return content[:at] + bytes([content[at] ^ (1 << bit)]) + content[at + 1 :]


def outcome_of(function: Callable[[], object]) -> str:
    """Runs a function in a child process: `fine`, `refused` with an error of this program, or any other outcome."""
    child = os.fork()
    if child == 0:
        with Path(os.devnull).open("w") as nothing:
            os.dup2(nothing.fileno(), 1)
            os.dup2(nothing.fileno(), 2)
            code = 3
            with contextlib.suppress(BaseException):
                try:
                    function()
                    code = 0
                except BasecallerError:
                    code = 1
            os._exit(code)
    _, status = os.waitpid(child, 0)
    if os.WIFSIGNALED(status):
        return signal.Signals(os.WTERMSIG(status)).name
    return {0: "fine", 1: "refused"}.get(os.WEXITSTATUS(status), "another exception")


@pytest.fixture(scope="module")
def source(tmp_path_factory) -> tuple[Path, Path]:
    path, bam, _ = files.make_source(tmp_path_factory.mktemp("source"), count=12)
    return path, bam


def prepared(path: Path, bam: Path, root: Path) -> Callable[[], Dataset]:
    chosen = pod5.Settings(**(SETTINGS | {"pod5": (str(path),), "bam": (str(bam),), "test": 0.1, "validation": 0.1}))
    return lambda: prepare("pod5", chosen, root)


@pytest.mark.slow
@pytest.mark.parametrize("which", [0, 1], ids=["pod5", "bam"])
@EXAMPLES
@given(damage=DAMAGE)
def test_a_damaged_source_is_refused_or_read_and_never_half_written(source, which, damage):
    with tempfile.TemporaryDirectory() as folder:
        here = Path(folder)
        pair = [here / "reads.pod5", here / "calls.bam"]
        for place, (copy, original) in enumerate(zip(pair, source, strict=True)):
            content = original.read_bytes()
            copy.write_bytes(damaged(content, damage) if place == which else content)
        root = here / "data"
        assert outcome_of(prepared(*pair, root)) in ("fine", "refused")
        assert not list(root.glob("*.partial-*"))
        for made in root.glob("pod5-*"):
            assert (made / "meta.json").exists()


@pytest.fixture(scope="module")
def arrays(tmp_path_factory) -> dict[str, Path]:
    """A Bonito directory, and the original's tensors as `.pth` and `.npy`."""
    folder = tmp_path_factory.mktemp("arrays")
    return {
        "bonito": files.bonito_directory(folder / "bonito", 30, 300),
        "pth": files.tensors(folder / "pth", 30)[0],
        "npy": files.tensors(folder / "npy", 30, "npy")[0],
    }


def settings_of(kind: str, folder: Path) -> tuple[str, object]:
    if kind == "bonito":
        return "bonito", bonito.Settings((str(folder),), None, "ACGT", 0.2, 0.2)
    return "rawctcnet", tensors.Settings(str(folder), "signals", "sequences", 0.2, 0.2)


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["bonito", "pth", "npy"])
@EXAMPLES
@given(damage=DAMAGE, which=st.integers(0, 3))
def test_damaged_arrays_are_refused_or_read_and_never_half_written(arrays, kind, damage, which):
    with tempfile.TemporaryDirectory() as folder:
        here, root = Path(folder) / "copy", Path(folder) / "data"
        here.mkdir()
        names = sorted(path.name for path in arrays[kind].iterdir())
        for place, name in enumerate(names):
            content = (arrays[kind] / name).read_bytes()
            (here / name).write_bytes(damaged(content, damage) if place == which % len(names) else content)
        name, chosen = settings_of(kind, here)
        torch.set_num_threads(1)

        def read() -> None:
            dataset = prepare(name, chosen, root)
            for i in range(len(dataset)):
                dataset.chunk(i)

        assert outcome_of(read) in ("fine", "refused")
        assert not list(root.glob("*.partial-*"))
        for made in root.glob(f"{name}-*"):
            assert (made / "meta.json").exists()


@pytest.mark.slow
@EXAMPLES
@given(damage=DAMAGE)
def test_a_damaged_checkpoint_is_refused_or_read(tmp_path_factory, damage):
    path = tmp_path_factory.mktemp("checkpoint") / "best.pt"
    checkpoint.save(path, {"weights": torch.arange(40.0), "labels": 5})
    path.write_bytes(damaged(path.read_bytes(), damage))
    assert outcome_of(lambda: checkpoint.load(path)) in ("fine", "refused")


@pytest.mark.slow
@EXAMPLES
@given(damage=DAMAGE, which=st.integers(0, 20))
def test_a_damaged_data_set_is_refused_or_read(dataset, damage, which):
    with tempfile.TemporaryDirectory() as folder:
        copy = Path(folder) / "set"
        copy.mkdir()
        names = sorted(path.name for path in dataset.folder.iterdir() if path.is_file())
        for place, name in enumerate(names):
            content = (dataset.folder / name).read_bytes()
            (copy / name).write_bytes(damaged(content, damage) if place == which % len(names) else content)

        def read() -> None:
            for i in range(len(Dataset(copy).lengths)):
                Dataset(copy).chunk(i)

        assert outcome_of(read) in ("fine", "refused")


class Harm:
    """What unpickling would run."""

    def __init__(self, target: Path) -> None:
        self.target = target

    def __reduce__(self) -> tuple:
        return os.mkdir, (str(self.target),)


def test_nothing_is_unpickled(tmp_path, dataset):
    target = tmp_path / "harm"
    weights = tmp_path / "best.pt"
    torch.save({"format": 1, "network": Harm(target)}, weights)
    with pytest.raises(DataError):
        checkpoint.load(weights)
    weights.write_bytes(pickle.dumps(Harm(target)))
    with pytest.raises(DataError):
        checkpoint.load(weights)
    copy = tmp_path / "set"
    copy.mkdir()
    for path in dataset.folder.iterdir():
        if path.is_file():
            (copy / path.name).write_bytes(path.read_bytes())
    array = next(path for path in sorted(copy.iterdir()) if path.suffix == ".npy")
    np.save(array, np.array([Harm(target)], object), allow_pickle=True)
    with pytest.raises(DataError):
        Dataset(copy)
    for kind, array in (("bonito", "chunks.npy"), ("npy", "signals.data.npy")):
        folder = (
            files.bonito_directory(tmp_path / kind, 10) if kind == "bonito" else files.tensors(tmp_path / kind, 10, "npy")[0]
        )
        np.save(folder / array, np.array([Harm(target)], object), allow_pickle=True)
        with pytest.raises(DataError):
            prepare(*settings_of(kind, folder), tmp_path / "data")
    folder = files.tensors(tmp_path / "pth", 10)[0]
    torch.save(Harm(target), folder / "sequences.data.pth")
    with pytest.raises(DataError):
        prepare(*settings_of("pth", folder), tmp_path / "data")
    assert not target.exists()
