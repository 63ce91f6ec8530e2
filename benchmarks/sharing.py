"""`python -m benchmarks.sharing`: do processes share a grid? Runs a command several times at once, on every kind of storage.

The trainings are empty, so that claims collide as often as possible. Prints the number of lost points, and of points that ran
more than once; both should be 0.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from tests.helpers.postgres import AbsentError, temporary_server

CHILD = """
import sys
from basecaller import task
from basecaller.runs import trial
from basecaller.runs.folder import Result
from basecaller.search_plan.stages import hydra_app
from tests.helpers.training import FACTS


def train(job, on_point=lambda point: None):
    return Result({"val_loss": 1.0, "identity_mean": 0.5, "identity_floor": 0.3}, [], FACTS)

trial.train = train
with hydra_app() as app:
    app.multirun("config", task.run_job, sys.argv[1:])
"""


def round_of(url: str, folder: Path, name: str, processes: int, points: int) -> dict[str, Any]:
    """A round: `processes` sweeps of one grid, started together."""
    from basecaller.hpo.records import trials_of
    from basecaller.hpo.storage import current_study

    grid = "optimizer.lr=" + ",".join(f"{i / 1e4:g}" for i in range(1, points + 1))
    command = [sys.executable, "-c", CHILD, grid, f"experiment={name}", f"storage={url}", "threads=1", "data.reads=100"]
    started = time.perf_counter()
    running = [subprocess.Popen(command, cwd=folder, stderr=subprocess.PIPE, text=True) for _ in range(processes)]
    errors = [process.communicate()[1] for process in running]
    seconds = time.perf_counter() - started
    failed = [error for process, error in zip(running, errors, strict=True) if process.returncode]
    if failed:
        raise RuntimeError(failed[0])
    study = current_study(url, name, "sweep")
    assert study is not None
    trials = trials_of(study)
    complete = Counter(t.point for t in trials if t.is_complete)
    return {
        "lost": points - len(complete),
        "repeated": sum(n - 1 for n in complete.values()),
        "seconds": seconds,
        "others": sum(not t.is_complete for t in trials),
    }


@contextmanager
def storages(folder: Path) -> Iterator[dict[str, str]]:
    """URLs of an empty storage of each kind; PostgreSQL if its server is installed."""
    urls = {"SQLite": f"sqlite:///{folder}/optuna.db", "journal file": f"journal:///{folder}/journal.log"}
    try:
        with temporary_server() as server:
            yield urls | {"PostgreSQL": server.url}
    except AbsentError as absent:
        print(absent, file=sys.stderr)
        yield urls


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.sharing", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--processes", type=int, default=4)
    parser.add_argument("--points", type=int, default=200)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--json", type=Path, help="write the table there")
    chosen = parser.parse_args()
    title = f"{chosen.processes} processes, {chosen.points} points, {chosen.rounds} rounds"
    table = Table("storage", "lost", "repeated", "trials that did not complete", "seconds", title=title, title_justify="left")
    rows = []
    with tempfile.TemporaryDirectory() as folder, storages(Path(folder)) as urls:
        for kind, url in urls.items():
            rounds = []
            for i in range(chosen.rounds):
                rounds.append(round_of(url, Path(folder), f"round{i}", chosen.processes, chosen.points))
                print(kind, i + 1, rounds[-1], file=sys.stderr, flush=True)
            rows.append({"storage": kind} | {key: sum(r[key] for r in rounds) for key in rounds[0]})
    for row in rows:
        table.add_row(row["storage"], *(str(row[key]) for key in ("lost", "repeated", "others")), f"{row['seconds']:.0f}")
    Console().print(table)
    if chosen.json:
        chosen.json.write_text(json.dumps(rows, indent=1) + "\n")
    sys.exit(any(row["lost"] or row["repeated"] for row in rows))


if __name__ == "__main__":
    main()
