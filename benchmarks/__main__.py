"""How fast is it, against a limit or a peer? `python -m benchmarks`: one table, each row with its ratio and its goal.

What is compared runs in turns, several times, and medians are taken: machines are noisy. `--only NAME` runs one row's group,
`--json FILE` writes the rows.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import torch
from rich.console import Console
from rich.table import Table
from torch.nn import functional as F

from basecaller.config import compose_config
from basecaller.data.batches import bucketed, collate, training_batches
from basecaller.data.dataset import Dataset
from basecaller.data.sources import prepare
from basecaller.decode import greedy
from basecaller.geometry import Model, dilations
from basecaller.network import RawCTCNet
from basecaller.settings import Settings, settings
from basecaller.training.fit import Job, _Run
from tests.reference import PlainRawCTCNet


@dataclass(frozen=True)
class Row:
    """One measurement.

    Attributes:
        name: what is measured.
        ours, theirs: two numbers of `unit`; theirs is the peer's or the limit's.
        ratio: of the two, larger is better where the goal is "at least".
        goal: in words.
        met: whether it is reached.
        how: how it was measured.
    """

    name: str
    ours: float
    theirs: float
    unit: str
    ratio: float
    goal: str
    met: bool
    how: str


def in_turns(functions: list[Callable[[], object]], rounds: int) -> list[float]:
    """Median seconds of each function, run in turns."""
    seconds: list[list[float]] = [[] for _ in functions]
    for i in range(rounds + 1):
        for function, of in zip(functions, seconds, strict=True):
            started = time.perf_counter()
            function()
            if i:  # the first turn warms up
                of.append(time.perf_counter() - started)
    return [statistics.median(of) for of in seconds]


def default(folder: Path, *overrides: str) -> tuple[Settings, Dataset]:
    """The default settings and their data set."""
    chosen = settings(compose_config([f"data.folder={folder}", "data.reads=3000", *overrides]))
    return chosen, prepare(chosen.data.name, chosen.data.source, folder)


def run_of(chosen: Settings, dataset: Dataset, folder: Path) -> _Run:
    job = Job(chosen.optimizer, chosen.train, chosen.padding, chosen.data.batch_size, 1, folder)
    return _Run(RawCTCNet(chosen.model, seed=1), dataset, job)


def multiply_adds(size: Model, frames: int) -> float:
    """Of one forward pass over so many frames: stem and mix, blocks, skip, head, scores."""
    c, s, n = size.channels, size.skip_channels, len(dilations(size.max_dilation, size.stacks))
    block = 2 * c * size.kernel * c + c * c * (1 + size.projection)
    return float(frames * (c * c + n * block + n * c * s + s * s + 5 * s))


def matrix_rate() -> float:
    """Multiply-adds per second of a large float32 matrix product on one thread."""
    a, b = torch.randn(1024, 1024), torch.randn(1024, 1024)
    (seconds,) = in_turns([lambda: a @ b], 9)
    return 1024**3 / seconds


def step(folder: Path) -> list[Row]:
    """A training step against the plain published network, and against the multiply-adds it needs."""
    rows = []
    for name, goal, rounds, overrides in (
        ("default size", 3.0, 7, []),
        ("published size", 2.0, 2, ["model=rawctcnet", "data.batch_size=2"]),
    ):
        chosen, dataset = default(folder, *overrides)
        run = run_of(chosen, dataset, folder / name.replace(" ", "-"))
        plain = PlainRawCTCNet(chosen.model)
        optimizer = torch.optim.Adam(plain.parameters(), lr=0.001)
        batches = list(training_batches(dataset, run.train, chosen.data.batch_size, "off", chosen.model.stride, 1, 0))[:rounds]
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
        limit = 3 * multiply_adds(chosen.model, frames) / matrix_rate()
        rows.append(
            Row(f"roofline, {name}", a, limit, "s", limit / a, "shown", True,
                "the step's multiply-adds (three times the forward pass's) at the rate of a 1024 x 1024 float32 product")
        )  # fmt: skip
    return rows


def epoch(folder: Path) -> list[Row]:
    """An epoch end to end against its training steps alone."""
    chosen, dataset = default(folder, "train.validations=1")
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

    a, b = in_turns([whole, steps], 3)
    return [Row("epoch over its steps", a, b, "s", a / b, "at most 1.05", a / b <= 1.05,
                f"{len(batches)} batches: loading, batching, validation of {len(run.validation)} chunks, saving")]  # fmt: skip


def padding(folder: Path) -> list[Row]:
    """Padded samples over all samples, bucketed and merely shuffled."""
    _, dataset = default(folder)
    indices = dataset.indices("train")
    rng = np.random.default_rng(1)

    def waste(batches: list[np.ndarray]) -> float:
        shown = sum(len(batch) * int(dataset.lengths[batch].max()) for batch in batches)
        return 1 - float(dataset.lengths[indices].sum()) / shown

    order = rng.permutation(indices)
    shuffled = [order[i : i + 8] for i in range(0, len(order), 8)]
    a, b = waste(bucketed(indices, dataset.lengths, 8, rng)), waste(shuffled)
    return [Row("padding waste, simulated", 100 * a, 100 * b, "%", b / a, "at most 3 %", a <= 0.03, "batch 8, and shuffled")]


COST = """
import sys, time
started = time.perf_counter()
from basecaller import run
from basecaller.driver import hydra_app
run.train = lambda cfg, folder, on_point=None: run.Result(
    {"val_loss": 1.0, "identity_mean": 0.5, "identity_floor": 0.3}, [], {"seconds": 0.0, "only_blanks": False, "updates": 0})
with hydra_app() as app:
    first = time.perf_counter()
    app.multirun("config", run.job, sys.argv[1:], with_log_configuration=False)
    print(time.perf_counter() - first)
"""


def cost(folder: Path) -> list[Row]:
    """Seconds per trial around a training of no length, against Optuna alone in a bare loop."""
    import optuna

    count = 100
    grid = "optimizer.lr=" + ",".join(f"{i / 1e4:g}" for i in range(1, count + 1))
    command = [sys.executable, "-c", COST, grid, "threads=1", "data.reads=100"]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=True)
    ours = float(done.stdout.split()[-1]) / count
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    study = optuna.create_study(storage=f"sqlite:///{folder}/bare.db")
    started = time.perf_counter()
    for i in range(count):
        study.enqueue_trial({"lr": i / 1e4 + 1e-4})
    study.optimize(lambda trial: trial.suggest_float("lr", 1e-4, 1e-1), n_trials=count)
    theirs = (time.perf_counter() - started) / count
    return [Row("search's own cost per trial", ours, theirs, "s", ours / theirs, "at most 0.1 s", ours <= 0.1,
                f"{count} trainings of no length, SQLite; against Optuna in a bare loop")]  # fmt: skip


MEMORY = """
import resource, sys, tempfile
from pathlib import Path
from benchmarks.__main__ import default, run_of
chosen, dataset = default(Path(sys.argv[1]), *sys.argv[2:])
run = run_of(chosen, dataset, Path(tempfile.mkdtemp()))
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
for batch, _ in zip(run.epoch_batches(), range(3)):
    run.step(batch)
print((resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024)
"""


def memory(folder: Path) -> list[Row]:
    """Peak memory of a training at batch 32, and how it grows with read length."""
    peaks = []
    for bases in (100, 400):
        overrides = [f"data.min_bases={bases}", f"data.max_bases={bases}", "data.batch_size=32", "data.reads=200", "padding=on"]
        done = subprocess.run(
            [sys.executable, "-c", MEMORY, str(folder), *overrides], capture_output=True, text=True, check=True
        )
        peaks.append(float(done.stdout.split()[-1]))
    return [Row("peak memory, batch 32", peaks[1], peaks[0], "MiB", peaks[1] / peaks[0], "at most linear (4)",
                peaks[1] <= 4.4 * peaks[0], "growth of the process over its start; reads of 400 and 100 bases")]  # fmt: skip


def basecalling(folder: Path) -> list[Row]:
    """Samples per second of the trained network with greedy decoding, against the plain network."""
    chosen, dataset = default(folder)
    network, plain = RawCTCNet(chosen.model).eval(), PlainRawCTCNet(chosen.model).eval()
    batch = collate(dataset, dataset.indices("train")[:64], "masked", chosen.model.stride)
    signal = torch.from_numpy(batch.signal)

    @torch.inference_mode()
    def call(model: torch.nn.Module) -> None:
        for row in model(signal).argmax(2).numpy():
            greedy(row)

    a, b = in_turns([lambda: call(network), lambda: call(plain)], 5)
    samples = signal.numel()
    return [Row("basecalling", samples / a, samples / b, "samples/s", b / a, "shown", True,
                "64 reads, greedy; against the plain network")]  # fmt: skip


GROUPS: dict[str, Callable[[Path], list[Row]]] = {
    "step": step, "epoch": epoch, "padding": padding, "cost": cost, "memory": memory, "basecalling": basecalling,
}  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--json", type=Path, help="write the rows there")
    parser.add_argument("--only", choices=GROUPS, help="one group of rows")
    chosen = parser.parse_args()
    torch.set_num_threads(1)
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        for name, group in GROUPS.items():
            if chosen.only in (None, name):
                rows += group(Path(folder))
    table = Table("", "ours", "theirs", "unit", "ratio", "goal", "met")
    for row in rows:
        table.add_row(row.name, f"{row.ours:,.4g}", f"{row.theirs:,.4g}", row.unit, f"{row.ratio:.2f}", row.goal,
                      "yes" if row.met else "no")  # fmt: skip
    Console().print(table)
    if chosen.json:
        chosen.json.write_text(json.dumps([asdict(row) for row in rows], indent=1) + "\n")


if __name__ == "__main__":
    main()
