"""`python -m benchmarks.conclusions`: error rates of the search's conclusions.

A/A: the choices of a stage are equally good at their best. How often does the search declare a difference? Goal: at most 5 % in
    every stage, with equal, unequal, heavy-tailed and measured noise.
Power: one choice is better by a number of standard deviations of a run. How often does it have the best mean, and how often is
    it declared the winner?
Designs: halving over all points against rounds by choice, at equal cost.

The stages have the shapes of those of the default plan, and their losses rise from the best learning rate as measured. Noise
comes from a normal distribution, a t distribution, and the residuals of trainings at twelve seeds for each point
(`benchmarks/noise.json`, which `--measure` writes from the storage of stages that ran with `seed=1,2,...,12`). Small real
trainings are measured as well.
"""

from __future__ import annotations

import argparse
import json
import logging
import tempfile
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from rich import box
from rich.console import Console
from rich.table import Table

from basecaller.config.composition import compose_config
from basecaller.hpo.designs import Design
from basecaller.runs.job import resolve_job
from basecaller.runs.training import train
from benchmarks.stages import DESIGNS, SHAPES, Draw, Measured, Shape, falls, heavy, measure, normal

NOISE = Path(__file__).with_name("noise.json")
EFFECTS = (0.5, 1.0, 2.0, 3.0)

QUIETER = {"lower rates 0.8, 0.2": 0.8, "lower rates 0.5, 0.2": 0.5, "lower rates 0.2": 0.2}
"""Noise of the second-highest rate relative to the highest; all lower rates have 0.2."""


# -- A/A, power, designs


def false_differences(of: Shape, draws: dict[str, Draw], stages: int) -> dict[str, float]:
    """Share of stages with a declared difference although the leading choices, all or two, are equally good."""
    found = {}
    for noise, draw in draws.items():
        cases = {"equal": 0.0} | ({"two lead": 4.0} if of.choices > 2 else {})
        for case, others in cases.items():
            concluded, _ = of.concluded(of.means(others=others), draw(of, stages))
            found[f"{noise}, {case}"] = [c.kind for c in concluded].count("clear") / stages
    return found


def power(of: Shape, effect: float, draw: Draw, stages: int, rng: np.random.Generator) -> dict[str, float]:
    """How often a choice that is better by an effect wins, and is declared the winner."""
    better = rng.integers(of.choices, size=stages)
    means = np.stack([of.means(choice, effect) for choice in range(of.choices)])[better]
    concluded, runs = of.concluded(means, draw(of, stages))
    best, won = (of.groups[[int(getattr(c, key)) for c in concluded]] == better for key in ("best", "winner"))
    clear = np.array([c.kind == "clear" for c in concluded])
    compared = [(c, m[int(c.rival)] - m[int(c.winner)]) for c, m in zip(concluded, means, strict=True) if c.rival and c.winner]
    single = draw(Shape(of.name, of.choices, of.rates, Design("every"), of.fall), stages)[:, :, :1] + means[..., None]
    return {
        "picks_best": float(best.mean()),
        "hands_on": float(won.mean()),
        "declared": float((clear & best).mean()),
        "declared_wrongly": float((clear & ~best).mean()),
        "one_run_each": float((of.groups[single[:, :, 0].argmin(1)] == better).mean()),
        "interval_holds": float(np.mean([c.interval[0] <= true <= c.interval[1] for c, true in compared])),
        "error_holds": float(np.mean([abs(c.margin - true) <= c.error for c, true in compared])),
        "limit": float(np.median([c.limit for c, _ in compared])),
        "runs": runs,
    }


def designs(draw: Draw, stages: int, rng: np.random.Generator) -> dict[str, Any]:
    """Both designs on the stages with rates: `dilation.rounds.picks_best` and so on."""
    rows: dict[str, Any] = {}
    for of in SHAPES:
        if of.design.kind == "rounds" and of.rates > 1:
            for name, made in DESIGNS.items():
                one, two = (power(made(of), effect, draw, stages, rng) for effect in (1.0, 2.0))
                rows.setdefault(of.name, {})[name] = {
                    "picks_best": one["picks_best"],
                    "declared": two["declared"],
                    "runs": two["runs"],
                }
    return rows


STAGES = {"padding, batch_norm": 2, "lr_*": 3}
"""Number of stages of a shape in a search, if not one."""


def any_of_a_search(rows: list[dict[str, Any]], case: str) -> float:
    """Probability that at least one verdict of a search is a false difference, with normal noise."""
    none = 1.0
    for row in rows:
        share = row["aa"].get(f"normal, {case}", row["aa"]["normal, equal"])
        none *= (1 - share) ** STAGES.get(row["stage"], 1)
    return 1 - none


def simulated(measured: dict[str, Any], stages: int, rng: np.random.Generator) -> dict[str, Any]:
    """All simulations."""
    draws: dict[str, Draw] = {"normal": normal(rng), "measured": Measured(measured, rng), "heavy tails": heavy(rng)}
    unequal = {name: normal(rng, second) for name, second in QUIETER.items()}
    rows = []
    for of in SHAPES:
        false = false_differences(of, draws | (unequal if of.rates > 1 else {}), stages)
        found = {noise: {str(e): power(of, e, draws[noise], stages, rng) for e in EFFECTS} for noise in ("normal", "measured")}
        rows.append({"stage": of.name, "points": len(of.groups), "aa": false, "power": found})
    return {
        "aa_false_difference": max(share for row in rows for share in row["aa"].values()),
        "search_false_difference": {case: any_of_a_search(rows, case) for case in ("equal", "two lead")},
        "stages": rows,
        "design": {noise: designs(draws[noise], stages, rng) for noise in ("normal", "measured")},
    }


# -- real trainings

TINY = [
    "data.reads=1500", "data.min_bases=30", "data.max_bases=60", "model.channels=8", "model.skip_channels=16",
    "train.chunks=200", "train.validations=1", "data.batch_size=4", "threads=1",
]  # fmt: skip
"""Overrides of a training that takes half a second, on simulated reads."""


def real(runs: int, rng: np.random.Generator, stages: int = 1000) -> dict[str, Any]:
    """A/A and power of real trainings: one configuration at many seeds, and another with a quarter lower rate."""
    torch.set_num_threads(1)
    logging.disable(logging.INFO)
    losses: dict[float, list[float]] = {0.004: [], 0.003: []}
    with tempfile.TemporaryDirectory() as folder:
        for rate, of in losses.items():
            for seed in range(runs):
                cfg = compose_config([*TINY, f"optimizer.lr={rate}", f"seed={seed}", f"data.folder={folder}/data"])
                of.append(train(resolve_job(cfg, Path(folder) / f"{rate}-{seed}")).metrics["val_loss"])
    a, b = (np.array(of) for of in losses.values())
    pair, four = SHAPES[0], SHAPES[1]
    false = {}
    for of in (pair, four):
        # seeds are not shared, so the noise of a point is its whole spread
        picks = np.stack([rng.permutation(runs)[: of.choices * of.seeds].reshape(of.choices, -1) for _ in range(stages)])
        concluded, _ = of.concluded(np.zeros(of.choices), a[picks])
        false[of.name] = sum(c.kind == "clear" for c in concluded) / stages
    better = int(b.mean() < a.mean())
    picks = np.stack([rng.permutation(runs)[: pair.seeds] for _ in range(stages)])
    concluded, cost = pair.concluded(np.zeros(2), np.stack([a[picks], b[picks]], 1))
    noise = float((a - b).std(ddof=1) / 2**0.5)
    return {
        "runs": 2 * runs,
        "noise": noise,
        "correlation": float(np.corrcoef(a, b)[0, 1]),
        "effect": float(abs(a.mean() - b.mean()) / noise),
        "aa_false_difference": false,
        "picks_best": sum(c.best == str(better) for c in concluded) / stages,
        "declared": sum(c.kind == "clear" and c.best == str(better) for c in concluded) / stages,
        "runs_of_a_stage": cost,
        "one_run_each": float(np.mean([(b[i] < a[j]) == better for i, j in rng.integers(runs, size=(stages, 2))])),
    }


# -- output


def table_of(headings: Iterable[str], rows: Iterable[Iterable[str]], title: str) -> Table:
    table = Table(*headings, title=title, title_justify="left", box=box.SIMPLE_HEAD)
    for row in rows:
        table.add_row(*row)
    return table


def show(result: dict[str, Any], console: Console) -> None:
    """Prints the tables."""
    for row in result["stages"]:
        cells = [[case, f"{share:.1%}"] for case, share in row["aa"].items()]
        console.print(table_of(["noise, choices", "declared"], cells, f"{row['stage']}: A/A"))
    for noise in ("normal", "measured"):
        rows = [
            [row["stage"], f"{row['power'][noise]['2.0']['runs']:.1f}"]
            + [f"{p['picks_best']:.0%} / {p['hands_on']:.0%} / {p['declared']:.0%}" for p in row["power"][noise].values()]
            for row in result["stages"]
        ]
        headings = ["stage", "runs", *(f"{effect:g} sd" for effect in EFFECTS)]
        console.print(table_of(headings, rows, f"one choice better, {noise} noise: best mean / handed on / declared"))
        rows = [
            [stage, name, f"{of['picks_best']:.1%}", f"{of['declared']:.1%}", f"{of['runs']:.1f}"]
            for stage, both in result["design"][noise].items()
            for name, of in both.items()
        ]
        console.print(
            table_of(["stage", "design", "picks best at 1 sd", "declared at 2 sd", "runs"], rows, f"designs, {noise} noise")
        )
    if "real" in result:
        r = result["real"]
        false = ", ".join(f"{name} {share:.1%}" for name, share in r["aa_false_difference"].items())
        console.print(
            f"real trainings ({r['runs']}): A/A {false}; two rates {r['effect']:.2f} sd apart: the better has the best mean in "
            f"{r['picks_best']:.0%}, declared {r['declared']:.0%} ({r['runs_of_a_stage']:.1f} runs); one run each "
            f"{r['one_run_each']:.0%}"
        )
    console.print(f"aa_false_difference {result['aa_false_difference']:.2%}, the largest of all (goal: at most 5 %)")


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.conclusions", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--json", type=Path, help="write the tables there")
    parser.add_argument("--repetitions", type=int, default=4000, help="simulated stages for each number")
    parser.add_argument("--real", type=int, default=60, help="real trainings of each configuration; 0 for none")
    parser.add_argument("--measure", metavar="STORAGE", help="first write noise.json from stages that ran at many seeds")
    parser.add_argument("--experiment", default="noise", help="their experiment")
    chosen = parser.parse_args()
    if chosen.measure:
        NOISE.write_text(json.dumps(measure(chosen.measure, chosen.experiment), indent=1) + "\n")
    measured = json.loads(NOISE.read_text())
    rng = np.random.default_rng(1)
    result = simulated(measured, chosen.repetitions, rng)
    result["noise"] = [
        {key: stage[key] for key in ("name", "seeds", "noise", "loss", "seed_effect", "correlation")}
        | {"sd": [point["sd"] for point in stage["points"]]}
        for stage in measured["stages"]
    ]
    result["falls"] = falls(measured)
    if chosen.real:
        result["real"] = real(chosen.real, rng)
    show(result, Console())
    if chosen.json:
        chosen.json.write_text(json.dumps(result, indent=1) + "\n")


if __name__ == "__main__":
    main()
