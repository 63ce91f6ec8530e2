"""Whether a stage's winner has learned anything."""

from __future__ import annotations

import math


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
