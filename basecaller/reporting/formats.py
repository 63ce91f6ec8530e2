"""Numbers as text, and what all figures share."""

from __future__ import annotations

import math

COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
"""Okabe and Ito's colours, which colour-blind readers can tell apart (Color Universal Design, 2008)."""

LOSS = "val. loss (nats per base)"


def number(value: float | None, form: str = ".4f") -> str:
    """A number as text; empty if there is none."""
    return "" if value is None or (isinstance(value, float) and math.isnan(value)) else format(value, form)


def in_lines(name: str) -> str:
    """A name in several lines if it joins several changes, as in `stacks_6_and_batch_times_4`."""
    return name.replace("_and_", "_and_\n")


def many(count: int, what: str) -> str:
    """A number of things, as in `1 trial` and `2 trials`."""
    return f"{count:,} {what}{'' if count == 1 else 's'}"


def with_error(value: float | None, error: float | None) -> str:
    """A mean and its standard error as text."""
    return number(value) + (f" ± {number(error)}" if value is not None and error is not None else "")


def interval(low: float | None, high: float | None) -> str:
    """The ends of an interval around a difference as text; empty if unknown."""
    return "" if low is None or high is None else f"{low:+.4f} to {high:+.4f}"


def duration(seconds: float | None) -> str:
    """Seconds as a readable duration."""
    if seconds is None:
        return ""
    return f"{seconds:.1f} s" if seconds < 100 else f"{seconds / 60:.1f} min" if seconds < 6000 else f"{seconds / 3600:.1f} h"
