"""Which point of a stage runs at which seed.

A design is a pure function of the measured values: `wanted` returns the runs that come next. So a sweep that was killed, that
several processes share, or that got more replicates or a larger grid continues from the state of its study. `simulate` applies
a design to many complete tables at once, to compute the thresholds of `ranking.py`.

A stage asks about the values of one hyperparameter, its choices. The points of one choice differ only in nuisance
hyperparameters, usually the learning rate, and a choice is judged by its best point.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Hashable, Iterator, Mapping, Sequence, Set
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from basecaller.hpo.edges import is_ordered

Values = dict[str, dict[int, float]]
"""Measured values: point -> seed -> objective, lower is better."""

Entry = tuple[str, int]
"""A point and a seed."""

Kind = Literal["every", "halving", "separate", "rounds"]

PATIENCE = 2
"""Number of successive rates without an improvement after which the lower rates of a choice are skipped."""

CONTENDERS = 2
"""Number of points of each choice that run at the second seed."""

MOST = 14
"""Largest number of runs per replicate of a stage with rounds: with 3 replicates, 42 runs."""


@dataclass(frozen=True)
class Design:
    """How a stage spends its runs.

    Attributes:
        kind: `every`: every point runs at every seed. `halving`: the better half of the points runs at the second seed, the
            better quarter at the third, at least two. `separate`: each choice is a separate stage, with halving. `rounds`: the
            rates of each choice run from high to low until they no longer help, then the best two of each choice at the second
            seed, then the best point of every choice at one more seed in each round, until the budget is spent.
        budget: largest number of runs of `rounds`.
        stops: whether the points of a choice are ordered rates, so that `rounds` may skip the last ones.
        look: number of seeds after which `rounds` with two choices ends if they are less than a standard error apart;
            0: never.
    """

    kind: Kind = "halving"
    budget: int = 0
    stops: bool = True
    look: int = 0


EVERY, HALVING, SEPARATE = Design("every"), Design("halving"), Design("separate")


def planned(
    kind: str, axes: Mapping[str, Sequence[Any]], choice: str | None, replicates: int
) -> tuple[Design, list[Hashable], int]:
    """The design of a stage before it runs.

    Args:
        kind: see `task.Stage.design`; `halving` if no choice is swept.
        axes: the values of every swept key.
        choice: the key that the stage asks about.
        replicates: see `task.Stage.replicates`.
    Returns:
        The design, the choice of each point in the grid's order, and the largest number of seeds.
    """
    points = [dict(zip(axes, values, strict=True)) for values in itertools.product(*axes.values())]
    if kind != "rounds" or choice is None or choice not in axes:
        choices: list[Hashable] = [
            point[choice] if choice is not None and choice in axes else number for number, point in enumerate(points)
        ]
        return HALVING, choices, replicates
    nuisance = [values for key, values in axes.items() if key != choice and len(values) > 1]
    choices = [point[choice] for point in points]
    design = rounds(choices, replicates, stops=len(nuisance) == 1 and is_ordered(list(nuisance[0])))
    return design, choices, seed_count(design, choices, replicates)


def rounds(choices: Sequence[Hashable], replicates: int, stops: bool = True) -> Design:
    """The design `rounds`. Its budget is enough for the best point of every choice at `2 * replicates + 2` seeds, up to `MOST`
    runs per replicate.

    Two choices stop after half of the seeds if they are too close by then. This finds more differences than a fixed number of
    seeds, at about the same cost (`docs/conclusions.md`).

    Args:
        choices: the choice of each point of the grid.
        replicates: see `task.Stage.replicates`; with 1, the rates of every choice run at one seed.
        stops: see `Design`.
    """
    if replicates == 1:
        return Design("rounds", len(choices), stops)
    sizes = [list(choices).count(choice) for choice in dict.fromkeys(choices)]
    pair = len(sizes) == 2
    search = sum(min(size, PATIENCE + 1) - 1 + min(size, CONTENDERS) - 1 for size in sizes)
    budget = (2 * replicates + 2) * len(sizes) + search
    return Design("rounds", min(budget, MOST * replicates), stops, replicates + 1 if pair else 0)


def seed_count(design: Design, choices: Sequence[Hashable], replicates: int) -> int:
    """The largest number of seeds of a stage."""
    if design.kind != "rounds" or replicates == 1:
        return replicates
    return max(2, design.budget // len(set(choices)))


def most_runs(design: Design, choices: Sequence[Hashable], seeds: int) -> int:
    """The largest number of runs of a stage, unless its grid grows.

    Args:
        design: the stage's design.
        choices: the choice of each point of the grid.
        seeds: number of seeds; see `seed_count`.
    """
    points = len(choices)
    if design.kind == "rounds":
        return design.budget
    if design.kind == "separate":
        return sum(most_runs(HALVING, [c for c in choices if c == choice], seeds) for choice in set(choices))
    return sum(rung_size(points, rung) if design.kind == "halving" else points for rung in range(seeds))


def screens(design: Design, choices: Sequence[Hashable]) -> bool:
    """Whether the design drops points after the first seed, so that a pruner may stop them there."""
    if design.kind == "rounds":
        return any(list(choices).count(choice) > CONTENDERS for choice in choices)
    return design.kind == "halving" and rung_size(len(choices), 1) < len(choices)


def wanted(
    design: Design, values: Values, choices: Mapping[str, Hashable], seeds: Sequence[int], dead: Set[Entry] = frozenset()
) -> list[Entry]:
    """Entries that must run next; empty if the stage is finished.

    Args:
        design: the stage's design.
        values: the measured values.
        choices: the choice of each point, in the grid's order.
        seeds: seeds of the replicates, in order.
        dead: entries that ended without a value; another point takes their place.
    """
    if design.kind == "rounds":
        return _next_in_rounds(design, values, choices, seeds, dead)
    for rung, seed in enumerate(seeds):
        on = (
            promoted(values, choices, seeds, rung, dead)
            if design.kind == "halving"
            else _alive(values, choices, seeds[:rung], dead, seed)
        )
        missing = [(point, seed) for point in on if seed not in values.get(point, {})]
        if missing:
            return missing
    return []


def _alive(values: Values, choices: Mapping[str, Hashable], before: Sequence[int], dead: Set[Entry], seed: int) -> list[str]:
    """Points with a value at all earlier seeds that did not fail at this one."""
    return [p for p in choices if all(s in values.get(p, {}) for s in before) and (p, seed) not in dead]


# -- halving


def rung_size(points: int, rung: int) -> int:
    """Number of points that run at a rung's seed: all, the better half, the better quarter, ...; at least two.

    Successive halving (Jamieson & Talwalkar, AISTATS 2016) over seeds.
    """
    return min(points, max(2, -(-points // 2**rung)))


def promoted(
    values: Values, choices: Mapping[str, Hashable], seeds: Sequence[int], rung: int, dead: Set[Entry] = frozenset()
) -> list[str]:
    """The points that run at `seeds[rung]`: those with the best means over the earlier seeds, in the grid's order.

    If all of them belong to one choice, the best point of another choice takes the last place, so that the winner has a rival
    at every seed. A point without a value at one of the earlier seeds is replaced by the next best.

    Args:
        values: the measured values.
        choices: the choice of each point.
        seeds: seeds of the replicates.
        rung: number of earlier seeds.
        dead: entries that ended without a value.
    """
    before = seeds[:rung]
    alive = _alive(values, choices, before, dead, seeds[rung])
    if not rung:
        return alive
    best = sorted(alive, key=lambda point: sum(values[point][seed] for seed in before))
    size = rung_size(len(choices), rung)
    rival = next((place for place, point in enumerate(best) if choices[point] != choices[best[0]]), 0)
    kept = {*best[: size - 1], best[max(rival, size - 1)]} if len(best) > size else set(best)
    return [point for point in alive if point in kept]


# -- rounds


def _next_in_rounds(
    design: Design, values: Values, choices: Mapping[str, Hashable], seeds: Sequence[int], dead: Set[Entry]
) -> list[Entry]:
    members: dict[Hashable, list[str]] = {}
    for point, choice in choices.items():
        members.setdefault(choice, []).append(point)
    missing = [entry for points in members.values() for entry in _rates_downward(design, values, points, seeds[0], dead)]
    if missing:
        return missing
    spent = sum(len(values.get(point, {})) for point in choices) + sum(point in choices for point, _ in dead)
    ahead: list[Entry] = []  # these rounds do not depend on each other's results, so they run in parallel
    for number in range(1, len(seeds)):
        seed, before = seeds[number], seeds[:number]
        if number == 1:
            order = (
                sorted(_alive(values, dict.fromkeys(p), before, dead, seed), key=lambda q: values[q][before[0]])
                for p in members.values()
            )
            leaders = [point for best in order for point in best[:CONTENDERS]]
        else:
            found = (_leader(values, points, before, dead, seed) for points in members.values())
            leaders = sorted((p for p in found if p is not None), key=lambda point: _mean(values, point, before))
            looks = number == design.look and len(leaders) == 2 and not ahead
            if looks and _alike(values, leaders[0], leaders[1], before):
                return []
        needs = [[(p, s) for s in seeds[: number + 1] if s not in values[p] and (p, s) not in ahead] for p in leaders]
        missing = [entry for need in needs for entry in need]
        if ahead and (number == design.look or spent + len(missing) > design.budget):
            return ahead
        if spent + len(missing) > design.budget:
            return list(_affordable(needs, design.budget - spent)) if number > 1 else []
        if missing and len(leaders) > len(members):
            return missing
        ahead += missing
        spent += len(missing)
    return ahead


def _rates_downward(design: Design, values: Values, points: list[str], seed: int, dead: Set[Entry]) -> Iterator[Entry]:
    """Missing entries of a choice at the first seed that are needed whatever values they give: a point without a value counts
    as no improvement."""
    best, worse, started, pending = math.inf, 0, False, False
    for point in points:
        if design.stops and worse >= PATIENCE:
            return
        value = values.get(point, {}).get(seed)
        if value is None and (point, seed) in dead:
            worse += started
            continue
        if value is None:
            pending = True
            yield point, seed
        if value is not None and value < best and not pending:
            best, worse = value, 0
        else:
            worse += started
        started = True


def _leader(values: Values, points: list[str], before: Sequence[int], dead: Set[Entry], seed: int) -> str | None:
    """The best point of a choice among those with the most seeds; None if all have failed."""
    alive = [p for p in points if p in values and before[0] in values[p] and not any((p, s) in dead for s in (*before, seed))]
    return min(alive, key=lambda p: (-sum(s in values[p] for s in before), _mean(values, p, before)), default=None)


def _mean(values: Values, point: str, seeds: Sequence[int]) -> float:
    of = [values[point][seed] for seed in seeds if seed in values[point]]
    return sum(of) / len(of)


def _alike(values: Values, a: str, b: str, seeds: Sequence[int]) -> bool:
    """Whether two points are less than a standard error apart."""
    if not all(seed in values[point] for point in (a, b) for seed in seeds):
        return False
    difference = np.array([values[a][seed] - values[b][seed] for seed in seeds])
    return bool(abs(difference.mean()) < difference.std(ddof=1) / len(seeds) ** 0.5)


def _affordable(needs: list[list[Entry]], left: int) -> Iterator[Entry]:
    """The last round: the best choices, as many as the budget allows, at least two."""
    taken = 0
    while taken < len(needs) and sum(map(len, needs[: taken + 1])) <= left:
        taken += 1
    if taken > 1:
        for need in needs[:taken]:
            yield from need


# -- many stages at once


def simulate(values: np.ndarray, groups: np.ndarray, design: Design) -> np.ndarray:
    """The values that a design would measure, from many complete tables: [R, n, K], NaN if a point does not run.

    Args:
        values: [R, n, K], R stages of n points at K seeds.
        groups: int [n], the choice of each point.
        design: the stages' design.
    """
    if design.kind == "every":
        return values
    if design.kind == "halving":
        return _halve(values, groups)
    if design.kind == "separate":
        seen = np.array(values, float)
        for group in np.unique(groups):
            members = np.flatnonzero(groups == group)
            seen[:, members] = _halve(values[:, members], np.arange(len(members)))
        return seen
    return _play_rounds(values, groups, design)


def _halve(values: np.ndarray, groups: np.ndarray) -> np.ndarray:
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


def _play_rounds(values: np.ndarray, groups: np.ndarray, design: Design) -> np.ndarray:
    stages, seeds = np.arange(len(values)), values.shape[2]
    ran = np.zeros(values.shape, bool)
    leaders = np.empty((len(values), len(np.unique(groups))), int)
    for place, group in enumerate(np.unique(groups)):
        members = np.flatnonzero(groups == group)
        best, worse = np.full(len(values), np.inf), np.zeros(len(values), int)
        for point in members:
            on = (worse < PATIENCE) | (not design.stops)
            better = on & (values[:, point, 0] < best)
            ran[:, point, 0] = on
            worse = np.where(better, 0, worse + 1)
            best = np.where(better, values[:, point, 0], best)
        first = np.where(ran[:, members, 0], values[:, members, 0], np.inf)
        for point in first.argsort(1, kind="stable")[:, :CONTENDERS].T if seeds > 1 else ():
            ran[stages, members[point], 1] = ran[stages, members[point], 0]
        both = ran[:, members, :2].all(2)
        leaders[:, place] = members[np.where(both, values[:, members, :2].sum(2), np.inf).argmin(1)]
    spent = ran.sum((1, 2))
    going = np.ones(len(values), bool)
    for number in range(2, seeds):
        led = values[stages[:, None], leaders, :number]
        mean = led.mean(2)
        if number == design.look and leaders.shape[1] == 2:
            difference = led[:, 0] - led[:, 1]
            going &= np.abs(difference.mean(1)) >= difference.std(1, ddof=1) / number**0.5
        rank = mean.argsort(1, kind="stable").argsort(1, kind="stable")
        room = np.where(going, design.budget - spent, 0)
        going &= room >= leaders.shape[1]
        on = (rank < room[:, None]) & (going | (room > 1))[:, None]
        ran[stages[:, None], leaders, number] = on
        spent = spent + on.sum(1)
    return np.where(ran, values, np.nan)
