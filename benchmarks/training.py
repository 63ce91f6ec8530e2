"""A training step, its precision, and an epoch."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from torch.nn import functional as F

from basecaller.data.batches import Batch, training_batches
from basecaller.geometry import Model, dilations
from basecaller.network import RawCTCNet
from basecaller.training.engine import ctc_nats
from basecaller.training.fit import Job, _Run, fit
from benchmarks.measuring import Row, default, in_turns, run_of
from tests.reference import PlainRawCTCNet


def multiply_adds(size: Model, frames: int) -> float:
    """Of one forward pass over so many frames: stem and mix, blocks, skip, head, scores."""
    c, s, n = size.channels, size.skip_channels, len(dilations(size.max_dilation, size.stacks))
    block = 2 * c * size.kernel * c + c * c * (1 + size.projection)
    return float(frames * (c * c + n * block + n * c * s + s * s + 5 * s))


def matrix_rate(kind: torch.dtype) -> float:
    """Multiply-adds per second of a large matrix product on one thread."""
    a, b = torch.randn(1024, 1024, dtype=kind), torch.randn(1024, 1024, dtype=kind)
    (seconds,) = in_turns([lambda: a @ b], 9)
    return 1024**3 / seconds


def ctc_alone(run: _Run, batches: list[Batch]) -> float:
    """Median seconds of the loss of these batches and its gradient."""
    scores = [run.network(torch.from_numpy(batch.signal)).detach().requires_grad_() for batch in batches]
    pairs = list(zip(scores, batches, strict=True))
    (seconds,) = in_turns([lambda: [ctc_nats(s, batch, run.network).backward() for s, batch in pairs]], 5)
    return seconds


def precision(folder: Path) -> list[Row]:
    """Validation losses in bfloat16 and float32, against the noise of seeds."""
    losses: dict[str, list[float]] = {"float32": [], "bfloat16": []}
    for seed in (1, 2, 3, 4):
        for kind, found in losses.items():
            chosen, dataset = default(folder, f"seed={seed}", f"train.precision={kind}")
            job = Job(chosen.optimizer, chosen.train, chosen.padding, chosen.data.batch_size, seed, folder / f"{kind}{seed}")
            found.append(fit(RawCTCNet(chosen.model, seed=seed), dataset, job).metrics["val_loss"])
    difference = np.array(losses["bfloat16"]) - np.array(losses["float32"])
    noise, mean = float(np.std(losses["float32"], ddof=1)), float(abs(difference.mean()))
    how = f"one epoch of 512 chunks, 4 seeds; paired differences {difference.round(4).tolist()}"
    return [
        Row(
            "loss in bfloat16, less float32's, and noise",
            mean,
            noise,
            "nats/base",
            mean / noise,
            "at most 1",
            mean <= noise,
            how,
        )
    ]


def step(folder: Path) -> list[Row]:
    """A training step against the plain published network, and against the multiply-adds it needs."""
    rows = []
    for name, goal, rounds, overrides in (
        ("default size", 3.0, 7, []),
        ("default size, batch 1", 3.0, 24, ["data.batch_size=1"]),
        ("published size", 2.0, 2, ["model=rawctcnet", "data.batch_size=2"]),
    ):
        chosen, dataset = default(folder, *overrides)
        run = run_of(chosen, dataset, folder / name.replace(" ", "-"))
        plain = PlainRawCTCNet(chosen.model)
        optimizer = torch.optim.Adam(plain.parameters(), lr=0.001)
        batches = list(training_batches(dataset, run.train, run.plan.parts(0), "off", chosen.model.stride, 1, 0))[:rounds]
        samples = sum(int(batch.lengths.sum()) for batch in batches)

        def ours(run: _Run = run, batches: list = batches) -> None:
            for batch in batches:
                run.step(batch)

        def theirs(
            plain: PlainRawCTCNet = plain,
            optimizer: torch.optim.Optimizer = optimizer,
            batches: list = batches,
            stride: int = chosen.model.stride,
        ) -> None:
            for batch in batches:
                scores = plain(torch.from_numpy(batch.signal))
                lengths = (torch.from_numpy(batch.lengths) + stride - 1) // stride
                log_probs = F.log_softmax(scores, 2).transpose(0, 1)
                targets, of = torch.from_numpy(batch.targets), torch.from_numpy(batch.target_lengths)
                loss = F.ctc_loss(log_probs, targets, lengths, of, reduction="sum") / len(batch.targets)
                optimizer.zero_grad()
                loss.backward()
                torch.nn.utils.clip_grad_norm_(plain.parameters(), 2.0)
                optimizer.step()

        a, b = in_turns([ours, theirs], 3)
        rows.append(
            Row(f"training step, {name}", samples / a, samples / b, "samples/s", b / a, f"at least {goal:g}", b / a >= goal,
                "forward, CTC, backward, clip, Adam; against the plain network of the tests, same data, float32, one thread")
        )  # fmt: skip
        frames = sum(batch.signal.shape[0] * -(-batch.signal.shape[1] // chosen.model.stride) for batch in batches)
        for kind in (torch.float32, torch.bfloat16):
            limit = 3 * multiply_adds(chosen.model, frames) / matrix_rate(kind)
            rows.append(
                Row(f"products alone, {name}, {str(kind)[6:]}", a, limit, "s", limit / a, "shown", True,
                    "the step's multiply-adds (three times the forward pass's) at the rate of a 1024 x 1024 product")
            )  # fmt: skip
        rows.append(Row(f"CTC alone, {name}", a, ctc_alone(run, batches), "s", ctc_alone(run, batches) / a, "shown", True,
                        "PyTorch's CTC, forward and backward, on the network's scores"))  # fmt: skip
    return rows


def epoch(folder: Path) -> list[Row]:
    """An epoch end to end against its training steps alone."""
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
    return [Row("epoch over its steps", a, b, "s", a / b, "at most 1.05", a / b <= 1.05,
                f"{len(batches)} batches: loading, batching, validation of {len(run.validation)} chunks, saving")]  # fmt: skip
