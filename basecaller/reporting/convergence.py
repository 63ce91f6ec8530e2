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
        level: nats per base; the lowest that every trial reaches.
        samples: of each trial number, until it does.
        text: the winner against its rival, in words; empty where there is none.
    """

    level: float
    samples: dict[int, float]
    text: str


def convergence(stand: Standing) -> Convergence | None:
    """How fast the trials of a stage converge; None where none has a curve."""
    trials = [t for (point, _), t in stand.complete.items() if t.user_attrs.get("curve") and point in stand.points]
    if not trials:
        return None
    curves = {t.number: t.user_attrs["curve"] for t in trials}
    level = max(min(p["val_loss"] for p in curve) for curve in curves.values())
    reached = {number: samples_to(curve, level) for number, curve in curves.items()}
    return Convergence(level, reached, _words(stand, level, reached))


def _words(stand: Standing, level: float, reached: dict[int, float]) -> str:
    found = stand.conclusion
    if found.winner is None or found.rival is None:
        return ""
    shared = [s for s in stand.seeds if all((p, s) in stand.complete for p in (found.winner, found.rival))]
    if not shared:
        return ""

    def mean_of(point: str, what: str) -> list[float]:
        trials = [stand.complete[point, seed] for seed in shared]
        return [reached[t.number] if what == "samples" else t.user_attrs["area_under_curve"] for t in trials]

    lines = []
    for what, unit, digits in (("samples", "samples", 0), ("area", "nats per base", 4)):
        ours, theirs = mean_of(found.winner, what), mean_of(found.rival, what)
        n = len(shared)
        difference = [b - a for a, b in zip(ours, theirs, strict=True)]
        mean = sum(difference) / n
        error = math.sqrt(sum((d - mean) ** 2 for d in difference) / (n - 1) / n) if n > 1 else math.nan
        spread = f" (difference {mean:,.{digits}f} ± {error:,.{digits}f})" if n > 1 else f" (difference {mean:,.{digits}f})"
        lines.append(f"{sum(ours) / n:,.{digits}f} against {sum(theirs) / n:,.{digits}f} {unit}{spread}")
    winner, rival = label(stand, found.winner), label(stand, found.rival)
    return (
        f"Convergence, {winner} against {rival}, {seeds(len(shared))}: to a loss of {level:.4f}, which every trial reaches, "
        f"{lines[0]}; mean loss along the way (area under the curve) {lines[1]}."
    )
