"""`python -m benchmarks.scale`: does a large study slow the search down? Seconds of bookkeeping per trial and of resolving
`${best:...}`, in studies with 100, 1,000 and 10,000 finished trials."""

from __future__ import annotations

import argparse
import json
import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from benchmarks.sharing import storages

SIZES = (100, 1_000, 10_000)
NEW = 20
"""Number of trials that are timed at each size; the table shows the median."""


def measure(url: str, folder: Path, sizes: tuple[int, ...]) -> list[dict[str, Any]]:
    """Grows a study to each size in turn, and measures the cost of the next trials."""
    from optuna.distributions import FloatDistribution
    from optuna.trial import TrialState, create_trial

    from basecaller.hpo.designs import HALVING
    from basecaller.hpo.grid import Entry, Point, Space
    from basecaller.hpo.queue import fill, waiting
    from basecaller.hpo.records import Outcome, store_study, trial_attributes
    from basecaller.hpo.standing import conclude_study, standing
    from basecaller.hpo.storage import open_study
    from basecaller.hpo.task import Place
    from basecaller.hpo.trial import claim
    from basecaller.hpo.winners import winner_of

    name, rows = "scale/sweep/x", []
    study = open_study(url, name)
    space = Space(distributions={"optimizer.lr": FloatDistribution(0.0, 1e6)}, axes={"optimizer.lr": []})
    store_study(study, asked=time.time(), seeds=[1], design=HALVING)
    asked: list[Point] = []

    def points(count: int) -> list[Point]:
        return [Point({"optimizer.lr": float(len(asked) + i)}) for i in range(count)]

    for size in sizes:
        new = points(size - len(asked))
        for point in new:
            fields = {"point": point.key, "seed": 1, "outcome": "complete", "choices": {"optimizer": "adam"}}
            user, system = trial_attributes(fields)
            study.add_trial(
                create_trial(
                    state=TrialState.COMPLETE,
                    value=1.0,
                    params=dict(point.values),
                    distributions=space.distributions,
                    user_attrs=user,
                    system_attrs=system,
                )
            )
        asked += new
        store_study(study, points=[point.key for point in asked])
        more = points(NEW)
        started = time.perf_counter()
        fill(study, space, [Entry(point, 1) for point in more])
        fill_seconds = (time.perf_counter() - started) / NEW
        seconds = []
        for number, _ in waiting(study, [Entry(point, 1) for point in more]):
            started = time.perf_counter()
            with claim(url, name, number, folder, {}) as trial:
                assert trial is not None
                trial.report(1.0, 100)
                trial.end(Outcome.COMPLETE, 1.0, identity_mean=0.5)
            seconds.append(time.perf_counter() - started)
        asked += more
        store_study(study, points=[point.key for point in asked])
        started = time.perf_counter()
        stand = standing(study)
        _ = stand.open
        look = time.perf_counter() - started
        conclude_study(study, stand)
        started = time.perf_counter()
        winner_of(Place(url=url, experiment="scale", folder=folder, command=""), ["sweep"])
        rows.append({"trials": size, "enqueue": fill_seconds, "claim_to_end": statistics.median(seconds), "standing": look,
                     "best": time.perf_counter() - started})  # fmt: skip
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.scale", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--sizes", type=int, nargs="+", default=list(SIZES))
    parser.add_argument("--json", type=Path, help="write the table there")
    chosen = parser.parse_args()
    rows = []
    with tempfile.TemporaryDirectory() as folder, storages(Path(folder)) as urls:
        for kind, url in urls.items():
            if kind == "journal file":  # every process reads all of it
                continue
            rows += [{"storage": kind} | row for row in measure(url, Path(folder), tuple(chosen.sizes))]
    table = Table("storage", "finished trials", "enqueue (ms)", "claim to end (ms)", "standing (ms)", "${best} (ms)")
    for row in rows:
        cells = (f"{1000 * row[key]:.1f}" for key in ("enqueue", "claim_to_end", "standing", "best"))
        table.add_row(row["storage"], f"{row['trials']:,}", *cells)
    Console().print(table)
    if chosen.json:
        chosen.json.write_text(json.dumps(rows, indent=1) + "\n")


if __name__ == "__main__":
    main()
