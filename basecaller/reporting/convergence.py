"""How fast trials converge: samples until the validation loss first reaches a level, and the area under the curve."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from basecaller.hpo.verdicts import label, seeds

if TYPE_CHECKING:
    from basecaller.hpo.best import Standing

Curve = list[dict[str, Any]]


def samples_to(curve: Curve, level: float) -> float:
    """Samples of signal after which the validation loss first is at `level` or below, linear between points of the curve.

    Infinite where it never is. A curve that starts below gives its first point: it may have been earlier.
    """
    before: dict[str, Any] | None = None
    for point in curve:
        if point["val_loss"] <= level:
            if before is None:
                return float(point["samples"])
            share = (before["val_loss"] - level) / (before["val_loss"] - point["val_loss"])
            return float(before["samples"] + share * (point["samples"] - before["samples"]))
        before = point
    return math.inf


@dataclass(frozen=True)
class Convergence:
    """Of a stage.

    Attributes:
        level: nats per base; the lowest that every trial of the points that ran longest reaches.
        samples: of each trial number, until it does; None where it never does.
        text: the winner against its rival, in words; empty where there is none.
    """

    level: float
    samples: dict[int, float | None]
    text: str


def convergence(stand: Standing) -> Convergence | None:
    """How fast the trials of a stage converge; None where none has a curve.

    A point that was left out early does not set the level: it may never leave the plateau that all start from.
    """
    ran = {point: sum(of == point for of, _ in stand.complete) for point in stand.points}
    trials = {entry: t for entry, t in stand.complete.items() if t.user_attrs.get("curve") and entry[0] in ran}
    longest = {point for point, count in ran.items() if count >= max(ran.values()) - 1}
    lowest = [min(p["val_loss"] for p in t.user_attrs["curve"]) for (point, _), t in trials.items() if point in longest]
    if not lowest:
        return None
    level = max(lowest)
    reached = {t.number: samples_to(t.user_attrs["curve"], level) for t in trials.values()}
    kept = {number: samples if math.isfinite(samples) else None for number, samples in reached.items()}
    return Convergence(level, kept, _words(stand, level, reached))


def _words(stand: Standing, level: float, reached: dict[int, float]) -> str:
    found = stand.conclusion
    if found.winner is None or found.rival is None:
        return ""
    pair = (found.winner, found.rival)
    shared = [seed for seed in stand.seeds if all((p, seed) in stand.complete for p in pair)]
    if not shared:
        return ""
    ours, theirs = ([stand.complete[point, seed] for seed in shared] for point in pair)
    samples = _compared([reached[t.number] for t in ours], [reached[t.number] for t in theirs], "samples")
    text = f"to a loss of {level:.4f} {samples}"
    if stand.measure != "area_under_curve":  # else the verdict has said it
        areas = [[float(t.user_attrs["area_under_curve"]) for t in of] for of in (ours, theirs)]
        text += f"; mean loss along the way (area under the curve) {_compared(areas[0], areas[1], 'nats per base', 4)}"
    winner, rival = label(stand, found.winner), label(stand, found.rival)
    return f"Convergence, {winner} against {rival}, {seeds(len(shared))}: {text}."


def _compared(ours: list[float], theirs: list[float], unit: str, digits: int = 0) -> str:
    """Two means, and their paired difference with its standard error."""
    n = len(ours)
    means = [sum(of) / n for of in (ours, theirs)]
    text = " against ".join(f"{mean:,.{digits}f}" if math.isfinite(mean) else "never" for mean in means) + f" {unit}"
    if n < 2 or not all(map(math.isfinite, means)):
        return text
    difference = [b - a for a, b in zip(ours, theirs, strict=True)]
    mean = sum(difference) / n
    error = math.sqrt(sum((d - mean) ** 2 for d in difference) / (n - 1) / n)
    return f"{text} (difference {mean:,.{digits}f} ± {error:,.{digits}f}, one standard error)"
