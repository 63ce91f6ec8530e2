"""`python -m benchmarks.soak`: does a search survive? Kills the processes of a plan at random, many times.

SIGKILL and SIGINT hit the main process, its whole process group, or one of its workers, in one process and with joblib workers.
After the requested number of kills, the plan runs to its end. Prints the number of lost grid points, of points that ran more
than once, of trials that still run, and of training steps that were repeated (those since the last checkpoint; no goal).
"""

from __future__ import annotations

import argparse
import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path
from typing import Any

from rich.console import Console

STAGES = ("padding", "batch_norm", "lr_adam", "lr_adagrad")

PLAN = [
    f"plan=[{','.join(STAGES)}]", "search.replicates=2", "model.max_dilation=4",
    "data.reads=150", "data.min_bases=20", "data.max_bases=40", "data.genome_bases=50000",
    "data.validation=0.2", "data.test=0.2", "data.batch_size=4", "model.channels=8", "model.skip_channels=8",
    "train.chunks=null", "train.validation_chunks=20", "train.epochs=6", "train.validations=1",
    "search.winner.train.epochs=1", "search.winner.train.chunks=40",
]  # fmt: skip
"""A small plan whose trials take seconds and write several checkpoints."""

COUNTER = """
import os
from basecaller.training import fit as module

real = module.Trainer.step

def step(self, batch):
    value = real(self, batch)
    with open(self.recipe.folder / "steps", "ab", buffering=0) as file:
        file.write(b".")
    return value

module.Trainer.step = step
"""
"""Makes every process count its training steps in the folder of the run."""


def children(pid: int) -> list[int]:
    """All descendants of a process."""
    found = []
    listed = subprocess.run(["ps", "-eo", "pid=,ppid="], capture_output=True, text=True, check=True).stdout.split("\n")
    parents = [tuple(map(int, line.split())) for line in listed if line.strip()]
    todo = [pid]
    while todo:
        parent = todo.pop()
        below = [child for child, of in parents if of == parent]
        found += below
        todo += below
    return found


def kill_once(process: subprocess.Popen[bytes], rng: random.Random) -> str:
    """Kills a process of a running search; returns which."""
    kind = rng.choice(["driver SIGKILL", "driver SIGINT", "group SIGKILL", "worker SIGKILL"])
    below = children(process.pid)
    if kind == "worker SIGKILL" and below:
        os.kill(rng.choice(below), signal.SIGKILL)
        return kind
    if kind == "group SIGKILL":
        os.killpg(process.pid, signal.SIGKILL)
    else:
        process.send_signal(signal.SIGINT if kind == "driver SIGINT" else signal.SIGKILL)
    return kind if not kind.startswith("worker") else "driver SIGKILL"


def losses(url: str) -> Counter[str]:
    """The faults in the studies of the search that has just ended."""
    from basecaller.hpo.records import trials_of
    from basecaller.hpo.standing import standing
    from basecaller.hpo.storage import current_study

    found = Counter[str](lost=0, repeated=0, still_running=0)
    for name in STAGES:
        study = current_study(url, "tiny", name)
        assert study is not None
        stand, trials = standing(study), trials_of(study)
        complete = Counter(t.entry for t in trials if t.is_complete)
        found["lost"] += len(stand.open) + len(stand.failed)
        found["repeated"] += sum(n - 1 for n in complete.values())
        found["still_running"] += sum(not t.is_finished for t in trials)
    return found


def soak(kills: int, folder: Path, rng: random.Random, console: Console) -> dict[str, Any]:
    """Runs and kills searches until the number of kills is reached; each search that ends is followed by one at another seed.

    Returns:
        The counts.
    """
    (folder / "sitecustomize.py").write_text(COUNTER)
    environment = os.environ | {"PYTHONPATH": f"{folder}{os.pathsep}{Path(__file__).resolve().parents[1]}"}
    url = f"sqlite:///{folder}/outputs/optuna.db"
    done: Counter[str] = Counter()
    found: Counter[str] = Counter()
    seed = 1
    while True:
        own = [f"seed={seed}", f"search.workers={rng.choice([1, 2])}"]
        process = subprocess.Popen(
            [sys.executable, "-m", "basecaller.search", *PLAN, *own],
            cwd=folder,
            env=environment,
            start_new_session=True,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        while process.poll() is None and done.total() < kills:
            time.sleep(rng.uniform(0.5, 9))
            if process.poll() is None:
                done[kill_once(process, rng)] += 1
                time.sleep(1)
        code = process.wait()
        console.print(f"{done.total()} kills, exit {code}", highlight=False)
        if code not in (0, 2, 130, -signal.SIGKILL, -signal.SIGINT) or (code == 2 and done.total() >= kills):
            raise RuntimeError(f"the search failed by itself, with exit code {code}")
        if code == 0:
            found.update(losses(url))
            seed += 10
            if done.total() >= kills:
                break
    steps = needed = 0
    for result in folder.glob("outputs/tiny/runs/*/result.json"):
        needed += json.loads(result.read_text())["facts"]["updates"]
        steps += (result.parent / "steps").stat().st_size
    return {"kills": dict(done), **found, "steps": steps, "repeated_steps": steps - needed}


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.soak", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--kills", type=int, default=50)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--json", type=Path, help="write the counts there")
    chosen = parser.parse_args()
    console = Console()
    with tempfile.TemporaryDirectory() as folder:
        result = soak(chosen.kills, Path(folder), random.Random(chosen.seed), console)
    for key, value in result.items():
        console.print(f"{key}: {value}", highlight=False)
    if chosen.json:
        chosen.json.write_text(json.dumps(result, indent=1) + "\n")
    sys.exit(any(result[key] for key in ("lost", "repeated", "still_running")))


if __name__ == "__main__":
    main()
