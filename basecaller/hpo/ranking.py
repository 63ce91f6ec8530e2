"""Which point of a grid wins, and how sure that is: replicates, the one-standard-error rule, and verdicts.

Points are compared on shared seeds: a seed gives every point the same initial weights and order of the data, so its
effect cancels in the difference. The method, and what it can and cannot tell, measured: `docs/conclusions.md`.
"""

from __future__ import annotations

import math
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Literal

import numpy as np

Values = dict[str, dict[int, float]]
"""What was measured: point -> seed -> objective, lower is better."""

LEVEL = 0.04
"""Share of stages without any difference in which one may be declared: below the 5 % that are promised, since real noise
is not quite normal and the threshold is itself simulated."""

REPETITIONS = 4000
"""Simulated stages behind a threshold: its quantile is then known to about 2 %."""

HOPELESS = 1e6
"""Noise standard deviations by which a point is worse that shall never compete, in a simulated stage."""

# -- replicates


def rung_size(points: int, rung: int) -> int:
    """How many points run at the seed of that rung: all, the better half, the better quarter, ...; two at least.

    Successive halving (Jamieson & Talwalkar, AISTATS 2016) over seeds.
    """
    return min(points, max(2, -(-points // 2**rung)))


def promoted(
    values: Values, choices: Mapping[str, Hashable], seeds: Sequence[int], rung: int, halving: bool = True
) -> list[str]:
    """The points that run at `seeds[rung]`: those with the best means over the seeds before, in the grid's order.

    A stage asks about choices: where all these are of one choice, the best point of another takes the last place, so that the
    winner has a rival at every seed. A point that gave no value at one of those seeds is out.

    Args:
        values: what was measured.
        choices: the choice that each point stands for.
        seeds: of the replicates.
        rung: how many of them came before.
        halving: False: all points run at every seed.
    """
    points = list(choices)
    before = seeds[:rung]
    complete = [point for point in points if all(seed in values.get(point, {}) for seed in before)]
    if not rung or not halving:
        return complete
    best = sorted(complete, key=lambda point: sum(values[point][seed] for seed in before))
    size = rung_size(len(points), rung)
    rival = next((place for place, point in enumerate(best) if choices[point] != choices[best[0]]), 0)
    kept = {*best[: size - 1], best[max(rival, size - 1)]} if len(best) > size else set(best)
    return [point for point in complete if point in kept]


# -- statistics of a stage


@dataclass(frozen=True)
class _Statistics:
    """Of many stages at once, R of them with n points.

    Attributes:
        best: int [R], the point with the best mean among those with the most seeds.
        rival: int [R], of the best points of the other choices the one that is least clearly behind; -1 for none.
        margin, error: float [R], by how much, mean over shared seeds, and its standard error.
        noise: float [R], standard deviation of one run, seed effects taken out; NaN where it cannot be known.
        freedom: int [R], its degrees of freedom.
    """

    best: np.ndarray
    rival: np.ndarray
    margin: np.ndarray
    error: np.ndarray
    noise: np.ndarray
    freedom: np.ndarray


def _noise(values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Residual standard deviation of value = point + seed + noise, and its degrees of freedom.

    Args:
        values: [R, n, K], NaN where a point did not run. Points with equally many seeds have the same ones, so each
            group of them is a balanced two-way table (Scheffe, The Analysis of Variance, 1959, chapter 4).
    """
    ran = ~np.isnan(values)
    count = ran.sum(2)
    squares, freedom = np.zeros(len(values)), np.zeros(len(values), int)
    for seeds in range(2, values.shape[2] + 1):
        inside = count == seeds
        members = inside.sum(1)
        x = np.where(inside[:, :, None] & ran, values, 0.0)
        columns = (inside[:, :, None] & ran).any(1)
        row = x.sum(2, keepdims=True) / seeds
        column = x.sum(1, keepdims=True) / np.maximum(members, 1)[:, None, None]
        grand = row.sum(1, keepdims=True) / np.maximum(members, 1)[:, None, None]
        residual = np.where(inside[:, :, None] & columns[:, None], x - row - column + grand, 0.0)
        squares += (residual**2).sum((1, 2))
        freedom += np.maximum(members - 1, 0) * (seeds - 1)
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.sqrt(squares / freedom), freedom


def _statistics(values: np.ndarray, groups: np.ndarray) -> _Statistics:
    """See `_Statistics`; values [R, n, K], NaN where a point did not run; groups int [n], the choice of each point."""
    stages = np.arange(len(values))
    ran = ~np.isnan(values)
    count = ran.sum(2)
    total = np.where(ran, values, 0.0).sum(2)
    order = np.where(count > 0, total / np.maximum(count, 1), np.inf)
    span = 1.0 + np.abs(np.where(np.isfinite(order), order, 0.0)).max(1, keepdims=True)
    order = order + 4 * span * (values.shape[2] - count)  # more seeds come first
    best = order.argmin(1)
    noise, freedom = _noise(values)
    rival, margin, error = np.full(len(values), -1), np.full(len(values), np.nan), np.full(len(values), np.nan)
    smallest = np.full(len(values), np.inf)
    for group in np.unique(groups):
        members = np.flatnonzero(groups == group)
        candidate = members[order[:, members].argmin(1)]
        shared = ran[stages, best] & ran[stages, candidate]
        seeds = shared.sum(1)
        difference = np.where(shared, values[stages, candidate] - values[stages, best], 0.0).sum(1) / np.maximum(seeds, 1)
        with np.errstate(invalid="ignore", divide="ignore"):
            e = noise * np.sqrt(2 / seeds)
            t = np.where(np.isfinite(e) & (e > 0), difference / e, difference)
        closer = (groups[best] != group) & (seeds > 0) & (t < smallest)
        rival, margin = np.where(closer, candidate, rival), np.where(closer, difference, margin)
        error, smallest = np.where(closer, e, error), np.where(closer, t, smallest)
    return _Statistics(best, rival, margin, error, noise, freedom)


def halve(values: np.ndarray, groups: np.ndarray) -> np.ndarray:
    """What `promoted` would have run of many full tables: [R, n, K] with NaN where a point was out.

    Args:
        values: [R, n, K].
        groups: int [n], the choice of each point.
    """
    seen = np.array(values, float)
    stages = np.arange(len(seen))
    for rung in range(1, values.shape[2]):
        size = rung_size(values.shape[1], rung)
        mean = seen[:, :, :rung].mean(2)
        order = np.where(np.isnan(mean), np.inf, mean).argsort(1, kind="stable")
        alive = ~np.isnan(np.take_along_axis(mean, order, 1))
        rival = ((groups[order] != groups[order[:, :1]]) & alive).argmax(1)
        kept = np.zeros(mean.shape, bool)
        np.put_along_axis(kept, order[:, : size - 1], True, 1)
        kept[stages, order[stages, np.maximum(rival, size - 1)]] = True
        seen[:, :, rung:][~kept] = np.nan
    return seen


@lru_cache(maxsize=256)
def threshold(groups: tuple[int, ...], seeds: int, halving: bool) -> float:
    """How many standard errors the winner must be ahead before that is called a difference.

    The 96 % quantile of what the same procedure gives where there is no difference: points of equal worth with normal
    noise go through the same halving, and the best is held against its rival. Selection, several rivals and the few
    degrees of freedom are all in it. Three cases, of which the largest threshold is taken: all points are equal; one of
    each choice is, the others far behind; two choices share the lead, the others far behind.

    Args:
        groups: the choice of each point.
        seeds: replicates.
    """
    rng = np.random.default_rng(0)
    n, of = len(groups), np.array(groups)
    first = [int(np.flatnonzero(of == group)[0]) for group in np.unique(of)]
    largest = 0.0
    for equal in {tuple(range(n)), tuple(first), tuple(first[:2])}:
        values = rng.standard_normal((REPETITIONS, n, seeds))
        behind = np.setdiff1d(np.arange(n), equal)
        values[:, behind] += HOPELESS
        found = _statistics(halve(values, of) if halving else values, of)
        with np.errstate(invalid="ignore"):
            ahead = found.margin / found.error
        largest = max(largest, float(np.quantile(np.nan_to_num(ahead, nan=np.inf), 1 - LEVEL)))
    return largest


# -- the verdict

Kind = Literal["clear", "no difference", "undecided", "one seed", "no contest", "failed"]


@dataclass(frozen=True)
class Conclusion:
    """What a stage's numbers allow to be said.

    Attributes:
        kind: `clear`: the winner's lead is more than identical points would show in 95 of 100 stages. `no difference`:
            the simplest choice is kept, since none is more than a standard error better, or better by more than noise
            explains. `undecided`: the winner leads, by less than noise explains. `one seed`: noise is not known.
            `no contest`: nothing else is left to compare with. `failed`: no point gave a value.
        winner: the point that later stages take their settings from.
        best: the point with the best mean; another one than the winner where that is kept for its simplicity.
        rival: the best point of the other choice that is nearest to the winner's.
        mean: of the winner, over its seeds.
        seeds: how many the winner has.
        margin: rival's mean less the winner's, over shared seeds: negative where the winner is kept though worse.
        error: standard error of the margin.
        shared: seeds that the margin is over.
        noise: standard deviation of one run, seed effects taken out.
        freedom: degrees of freedom that the noise is known from.
        needed: standard errors that the best must be ahead to be clear.
        undecided: the best point of every choice that noise cannot tell from the best.
    """

    kind: Kind
    winner: str | None = None
    best: str | None = None
    rival: str | None = None
    mean: float = math.nan
    seeds: int = 0
    margin: float = math.nan
    error: float = math.nan
    shared: int = 0
    noise: float = math.nan
    freedom: int = 0
    needed: float = math.nan
    undecided: tuple[str, ...] = ()


def _mean(values: dict[int, float]) -> float:
    return sum(values.values()) / len(values)


def against(values: Values, a: str, b: str, noise: float) -> tuple[float, float, int]:
    """Two points on their shared seeds: mean of a less that of b, its standard error, how many seeds.

    Args:
        noise: standard deviation of one run, seed effects taken out.
    """
    shared = values[a].keys() & values[b].keys()
    if not shared:
        return 0.0, math.inf, 0
    difference = sum(values[a][seed] - values[b][seed] for seed in shared) / len(shared)
    return difference, noise * math.sqrt(2 / len(shared)), len(shared)


def conclude(
    values: Values, choices: Mapping[str, Hashable], simple_first: Sequence[Hashable] | None = None, halving: bool = True
) -> Conclusion:
    """The winner of a stage and what can be said about it.

    Args:
        values: of the points that count: those without a failed run.
        choices: the choice that each point stands for, such as its largest dilation; points of one choice are rivals
            only for being its best.
        simple_first: the choices from simple to complex, where the stage orders them. Then the winner is the simplest
            whose best point is within one standard error of the best (Breiman et al., Classification and Regression
            Trees, 1984, section 3.4.3), among those that ran at every seed.
        halving: whether seeds were added by successive halving.
    """
    points = [point for point in choices if values.get(point)]
    if not points:
        return Conclusion("failed")
    seeds = sorted({seed for point in points for seed in values[point]})
    table = np.array([[values[point].get(seed, math.nan) for seed in seeds] for point in points])
    labels = list(dict.fromkeys(choices[point] for point in points))
    groups = np.array([labels.index(choices[point]) for point in points])
    found = _statistics(table[None], groups)
    best = points[int(found.best[0])]
    count, noise, freedom = len(values[best]), float(found.noise[0]), int(found.freedom[0])
    winner = best

    if found.rival[0] < 0:
        return Conclusion("no contest", best, best, None, _mean(values[best]), count, noise=noise, freedom=freedom)
    rival = points[int(found.rival[0])]
    if not freedom:
        margin, error, shared = against(values, rival, best, noise)
        return Conclusion("one seed", best, best, rival, _mean(values[best]), count, margin, error, shared)
    leaders = {}
    for label in labels:
        of = [point for point in points if choices[point] == label and len(values[point]) == count]
        if of:
            leaders[label] = min(of, key=lambda point: _mean(values[point]))
    if simple_first is not None:
        for label in sorted(leaders, key=list(simple_first).index):
            behind, error, _ = against(values, leaders[label], best, noise)
            if behind <= error:
                winner = leaders[label]
                break
    # the threshold is of the whole grid, points that failed included: they would have competed
    of_all = tuple(list(dict.fromkeys(choices.values())).index(choice) for choice in choices.values())
    needed = threshold(of_all, len(seeds), halving)
    if winner != best:
        rival = best
    margin, error, shared = against(values, rival, winner, noise)
    clear = winner == best and margin > needed * error
    others = [point for label, point in leaders.items() if label != choices[best] and point != winner]
    behind_by = {point: against(values, point, best, noise) for point in others}
    near = tuple(point for point, (difference, error, _) in behind_by.items() if difference <= needed * error)
    simplest = simple_first is not None and winner == leaders[min(leaders, key=list(simple_first).index)]
    kind: Kind = "clear" if clear else "no difference" if winner != best or simplest else "undecided"
    tied = (best, *near) if winner != best else near or (rival,)
    return Conclusion(
        kind, winner, best, rival, _mean(values[winner]), count, margin, error, shared, noise, freedom, needed,
        () if clear else tuple(dict.fromkeys(tied)),
    )  # fmt: skip
