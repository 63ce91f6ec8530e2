"""Who trains, who validates, who tests: by read, or by place on the genome."""

from __future__ import annotations

import hashlib
from itertools import accumulate
from typing import Any

import numpy as np

SPLITS = ("train", "validation", "test")


def split_of_read(read_id: str, validation: float, test: float) -> str:
    """The split of a read, fixed by a hash of its id: it does not depend on which other reads there are."""
    digest = hashlib.sha1(read_id.encode()).digest()
    u = int.from_bytes(digest[:8], "big") / 2**64
    return "test" if u < test else "validation" if u < test + validation else "train"


class PositionSplit:
    """Splits by place on the genome: its first part trains, the next validates, the last tests.

    Args:
        header: of a BAM file, with the contigs and their lengths.
        validation, test: fraction of the genome in those splits.
    """

    def __init__(self, header: Any, validation: float, test: float) -> None:
        before = accumulate((int(length) for length in header.lengths), initial=0)
        self.offset = dict(zip(header.references, before, strict=False))
        total = sum(header.lengths)
        self.cuts = (total * (1 - validation - test), total * (1 - test))

    def __call__(self, contig: str | None, positions: np.ndarray | None) -> str | None:
        """The split of a chunk; None where it lies across a cut. Without a position it trains."""
        if positions is None or contig is None:
            return "train"
        ends = self.offset[contig] + np.array([positions.min(), positions.max()])
        first, last = np.searchsorted(self.cuts, ends, side="right")
        return SPLITS[first] if first == last else None
