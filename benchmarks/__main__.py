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
from rich import box
from rich.console import Console
from rich.table import Table
from torch.nn import functional as F

from basecaller.config import compose_config
from basecaller.data.batches import Batch, bucketed, collate, training_batches
from basecaller.data.dataset import Dataset
from basecaller.data.sources import prepare
from basecaller.decode import greedy
from basecaller.geometry import Model, dilations
from basecaller.network import RawCTCNet
from basecaller.settings import Settings, data_settings, settings
from basecaller.training.evaluate import ctc_nats
from basecaller.training.fit import Job, _Run, fit
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


def padding(folder: Path) -> list[Row]:
    """Padded samples over all samples, bucketed and merely shuffled."""

    def waste(dataset: Dataset, indices: np.ndarray, batches: list[np.ndarray]) -> float:
        shown = sum(len(batch) * int(dataset.lengths[batch].max()) for batch in batches)
        return 1 - float(dataset.lengths[indices].sum()) / shown

    sets = {"simulated": default(folder)[1]}
    if REAL:
        data = data_settings(compose_config(["data=pod5", f"data.folder={folder}", *REAL]))
        sets["real"] = prepare(data.name, data.source, folder)
    rows = []
    for name, dataset in sets.items():
        indices, rng = dataset.indices("train"), np.random.default_rng(1)
        order = rng.permutation(indices)
        shuffled = [order[i : i + 8] for i in range(0, len(order), 8)]
        a = waste(dataset, indices, bucketed(indices, dataset.lengths, 8, rng))
        b = waste(dataset, indices, shuffled)
        rows.append(Row(f"padding waste, {name}", 100 * a, 100 * b, "%", b / a, "at most 3 %", a <= 0.03,
                        "batches of 8, bucketed by length, and merely shuffled"))  # fmt: skip
    return rows


COST = """
import sys, time
from basecaller import run
from basecaller.driver import hydra_app
real, known = run.train, []

def train(cfg, folder, on_point=lambda point: None):
    if not known:
        known.append(real(cfg, folder, on_point))
    for point in known[0].curve:
        on_point(point)
    return known[0]

tiny = ["threads=1", "data.reads=100", "train.chunks=8", "train.validation_chunks=4", "data.test=0.3", "data.validation=0.3"]
with hydra_app() as app:
    run.train = train
    app.multirun("config", run.job, [*tiny, "optimizer.lr=1"], with_log_configuration=False)
    first = time.perf_counter()
    app.multirun("config", run.job, [*tiny, *sys.argv[1:]], with_log_configuration=False)
    print(time.perf_counter() - first)
"""


def cost(folder: Path) -> list[Row]:
    """Seconds per trial around a training of no length, against Optuna alone in a bare loop, and the stock sweeper."""
    import optuna

    count, rounds = 60, 3
    grid = "optimizer.lr=" + ",".join(f"{i / 1e4:g}" for i in range(1, count + 1))
    stock = [
        "hydra/sweeper=optuna", "hydra/sweeper/sampler=grid", "hydra.sweeper.storage=sqlite:///stock.db",
        f"hydra.sweeper.n_trials={count}", "hydra.sweeper.n_jobs=1", "hydra.sweeper.direction=minimize",
    ]  # fmt: skip

    def swept(*overrides: str) -> float:
        command = [sys.executable, "-c", COST, grid, *overrides]
        done = subprocess.run(command, cwd=tempfile.mkdtemp(dir=folder), capture_output=True, text=True, check=True)
        return float(done.stdout.split()[-1]) / count

    def alone() -> float:
        study = optuna.create_study(storage=f"sqlite:///{tempfile.mkdtemp(dir=folder)}/bare.db")
        started = time.perf_counter()
        for i in range(count):
            study.enqueue_trial({"lr": i / 1e4 + 1e-4})
        study.optimize(lambda trial: trial.suggest_float("lr", 1e-4, 1e-1), n_trials=count)
        return (time.perf_counter() - started) / count

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    turns = [(swept(), swept(*stock), alone()) for _ in range(rounds)]
    ours, theirs, bare = (statistics.median(turn) for turn in zip(*turns, strict=True))
    how = f"{count} trainings whose result is known, SQLite"
    return [
        Row("search's cost per trial, and Optuna's", ours, bare, "s", ours / bare, "at most 0.1 s", ours <= 0.1,
            f"{how}; against Optuna in a bare loop, which composes no config and keeps no curve"),
        Row("search's cost per trial, and the stock sweeper's", ours, theirs, "s", ours / theirs, "shown", True,
            f"{how}; against hydra-optuna-sweeper with its grid sampler"),
    ]  # fmt: skip


PLAN = """
import sys, time
from rich import box
from rich.console import Console
from basecaller.config import compose_config
from basecaller.driver import Search
overrides = sys.argv[1:]
started = time.perf_counter()
search = Search(compose_config(overrides), overrides, Console(quiet=True))
for name in search.plan:
    search.run_stage(name)
print(time.perf_counter() - started)
"""


def ours(folder: Path, data: Path, workers: int) -> tuple[float, list[list[str]]]:
    """Seconds of all stages of the default plan, one seed; and the overrides of its trials."""
    from basecaller.hpo.storage import current_study

    folder.mkdir()
    chosen = ["search.replicates=1", f"data.folder={data}", "data.reads=3000", f"search.workers={workers}"]
    command = [sys.executable, "-c", PLAN, *chosen]
    started = time.perf_counter()
    subprocess.run(command, cwd=folder, capture_output=True, text=True, check=True)
    seconds = time.perf_counter() - started
    studies = [current_study(f"sqlite:///{folder}/outputs/optuna.db", "tiny", name) for name in compose_config([]).plan]
    trials = [trial for study in studies if study for trial in study.get_trials()]
    return seconds, [[o for o in t.user_attrs["overrides"] if not o.startswith("search.")] for t in trials]


EVERY = 4
"""Of the trials by hand one in so many is run, since all take ten minutes; the time is scaled up."""


def plan(folder: Path) -> list[Row]:
    """The stages of the default plan, one seed, against the same trials by hand, a process for each."""
    data = folder / "data"
    default(data)
    seconds, lines = ours(folder / "plan", data, 2)
    sample = lines[1::EVERY]
    here = folder / "by-hand"
    here.mkdir()
    started = time.perf_counter()
    for i, line in enumerate(sample):  # a folder for each: nothing is taken over
        command = [sys.executable, "-m", "basecaller.train", *line, f"output_dir={i}"]
        subprocess.run(command, cwd=here, capture_output=True, check=True)
    by_hand = (time.perf_counter() - started) * len(lines) / len(sample)
    how = (
        f"{len(lines)} trials, one seed, data prepared before; by hand: `python -m basecaller.train`, one after the other, all "
        f"cores each, {len(sample)} of them timed"
    )
    return [
        Row("default plan, and by hand", seconds, by_hand, "s", by_hand / seconds, "at least 3", by_hand >= 3 * seconds, how)
    ]


def workers(folder: Path) -> list[Row]:
    """The stages of the default plan at one and two workers (not among the groups that run without `--only`: ten minutes)."""
    data = folder / "data"
    default(data)
    two, lines = ours(folder / "two", data, 2)
    one, _ = ours(folder / "one", data, 1)
    count = len(lines)
    return [Row("default plan, 2 workers and 1", 3600 * count / two, 3600 * count / one, "trials/h", one / two, "shown", True,
                f"{count} trials, one seed; two workers of one thread, and one of two")]  # fmt: skip


MEMORY = """
import sys, tempfile
from pathlib import Path
from benchmarks.__main__ import default, run_of
from basecaller.data.dataset import Dataset
large, overrides = sys.argv[1], sys.argv[3:]

def peak():  # what the system cannot take back, unlike the pages of a file
    fields = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
    return int(fields["RssAnon"].split()[0]) / 1024

before = most = peak()
chosen, dataset = default(Path(sys.argv[2]), *overrides)
if large:
    dataset = Dataset(Path(large))
run = run_of(chosen, dataset, Path(tempfile.mkdtemp()))
for batch, _ in zip(run.epoch_batches(), range(50)):
    run.step(batch)
    most = max(most, peak())
print(most - before)
"""


def enlarged(dataset: Dataset, folder: Path, times: int) -> Path:
    """The same data set so many times over, as one: as large as is wanted, on disk."""
    from basecaller.data.dataset import DTYPES

    folder.mkdir()
    for name, kind in DTYPES.items():
        values = np.load(dataset.folder / f"{name}.npy")
        if name.endswith("offsets"):
            values = np.concatenate([[0], *(values[1:] + i * values[-1] for i in range(times))])
            np.save(folder / f"{name}.npy", values.astype(kind))
            continue
        out = np.lib.format.open_memmap(folder / f"{name}.npy", "w+", kind, (len(values) * times,))
        for i in range(times):
            out[i * len(values) : (i + 1) * len(values)] = values
        out.flush()
    np.save(folder / "read_ids.npy", np.tile(dataset.read_ids, times))
    (folder / "meta.json").write_text(json.dumps(dataset.meta))
    return folder


def memory(folder: Path) -> list[Row]:
    """Peak memory of a training at batch 32, how it grows with read length, and with the data set."""

    def growth(overrides: list[str], large: str = "") -> float:
        command = [sys.executable, "-c", MEMORY, large, str(folder), "train.chunks=null", *overrides]
        return float(subprocess.run(command, capture_output=True, text=True, check=True).stdout.split()[-1])

    peaks = [
        growth([f"data.min_bases={n}", f"data.max_bases={n}", "data.batch_size=32", "data.reads=200", "padding=on"])
        for n in (100, 400)
    ]
    dataset = default(folder)[1]
    large = enlarged(dataset, folder / "large", LARGE // dataset.signals.nbytes)
    size = (large / "signals.npy").stat().st_size / 2**20
    of_small, of_large = growth([]), growth([], str(large))
    return [
        Row("peak memory, batch 32, reads of 400 and 100 bases", peaks[1], peaks[0], "MiB", peaks[1] / peaks[0],
            "at most linear (4)", peaks[1] <= 4.4 * peaks[0], "of the process above its imports, the files' pages apart"),
        Row(f"memory of a {size:,.0f} MiB data set, and a small one", of_large, of_small, "MiB", of_large / of_small,
            "the set stays on disk", of_large - of_small < 0.2 * size, "50 batches of 8, all chunks in the draw"),
    ]  # fmt: skip


def basecalling(folder: Path) -> list[Row]:
    """Samples per second of the trained network with greedy decoding, against the plain network."""
    chosen, dataset = default(folder)
    network, plain = RawCTCNet(chosen.model).eval(), PlainRawCTCNet(chosen.model).eval()
    batch = collate(dataset, dataset.indices("train")[:16], "masked", chosen.model.stride)
    signal = torch.from_numpy(batch.signal)

    @torch.inference_mode()
    def call(model: torch.nn.Module) -> None:
        for row in model(signal).argmax(2).numpy():
            greedy(row)

    a, b = in_turns([lambda: call(network), lambda: call(plain)], 5)
    samples = signal.numel()
    return [Row("basecalling", samples / a, samples / b, "samples/s", b / a, "shown", True,
                "batches of 16, greedy; against the plain network")]  # fmt: skip


REAL: list[str] = []
"""Overrides that name real reads, from `--real`."""

LARGE = 2**30
"""Bytes of signal in the large data set."""

GROUPS: dict[str, Callable[[Path], list[Row]]] = {
    "step": step, "precision": precision,
    "epoch": epoch, "padding": padding, "cost": cost, "plan": plan, "memory": memory, "basecalling": basecalling,
}  # fmt: skip


ALONE = {"workers": workers}
"""Groups that run only when they are asked for."""


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--json", type=Path, help="write the rows there")
    parser.add_argument("--only", choices=[*GROUPS, *ALONE], help="one group of rows")
    parser.add_argument("--real", nargs=2, metavar=("POD5", "BAM"), help="real reads, for padding waste")
    chosen = parser.parse_args()
    if chosen.real:
        REAL.extend([f"data.pod5={chosen.real[0]}", f"data.bam={chosen.real[1]}"])
    torch.set_num_threads(1)
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        groups = GROUPS if chosen.only is None else {chosen.only: (GROUPS | ALONE)[chosen.only]}
        for name, group in groups.items():
            print(name, file=sys.stderr)
            rows += group(Path(folder))
    table = Table("", "ours", "theirs", "unit", "ratio", "goal", "met", box=box.SIMPLE_HEAD)
    for row in rows:
        table.add_row(row.name, f"{row.ours:,.4g}", f"{row.theirs:,.4g}", row.unit, f"{row.ratio:.2f}", row.goal,
                      "yes" if row.met else "no")  # fmt: skip
    Console(width=None if sys.stdout.isatty() else 130).print(table)
    if chosen.json:
        chosen.json.write_text(json.dumps([asdict(row) for row in rows], indent=1) + "\n")


if __name__ == "__main__":
    main()
