"""BAM files: their primary records by read id, and the quality of a record."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np

from basecaller.common.errors import DataError
from basecaller.data.folders import files_below
from basecaller.data.splits import Contig
from basecaller.data.tags import Unusable, number, text, whole_number


@contextmanager
def reading(path: Path, key: str) -> Iterator[None]:
    """Turns errors while reading a file into one message that names the file.

    Args:
        path: path of the file.
        key: the setting that names it.
    """
    try:
        yield
    except (OSError, ValueError, RuntimeError) as error:
        raise DataError(f"{key}: cannot read {path}: {error}; is it truncated, or another kind of file?") from error


def bam_files(entry: str) -> list[Path]:
    """The BAM files of an entry of `data.bam`: the file itself, or all files below a folder.

    Raises:
        DataError: there are none.
    """
    path = Path(entry)
    if not path.is_dir():
        if not path.is_file():
            raise DataError(f"data.bam: {entry} is not a file")
        return [path]
    files = files_below(path, ".bam")
    if not files:
        other = next((ending for ending in (".sam", ".cram") if files_below(path, ending)), None)
        hint = f", only {other} files; convert them: samtools view -b -o calls.bam calls{other}" if other else ""
        raise DataError(f"data.bam: no .bam file below {path}{hint}")
    return files


def _open(path: Path) -> Any:
    import pysam  # here: starts slowly, and other sources do not need it

    pysam.set_verbosity(0)  # htslib's own lines on the terminal
    with reading(path, "data.bam"):
        bam = pysam.AlignmentFile(str(path), "r", check_sq=False)
    if not bam.is_bam:
        kind = "SAM" if bam.is_sam else "CRAM" if bam.is_cram else ""
        convert = f"samtools view -b{' -T reference.fasta' if bam.is_cram else ''} -o calls.bam {path.name}"
        what = f"it is a {kind} file; convert it: {convert}" if kind else "it is not a BAM file"
        raise DataError(f"data.bam: cannot read {path}: {what}")
    return bam


def contigs_of(path: Path) -> list[Contig]:
    """Names and lengths of the contigs in a BAM file's header, in its order.

    Raises:
        DataError: the file cannot be read as BAM.
    """
    with _open(path) as bam:
        return list(zip(bam.references, bam.lengths, strict=True))


Place = tuple[int, int]
"""The place of a record: index of its file, and offset in it."""


class Records:
    """The primary records of some BAM files, by read id.

    Args:
        paths: paths of the files.
    """

    def __init__(self, paths: list[Path]) -> None:
        self.paths, self.files, self.left_out = paths, [_open(path) for path in paths], Counter[str]()
        self.places: dict[str, tuple[Place, ...]] = {}
        self.split: dict[str, list[str]] = {}  # names of the records of a read that the basecaller split (`pi`)
        for file, (path, bam) in enumerate(zip(paths, self.files, strict=True)):
            with reading(path, "data.bam"):
                self._scan(file, bam)

    def _scan(self, file: int, bam: Any) -> None:
        """Notes every record of a file.

        Raises:
            OSError: the file is damaged.
        """
        at = bam.tell()
        while True:
            try:
                self._note(next(bam), (file, at))
            except StopIteration:
                return
            except OSError:
                if bam.tell() == at:  # a damaged file cannot be read further; a record that htslib refuses is skipped
                    with suppress(OSError):  # closing reports the truncation again
                        bam.close()
                    raise
                self.left_out["records left out: CIGAR and sequence differ in length"] += 1
            at = bam.tell()

    def _note(self, record: Any, place: Place) -> None:
        if record.is_secondary or record.is_supplementary:
            kind = "secondary" if record.is_secondary else "supplementary"
            self.left_out[f"alignments left out: {kind}"] += 1
            return
        try:
            name = str(record.query_name)
            parent = text(record, "pi")
        except (Unusable, ValueError):  # not text
            self.left_out["records left out: their names cannot be read"] += 1
            return
        if parent is not None and name not in self.split.setdefault(parent, []):
            self.split[parent].append(name)
        self.places[name] = (*self.places.get(name, ()), place)

    def find(self, read_id: str) -> list[list[Any]]:
        """A read's records: one list for the read, or for each of its parts if it was split. A list has several records if the
        read was called several times."""
        found = list[list[Any]]()
        for name in dict.fromkeys([read_id, *self.split.get(read_id, [])]):  # a part may keep its parent's name
            of_part: dict[int, list[Any]] = {}
            for file, at in self.places.get(name, ()):
                with reading(self.paths[file], "data.bam"):
                    self.files[file].seek(at)
                    record = next(self.files[file])
                of_part.setdefault(_begin(record), []).append(record)
            found += of_part.values()
        return found


def _begin(record: Any) -> int:
    """The sample of the parent read at which a part begins; it distinguishes parts of the same name."""
    try:
        return whole_number(record, "sp") or 0
    except Unusable:
        return 0


@lru_cache(maxsize=1)  # a process imports the files of a pair one after the other
def records(paths: tuple[tuple[Path, int], ...]) -> Records:
    """The `Records` of paths, given with the times of their last changes."""
    return Records([path for path, _ in paths])


def records_of(entry: str) -> Records:
    """The records of an entry of `data.bam`."""
    return records(tuple((path, path.stat().st_mtime_ns) for path in bam_files(entry)))


def mean_quality(qualities: np.ndarray) -> float:
    """Mean quality of a read: the phred of its mean error probability, like Dorado's and Guppy's `qs`; 0 without bases."""
    return float(-10 * np.log10(np.mean(10 ** (-qualities / 10)))) if len(qualities) else 0.0


def quality(record: Any) -> float:
    """Mean quality of a read, in phred: its `qs` tag, or that of its bases' mean error.

    Raises:
        Unusable: the record has neither.
    """
    stored = number(record, "qs")
    if stored is not None:
        return stored
    if record.query_qualities is None:
        raise Unusable("no qualities, and data.min_quality is set")
    return mean_quality(np.asarray(record.query_qualities, float))


def identity(record: Any) -> float:
    """Identity of an aligned record, from 0 to 1: matches over alignment columns, by its NM tag.

    Raises:
        Unusable: the record has no NM tag.
    """
    differences = number(record, "NM")
    if differences is None:
        raise Unusable("no NM tag, and data.min_identity is set")
    columns = sum(length for kind, length in record.cigartuples or () if kind in (0, 1, 2, 7, 8))  # M I D = X
    return 1 - differences / columns if columns else 0.0
