"""The tags of a BAM record, by name and type. All functions raise `Unusable` if a tag has another type.

Two programs may use one name: minimap2's `ts:A:+` is the strand of a transcript, the basecaller's `ts:i:25` the number of
trimmed samples. A record may have either or both. pysam's `get_tag` returns the first one, whatever its type.
"""

from __future__ import annotations

from typing import Any

import numpy as np

WHOLE, REAL, ARRAY, TEXT = frozenset("cCsSiI"), frozenset("cCsSiIf"), frozenset("B"), frozenset("Z")

FOREIGN = {"ts": frozenset("A"), "pi": REAL}
"""Types of tags that other programs write: the strand of a transcript (minimap2), and numbers where a basecaller names a read.
Any other type is a mistake, and no label may depend on it."""


class Unusable(Exception):  # noqa: N818
    """The reason why a read is dropped, counted in the audit."""


def _tag(record: Any, name: str, types: frozenset[str], wanted: str) -> Any:
    """The tag's value; None if the basecaller wrote no tag of that name.

    Raises:
        Unusable: the tag has another type.
    """
    try:
        value, kind = record.get_tag(name, with_value_type=True)
        if kind in types:
            return value
        found = [(value, kind) for other, value, kind in record.get_tags(with_value_type=True) if other == name]
    except KeyError:
        return None
    except ValueError as error:  # not text, or of no known type
        raise Unusable(f"tag {name} cannot be read") from error
    for value, kind in found:
        if kind in types:
            return value
    if {kind for _, kind in found} <= FOREIGN.get(name, frozenset()):
        return None
    raise Unusable(f"tag {name} is not {wanted}")


def whole_number(record: Any, name: str) -> int | None:
    """A whole number; None if the record has no such tag."""
    value = _tag(record, name, WHOLE, "a whole number")
    return None if value is None else int(value)


def number(record: Any, name: str) -> float | None:
    """A number; None if the record has no such tag."""
    value = _tag(record, name, REAL, "a number")
    return None if value is None else float(value)


def text(record: Any, name: str) -> str | None:
    """A text; None if the record has no such tag."""
    value = _tag(record, name, TEXT, "a text")
    return None if value is None else str(value)


def whole_numbers(record: Any, name: str) -> np.ndarray | None:
    """An array of whole numbers, int64; None if the record has no such tag."""
    value = _tag(record, name, ARRAY, "an array of whole numbers")
    if value is None:
        return None
    array = np.asarray(value)
    if array.dtype.kind not in "iu":
        raise Unusable(f"tag {name} is not an array of whole numbers")
    return array.astype(np.int64)  # move tables are int8: widen them before any arithmetic
