"""How fast trials converge: the cost to reach a loss, the loss at equal cost, and the area under the curve."""

from __future__ import annotations

import math
from dataclasses import dataclass
from statistics import fmean

import numpy as np

from basecaller.hpo.standing import Standing
from basecaller.hpo.verdicts import label, seeds

Curve = list[dict[str, float]]
"""A learning curve: updates, samples, seconds and losses by name, for each point, see `training.fit.CurvePoint`."""


def reached(curve: Curve, level: float, what: str = "samples") -> float:
    """Samples of signal, or seconds, until the validation loss first reaches `level`, with linear interpolation of the curve.

    Infinite if it never does. For a curve that starts below `level`, the first point is returned: the loss may have been
    reached earlier.
    """
    before: dict[str, float] | None = None
    for point in curve:
        if point["val_loss"] <= level:
            if before is None:
                return float(point[what])
            share = (before["val_loss"] - level) / (before["val_loss"] - point["val_loss"])
            return float(before[what] + share * (point[what] - before[what]))
        before = point
    return math.inf


def loss_at(curve: Curve, what: str, value: float) -> float:
    """The validation loss at a number of `updates`, `samples` or `seconds`, by linear interpolation; NaN outside the curve."""
    xs, losses = [float(point[what]) for point in curve], [float(point["val_loss"]) for point in curve]
    if not curve or not xs[0] <= value <= xs[-1]:
        return math.nan
    return float(np.interp(value, xs, losses))


def same_loss(stand: Standing) -> float:
    """The final loss of the nearest rival of a stage's winner, or of the winner if that is worse: both reach it. NaN if there
    is no rival, or if they were validated only at their end."""
    found = stand.conclusion
    if found.winner is None or found.rival is None:
        return math.nan
    if all(len(trial.curve) < 2 for point in (found.winner, found.rival) for trial in stand.trials_of(point)):
        return math.nan
    return max(stand.loss_of(found.winner), stand.loss_of(found.rival))


def per_cost(stand: Standing) -> str:
    """Which choice of a stage is best at equal updates and at equal time, each at its best point, in words.

    Choices are compared over the seeds that all of them ran at, and where their curves have points. Empty if fewer than two
    choices can be compared.
    """
    best = {choice: stand.best_of(choice) for choice in dict.fromkeys(stand.choices.values())}
    leaders = {choice: point for choice, point in best.items() if point is not None}
    shared = [seed for seed in stand.seeds if all((point, seed) in stand.complete for point in leaders.values())]
    parts = []
    for what, unit, digits in (("updates", "updates", 0), ("seconds", "seconds", 1)):
        curves = {choice: [stand.complete[point, seed].curve for seed in shared] for choice, point in leaders.items()}
        curves = {choice: runs for choice, runs in curves.items() if runs and all(runs)}
        ends = [min(curve[-1][what] for curve in runs) for runs in curves.values()]
        if len(ends) < 2:
            return ""
        value = min(ends)
        losses = {choice: fmean(loss_at(curve, what, value) for curve in runs) for choice, runs in curves.items()}
        known = {choice: loss for choice, loss in losses.items() if math.isfinite(loss)}
        if len(known) > 1:
            ahead = min(known, key=lambda choice: known[choice])
            name = label(stand, leaders[ahead])
            parts.append(
                f"after {value:,.{digits}f} {unit} {name} is ahead ({known[ahead]:.4f} nats per base, of {len(known)})"
            )
    return f"At equal cost, over {seeds(len(shared))}: {'; '.join(parts)}." if parts else ""


@dataclass(frozen=True)
class Convergence:
    """Convergence of a stage's trials.

    Attributes:
        level: loss in nats per base, the lowest that every trial of the points with the most seeds reaches.
        samples: samples until each trial, by number, reaches it; None if it never does.
        text: the winner compared with its rival, in words; empty if there is none.
    """

    level: float
    samples: dict[int, float | None]
    text: str


def convergence(stand: Standing) -> Convergence | None:
    """Convergence of the trials of a stage; None if none has a curve of two points.

    A point that was dropped early does not set the level: it may never leave the initial plateau.
    """
    ran = {point: sum(other == point for other, _ in stand.complete) for point in stand.points}
    trials = {entry: t for entry, t in stand.complete.items() if len(t.curve) > 1 and entry[0] in ran}
    longest = {point for point, count in ran.items() if count >= max(ran.values()) - 1}
    lowest = [min(p["val_loss"] for p in t.curve) for (point, _), t in trials.items() if point in longest]
    if not lowest:
        return None
    level = max(lowest)
    needed = {t.number: reached(t.curve, level) for t in trials.values()}
    kept = {number: samples if math.isfinite(samples) else None for number, samples in needed.items()}
    return Convergence(level, kept, _words(stand, level, needed))


def _words(stand: Standing, level: float, needed: dict[int, float]) -> str:
    found = stand.conclusion
    if found.winner is None or found.rival is None:
        return ""
    pair = (found.winner, found.rival)
    known = {entry for entry, trial in stand.complete.items() if trial.number in needed}
    shared = [seed for seed in stand.seeds if all((p, seed) in known for p in pair)]
    if not shared:
        return ""
    ours, theirs = ([stand.complete[point, seed] for seed in shared] for point in pair)
    samples = _compared([needed[t.number] for t in ours], [needed[t.number] for t in theirs], "samples")
    text = f"{samples} to reach a loss of {level:.4f}"
    if stand.measure != "area_under_curve":  # else the verdict already says it
        areas = [[t.measured("area_under_curve") for t in trials] for trials in (ours, theirs)]
        text += f"; mean loss along the way (area under the curve) {_compared(areas[0], areas[1], 'nats per base', 4)}"
    winner, rival = label(stand, found.winner), label(stand, found.rival)
    return f"Convergence, {winner} against {rival}, {seeds(len(shared))}: {text}."


def _compared(ours: list[float], theirs: list[float], unit: str, digits: int = 0) -> str:
    """Two means, and their paired difference with its standard error."""
    n = len(ours)
    means = [sum(values) / n for values in (ours, theirs)]
    text = " against ".join(f"{mean:,.{digits}f}" if math.isfinite(mean) else "never" for mean in means) + f" {unit}"
    if n < 2 or not all(map(math.isfinite, means)):
        return text
    difference = [b - a for a, b in zip(ours, theirs, strict=True)]
    mean = sum(difference) / n
    error = math.sqrt(sum((d - mean) ** 2 for d in difference) / (n - 1) / n)
    return f"{text} (difference {mean:,.{digits}f} ± {error:,.{digits}f}, one standard error)"
