"""BAM files: their primary records by read id, and how good a record is."""

from __future__ import annotations

from collections import Counter
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np

from basecaller.data.labels import Unusable
from basecaller.errors import DataError


def bam_files(entry: str) -> list[Path]:
    """The BAM files that an entry of `data.bam` names: itself, or all below it where it is a folder."""
    path = Path(entry)
    files = sorted(path.rglob("*.bam")) if path.is_dir() else [path] if path.is_file() else []
    if not files:
        raise DataError(f"data.bam: {entry} is no file" if not path.is_dir() else f"data.bam: no .bam file below {entry}")
    return files


class Records:
    """The primary records of some BAM files, by read id.

    Args:
        paths: of the files.
    """

    def __init__(self, paths: list[Path]) -> None:
        import pysam

        self.files, self.left_out = [], Counter[str]()
        self.places: dict[str, tuple[int, int]] = {}
        self.split: dict[str, list[str]] = {}  # of a read that the basecaller split (`pi`), the names of its records
        for number, path in enumerate(paths):
            bam = pysam.AlignmentFile(str(path), "rb", check_sq=False)
            if not bam.is_bam:
                raise ValueError(f"{path} is no BAM file")
            self.files.append(bam)
            place = bam.tell()
            for record in bam:
                if record.is_secondary or record.is_supplementary:
                    kind = "secondary" if record.is_secondary else "supplementary"
                    self.left_out[f"alignments left out: {kind}"] += 1
                elif (name := str(record.query_name)) not in self.places:
                    self.places[name] = number, place
                    if record.has_tag("pi"):
                        self.split.setdefault(str(record.get_tag("pi")), []).append(name)
                place = bam.tell()

    def find(self, read_id: str) -> list[tuple[Any, int]]:
        """A read's record, or those that it was split into, each with the file it is in."""
        found = []
        for name in dict.fromkeys([read_id, *self.split.get(read_id, [])]):  # a part may keep its parent's name
            if name in self.places:
                number, place = self.places[name]
                self.files[number].seek(place)
                found.append((next(self.files[number]), number))
        return found


@lru_cache(maxsize=1)  # a process imports one file after the other of a pair
def records(paths: tuple[tuple[Path, int], ...]) -> Records:
    """See `Records`; of paths with the times of their last changes."""
    return Records([path for path, _ in paths])


def quality(record: Any) -> float:
    """Mean quality of a read: its `qs`, or the phred of its bases' mean error."""
    if record.has_tag("qs"):
        return float(record.get_tag("qs"))
    if record.query_qualities is None:
        raise Unusable("no qualities, and data.min_quality is set")
    return float(-10 * np.log10(np.mean(10 ** (-np.asarray(record.query_qualities, float) / 10))))


def identity(record: Any) -> float:
    """Matches over alignment columns of an aligned record, by its NM tag."""
    if not record.has_tag("NM"):
        raise Unusable("no NM tag, and data.min_identity is set")
    columns = sum(length for kind, length in record.cigartuples if kind in (0, 1, 2, 7, 8))  # M I D = X
    return 1 - float(record.get_tag("NM")) / columns if columns else 0.0
