"""Simulated stages, in the shapes of those of the default plan, and the noise of their losses."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np

from basecaller.hpo.designs import HALVING, SEPARATE, Design, Values, rounds, seed_count, simulate
from basecaller.hpo.ranking import RATES, Conclusion, conclude
from basecaller.hpo.standing import standing
from basecaller.hpo.storage import current_study, stages_of

REPLICATES = 3

ENOUGH = 10
"""Number of seeds from which the noise of a point is estimated."""


@dataclass(frozen=True)
class Shape:
    """A stage of the default plan.

    Attributes:
        name: names of the stages of this shape.
        choices, rates: number of choices, and of points of each choice.
        design: which point runs at which seed.
        fall: distance of the points of a choice from its best one, in standard deviations of a run.
        ordered: whether choices are ordered from simple to complex.
    """

    name: str
    choices: int
    rates: int
    design: Design
    fall: tuple[float, ...]
    ordered: bool = False

    @property
    def groups(self) -> np.ndarray:
        return np.arange(self.choices * self.rates) // self.rates

    @property
    def seeds(self) -> int:
        return seed_count(self.design, self.groups.tolist(), REPLICATES)

    def means(self, better: int = 0, effect: float = 0.0, others: float = 0.0) -> np.ndarray:
        """True losses of the points: one choice is better by an effect, all but the first two are worse by `others`."""
        behind = np.where(np.arange(self.choices) > 1, others, 0.0) - effect * (np.arange(self.choices) == better)
        return (behind[:, None] + np.array(self.fall)[None]).ravel()

    def conclude(self, table: np.ndarray) -> Conclusion:
        """The conclusion from losses [points, seeds], NaN if a point did not run."""
        values: Values = {str(i): {s: float(v) for s, v in enumerate(row) if not np.isnan(v)} for i, row in enumerate(table)}
        choices = {str(i): int(group) for i, group in enumerate(self.groups)}
        simple_first = list(range(self.choices)) if self.ordered else None
        return conclude(values, choices, simple_first, self.design, self.seeds)

    def concluded(self, means: np.ndarray, noise: np.ndarray) -> tuple[list[Conclusion], float]:
        """Conclusions of many stages, and the mean number of runs of a stage.

        Args:
            means: float [points] or [stages, points].
            noise: float [stages, points, seeds].
        """
        tables = simulate(noise + means[..., None], self.groups, self.design)
        return [self.conclude(table) for table in tables], float((~np.isnan(tables)).sum((1, 2)).mean())


def shape(name: str, choices: int, rates: int, fall: Iterable[float], ordered: bool = False) -> Shape:
    """A stage with rounds."""
    groups = (np.arange(choices * rates) // rates).tolist()
    return Shape(name, choices, rates, rounds(groups, REPLICATES, stops=rates > 1), tuple(fall), ordered)


SHAPES = (
    shape("padding, batch_norm", 2, 1, [0.0]),
    Shape("lr_*", 4, 1, HALVING, (0.0,)),
    Shape("optimizer, over lr_*", 3, 4, SEPARATE, RATES[:4]),
    shape("batch_size", 5, 3, [1.3, 0.0, 1.3]),
    shape("dilation", 4, 5, RATES, ordered=True),
    shape("stacks", 3, 5, RATES, ordered=True),
)

DESIGNS = {
    "halving": lambda of: Shape(of.name, of.choices, of.rates, HALVING, of.fall),
    "rounds": lambda of: Shape(of.name, of.choices, of.rates, of.design, of.fall),
}
"""The same stage with either design; the best mean wins, whatever its cost."""


# -- noise

Draw = Callable[[Shape, int], np.ndarray]
"""Draws [stages, points, seeds], in standard deviations of one run, seed effects included."""


def with_seed_effects(noise: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Noise with an added effect that all points of a seed share."""
    return noise + 1.5 * rng.standard_normal((len(noise), 1, noise.shape[2]))


def normal(rng: np.random.Generator, second: float = 1.0) -> Draw:
    """Normal noise; `second` is that of the second-highest rate, and if it is less than 1, lower rates have 0.2."""

    def draw(of: Shape, stages: int) -> np.ndarray:
        scale = np.array([1.0, second, *([0.2] * of.rates)] if second < 1 else [1.0] * of.rates)[: of.rates]
        noise = rng.standard_normal((stages, of.choices * of.rates, of.seeds))
        return with_seed_effects(noise * np.tile(scale, of.choices)[:, None], rng)

    return draw


def heavy(rng: np.random.Generator) -> Draw:
    """Noise from Student's t distribution with three degrees of freedom, scaled to standard deviation 1."""
    return lambda of, stages: with_seed_effects(rng.standard_t(3, (stages, of.choices * of.rates, of.seeds)) / 3**0.5, rng)


class Measured:
    """Noise of real trainings: in every stage, each point gets the residuals of a random measured point of the same rate. They
    are neither scaled to equal spread nor pooled.

    Args:
        measured: see `measure`.
        rng: random generator.
    """

    def __init__(self, measured: dict[str, Any], rng: np.random.Generator) -> None:
        self.rng = rng
        self.by_place: dict[int, list[np.ndarray]] = {}
        for stage in measured["stages"]:
            for point in stage["points"]:
                if stage["name"] in ("batch_size", "dilation", "stacks"):
                    self.by_place.setdefault(point["place"], []).append(np.array(point["residuals"]) / stage["noise"])
        last = self.by_place[max(self.by_place)]
        self.place = lambda i: self.by_place.get(i, last)

    def __call__(self, of: Shape, stages: int) -> np.ndarray:
        noise = np.empty((stages, of.choices * of.rates, of.seeds))
        for point in range(of.choices * of.rates):
            known = np.stack(self.place(point % of.rates))
            chosen = known[self.rng.integers(len(known), size=stages)]
            noise[:, point] = np.take_along_axis(chosen, self.rng.integers(known.shape[1], size=(stages, of.seeds)), 1)
        return with_seed_effects(noise, self.rng)


def measure(url: str, experiment: str) -> dict[str, Any]:
    """Measures the noise of every stage whose points all ran at many seeds, in nats per base.

    Returns:
        For each stage: its points in order, each with its choice, its place among the points of that choice, mean loss,
        standard deviation and residuals without seed and point effects; `noise`, the standard deviation of the choices' best
        points; `seed_effect`, the standard deviation of the effect that all points of a seed share; and `correlation`, that of
        two points' losses over the seeds.
    """
    stages = []
    for name in stages_of(url, experiment):
        study = current_study(url, experiment, name)
        assert study is not None
        stand = standing(study)
        full = [p for p in stand.points if len(stand.trials_of(p)) >= max(ENOUGH, len(stand.seeds))]
        if len(full) < 2:
            continue
        table = np.array([[t.value for t in stand.trials_of(p)] for p in full], float)
        n, seeds = table.shape
        columns = table.mean(0) - table.mean()
        residuals = (table - table.mean(1, keepdims=True) - columns) * np.sqrt(n * seeds / ((n - 1) * (seeds - 1)))
        choices = [stand.choices[p] for p in full]
        points = [
            {
                "choice": choice,
                "place": choices[:i].count(choice),
                "loss": round(float(table[i].mean()), 5),
                "sd": round(float(residuals[i].std()), 5),
                "residuals": [round(float(r), 5) for r in residuals[i]],
            }
            for i, choice in enumerate(choices)
        ]
        best = [min((p for p in points if p["choice"] == c), key=lambda p: p["loss"]) for c in dict.fromkeys(choices)]
        noise = float(np.sqrt(np.mean([p["sd"] ** 2 for p in best])))
        among = np.corrcoef(table)[np.triu_indices(n, 1)]
        stages.append(
            {
                "name": name,
                "noise": noise,
                "loss": min(p["loss"] for p in best),
                "seeds": seeds,
                "seed_effect": float(columns.std(ddof=1)),
                "correlation": float(np.median(among)),
                "points": points,
            }
        )
    return {"experiment": experiment, "stages": stages}


def falls(measured: dict[str, Any]) -> dict[str, list[float]]:
    """Distance of the points of a choice from its best one, median over the choices, in standard deviations of a run."""
    found = {}
    for stage in measured["stages"]:
        by_choice: dict[Any, list[float]] = {}
        for point in stage["points"]:
            by_choice.setdefault(point["choice"], []).append(point["loss"])
        if all(len(of) > 1 for of in by_choice.values()):
            above = [(np.array(of) - min(of)) / stage["noise"] for of in by_choice.values()]
            found[stage["name"]] = [round(float(each), 2) for each in np.median(above, 0)]
    return found
