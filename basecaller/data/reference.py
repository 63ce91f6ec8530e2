"""A reference's bases as labels, which several processes read through one memory map.

The FASTA is read once and copied to a folder of this program: `labels.bin`, uint8, holds all sequences end to end, and
`contigs.json` their beginnings and ends. This needs no `.fai`, which may be older than its FASTA, and writes nothing next to
the user's genome. Reads plain, gzip and bgzip files, with lines of any length.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from basecaller.common.errors import DataError
from basecaller.common.files import read_json, write_json
from basecaller.data.records import reading
from basecaller.data.signal import encode
from basecaller.data.tags import Unusable


class Reference:
    """A copied reference.

    Args:
        folder: folder made by `copy_reference`.
    """

    def __init__(self, folder: Path) -> None:
        self.labels: Any = np.memmap(folder / "labels.bin", np.uint8, "r")
        contigs: Any = read_json(folder / "contigs.json")
        self.contigs: dict[str, tuple[int, int]] = {name: (begin, end) for name, begin, end in contigs}

    def bases(self, contig: str, positions: np.ndarray) -> np.ndarray:
        """The bases at positions of a contig: uint8 [positions].

        Raises:
            Unusable: there is no such contig, or a position lies beyond its end.
        """
        if contig not in self.contigs:
            raise Unusable(f"no reference {contig} in the FASTA")
        begin, end = self.contigs[contig]
        if len(positions) and positions[-1] >= end - begin:
            raise Unusable("aligned beyond the end of the reference")
        return np.asarray(self.labels[begin + positions])

    def length(self, contig: str) -> int:
        """Length of an existing contig, in bases."""
        begin, end = self.contigs[contig]
        return end - begin


def copy_reference(fasta: Path, folder: Path) -> Path:
    """Copies a FASTA's bases into a folder, if not already there.

    Returns:
        The folder.
    Raises:
        DataError: the file cannot be read, is not a FASTA, or names a sequence twice.
    """
    if (folder / "contigs.json").exists():  # written last
        return folder
    folder.mkdir(parents=True, exist_ok=True)
    contigs, end = dict[str, tuple[int, int]](), 0
    with (folder / "labels.bin").open("wb") as file:
        for entry in _entries(fasta):
            if entry.quality is not None:
                raise DataError(f"data.reference: {fasta} is a FASTQ file of reads; give the FASTA of the genome")
            name = str(entry.name)
            if name in contigs:
                raise DataError(f"data.reference: {fasta} has two sequences named {name}; rename or remove one")
            labels = encode(entry.sequence or "")
            file.write(labels.tobytes())
            contigs[name] = end, end + len(labels)
            end += len(labels)
    if not end:
        raise DataError(f"data.reference: {fasta} has no sequences; a FASTA file is needed, such as `>chr1` and lines of bases")
    write_json(folder / "contigs.json", [[name, *place] for name, place in contigs.items()])
    return folder


def _entries(fasta: Path) -> Iterator[Any]:
    import pysam  # here: starts slowly, and other sources do not need it

    pysam.set_verbosity(0)  # htslib's own lines on the terminal
    with reading(fasta, "data.reference"), pysam.FastxFile(str(fasta)) as entries:
        yield from entries
