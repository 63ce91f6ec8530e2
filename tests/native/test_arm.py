"""Native code for ARM: compiled by whatever compiler is found, and run in an emulator."""

import dataclasses
import importlib.util
import platform
import shutil
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from basecaller.native import build
from basecaller.native.step import self_test
from basecaller.training.engine import NativeEngine, TorchEngine
from tests.native.emulated import Emulated
from tests.native.test_step import RAGGED, READS, SIZE, batch_of, compare, error, network_of

pytestmark = pytest.mark.slow

SOURCE = Path(build.__file__).with_name("step.c")
GCC = ["aarch64-linux-gnu-gcc"]
ZIG = [sys.executable, "-m", "ziglang", "cc", "-target"]
STRICT = ["-Wall", "-Wextra", "-Wundef", "-Werror"]
MACHINES = {
    "GCC for Linux": ([*GCC], "neoverse-n1"),
    "GCC for Linux with SVE": ([*GCC], "neoverse-v1"),
    "Clang for Linux": ([*ZIG, "aarch64-linux-musl"], "neoverse-n1"),
    "Clang for macOS": ([*ZIG, "aarch64-macos"], "apple-m1"),
}
"""Compilers, with the processor for which they compile."""


def on_arm(patch: pytest.MonkeyPatch, command: list[str], target: str) -> None:
    """The build as on an ARM machine that has this compiler, or no test."""
    if not (importlib.util.find_spec("ziglang") if "ziglang" in command else shutil.which(command[0])):
        pytest.skip(f"no {'ziglang' if 'ziglang' in command else command[0]}")
    patch.setenv(build.COMPILER, " ".join([*command, *STRICT]))
    patch.setenv(build.TARGET, target)
    patch.setattr(platform, "machine", lambda: "aarch64")


@pytest.mark.parametrize("machine", MACHINES)
def test_it_compiles_without_warnings(tmp_path, monkeypatch, machine):
    on_arm(monkeypatch, *MACHINES[machine])
    library = build.compiled(SOURCE, tmp_path / "step.so")
    assert b"vector_length" in library.read_bytes()


@pytest.fixture(scope="module")
def library(tmp_path_factory):
    emulator = shutil.which("qemu-aarch64") or shutil.which("qemu-aarch64-static")
    if emulator is None:
        pytest.skip("no qemu-aarch64")
    program = tmp_path_factory.mktemp("arm") / "emulated"
    with pytest.MonkeyPatch.context() as patch:
        command, target = MACHINES["GCC for Linux"]
        on_arm(patch, command, target)
        command = [*build.compiler(), build._march(build.compiler()), *build.FLAGS, "-static", f"-I{SOURCE.parent}"]
        build._output([*command, "-o", str(program), str(Path(__file__).with_name("emulated.c")), "-lm"], program.parent)
    emulated = Emulated([emulator, str(program)])
    yield emulated
    emulated.close()


SHORT = ([90, 49, 61], [20, 9, 15])
CASES = {
    "masked": (SIZE, RAGGED),
    "padded": (SIZE, RAGGED),
    "batch norm, projection": (dataclasses.replace(SIZE, batch_norm=True, projection=True, max_dilation=16), RAGGED),
    "kernel 5": (dataclasses.replace(SIZE, kernel=5, max_dilation=16, batch_norm=True), RAGGED),
    "very short": (dataclasses.replace(SIZE, batch_norm=True), ([200, 4, 49, 1, 133, 24], [20, 1, 3, 1, 9, 2])),
    "one vector": (dataclasses.replace(SIZE, channels=4, skip_channels=4, max_dilation=4), RAGGED),
    "odd vectors": (dataclasses.replace(SIZE, channels=36, skip_channels=44, max_dilation=4, batch_norm=True), RAGGED),
    "64 channels": (dataclasses.replace(SIZE, channels=64, skip_channels=32, max_dilation=4, stride=2), SHORT),
    "96 channels": (dataclasses.replace(SIZE, channels=96, skip_channels=64, max_dilation=4, stride=1, kernel=5), SHORT),
    "256 channels": (
        dataclasses.replace(SIZE, channels=256, skip_channels=256, max_dilation=1, stride=2, batch_norm=True),
        SHORT,
    ),
}


@pytest.mark.parametrize("case", CASES)
def test_loss_scores_and_gradients_are_those_of_double_precision(library, case):
    size, reads = CASES[case]
    compare(library, network_of(size), batch_of(*reads), masked=case != "padded")


@pytest.mark.parametrize("read", ["random", "one label repeated", "17 states", "no labels", "blank ahead by 12"])
def test_ctc_is_that_of_double_precision(library, read):
    scores, target = READS[read]
    exact = scores.double().requires_grad_()
    counts = torch.tensor([len(scores)]), torch.tensor([len(target)])
    loss = F.ctc_loss(exact.log_softmax(1)[:, None], torch.from_numpy(target), *counts, reduction="sum")
    loss.backward()
    nats, gradient = library.ctc(scores.numpy(), target)
    assert nats == pytest.approx(loss.item(), rel=1e-6)
    assert float((torch.from_numpy(gradient) - exact.grad).abs().max()) < 1e-5


def test_forward_alone_is_the_network_in_evaluation(library):
    network = network_of(dataclasses.replace(SIZE, batch_norm=True, max_dilation=4))
    network.tower.mean.normal_()
    network.tower.variance.uniform_(0.5, 2)
    batch = batch_of(*SHORT)
    found = NativeEngine(library, network).scores(batch)
    exact = TorchEngine(network.double()).scores(dataclasses.replace(batch, signal=batch.signal.astype(np.float64)))
    valid = torch.arange(exact.shape[1]) < network.frames(torch.from_numpy(batch.lengths))[:, None]
    assert error(found[valid], exact[valid]) < 1e-5


def test_it_passes_the_self_test(library):
    assert self_test(library) == ""
