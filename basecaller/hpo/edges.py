"""Winners at the edge of their grid, where a better value may lie outside."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any


def is_ordered(values: list[Any]) -> bool:
    """Whether an axis has an edge: at least two numbers."""
    return len(values) > 1 and all(isinstance(v, int | float) and not isinstance(v, bool) for v in values)


def edges(
    chosen: dict[str, Any], axes: dict[str, list[Any]], rules: Callable[[str], Mapping[str, Any]] = lambda key: {}
) -> dict[str, str]:
    """The ordered axes on which a point lies at an end: key -> `lowest` or `highest`. A bound of the setting is not an edge,
    since no value lies beyond it.

    Args:
        chosen: the point.
        axes: values by key.
        rules: returns the rules of a key's values, see `checking.RULES`.
    """
    found = {}
    for key, values in axes.items():
        if is_ordered(values) and chosen.get(key) in (min(values), max(values)):
            end = "lowest" if chosen[key] == min(values) else "highest"
            if end == "highest" or chosen[key] != rules(key).get("least"):
                found[key] = end
    return found


def outward(values: list[Any], end: str, allows: Callable[[Any], bool] = lambda value: True) -> Any | None:
    """The next value beyond an end of an axis, by the ratio of its last two values; None if there is none.

    Whole numbers stay whole.

    Args:
        values: values of the axis.
        end: `lowest` or `highest`.
        allows: whether the setting can have a value.
    """
    ordered = sorted(values)
    last, before = (ordered[0], ordered[1]) if end == "lowest" else (ordered[-1], ordered[-2])
    if before <= 0 or last <= 0:
        return None
    value = last * last / before
    if all(isinstance(v, int) for v in values):
        whole = round(value)
        return whole if whole >= 1 and whole not in values and allows(whole) else None
    rounded = float(f"{value:.6g}")
    return rounded if allows(rounded) else None
