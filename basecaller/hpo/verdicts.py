"""A stage's conclusion in words."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING

from basecaller.hpo.grid import as_text

if TYPE_CHECKING:
    from basecaller.hpo.best import Standing
    from basecaller.hpo.ranking import Conclusion


def short(key: str) -> str:
    """A dotted key as people say it."""
    return key.rpartition(".")[2] or key


def label(stand: Standing, point: str) -> str:
    """A point by the choice that the stage asks about, and by its other settings where the choice alone does not tell."""
    settings = stand.settings.get(point, {})
    if stand.choice in settings:
        return f"{short(stand.choice)} {shown(settings[stand.choice])}"
    return " ".join(f"{short(key)} {shown(value)}" for key, value in settings.items()) or "the one point"


def shown(value: object) -> str:
    """A setting's value as people read it."""
    if isinstance(value, bool):
        return "on" if value else "off"
    return f"{value:.4g}" if isinstance(value, float) else as_text(value)


def seeds(count: int) -> str:
    """A number of seeds."""
    return "1 seed" if count == 1 else f"{count} seeds"


MEASURES = {"val_loss": "", "area_under_curve": " of mean loss along the way (area under the curve)"}
"""What a difference is of, where that is not the loss at the end."""


def verdict(stand: Standing) -> str:
    """What a stage's numbers allow to be said, in a sentence or two; see `ranking.Conclusion`."""
    found = stand.conclusion
    if found.winner is None:
        reasons = "; ".join(f"{point or 'its one point'}: {how}" for point, how in stand.failed.items())
        return f"All trials failed ({reasons})." if reasons else "No trial has given a value yet."
    winner = label(stand, found.winner)
    if found.rival is None:
        loss = f"{stand.loss_of(found.winner):.4f} nats per base, {seeds(found.seeds)}"
        return f"{winner.capitalize()}: {loss}; there is nothing to compare it with."
    of = MEASURES.get(stand.measure, f" of {stand.measure}")
    names = {point: label(stand, point) for point in (found.winner, found.rival, *found.undecided)}
    return compared(found, names, of, "the simplest" if stand.incumbent is None else "the best so far")


def compared(found: Conclusion, names: Mapping[str, str], of: str = "", kept: str = "the simplest") -> str:
    """A conclusion about points that have a rival, in words.

    Args:
        found: the conclusion.
        names: of its points, as people say them.
        of: what a difference is of.
        kept: what the winner is where no difference is seen.
    """
    assert found.winner is not None
    assert found.rival is not None
    winner, rival = names[found.winner], names[found.rival]
    by, over = f"{abs(found.margin):.4f} nats per base{of}", f"over {seeds(found.shared)}"
    if found.kind == "one seed":
        return (
            f"One seed cannot tell: {winner} is {by} better than {rival} at the one seed that they share, and nothing says "
            f"how much of that is noise. It is used."
        )
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
    return f"Undecided between {among}: {winner} leads {rival} by {by}, {over}. {unseen} {winner.capitalize()} is used."


def at_edges(edges: dict[str, str], settings: dict[str, object]) -> str:
    """The sentence that calls out a winner at the edge of its grid; empty where it lies inside."""
    named = [f"{short(key)} {shown(settings[key])} is the {end} of its grid" for key, end in edges.items()]
    return f"At the edge: {' and '.join(named)}, a better value may lie beyond." if named else ""


def guessing(loss: float, letters: int, identity: float, floor: float) -> str:
    """The sentence that calls out a stage whose winner has learned nothing; empty where it has.

    Args:
        loss: of the winner, nats per base.
        letters: of the alphabet; whoever guesses each base pays their logarithm, and more for where the bases are.
        identity: of its calls; NaN where that is not known.
        floor: of unrelated sequences.
    """
    if loss < math.log(letters) and not identity <= floor:
        return ""
    return (
        f"Too short to tell: the winner is no better than guessing ({loss:.4f} nats per base, of ln {letters} = "
        f"{math.log(letters):.4f}; identity {identity:.1%}, of unrelated sequences {floor:.1%}). This compares networks that "
        f"have hardly begun to learn, and trained longer another may win: ask again with more train.chunks or train.epochs, "
        f"or with a higher optimizer.lr."
    )
