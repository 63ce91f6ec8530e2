"""A training in native code: as in PyTorch, resumable, and in PyTorch if native code is not available."""

import copy
import dataclasses
import logging
import multiprocessing
import os
import platform
import re
import shutil
import stat
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from basecaller.common.errors import DivergedError, SettingError
from basecaller.native import build
from basecaller.native.step import Library, self_test
from basecaller.training import checkpoint, engine
from basecaller.training.engine import choose_path, engine_of
from basecaller.training.evaluate import evaluate
from tests.conftest import TINY
from tests.helpers.training import MODEL, job, losses, train

pytestmark = pytest.mark.slow

CPU = torch.device("cpu")

WIDE = dataclasses.replace(MODEL, channels=16, skip_channels=32)


@pytest.fixture
def native(compiler, cache, monkeypatch) -> None:
    """Native code, or no test."""
    monkeypatch.setenv(build.FOLDER, str(cache))
    build._loaded.cache_clear()
    build.load()
    yield
    build._loaded.cache_clear()


@pytest.mark.parametrize("padding", ["off", "on", "masked"])
def test_a_training_agrees_with_that_in_pytorch(dataset, tmp_path, native, padding):
    outcomes = [
        train(dataset, job(tmp_path / kind, padding=padding, native=kind, schedule="constant"), model=WIDE)
        for kind in ("on", "off")
    ]
    assert [outcome.facts.path for outcome in outcomes] == ["native float32", "torch float32"]
    assert losses(outcomes[0]) == pytest.approx(losses(outcomes[1]), rel=2e-3)
    again = train(dataset, job(tmp_path / "again", padding=padding, native="on", schedule="constant"), model=WIDE)
    assert losses(again) == losses(outcomes[0])
    assert again.metrics == outcomes[0].metrics


@pytest.mark.parametrize("optimizer", ["adam", "adamax", "adagrad", "adamw", "sgd"])
def test_a_killed_native_training_continues_bit_by_bit(dataset, tmp_path, native, optimizer):
    whole = train(dataset, job(tmp_path / "whole", native="on", optimizer=optimizer), model=WIDE)

    def kill(point):
        if point.updates == whole.curve[1].updates:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train(dataset, job(tmp_path / "killed", native="on", optimizer=optimizer), kill, model=WIDE)
    resumed = train(dataset, job(tmp_path / "killed", native="on", optimizer=optimizer), model=WIDE)
    assert losses(resumed) == losses(whole)
    assert resumed.metrics == whole.metrics


def test_a_training_begun_with_another_path_starts_again_and_logs_it(dataset, tmp_path, native, caplog):
    def kill(point):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train(dataset, job(tmp_path / "killed", native="off"), kill, model=WIDE)
    resumed = train(dataset, job(tmp_path / "killed", native="on"), model=WIDE)
    assert "was begun with torch float32, so it begins again with native float32" in caplog.text
    assert losses(resumed) == losses(train(dataset, job(tmp_path / "whole", native="on"), model=WIDE))


def test_weights_go_from_one_path_to_the_other(dataset, tmp_path, native):
    train(dataset, job(tmp_path, native="on"), model=WIDE)
    network = checkpoint.load_network(tmp_path / "best.pt")
    indices = dataset.indices("validation")[:4]
    paths = [engine_of(copy.deepcopy(network), native=kind) for kind in ("on", "off")]
    one, other = (evaluate(path, dataset, indices) for path in paths)
    assert one.loss == pytest.approx(other.loss, rel=1e-5)
    assert one.basecalls == other.basecalls


def test_a_native_loss_that_is_not_finite_ends_the_training(dataset, tmp_path, native):
    chosen = job(tmp_path, optimizer="sgd", lr=1e30, clip=None, native="on")
    with pytest.raises(DivergedError):
        train(dataset, chosen, model=dataclasses.replace(WIDE, batch_norm=False))


# ---- without native code


@pytest.fixture
def fresh(tmp_path, monkeypatch):
    """A process that has not looked for native code yet, and an empty cache folder."""
    monkeypatch.setenv(build.FOLDER, str(tmp_path / "cache"))
    build._loaded.cache_clear()
    engine._say_once.cache_clear()
    yield tmp_path / "cache"
    build._loaded.cache_clear()
    engine._say_once.cache_clear()


def script(path: Path, text: str) -> str:
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(0o755)
    return str(path)


REFUSALS = {
    "no compiler": ("", "no C compiler was found"),
    "missing compiler": ("/nowhere/cc", "/nowhere/cc cannot be run"),
    "open quote": ("/nowhere/cc '-I", "BASECALLER_CC=/nowhere/cc '-I: No closing quotation"),
    "failing compiler": ("echo 'step.c:1: error: no such thing' >&2; exit 1", "failed: step.c:1: error: no such thing"),
    "silent compiler": ("exit 0", "FOLDER"),
    "hanging compiler": ("exec sleep 60", "took longer than 1 s"),
    "another kind of file": (
        'while [ "$1" != -o ]; do [ $# = 0 ] && exit 0; shift; done; echo nonsense > "$2"',
        "cannot be loaded",
    ),
}


@pytest.mark.parametrize("case", REFUSALS)
def test_without_a_build_pytorch_trains_and_logs_it_once(dataset, tmp_path, fresh, monkeypatch, caplog, case):
    text, reason = REFUSALS[case]
    monkeypatch.setattr(build, "SECONDS", 1)
    if case == "no compiler":
        monkeypatch.delenv(build.COMPILER, raising=False)
        monkeypatch.setattr(shutil, "which", lambda name: None)
        monkeypatch.setattr(build.importlib.util, "find_spec", lambda name: None)
    else:
        monkeypatch.setenv(build.COMPILER, text if text.startswith("/") else script(tmp_path / "cc", text))
    outcome = train(dataset, job(tmp_path / "run", epochs=1), model=WIDE)
    choose_path(WIDE, CPU)
    assert outcome.facts.path == "torch float32"
    (said,) = [record.message for record in caplog.records if "PyTorch is used" in record.message]
    assert reason.replace("FOLDER", str(fresh)) in said
    with pytest.raises(SettingError, match=r"train\.native=on: .*; use train\.native=auto"):
        choose_path(WIDE, CPU, "on")
    assert [path for path in fresh.glob("*") if path.suffix == ".partial"] == []


def test_native_on_says_why_native_code_is_not_available(fresh, cache, monkeypatch):
    monkeypatch.setenv(build.FOLDER, str(cache))
    with pytest.raises(SettingError, match=r"model\.channels=33 .* multiples of"):
        choose_path(dataclasses.replace(WIDE, channels=33), CPU, "on")
    with pytest.raises(SettingError, match="not on device=meta"):
        choose_path(WIDE, torch.device("meta"), "on")
    assert str(choose_path(dataclasses.replace(WIDE, channels=33), CPU)) == "torch float32"
    assert str(choose_path(WIDE, CPU, "off")) == "torch float32"


def test_a_library_that_fails_its_self_test_is_not_used(fresh, cache, monkeypatch, caplog):
    monkeypatch.setenv(build.FOLDER, str(cache))
    monkeypatch.setattr(build, "self_test", lambda library: "its self-test failed: off by 1")
    assert choose_path(WIDE, CPU).library is None
    assert "its self-test failed" in caplog.text


def test_a_cache_folder_that_others_could_have_written_is_not_used(fresh, monkeypatch, caplog):
    caplog.set_level(logging.DEBUG, logger="basecaller")
    fresh.mkdir(mode=0o777)
    fresh.chmod(0o777)
    private = build.cache_folder()
    assert private != fresh
    assert stat.S_IMODE(private.stat().st_mode) == 0o700
    assert "can be written by others" in caplog.text
    fresh.chmod(0o700)
    assert build.cache_folder() == fresh
    monkeypatch.setattr(os, "getuid", lambda: 12345)
    assert build.cache_folder() != fresh
    assert "belongs to another user" in caplog.text
    monkeypatch.undo()
    link = fresh.with_name("link")
    link.symlink_to(fresh)
    monkeypatch.setenv(build.FOLDER, str(link))
    assert build.cache_folder() != link
    monkeypatch.setenv(build.FOLDER, "/proc/nowhere")
    assert build.cache_folder().is_dir()
    monkeypatch.setattr(build.tempfile, "mkdtemp", lambda prefix: (_ for _ in ()).throw(OSError("no space")))
    with pytest.raises(build.UnavailableError, match="no folder for compiled code"):
        build.cache_folder()


def test_a_library_that_others_could_have_written_is_not_loaded(native, fresh, cache):
    shutil.copytree(cache, fresh)
    path = build.build()
    assert stat.S_IMODE(path.stat().st_mode) == 0o700
    path.chmod(0o722)
    with pytest.raises(build.UnavailableError, match="can be written by others"):
        build.build()


def test_the_default_folder_is_the_users_cache(monkeypatch, tmp_path):
    monkeypatch.delenv(build.FOLDER, raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert build.cache_folder() == tmp_path / "basecaller"
    assert stat.S_IMODE((tmp_path / "basecaller").stat().st_mode) == 0o700


def _build_in(folder: str, compiler: str) -> str:
    os.environ[build.FOLDER], os.environ[build.COMPILER] = folder, compiler
    return str(build.build())


def test_the_first_build_is_announced(fresh, caplog):
    try:
        build.compiler()
    except build.UnavailableError as error:
        pytest.skip(str(error))
    caplog.set_level(logging.INFO, logger="basecaller")
    build.build()
    build.build()
    (said,) = [record.message for record in caplog.records if "compil" in record.message]
    assert said.startswith("compiling native code, once for this machine")


def test_processes_that_start_together_build_once(fresh, tmp_path):
    real = shutil.which("cc")
    if real is None:
        pytest.skip("no C compiler")
    count = tmp_path / "count"
    compiler = script(tmp_path / "cc", f'case "$*" in *-shared*) echo >> {count};; esac; exec {real} "$@"')
    with multiprocessing.get_context("spawn").Pool(3) as pool:
        paths = pool.starmap(_build_in, [(str(fresh), compiler)] * 6)
    assert len(set(paths)) == 1
    assert count.read_text().count("\n") == 1
    assert sorted(path.suffix for path in fresh.iterdir()) == [".lock", ".so"]


def test_ziglang_is_the_compiler_if_there_is_no_other(monkeypatch):
    monkeypatch.delenv(build.COMPILER, raising=False)
    monkeypatch.setattr(shutil, "which", lambda name: None)
    monkeypatch.setattr(build.importlib.util, "find_spec", lambda name: object())
    assert build.compiler() == [sys.executable, "-m", "ziglang", "cc"]


@pytest.mark.parametrize(("installed", "name"), [(False, "ziglang"), (True, "/usr/bin/cc")])
def test_the_cc_of_macos_is_a_compiler_if_the_developer_tools_are_installed(monkeypatch, installed, name):
    monkeypatch.delenv(build.COMPILER, raising=False)
    monkeypatch.setattr(sys, "platform", "darwin")
    monkeypatch.setattr(shutil, "which", lambda name: f"/usr/bin/{name}")
    monkeypatch.setattr(subprocess, "run", lambda command, **_: subprocess.CompletedProcess(command, 0 if installed else 2))
    monkeypatch.setattr(build.importlib.util, "find_spec", lambda name: object())
    assert name in build.compiler()


def test_a_processor_without_avx2_is_left_to_pytorch(fresh, monkeypatch):
    if shutil.which("gcc") is None or platform.machine().lower() not in ("x86_64", "amd64"):
        pytest.skip("no GCC for x86-64")
    monkeypatch.setenv(build.COMPILER, "gcc")
    monkeypatch.setenv(build.TARGET, "x86-64-v2")
    with pytest.raises(build.UnavailableError, match="needs AVX-512, AVX2 with FMA, or NEON"):
        build.load()


@pytest.mark.parametrize(
    ("command", "spelt"),
    [
        (["/usr/bin/gcc"], "x86-64-v3"),
        (["ccache", "cc"], "x86-64-v3"),
        ([sys.executable, "-m", "ziglang", "cc"], "x86_64_v3"),
        (["/opt/zig/zig", "cc"], "x86_64_v3"),
    ],
)
def test_a_processor_is_spelt_as_the_compiler_does(monkeypatch, command, spelt):
    monkeypatch.setenv(build.TARGET, "x86-64-v3")
    assert build._march(command).partition("=")[2] == spelt


@pytest.mark.parametrize("target", ["x86-64-v3", "x86-64-v4", "cooperlake", "sapphirerapids"])
def test_the_source_compiles_without_warnings_for_every_kind_of_processor(target):
    """Without the processor, such as one with bfloat16: an unknown name in an #if left its products out, unseen."""
    gcc = shutil.which("gcc")
    if gcc is None or platform.machine().lower() not in ("x86_64", "amd64"):
        pytest.skip("no GCC for x86-64")
    command = [gcc, f"-march={target}", *build.FLAGS, "-Wall", "-Wextra", "-Wundef", "-fsyntax-only"]
    done = subprocess.run(
        [*command, str(Path(build.__file__).with_name("step.c"))], capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.parametrize("target", ["native", "x86-64-v3"])
def test_ziglang_builds_the_same_numbers(fresh, monkeypatch, target):
    pytest.importorskip("ziglang", reason="the extra `native` is not installed")
    if target != "native" and platform.machine().lower() not in ("x86_64", "amd64"):
        pytest.skip(f"not a {target}")
    monkeypatch.setenv(build.COMPILER, f"{sys.executable} -m ziglang cc")
    monkeypatch.setenv(build.TARGET, target)
    other = Library(str(build.build()))
    assert self_test(other) == ""


# ---- the search keeps the paths apart


def test_a_result_of_another_path_is_trained_again(run, tmp_path, monkeypatch):
    overrides = [*TINY, "model.channels=16", "model.skip_channels=16", "train.chunks=16", "train.validation_chunks=4"]
    run("train", *overrides)
    assert "trained before" in run("train", *overrides).stderr
    monkeypatch.setenv(build.COMPILER, "/nowhere/cc")
    told = run("train", *overrides).stderr
    assert re.search("computed by native (float32|bfloat16), here it would be torch float32, so it is trained again", told)
    assert "PyTorch is used" in told
    assert "trained before" in run("train", *overrides).stderr
