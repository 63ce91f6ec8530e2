"""Speed of a training step and of an epoch, and the effect of precision."""

from __future__ import annotations

import ctypes
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Callable
from functools import cache, partial
from itertools import islice
from pathlib import Path

import numpy as np
import torch
from torch.nn import functional as F

from basecaller.common.geometry import Model
from basecaller.config.settings import Settings
from basecaller.data.batches import Batch
from basecaller.data.dataset import Dataset
from basecaller.native.build import compiled, load
from basecaller.networks.rawctcnet import RawCTCNet
from basecaller.training.engine import ctc_nats
from basecaller.training.fit import Recipe, fit
from benchmarks.gpu import multiply_adds
from benchmarks.measuring import Row, default, in_turns, run_of
from tests.helpers.reference import PlainRawCTCNet


@cache
def rates() -> dict[str, float]:
    """Multiply-adds per second on one thread: in registers alone (`peak`), and in native products (`float32`, `bfloat16`).

    Raises:
        UnavailableError: native code cannot be used here.
    """
    with tempfile.TemporaryDirectory() as folder:
        library = ctypes.CDLL(str(compiled(Path(__file__).with_name("rates.c"), Path(folder) / "rates.so")))
    found = {}
    for name, function in (("peak", library.peak), ("float32", library.rate), ("bfloat16", library.rate_half)):
        function.restype = ctypes.c_double
        found[name] = statistics.median(function() for _ in range(5))
    return found


def precision(folder: Path) -> list[Row]:
    """Validation losses in bfloat16 and float32 at the same seeds, after a trial's budget and a longer one.

    `ours` is the mean of the paired differences, `theirs` the standard deviation over seeds.
    """
    longer = (
        "train.chunks=null",
        "train.epochs=3",
        "train.schedule=cosine",
        "train.validations=1",
        "train.validation_chunks=256",
    )
    rows = []
    for name, overrides in (("a trial", ()), ("a trial at batch 1", ("data.batch_size=1",)), ("three epochs", longer)):
        losses: dict[str, list[float]] = {"float32": [], "bfloat16": []}
        for seed in range(1, 9):
            for kind, found in losses.items():
                chosen, dataset = default(folder, f"seed={seed}", f"train.precision={kind}", *overrides)
                into = folder / f"{name}-{kind}-{seed}".replace(" ", "-")
                job = Recipe(chosen.optimizer, chosen.train, chosen.padding, chosen.data.batch_size, seed, into)
                found.append(fit(RawCTCNet(chosen.model, seed=seed), dataset, job).metrics["val_loss"])
        difference = np.array(losses["bfloat16"]) - np.array(losses["float32"])
        noise, mean = float(np.std(losses["float32"], ddof=1)), float(difference.mean())
        error = float(np.std(difference, ddof=1)) / len(difference) ** 0.5
        how = f"{len(difference)} seeds; standard error of the mean difference {error:.4f}"
        rows.append(
            Row(
                f"loss in bfloat16 less float32's, and noise: {name}",
                mean,
                noise,
                "nats/base",
                mean / noise,
                "at most 0.5",
                mean <= max(0.5 * noise, 2 * error),
                how,
            )
        )
    return rows


def plain_step(size: Model) -> Callable[[Batch], None]:
    """A training step of the plain published network."""
    plain = PlainRawCTCNet(size)
    optimizer = torch.optim.Adam(plain.parameters(), lr=0.001)

    def step(batch: Batch) -> None:
        lengths = (torch.from_numpy(batch.lengths) + size.stride - 1) // size.stride
        log_probs = F.log_softmax(plain(torch.from_numpy(batch.signal)), 2).transpose(0, 1)
        targets, of = torch.from_numpy(batch.targets), torch.from_numpy(batch.target_lengths)
        loss = F.ctc_loss(log_probs, targets, lengths, of, reduction="sum") / len(batch.targets)
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(plain.parameters(), 2.0)
        optimizer.step()

    return step


def over(step: Callable[[Batch], object], batches: list[Batch]) -> None:
    for batch in batches:
        step(batch)


def step(folder: Path) -> list[Row]:
    """A training step against the plain published network, and against the time of its multiply-adds."""
    rows = []
    peak, rate = rates()["peak"], rates()["float32"]
    how = "data in the first cache; where it is less the compiler spills the sums of a tile"
    rows.append(
        Row(
            "native product, and the registers' peak",
            rate / 1e9,
            peak / 1e9,
            "G multiply-adds/s",
            rate / peak,
            "at least 0.8",
            rate >= 0.8 * peak,
            how,
        )
    )
    for name, rounds, goals, overrides in (
        ("default size", 7, {"float32": 7, "bfloat16": 10}, []),
        ("default size, batch 1", 48, {"float32": 14, "bfloat16": 25}, ["data.batch_size=1"]),
        ("published size", 2, {"float32": None, "bfloat16": 4}, ["model=rawctcnet", "data.batch_size=2"]),
    ):
        runs = {}
        kinds = [kind for kind in goals if rates()[kind]]  # the processor may lack bfloat16
        for path, native in [*((kind, "on") for kind in kinds), ("PyTorch", "off")]:
            precision = "float32" if native == "off" else path
            chosen, dataset = default(folder, *overrides, f"train.native={native}", f"train.precision={precision}")
            runs[path] = run_of(chosen, dataset, folder / f"{name}-{path}".replace(" ", "-"))
        stride, size = chosen.model.stride, chosen.model
        batches = list(islice(runs["PyTorch"].epoch_batches(), rounds))
        samples = sum(int(batch.lengths.sum()) for batch in batches)
        frames = sum(batch.signal.shape[0] * -(-batch.signal.shape[1] // stride) for batch in batches)
        steps = [run.step for run in runs.values()] + [plain_step(size)]
        *seconds, plain = in_turns([partial(over, step, batches) for step in steps], 5)
        how = "forward, CTC, backward, clip, Adam; against the plain network of the tests, same data, one thread"
        for path, ours in zip(runs, seconds, strict=True):
            goal = goals.get(path)
            rows.append(
                Row(
                    f"training step, {name}, {path}",
                    samples / ours,
                    samples / plain,
                    "samples/s",
                    plain / ours,
                    f"at least {goal}" if goal else "shown",
                    not goal or plain / ours >= goal,
                    how,
                )
            )
        for kind, ours in zip(kinds, seconds, strict=False):
            limit = 3 * multiply_adds(size, frames) / rates()[kind]
            rows.append(
                Row(
                    f"products alone, {name}, {kind}",
                    ours,
                    limit,
                    "s",
                    limit / ours,
                    "shown",
                    True,
                    "three times the forward pass's multiply-adds, at the native product's rate",
                )
            )
    rows.append(ctc(folder))
    return rows


def ctc(folder: Path) -> Row:
    """Native CTC against that of PyTorch, on the scores of an untrained network."""
    chosen, dataset = default(folder)
    run, library = run_of(chosen, dataset, folder / "ctc"), load()
    batch = next(iter(run.epoch_batches()))
    scores = run.engine.scores(batch)
    rows = list(zip(scores.numpy(), np.split(batch.targets, np.cumsum(batch.target_lengths)[:-1]), strict=True))
    leaf = scores.clone().requires_grad_()
    turns = [lambda: [library.ctc(*row) for row in rows], lambda: ctc_nats(leaf, batch, run.network).backward()]
    ours, theirs = in_turns(turns, 9)
    return Row(
        "CTC",
        1e6 * ours / len(rows),
        1e6 * theirs / len(rows),
        "us a read",
        theirs / ours,
        "shown",
        True,
        "loss and gradient, and what Python adds; against PyTorch's",
    )


def whole(folder: Path) -> list[Row]:
    """A whole training with validation, in native code and in PyTorch."""
    rows = []
    for batch_size, goal in ((8, 3.5), (1, 5)):
        turns = []
        for native in ("auto", "off"):
            precision = "auto" if native == "auto" else "float32"
            overrides = f"data.batch_size={batch_size}", f"train.native={native}", f"train.precision={precision}"
            chosen, dataset = default(folder, *overrides)

            def train(chosen: Settings = chosen, dataset: Dataset = dataset) -> None:
                with tempfile.TemporaryDirectory() as into:
                    job = Recipe(chosen.optimizer, chosen.train, chosen.padding, chosen.data.batch_size, 1, Path(into))
                    fit(RawCTCNet(chosen.model, seed=1), dataset, job)

            turns.append(train)
        ours, theirs = in_turns(turns, 3)
        rows.append(
            Row(
                f"whole training, batch {batch_size}",
                ours,
                theirs,
                "s",
                theirs / ours,
                f"at least {goal}",
                theirs / ours >= goal,
                "512 chunks, four validations, metrics; against train.native=off",
            )
        )
    return rows


BESIDE = """
import sys, time, torch
from pathlib import Path
from benchmarks.measuring import default, run_of
torch.set_num_threads(2)
chosen, dataset = default(Path(sys.argv[1]))
run = run_of(chosen, dataset, Path(sys.argv[1]) / "beside")
batches = list(run.epoch_batches())[:32]
for batch in batches[:4]:
    run.step(batch)
started = time.perf_counter()
for batch in batches:
    run.step(batch)
print(time.perf_counter() - started)
"""


def beside(folder: Path) -> list[Row]:
    """Training with two threads, alone and next to a process that keeps a core busy."""
    default(folder)

    def seconds() -> float:
        command = [sys.executable, "-c", BESIDE, str(folder)]
        return float(subprocess.run(command, capture_output=True, text=True, check=True).stdout)

    alone, busy = [], []
    for _ in range(3):
        alone.append(seconds())
        with subprocess.Popen([sys.executable, "-c", "while True: pass"]) as other:
            busy.append(seconds())
            other.kill()
    a, b = statistics.median(busy), statistics.median(alone)
    return [
        Row(
            "training beside a busy core",
            a,
            b,
            "s",
            a / b,
            "at most 2.5",
            a <= 2.5 * b,
            "32 updates with two threads, wall time; against the same alone",
        )
    ]


def epoch(folder: Path) -> list[Row]:
    """A whole epoch against its training steps alone."""
    chosen, dataset = default(folder, "train.validations=1", "train.chunks=1500")
    run = run_of(chosen, dataset, folder / "epoch")
    batches = list(run.epoch_batches())

    def steps() -> None:
        for batch in batches:
            run.step(batch)

    def whole() -> None:
        run.state.epoch, run.state.batch = 0, 0
        for batch in run.epoch_batches():
            run.step(batch)
            run.state.batch += 1
        run.state.curve.clear()
        run.point(1.0)

    a, b = in_turns([whole, steps], 5)
    return [
        Row(
            "epoch over its steps",
            a,
            b,
            "s",
            a / b,
            "at most 1.05",
            a / b <= 1.05,
            f"{len(batches)} batches: loading, batching, validation of {len(run.validation)} chunks, saving",
        )
    ]
