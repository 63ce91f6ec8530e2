"""Splits for training, validation and test: by read, or by position on the genome."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from itertools import accumulate

import numpy as np

SPLITS = ("train", "validation", "test")


def splits_of_reads(read_ids: Iterable[str], validation: float, test: float) -> dict[str, str]:
    """The split of every read, by a hash of its id: later reads move none of the earlier ones.

    If a split would stay empty, as with few reads, the read with the nearest hash goes there, as long as there are as many
    reads as splits.

    Args:
        read_ids: ids of all reads that have a chunk.
        validation, test: share of the reads in these splits; a test share of 0 means no test split.
    """
    places = {read_id: int.from_bytes(hashlib.sha1(read_id.encode()).digest()[:8], "big") / 2**64 for read_id in read_ids}
    ordered = sorted(places, key=lambda read_id: (places[read_id], read_id))
    tests = sum(place < test for place in places.values())
    held = sum(place < test + validation for place in places.values())
    if len(ordered) >= (3 if test else 2):
        tests = min(max(tests, 1), len(ordered) - 2) if test else 0
        held = min(max(held, tests + 1), len(ordered) - 1)
    return {
        read_id: "test" if number < tests else "validation" if number < held else "train"
        for number, read_id in enumerate(ordered)
    }


Contig = tuple[str, int]
"""A contig's name and length: contigs of one name in different assemblies differ in length."""


def splits_of_places(
    chunks: int,
    blocks: np.ndarray,
    contigs: Sequence[Contig],
    headers: Iterable[Sequence[Contig]],
    validation: float,
    test: float,
) -> np.ndarray:
    """The split of every chunk by its position: the first part of the covered bases is for training, the next for validation,
    the last for the test.

    Contigs are laid end to end in the order of their header. Genomes that share no contig are cut separately.

    Args:
        chunks: number of chunks.
        blocks: int64 [blocks, 4], the covered blocks: chunk, ascending, contig index, first and last position.
        contigs: contigs of `blocks`.
        headers: contigs of each BAM file.
        validation, test: share of the covered bases in these splits.
    Returns:
        int64 [chunks], indices into `SPLITS`; -1 for a chunk across a cut, 0 for a chunk without a block.
    """
    splits = np.zeros(chunks, np.int64)
    genomes = _genomes(headers)
    offsets = {contig: offset for genome in genomes for contig, offset in genome.items()}
    begins = np.array([offsets[contig] for contig in contigs], np.int64)[blocks[:, 1]] + blocks[:, 2]
    ends = begins + blocks[:, 3] - blocks[:, 2]
    genome_of = np.array([next(i for i, genome in enumerate(genomes) if contig in genome) for contig in contigs], np.int64)
    for number in range(len(genomes)):
        own = genome_of[blocks[:, 1]] == number
        if own.any():
            cuts = _cuts(begins[own], ends[own] + 1, np.array([1 - validation - test, 1 - test]))
            which, at = np.unique(blocks[own, 0], return_index=True)
            first = np.searchsorted(cuts, np.minimum.reduceat(begins[own], at), side="right")
            last = np.searchsorted(cuts, np.maximum.reduceat(ends[own], at), side="right")
            splits[which] = np.where(first == last, first, -1)
    return splits


def _genomes(headers: Iterable[Sequence[Contig]]) -> list[dict[Contig, int]]:
    """Contigs that belong together, each with its beginning when they are laid end to end."""
    found = list[dict[Contig, None]]()  # ordered sets
    for header in headers:
        own = dict.fromkeys(header)
        for genome in [genome for genome in found if genome.keys() & own.keys()]:
            found.remove(genome)
            own = genome | own
        found.append(own)
    return [dict(zip(genome, accumulate((length for _, length in genome), initial=0), strict=False)) for genome in found]


def _cuts(begins: np.ndarray, ends: np.ndarray, shares: np.ndarray) -> np.ndarray:
    """The positions before which each share of the bases covered by intervals lies: float [shares]."""
    order = np.argsort(begins, kind="stable")
    begins, ends = begins[order], np.maximum.accumulate(ends[order])
    new = np.append(True, begins[1:] > ends[:-1])  # intervals that do not touch an earlier one
    firsts = begins[new]
    sizes = ends[np.append(np.flatnonzero(new)[1:] - 1, len(ends) - 1)] - firsts
    before = np.cumsum(sizes) - sizes
    wanted = shares * sizes.sum()
    which = np.searchsorted(before, wanted, side="right") - 1
    cuts: np.ndarray = firsts[which] + wanted - before[which]
    return cuts
