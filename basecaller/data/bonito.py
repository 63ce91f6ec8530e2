"""Bonito's training directories: `chunks.npy`, `references.npy`, `reference_lengths.npy`, as `bonito basecaller --save-ctc` and
dorado-based tools write them. Signals stay where they are; only targets are copied.

| file | shape, dtype | what |
|---|---|---|
| `chunks.npy` | [N, T], any numbers | normalised signal; whole numbers are treated as raw counts and normalised |
| `references.npy` | [N, longest], any whole numbers | labels from 1, zeros after the end |
| `reference_lengths.npy` | [N] | bases in each row |
| `indices.npy` | [n], optional | the rows to use |
| `chunk_lengths.npy` | [N], optional | samples in each row, which is padded after them; Bonito before 0.4 writes it |
| `validation/` | the same files, optional | validate and test on these |
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from basecaller.common.errors import DataError
from basecaller.data.dataset import Chunk, Row, open_array
from basecaller.data.signal import MEDIAN_MAD, Normalisation

VERSION = 1
"""Version of data sets made from such directories: see `sources.Source`."""

ARRAYS = ("chunks", "references", "reference_lengths")
BLOCK = 512
"""Number of rows to check together."""


@dataclass(frozen=True)
class Settings(Normalisation):
    """Settings of `conf/data/bonito.yaml`.

    Attributes:
        path: Directory, or a list of them; their chunks may differ in width.
        limit: Number of randomly chosen chunks to use. null: all.
        alphabet: Letters of labels 1, 2, ...
        validation: Share of each directory's chunks for validation, taken near its end, since neighbours may come from one
            read. With `validation/`, both splits are there, in proportion to their shares.
        test: Share of each directory's chunks for the test, taken at its end; or a separate source, as in
            {name: pod5, pod5: ..., bam: ...}.
        normalisation: How the signals were normalised: `median_mad`, `quantile` as for Bonito's models of R10 before v5, or
            `standardise`, by `data.mean` and `data.stdev`, as for those since v5. Basecalls of the model normalise reads in the
            same way. Raw counts are always normalised by `median_mad`.
        rna: Whether chunks are direct RNA, as `bonito basecaller --rna --save-ctc` writes them, from the 3' end; signals and
            labels are then reversed, so that labels run from 5' to 3'.
    """

    path: tuple[str, ...]
    limit: int | None = field(metadata={"least": 3})
    alphabet: str = field(metadata={"matches": (r"(?:([A-Za-z])(?!.*\1))+", "distinct letters, for the labels 1, 2, ...")})
    validation: float = field(metadata={"above": 0, "below": 1})
    test: float = field(metadata={"least": 0, "below": 1})
    rna: bool = False


@dataclass(frozen=True)
class _Directory:
    """One set of arrays, opened; samples of each row, int64 [N], and the rows to use, int64 [n]."""

    path: Path
    chunks: Any
    references: Any
    lengths: np.ndarray
    samples: np.ndarray
    rows: np.ndarray


def directories(settings: Settings) -> list[Path]:
    """The directories with arrays: each given one, followed by its `validation/`.

    Raises:
        DataError: a directory is missing, or has no arrays.
    """
    if not settings.path:
        raise DataError("data=bonito needs data.path=DIRECTORY")
    found = []
    for entry in settings.path:
        path = Path(entry)
        if not path.is_dir():
            raise DataError(f"data.path: {path} is not a directory")
        found.append(path)
        if (path / "validation").is_dir():
            found.append(path / "validation")
    for path in found:
        for name in ARRAYS:
            if not (path / f"{name}.npy").is_file():
                raise DataError(f"data.path: {path} has no {name}.npy; a Bonito directory has {', '.join(ARRAYS)}")
    return found


def source_files(settings: Settings) -> list[Path]:
    """Every file that the data set is made from."""
    names = (*ARRAYS, "indices", "chunk_lengths")
    return [file for path in directories(settings) for name in names if (file := path / f"{name}.npy").is_file()]


def signal_files(settings: Settings) -> list[Path]:
    """The files that `dataset.Row.file` is an index into."""
    return [path / "chunks.npy" for path in directories(settings)]


def _open(path: Path, counts: Counter[str]) -> _Directory:
    """Opens a directory's arrays. Leaves out rows of `indices.npy` beyond them, as Bonito does.

    Raises:
        DataError: they are missing, or do not belong together.
    """
    chunks, references, lengths = (open_array(path / f"{name}.npy") for name in ARRAYS)
    if chunks.ndim != 2 or references.ndim != 2 or lengths.ndim != 1 or not len(chunks) == len(references) == len(lengths):
        raise DataError(
            f"{path}: chunks.npy {list(chunks.shape)}, references.npy {list(references.shape)} and reference_lengths.npy "
            f"{list(lengths.shape)} do not belong together: [N, T], [N, L] and [N] are needed"
        )
    samples = np.full(len(chunks), chunks.shape[1], np.int64)
    if (path / "chunk_lengths.npy").is_file():
        samples = np.asarray(open_array(path / "chunk_lengths.npy"), np.int64)
        if samples.shape != lengths.shape:
            raise DataError(f"{path / 'chunk_lengths.npy'}: {list(samples.shape)} does not fit chunks.npy {list(chunks.shape)}")
    rows = np.arange(len(chunks))
    if (path / "indices.npy").is_file():
        rows = np.array(open_array(path / "indices.npy"))
        if rows.ndim != 1 or rows.dtype.kind not in "iu" or (len(rows) and (rows.min() < 0 or rows.min() >= len(chunks))):
            raise DataError(f"{path / 'indices.npy'}: not a list of rows of chunks.npy, which has {len(chunks)}")
        if beyond := int((rows >= len(chunks)).sum()):
            counts["rows of indices.npy beyond the arrays"] += beyond
        rows = np.unique(rows[rows < len(chunks)]).astype(np.int64)
    return _Directory(path, chunks, references, np.asarray(lengths, np.int64), samples, rows)


def _splits(settings: Settings, directory: _Directory, parents: set[Path]) -> np.ndarray:
    """The splits of a directory's rows, in order.

    Args:
        settings: settings of the source.
        directory: the directory.
        parents: the directories with `validation/`.
    """
    place = (np.arange(len(directory.rows)) + 0.5) / max(1, len(directory.rows))
    if directory.path.parent in parents and directory.path.name == "validation":
        tested = settings.test / (settings.validation + settings.test)
        return np.where(place < 1 - tested, "validation", "test")
    if directory.path in parents:
        return np.full(len(place), "train")
    return np.where(
        place < 1 - settings.validation - settings.test, "train", np.where(place < 1 - settings.test, "validation", "test")
    )


def _why_not(signal: np.ndarray, labels: np.ndarray, length: int, letters: int) -> str:
    """Why a chunk cannot be used; empty if it can."""
    if not len(signal):
        return "no signal"
    if not np.isfinite(signal).all():
        return "NaN or infinite values in the signal"
    if signal.min() == signal.max():
        return "constant signal"
    if not 0 < length <= len(labels):
        return "no labels" if length <= 0 else "more labels than references.npy is wide"
    if labels[:length].min() < 1 or labels[:length].max() > letters:
        return "labels outside the alphabet"
    return ""


def import_bonito(settings: Settings, counts: Counter[str]) -> Iterator[Chunk]:
    """All usable chunks of all directories; each is read once, none is copied.

    Args:
        settings: settings of the source.
        counts: audit counters, incremented in place.
    Raises:
        DataError: arrays are missing, do not belong together, or most labels are outside the alphabet; or signals are raw
            counts, which are not in pA.
    """
    opened = [_open(path, counts) for path in directories(settings)]
    for directory in opened:
        if settings.normalisation != MEDIAN_MAD and directory.chunks.dtype.kind in "iu":
            raise DataError(
                f"{directory.path / 'chunks.npy'}: has raw counts, which are normalised by {MEDIAN_MAD}; "
                f"data.normalisation={settings.normalisation} needs normalised signals"
            )
    parents = {path for entry in settings.path if (path := Path(entry)) and (path / "validation").is_dir()}
    total = sum(len(directory.rows) for directory in opened)
    kept = np.ones(total, bool)
    if settings.limit is not None and settings.limit < total:
        kept[np.random.default_rng(0).permutation(total)[settings.limit :]] = False
        counts["chunks not drawn by data.limit"] += total - settings.limit
    before = 0
    for number, directory in enumerate(opened):
        splits = _splits(settings, directory, parents)
        chosen = np.flatnonzero(kept[before : before + len(directory.rows)])
        before += len(directory.rows)
        for block in np.split(chosen, np.arange(BLOCK, len(chosen), BLOCK)):
            rows = directory.rows[block]
            signals, references = directory.chunks[rows], directory.references[rows]
            for place, row, signal, labels in zip(block, rows, signals, references, strict=True):
                length = int(directory.lengths[row])
                signal = signal[: max(0, directory.samples[row])]
                if reason := _why_not(signal, labels, length, len(settings.alphabet)):
                    counts[f"chunks dropped: {reason}"] += 1
                    continue
                counts["chunks kept"] += 1
                name, target = f"{number}:{row}", labels[:length].astype(np.uint8)
                if settings.rna:
                    target = target[::-1]
                yield Chunk(name, Row(number, int(row), len(signal)), target, None, splits[place])
    outside = counts["chunks dropped: labels outside the alphabet"]
    if outside > counts["chunks kept"]:
        raise DataError(
            f"{', '.join(settings.path)}: {outside} of {total} chunks have labels outside 1..{len(settings.alphabet)} "
            f"({settings.alphabet}): do they begin at 0, or belong to another data.alphabet?"
        )
