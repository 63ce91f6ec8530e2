"""The cost of a search beyond its trainings, and of a whole plan."""

from __future__ import annotations

import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from basecaller.config.composition import compose_config
from benchmarks.measuring import Row, default

COST = """
import sys, time
from basecaller import task
from basecaller.runs import training
from basecaller.search_plan.stages import hydra_app
real, known = training._fit, []

def fit(job, on_point):
    if known:
        for point in known[0].curve:
            on_point(point)
    else:
        known.append(real(job, on_point))
    return known[0]

tiny = ["threads=1", "data.reads=100", "train.chunks=8", "train.validation_chunks=4", "data.test=0.3", "data.validation=0.3",
        "train.budget=updates", "train.updates=2"]
with hydra_app() as app:
    training._fit = fit
    app.multirun("config", task.run_job, [*tiny, "optimizer.lr=1"], with_log_configuration=False)
    first = time.process_time()
    app.multirun("config", task.run_job, [*tiny, *sys.argv[1:]], with_log_configuration=False)
    print(time.process_time() - first)
"""
"""Prints the CPU time (user and system) of a sweep in one process whose trainings return a known result at once. Everything
else is real: the composed configs, the folders of the runs, the trials."""


def cost(folder: Path) -> list[Row]:
    """CPU time per trial without its training, against Optuna alone in a plain loop, and the stock sweeper."""
    import optuna

    count, rounds = 30, 5
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
        started = time.process_time()
        for i in range(count):
            study.enqueue_trial({"lr": i / 1e4 + 1e-4})
        study.optimize(lambda trial: trial.suggest_float("lr", 1e-4, 1e-1), n_trials=count)
        return (time.process_time() - started) / count

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    turns = [(swept(), swept(*stock), alone()) for _ in range(rounds)]
    ours, theirs, bare = (statistics.median(turn) for turn in zip(*turns, strict=True))
    how = f"CPU time, {count} trials of two updates whose result is known, one worker, SQLite"
    return [
        Row(
            "search's cost per trial, and Optuna's",
            ours,
            bare,
            "s",
            ours / bare,
            "at most 0.05 s",
            ours <= 0.05,
            f"{how}; against Optuna in a bare loop, which composes no config and keeps no curve",
        ),
        Row(
            "search's cost per trial, and the stock sweeper's",
            ours,
            theirs,
            "s",
            ours / theirs,
            "shown",
            True,
            f"{how}; against hydra-optuna-sweeper with its grid sampler",
        ),
    ]


PLAN = """
import sys, time
from rich import box
from rich.console import Console
from basecaller.search_plan.request import Request
from basecaller.search_plan.search import Search
started = time.perf_counter()
search = Search(Request(sys.argv[1:]), Console(quiet=True))
for name in search.request.plan:
    search.run_stage(name)
print(time.perf_counter() - started)
"""


def ours(folder: Path, data: Path, workers: int) -> tuple[float, list[list[str]]]:
    """Seconds of all stages of the default plan with one seed, and the overrides of its trials."""
    from basecaller.hpo.records import trials_of
    from basecaller.hpo.storage import current_study

    folder.mkdir()
    chosen = ["search.replicates=1", f"data.folder={data}", "data.reads=3000", f"search.workers={workers}"]
    command = [sys.executable, "-c", PLAN, *chosen]
    started = time.perf_counter()
    subprocess.run(command, cwd=folder, capture_output=True, text=True, check=True)
    seconds = time.perf_counter() - started
    studies = [current_study(f"sqlite:///{folder}/outputs/optuna.db", "tiny", name) for name in compose_config([]).plan]
    trials = [trial for study in studies if study for trial in trials_of(study)]
    return seconds, [[o for o in t.overrides if not o.startswith("search.")] for t in trials]


EVERY = 4
"""Only one in this many trials is run by hand, since all of them take ten minutes; the time is scaled up."""


def plan(folder: Path) -> list[Row]:
    """The stages of the default plan with one seed, against the same trials by hand, one process each."""
    data = folder / "data"
    default(data)
    seconds, lines = ours(folder / "plan", data, 2)
    sample = lines[1::EVERY]
    here = folder / "by-hand"
    here.mkdir()
    started = time.perf_counter()
    for i, line in enumerate(sample):  # a folder for each, so that nothing is reused
        command = [sys.executable, "-m", "basecaller.train", *line, f"output_dir={i}"]
        subprocess.run(command, cwd=here, capture_output=True, check=True)
    by_hand = (time.perf_counter() - started) * len(lines) / len(sample)
    how = (
        f"{len(lines)} trials, one seed, data prepared before; by hand: `python -m basecaller.train`, one after the other, all "
        f"cores each, {len(sample)} of them timed"
    )
    return [
        Row("default plan, and by hand", seconds, by_hand, "s", by_hand / seconds, "at least 5", by_hand >= 5 * seconds, how)
    ]


def workers(folder: Path) -> list[Row]:
    """The stages of the default plan with one and two workers. Takes ten minutes, so it runs only with `--only`."""
    data = folder / "data"
    default(data)
    two, lines = ours(folder / "two", data, 2)
    one, _ = ours(folder / "one", data, 1)
    count = len(lines)
    return [Row("default plan, 2 workers and 1", 3600 * count / two, 3600 * count / one, "trials/h", one / two, "shown", True,
                f"{count} trials, one seed; two workers of one thread, and one of two")]  # fmt: skip
