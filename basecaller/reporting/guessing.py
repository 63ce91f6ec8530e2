"""Whether a stage's winner has learned anything."""

from __future__ import annotations

import math


def guessing(loss: float, letters: int, identity: float, floor: float) -> str:
    """The sentence about a stage whose winner has learned nothing; empty if it has learned something.

    Args:
        loss: the winner's loss, nats per base.
        letters: number of letters in the alphabet. Guessing each base costs their logarithm, and more for the bases' positions.
        identity: identity of the winner's calls; NaN if unknown.
        floor: identity of unrelated sequences.
    """
    reasons = []
    if not loss < math.log(letters):
        reasons.append(f"its loss is {loss:.4f} nats per base, and ln {letters} is {math.log(letters):.4f}")
    if identity <= floor:
        reasons.append(f"its identity is {identity:.1%}, and that of unrelated sequences {floor:.1%}")
    if not reasons:
        return ""
    return (
        f"Too short to tell: the winner is no better than guessing ({'; '.join(reasons)}). This compares networks that have "
        "hardly begun to learn, and another may win after longer training: ask again with more train.chunks or train.epochs, "
        "or with a higher optimizer.lr."
    )
