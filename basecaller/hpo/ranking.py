"""The winner of a stage and how sure it is: the noise of a run, the one-standard-error rule, and verdicts.

Points are compared on shared seeds: a seed gives every point the same random numbers, such as the initial weights of a network
and the order of its data, so its effect cancels in the difference. `docs/conclusions.md` describes the method and measures
its errors and power.
"""

from __future__ import annotations

import math
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Literal

import numpy as np

from basecaller.hpo.designs import HALVING, Design, Values, simulate

LEVEL, HARD = 0.04, 0.043
"""Share of stages without a difference in which one may be declared: with equal noise and rates that fall off as measured, and
in the worst known cases (`_nulls`). Both are below the promised 5 %, to leave room for noise that is not normal."""

REPETITIONS = 160_000
"""Number of simulated points behind a threshold, from at least 8,000 stages: its quantile is then known to about 1 %."""

HOPELESS = 1e6
"""Loss of a point that must never win a simulated stage, in noise standard deviations."""

RATES = (0.0, 1.3, 5.0, 13.0, 21.0)
SLOW = (0.0, 1.0, 2.0, 3.0, 4.0)
MIDDLE = (1.3, 0.0, 1.3, 5.0, 13.0)
"""Losses of a choice's rates above that of its best one, from the highest rate down, in noise standard deviations: as measured,
with each rate half of the one before, and two cases in which the best rate is harder to find."""

QUIET = 0.2
"""Noise of the lower rates relative to the best rate's, if unequal."""

# -- statistics of a stage


@dataclass(frozen=True)
class _Statistics:
    """Statistics of many stages at once: R stages with n points and G choices.

    Attributes:
        best: int [R], the point with the best mean among those with the most seeds.
        rival: int [R], the best point of another choice that is least clearly behind; -1 for none.
        margin, error: float [R], the rival's distance from the best, mean over shared seeds, and its standard error.
        noise: float [R], standard deviation of one run without seed effects; NaN if unknown.
        freedom: int [R], degrees of freedom of the noise.
    """

    best: np.ndarray
    rival: np.ndarray
    margin: np.ndarray
    error: np.ndarray
    noise: np.ndarray
    freedom: np.ndarray


def _noise(values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Residual standard deviation of value = point + seed + noise, and its degrees of freedom.

    A point runs at the first seed, then at the second, and so on. The difference between its value at a seed and the mean of
    its earlier values is a separate contrast (Helmert's), and all points that ran at that seed share the seed's effect.

    Args:
        values: [R, n, K], NaN where a point did not run; values after a gap are ignored.
    """
    ran = np.logical_and.accumulate(~np.isnan(values), axis=2)
    sums = np.where(ran, values, 0.0).cumsum(2)
    squares, freedom = np.zeros(len(values)), np.zeros(len(values), int)
    for k in range(1, values.shape[2]):
        on = ran[:, :, k]
        members = on.sum(1)
        step = np.where(on, np.nan_to_num(values[:, :, k]) - sums[:, :, k - 1] / k, 0.0)
        common = step.sum(1) / np.maximum(members, 1)
        squares += (np.where(on, step - common[:, None], 0.0) ** 2).sum(1) * k / (k + 1)
        freedom += np.maximum(members - 1, 0)
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.sqrt(squares / freedom), freedom


def _statistics(values: np.ndarray, groups: np.ndarray) -> _Statistics:
    """See `_Statistics`; values [R, n, K], NaN where a point did not run; groups int [n], the choice of each point."""
    stages, labels = np.arange(len(values)), np.unique(groups)
    count = (~np.isnan(values)).sum(2)
    order = np.where(count > 0, np.nan_to_num(values).sum(2) / np.maximum(count, 1), np.inf)
    span = 1.0 + np.abs(np.where(np.isfinite(order), order, 0.0)).max(1, keepdims=True)
    order = order + 4 * span * (values.shape[2] - count)  # points with more seeds come first
    best = order.argmin(1)
    leaders = np.stack([(of := np.flatnonzero(groups == label))[order[:, of].argmin(1)] for label in labels], 1)
    led = values[stages[:, None], leaders]
    noise, freedom = _noise(led)
    difference = led - values[stages, best][:, None]
    shared = (~np.isnan(difference)).sum(2)
    margin = np.nan_to_num(difference).sum(2) / np.maximum(shared, 1)
    own = np.where(np.isnan(difference), 0.0, difference - margin[:, :, None])
    with np.errstate(invalid="ignore", divide="ignore"):
        own = np.sqrt((own**2).sum(2) / np.maximum(shared - 1, 1) / 2)
        error = np.maximum(noise[:, None], own) * np.sqrt(2 / shared)
        ahead = np.where(np.isfinite(error) & (error > 0), margin / error, margin)
    ahead[(shared == 0) | (labels[None] == groups[best][:, None])] = np.inf
    place = ahead.argmin(1)
    rival = np.where(np.isfinite(ahead[stages, place]), leaders[stages, place], -1)
    return _Statistics(best, rival, margin[stages, place], error[stages, place], noise, freedom)


@lru_cache(maxsize=256)
def threshold(groups: tuple[int, ...], seeds: int, design: Design) -> float:
    """Number of standard errors that the winner must be ahead for a clear difference.

    It is simulated without a difference: points of equal worth with normal noise go through the same design, and the best is
    compared with its rival. So it accounts for picking the best of many points, for tuning each choice's rate, for several
    rivals and for few degrees of freedom. Of several cases without a difference, the one with the largest threshold counts.

    Args:
        groups: the choice of each point.
        seeds: number of replicates.
        design: decides which point runs at which seed.
    """
    rng = np.random.default_rng(0)
    choices, largest = np.array(groups), 0.0
    stages = max(8000, REPETITIONS // len(choices))
    for mean, deviation, level in _nulls(choices, design):
        values = mean[:, None] + deviation[:, None] * rng.standard_normal((stages, len(choices), seeds))
        found = _statistics(simulate(values, choices, design), choices)
        with np.errstate(invalid="ignore"):
            ahead = found.margin / found.error
        largest = max(largest, float(np.quantile(np.nan_to_num(ahead, nan=np.inf), 1 - level)))
    return largest


def _nulls(groups: np.ndarray, design: Design) -> list[tuple[np.ndarray, np.ndarray, float]]:
    """Stages without a difference between the leading choices: means and standard deviations of the points, in units of one
    run's standard deviation, and the share of stages in which a difference may be declared.

    Either all points are equal, or two choices share the lead and the others are far behind. If choices have several points,
    the leading choices may fall off as learning rates do, so that their best point is easy or hard to find, with equal noise
    or with less noise at the worse points.
    """
    n, labels = len(groups), list(dict.fromkeys(groups.tolist()))
    place = np.array([(groups[:i] == groups[i]).sum() for i in range(n)])  # a point's index within its choice
    leads = np.isin(groups, labels[:2])
    flat, equal = np.zeros(n), np.ones(n)
    single = np.where(place == 0, 0.0, HOPELESS)
    cases = [(flat, equal, LEVEL), (np.where(leads, single, HOPELESS), equal, LEVEL)]
    if not place.any():
        return cases if len(labels) > 2 else cases[:1]
    fast, *hard = (np.interp(place, range(5), losses) + 8.0 * np.maximum(place - 4, 0) for losses in (RATES, SLOW, MIDDLE))
    behind = np.where(leads, 0.0, HOPELESS)
    noisy_best = np.where(place == 0, 1.0, QUIET)
    cases = [] if design.kind == "rounds" else [*cases, (single, equal, LEVEL)]  # with rounds the others are always larger
    cases.append((fast + behind, equal, LEVEL))
    return [*cases, *((losses + behind, equal, HARD) for losses in hard), (fast + behind, noisy_best, HARD)]


# -- the verdict

Kind = Literal["clear", "no difference", "undecided", "one seed", "no contest", "failed"]


@dataclass(frozen=True)
class Conclusion:
    """The conclusion that a stage's numbers support.

    Attributes:
        kind: `clear`: the winner's lead is more than identical points would show in 95 of 100 stages. `no difference`:
            the simplest choice is kept, since none is more than a standard error better, or better by more than noise
            explains. `undecided`: the winner leads, but by less than noise explains. `one seed`: the two best share one seed,
            so noise is unknown. `no contest`: nothing else is left to compare with. `failed`: no point gave a value.
        winner: the point that later stages take their settings from.
        best: the point with the best mean; not the winner if that is kept for its simplicity.
        rival: the best point of the other choice that is nearest to the winner's.
        mean: the winner's mean over its seeds.
        seeds: the winner's number of seeds.
        margin: the rival's mean minus the winner's, over shared seeds; negative if the winner is kept though it is worse.
        error: standard error of the margin.
        shared: number of seeds shared by winner and rival.
        noise: standard deviation of one run of the choices' best points, without seed effects.
        freedom: degrees of freedom of the noise.
        needed: number of standard errors that the best must be ahead to be clear.
        undecided: the best point of every choice that noise cannot separate from the best.
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

    @property
    def limit(self) -> float:
        """The largest difference that points of equal worth would show; a true difference of this size may go unseen."""
        return self.needed * self.error

    @property
    def interval(self) -> tuple[float, float]:
        """Ends of the interval around the margin that holds the true difference in 95 of 100 stages."""
        return self.margin - self.limit, self.margin + self.limit


def mean_of(values: dict[int, float]) -> float:
    """A point's mean over its seeds."""
    return sum(values.values()) / len(values)


def against(values: Values, a: str, b: str, noise: float) -> tuple[float, float, int]:
    """Compares two points on their shared seeds: mean of a minus mean of b, its standard error, the number of seeds.

    Args:
        values: the measured values.
        a, b: the points.
        noise: standard deviation of one run without seed effects; the noise of these two points counts if it is larger.
    """
    shared = values[a].keys() & values[b].keys()
    if not shared:
        return 0.0, math.inf, 0
    difference = [values[a][seed] - values[b][seed] for seed in sorted(shared)]
    count, mean = len(shared), sum(difference) / len(shared)
    own = sum((each - mean) ** 2 for each in difference) / max(count - 1, 1)
    return mean, math.sqrt(max(2 * noise**2, own) / count), count


def conclude(
    values: Values,
    choices: Mapping[str, Hashable],
    simple_first: Sequence[Hashable] | None = None,
    design: Design = HALVING,
    seeds: int = 0,
    incumbent: Hashable = None,
) -> Conclusion:
    """The winner of a stage and how sure it is.

    Args:
        values: values of the points without a failed run; the others do not count.
        choices: the choice that each point stands for, such as its largest dilation; points of one choice compete only to
            be its best.
        simple_first: the choices from simple to complex, if the stage orders them. Then the winner is the simplest
            whose best point is within one standard error of the best (Breiman et al., Classification and Regression
            Trees, 1984, section 3.4.3), among those that ran at every seed, or all but the last.
        design: how seeds were added.
        seeds: largest number of seeds of a stage with `rounds`; other designs count the seeds that were run.
        incumbent: if a question is asked again, the choice that is kept unless another is better by more than one standard
            error: a search that followed noise would never end. It takes precedence over `simple_first`.
    """
    points = [point for point in choices if values.get(point)]
    if not points:
        return Conclusion("failed")
    ran = sorted({seed for point in points for seed in values[point]})
    table = np.array([[values[point].get(seed, math.nan) for seed in ran] for point in points])
    labels = list(dict.fromkeys(choices[point] for point in points))
    groups = np.array([labels.index(choices[point]) for point in points])
    found = _statistics(table[None], groups)
    best = points[int(found.best[0])]
    count, noise, freedom = len(values[best]), float(found.noise[0]), int(found.freedom[0])
    winner = best

    if found.rival[0] < 0:
        return Conclusion("no contest", best, best, None, mean_of(values[best]), count, noise=noise, freedom=freedom)
    rival = points[int(found.rival[0])]
    margin, error, shared = against(values, rival, best, noise if freedom else 0.0)
    if not freedom:
        return Conclusion("one seed", best, best, rival, mean_of(values[best]), count, margin, math.nan, shared)
    leaders = {}
    for label in labels:
        members = [point for point in points if choices[point] == label and len(values[point]) > max(1, count - 2)]
        if members:
            leaders[label] = min(members, key=lambda point: (-len(values[point]), mean_of(values[point])))
    preferred = sorted(leaders, key=list(simple_first).index) if simple_first is not None else []
    if incumbent is not None:
        preferred = [incumbent] if incumbent in leaders else []
    for label in preferred:
        behind, error, _ = against(values, leaders[label], best, noise)
        if behind <= error:
            winner = leaders[label]
            break
    # the threshold is for the whole grid, including failed points: they would have competed
    every = list(dict.fromkeys(choices.values()))
    of_all = tuple(every.index(choice) for choice in choices.values())
    needed = threshold(of_all, max(seeds, len(ran)) if design.kind == "rounds" else len(ran), design)
    if winner != best:
        rival = best
    margin, error, shared = against(values, rival, winner, noise)
    clear = winner == best and margin > needed * error
    others = [point for label, point in leaders.items() if label != choices[best] and point != winner]
    behind_by = {point: against(values, point, best, noise) for point in others}
    near = tuple(point for point, (difference, error, _) in behind_by.items() if difference <= needed * error)
    simplest = bool(preferred) and winner == leaders[preferred[0]]
    kind: Kind = "clear" if clear else "no difference" if winner != best or simplest else "undecided"
    tied = (best, *near) if winner != best else near or (rival,)
    return Conclusion(
        kind=kind,
        winner=winner,
        best=best,
        rival=rival,
        mean=mean_of(values[winner]),
        seeds=len(values[winner]),
        margin=margin,
        error=error,
        shared=shared,
        noise=noise,
        freedom=freedom,
        needed=needed,
        undecided=() if clear else tuple(dict.fromkeys(tied)),
    )
