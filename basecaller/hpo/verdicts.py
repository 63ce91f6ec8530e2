"""A stage's conclusion in words."""

from __future__ import annotations

from collections.abc import Mapping

from basecaller.hpo.grid import as_text
from basecaller.hpo.ranking import Conclusion
from basecaller.hpo.standing import Standing
from basecaller.hpo.task import CANDIDATE, Objective


def short(key: str) -> str:
    """A dotted key in words."""
    return key.rpartition(".")[2] or key


def label(stand: Standing, point: str) -> str:
    """A point's name: its choice, with its other settings if the choice alone is ambiguous."""
    settings = stand.settings.get(point, {})
    if stand.choice in settings:
        return named(stand.choice, settings[stand.choice])
    return " ".join(named(key, value) for key, value in settings.items()) or "the one point"


def named(key: str, value: object) -> str:
    """A setting for a reader, as in `max_dilation 32`; a candidate is its name."""
    return shown(value) if key == CANDIDATE else f"{short(key)} {shown(value)}"


def shown(value: object) -> str:
    """A setting's value for a reader."""
    if isinstance(value, bool):
        return "on" if value else "off"
    return f"{value:.4g}" if isinstance(value, float) else as_text(value)


def seeds(count: int) -> str:
    """A number of seeds in words."""
    return "1 seed" if count == 1 else f"{count} seeds"


def verdict(stand: Standing, objective: Objective) -> str:
    """A stage's conclusion in a sentence or two; see `ranking.Conclusion`."""
    found = stand.conclusion
    if found.winner is None:
        reasons = "; ".join(f"{point or 'its one point'}: {how}" for point, how in stand.failed.items())
        return f"All trials failed ({reasons})." if reasons else "No trial has given a value yet."
    winner = label(stand, found.winner)
    if found.rival is None:
        value = f"{objective.shown(stand.loss_of(found.winner))}, {seeds(found.seeds)}"
        return f"Nothing to compare with: {winner} has {value}."
    names = {point: label(stand, point) for point in (found.winner, found.rival, *found.undecided)}
    kept = "the simplest" if stand.incumbent is None else "the best so far"
    return compared(found, names, objective, stand.measure, kept)


def compared(
    found: Conclusion, names: Mapping[str, str], objective: Objective, measure: str | None = None, kept: str = "the simplest"
) -> str:
    """A conclusion about points that have a rival, in words.

    Args:
        found: the conclusion.
        names: names of the points for a reader.
        objective: the objective.
        measure: the measure that points are compared by, if it is not the objective.
        kept: the word for a winner that is kept without a visible difference.
    """
    assert found.winner is not None
    assert found.rival is not None
    winner, rival = names[found.winner], names[found.rival]
    by, over = objective.shown(abs(found.margin)) + objective.of(measure), f"over {seeds(found.shared)}"
    if found.kind == "one seed":
        return f"One seed: {winner} is {by} better than {rival}. This may be chance, since one seed does not show the noise."
    low, high = found.interval if found.margin >= 0 else (-found.interval[1], -found.interval[0])
    by += f" (between {low:.4f} and {high:.4f} in 95 of 100 such stages)"
    among = ", ".join(dict.fromkeys(names[point] for point in (found.winner, *found.undecided)))
    unseen = f"A true difference of up to {found.limit:.4f} may go unseen."
    if found.kind == "clear":
        return f"A clear winner: {winner} is better than {rival}, the nearest, by {by}, {over}."
    if found.kind == "no difference":
        which = "worse" if found.margin < 0 else "better"
        return (
            f"No difference that these seeds can show between {among}: {kept}, {winner}, is kept. It is {which} than "
            f"{rival} by {by}, {over}. {unseen}"
        )
    return f"Undecided between {among}: {winner} leads {rival} by {by}, {over}. {unseen}"


def at_edges(edges: dict[str, str], settings: dict[str, object]) -> str:
    """The sentence about a winner at the edge of its grid; empty if it lies inside."""
    named = [f"{short(key)} {shown(settings[key])} is the {end} of its grid" for key, end in edges.items()]
    return f"At the edge: {' and '.join(named)}; a better value may lie beyond." if named else ""
