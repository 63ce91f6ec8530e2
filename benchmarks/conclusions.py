"""Do the conclusions hold? `python -m benchmarks.conclusions`

(a) A/A: stages whose points are one and the same configuration. How often is a difference declared? Goal: at most 5 %.
(b) Power: one choice is truly better, by so many standard deviations of the noise. How often does it win, against picking
    the best of single runs at equal cost?

On synthetic losses, in the shapes of the default plan's stages, their noise drawn from the residuals of the plan's own
replicates (`benchmarks/noise.json`, written by `--measure` from a finished search); and on real, small trainings.
"""

from __future__ import annotations

import argparse
import json
import logging
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console
from rich.table import Table

from basecaller.hpo.ranking import Conclusion, Values, conclude, halve, rung_size

NOISE = Path(__file__).with_name("noise.json")
SEEDS = 3
EFFECTS = (0.5, 1.0, 2.0)


@dataclass(frozen=True)
class Shape:
    """A stage of the default plan: how many points, the choice of each, and whether choices go from simple to complex."""

    name: str
    groups: tuple[int, ...]
    ordered: bool

    @property
    def points(self) -> list[str]:
        return [f"p{i}" for i in range(len(self.groups))]

    @property
    def cost(self) -> int:
        """Runs that the stage takes."""
        return sum(rung_size(len(self.groups), rung) for rung in range(SEEDS))

    def conclude(self, table: np.ndarray) -> Conclusion:
        """The conclusion from [points, seeds], NaN where a point was out."""
        values: Values = {
            p: {s: float(v) for s, v in enumerate(row) if not np.isnan(v)} for p, row in zip(self.points, table, strict=True)
        }
        choices = dict(zip(self.points, self.groups, strict=True))
        return conclude(values, choices, sorted(set(self.groups)) if self.ordered else None)


SHAPES = (
    Shape("padding, batch_norm", (0, 1), ordered=True),
    Shape("lr_*", (0, 1, 2, 3), ordered=False),
    Shape("batch_size", tuple(i // 3 for i in range(15)), ordered=False),
    Shape("dilation", tuple(i // 5 for i in range(20)), ordered=True),
    Shape("stacks", tuple(i // 5 for i in range(15)), ordered=True),
)


class Noise:
    """Draws losses with the noise of measured replicates: standardised residuals, and a seed effect that points share.

    Args:
        measured: see `measure`.
        rng: decides the draws.
    """

    def __init__(self, measured: dict[str, Any], rng: np.random.Generator) -> None:
        pooled = np.concatenate([stage["residuals"] for stage in measured["stages"]])
        self.residuals = pooled / pooled.std()
        self.seed_effect = float(np.median([stage["seed_effect"] for stage in measured["stages"]]))
        self.rng = rng

    def draw(self, repetitions: int, points: int, seeds: int = SEEDS) -> np.ndarray:
        """[repetitions, points, seeds] in standard deviations of one run's noise, seed effects on top."""
        noise = self.rng.choice(self.residuals, (repetitions, points, seeds))
        return noise + self.seed_effect * self.rng.standard_normal((repetitions, 1, seeds))


def measure(url: str, experiment: str) -> dict[str, Any]:
    """Residuals of every stage's points that ran at all seeds, seed and point effects taken out, in noise standard
    deviations; and the standard deviation of the seed effect that points share, in the same unit."""
    from basecaller.hpo.best import standing
    from basecaller.hpo.storage import current_study, stages_of

    stages = []
    for name in stages_of(url, experiment):
        study = current_study(url, experiment, name)
        assert study is not None
        stand = standing(study)
        full = [p for p in stand.points if len(stand.trials_of(p)) == len(stand.seeds) == SEEDS]
        if len(full) < 2:
            continue
        table = np.array([[t.value for t in stand.trials_of(p)] for p in full])
        columns = table.mean(0, keepdims=True) - table.mean()
        residual = table - table.mean(1, keepdims=True) - columns
        freedom = (len(full) - 1) * (SEEDS - 1)
        noise = float(np.sqrt((residual**2).sum() / freedom))
        shared = max(0.0, float(columns.var(ddof=1)) - noise**2 / len(full))
        scaled = residual / noise * np.sqrt(residual.size / freedom)
        stages.append(
            {"name": name, "points": len(full), "noise": noise, "loss": float(table.mean()), "seed_effect": shared**0.5 / noise,
             "residuals": [round(float(r), 4) for r in scaled.ravel()]}
        )  # fmt: skip
    return {"experiment": experiment, "seeds": SEEDS, "stages": stages}


def best_single_run(values: np.ndarray, cost: int, rng: np.random.Generator) -> np.ndarray:
    """Which point has the best single run when `cost` runs are spread evenly over the points: int [repetitions].

    Args:
        values: [repetitions, points, runs], more runs than are needed.
    """
    points = values.shape[1]
    runs = np.full(points, cost // points)
    runs[rng.permutation(points)[: cost % points]] += 1
    used = np.where(np.arange(values.shape[2]) < runs[:, None], values, np.inf)
    return used.min(2).argmin(1)


def synthetic(noise: Noise, repetitions: int) -> list[dict[str, Any]]:
    """A/A and power of every shape; in ordered stages the better choice is once the most complex, once the simplest."""
    rows = []
    for shape in SHAPES:
        false = [
            shape.conclude(table).kind for table in halve(noise.draw(repetitions, len(shape.groups)), np.array(shape.groups))
        ].count("clear")
        for choice, which in ((shape.groups[-1], "complex"), (shape.groups[0], "simple")) if shape.ordered else ((0, ""),):
            power = {str(effect): _power(shape, choice, effect, noise, repetitions) for effect in EFFECTS}
            name = f"{shape.name}, the {which} better" if which else shape.name
            rows.append(
                {"stage": name, "points": len(shape.groups), "runs": shape.cost,
                 "aa_false_difference": false / repetitions, "power": power}
            )  # fmt: skip
    return rows


def _power(shape: Shape, choice: int, effect: float, noise: Noise, repetitions: int) -> dict[str, float]:
    """How often a choice wins that is truly better, all its points by `effect`."""
    groups = np.array(shape.groups)
    points = [f"p{i}" for i in np.flatnonzero(groups == choice)]
    values, single = noise.draw(repetitions, len(groups)), noise.draw(repetitions, len(groups), shape.cost)
    for drawn in (values, single):
        drawn[:, groups == choice] -= effect
    concluded = [shape.conclude(table) for table in halve(values, groups)]
    return {
        "wins": sum(c.winner in points for c in concluded) / repetitions,
        "declared": sum(c.kind == "clear" and c.winner in points for c in concluded) / repetitions,
        "declared_wrongly": sum(c.kind == "clear" and c.winner not in points for c in concluded) / repetitions,
        "best_single_run": float((groups[best_single_run(single, shape.cost, noise.rng)] == choice).mean()),
        "one_run_each": float((groups[single[:, :, 0].argmin(1)] == choice).mean()),
    }


TINY = [
    "data.reads=1500", "data.min_bases=30", "data.max_bases=60", "model.channels=8", "model.skip_channels=16",
    "train.chunks=200", "train.validations=1", "data.batch_size=4", "threads=1",
]  # fmt: skip
"""A training of half a second, on the simulated reads."""


def real(runs: int, rng: np.random.Generator) -> dict[str, Any]:
    """A/A and power on trainings: one configuration at many seeds, and a second with a rate a quarter lower."""
    import torch

    from basecaller.config import compose_config
    from basecaller.run import train

    torch.set_num_threads(1)
    logging.disable(logging.INFO)
    losses: dict[float, list[float]] = {0.004: [], 0.003: []}
    with tempfile.TemporaryDirectory() as folder:
        for rate, of in losses.items():
            for seed in range(runs):
                cfg = compose_config([*TINY, f"optimizer.lr={rate}", f"seed={seed}", f"data.folder={folder}/data"])
                of.append(train(cfg, Path(folder) / f"{rate}-{seed}").metrics["val_loss"])
    a, b = (np.array(of) for of in losses.values())
    pair, four = SHAPES[0], SHAPES[1]
    repetitions = 1000
    false = {}
    for shape in (pair, four):
        n = len(shape.groups)
        picks = [rng.permutation(runs)[: n * SEEDS].reshape(n, SEEDS) for _ in range(repetitions)]
        tables = halve(np.array([a[pick] for pick in picks]), np.array(shape.groups))
        false[shape.name] = sum(shape.conclude(table).kind == "clear" for table in tables) / repetitions
    better = int(b.mean() < a.mean())
    picks = [rng.permutation(runs)[:SEEDS] for _ in range(repetitions)]
    concluded = [pair.conclude(np.array([a[pick], b[pick]])) for pick in picks]
    single = [int(b[rng.permutation(runs)[:3]].min() < a[rng.permutation(runs)[:3]].min()) for _ in range(repetitions)]
    noise = float((a - b).std(ddof=1) / 2**0.5)
    return {
        "runs": 2 * runs,
        "noise": noise,
        "effect": float(abs(a.mean() - b.mean()) / noise),
        "aa_false_difference": false,
        "wins": sum(c.winner == f"p{better}" for c in concluded) / repetitions,
        "best_single_run": sum(s == better for s in single) / repetitions,
    }


def show(result: dict[str, Any], console: Console) -> None:
    """Prints the tables."""
    table = Table(
        "stage",
        "points",
        "runs",
        "A/A",
        *(f"{effect:g} sd" for effect in EFFECTS),
        title="synthetic losses",
        title_justify="left",
    )
    for row in result["stages"]:
        cells = [f"{p['wins']:.0%} / {p['best_single_run']:.0%}" for p in row["power"].values()]
        table.add_row(row["stage"], str(row["points"]), str(row["runs"]), f"{row['aa_false_difference']:.1%}", *cells)
    table.caption = (
        "A/A: a difference declared where there is none. sd: the better point wins, ours / best single run at equal cost"
    )
    console.print(table)
    if "real" in result:
        r = result["real"]
        false = ", ".join(f"{name} {share:.1%}" for name, share in r["aa_false_difference"].items())
        console.print(
            f"real trainings ({r['runs']}): A/A {false}; two rates {r['effect']:.2f} sd apart: the better wins "
            f"{r['wins']:.0%}, best single run at equal cost {r['best_single_run']:.0%}"
        )
    console.print(f"aa_false_difference {result['aa_false_difference']:.2%} (goal: at most 5 %)")


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.conclusions", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--json", type=Path, help="write the table there")
    parser.add_argument("--repetitions", type=int, default=4000, help="synthetic stages for each number")
    parser.add_argument("--real", type=int, default=60, help="real trainings of each configuration; 0 for none")
    parser.add_argument("--measure", metavar="STORAGE", help="first write noise.json from a finished search's storage")
    parser.add_argument("--experiment", default="tiny", help="that search's experiment")
    chosen = parser.parse_args()
    if chosen.measure:
        NOISE.write_text(json.dumps(measure(chosen.measure, chosen.experiment), indent=1) + "\n")
    measured = json.loads(NOISE.read_text())
    rng = np.random.default_rng(1)
    rows = synthetic(Noise(measured, rng), chosen.repetitions)
    power = {
        effect: {key: float(np.mean([row["power"][effect][key] for row in rows])) for key in rows[0]["power"][effect]}
        for effect in rows[0]["power"]
    }
    result: dict[str, Any] = {
        "aa_false_difference": float(np.mean([row["aa_false_difference"] for row in rows])),
        "power": power,
        "stages": rows,
        "noise": [
            {key: stage[key] for key in ("name", "points", "noise", "loss", "seed_effect")} for stage in measured["stages"]
        ],
    }
    if chosen.real:
        result["real"] = real(chosen.real, rng)
    show(result, Console())
    if chosen.json:
        chosen.json.write_text(json.dumps(result, indent=1) + "\n")


if __name__ == "__main__":
    main()
