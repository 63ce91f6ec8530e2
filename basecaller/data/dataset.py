"""The data set on disk: flat arrays opened by memory map, written once and then only read.

| file | dtype, shape | what |
|---|---|---|
| `signals.npy` | float16 [samples] | all chunks' signals concatenated, median/MAD-normalised |
| `labels.npy` | uint8 [bases] | all targets concatenated: 1=A 2=C 3=G 4=T (0 is the CTC blank) |
| `base_starts.npy` | int32 [bases] | first sample of each base, from its chunk's start; empty if the source has none |
| `signal_offsets.npy`, `label_offsets.npy` | int64 [chunks + 1] | where each chunk starts in the arrays above |
| `read_ids.npy` | bytes [chunks] | the read each chunk was cut from |
| `splits.npy` | uint8 [chunks] | index into `SPLITS` |
| `signal_rows.npy` | int64 [2 x chunks] | in place of `signals.npy`: the file, and the row in it, that is the chunk's signal |
| `places.npy` | int64 [4 x blocks] | blocks of aligned chunks: chunk, contig (of `meta.json`), first and last position |
| `meta.json` | | source, settings, counts, contigs, fingerprint; written last |
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from types import TracebackType
from typing import Any, BinaryIO

import numpy as np
from numpy.lib import format as npy

from basecaller.common.errors import DataError
from basecaller.common.geometry import frames_needed, output_length
from basecaller.data.signal import normalise
from basecaller.data.splits import SPLITS, Contig

ALPHABET = "ACGT"
FORMAT = 1
DTYPES: dict[str, np.dtype[Any]] = {
    "signals": np.dtype(np.float16),
    "labels": np.dtype(np.uint8),
    "base_starts": np.dtype(np.int32),
    "signal_offsets": np.dtype(np.int64),
    "label_offsets": np.dtype(np.int64),
    "splits": np.dtype(np.uint8),
}
WRITTEN = DTYPES | {"signal_rows": np.dtype(np.int64), "places": np.dtype(np.int64)}
"""All files of a data set, including optional ones."""


@dataclass(frozen=True)
class Row:
    """A signal that stays where it is: the first samples of a row of a two-dimensional `.npy` file.

    Attributes:
        file: index into the source's list of files.
        row: row in that file.
        samples: number of samples in the row, before its padding if it has any.
    """

    file: int
    row: int
    samples: int


@dataclass(frozen=True)
class Chunk:
    """A stretch of one read, with its target.

    Attributes:
        read_id: the read it was cut from; all chunks of a read lie in one split.
        signal: float [samples], normalised; or the row of a file that holds it.
        labels: uint8 [bases], values from 1.
        starts: int [bases], the first sample of each base within `signal`, ascending; None if unknown.
        split: one of `SPLITS`; meaningless as long as only a part of a source is imported.
        contig: the contig that it is aligned to, if any.
        blocks: int64 [blocks, 2], first and last position of the blocks that it covers there.
    """

    read_id: str
    signal: np.ndarray | Row
    labels: np.ndarray
    starts: np.ndarray | None
    split: str = "train"
    contig: Contig | None = None
    blocks: np.ndarray | None = None


class _Column:
    """One 1-D array appended to a `.npy` file; the header, rewritten at the end, always takes 128 bytes."""

    HEADER = 128

    def __init__(self, path: Path, dtype: np.dtype) -> None:
        self.dtype, self.length = dtype, 0
        self.file: BinaryIO = path.open("wb")
        self._header()

    def _header(self) -> None:
        self.file.seek(0)
        description = {"descr": npy.dtype_to_descr(self.dtype), "fortran_order": False, "shape": (self.length,)}
        npy.write_array_header_1_0(self.file, description)
        if self.file.tell() != self.HEADER:  # NumPy pads headers so that they can grow in place
            raise RuntimeError(f"a .npy header of {self.file.tell()} bytes, {self.HEADER} expected")

    def append(self, values: np.ndarray) -> bytes:
        """Appends values, converted to the column's type. Returns them as bytes."""
        data = np.ascontiguousarray(values, self.dtype).tobytes()
        self.file.write(data)
        self.length += len(values)
        return data

    def close(self) -> None:
        """Rewrites the header with the final length, and closes the file."""
        self._header()
        self.file.flush()
        os.fsync(self.file.fileno())
        self.file.close()


SAMPLED = "reads at {} Hz"
"""Counter of an import: reads by their sample rate."""


def sample_rates(counts: Mapping[str, int]) -> list[int]:
    """The sample rates in an import's counts, in Hz, ascending."""
    return sorted({int(found[1]) for reason in counts if (found := re.search(SAMPLED.format(r"(\d+)") + "$", reason))})


class DatasetWriter:
    """Writes a data set to a temporary folder and renames it when it is complete; on an error nothing is left.

    Args:
        folder: folder of the complete data set.
        meta: metadata of the source.
        alphabet: the letters of labels 1, 2, ...
        needed: the splits that must not be empty.

    Example:
        >>> with DatasetWriter(folder, {"source": "mine"}) as writer:
        ...     writer.add(chunk)

    Raises:
        DataError: from `add`, if a chunk is invalid.
    """

    def __init__(self, folder: Path, meta: dict[str, Any], alphabet: str = ALPHABET, needed: Sequence[str] = SPLITS) -> None:
        self.folder, self.meta, self.alphabet, self.needed = folder, meta, alphabet, needed
        self.partial = folder.with_name(f"{folder.name}.partial-{os.getpid()}")
        self.hash = hashlib.sha256(str(meta.get("made_from", "")).encode())
        self.counts = dict.fromkeys(SPLITS, 0)
        self.read_ids: list[bytes] = []
        self.contigs: dict[Contig, int] = {}
        self.samples = 0

    def __enter__(self) -> DatasetWriter:
        self.partial.mkdir(parents=True)
        self.columns = {name: _Column(self.partial / f"{name}.npy", dtype) for name, dtype in WRITTEN.items()}
        for name in ("signal_offsets", "label_offsets"):
            self.columns[name].append(np.zeros(1))
        return self

    def add(self, chunk: Chunk) -> None:
        """Appends a chunk.

        Raises:
            DataError: labels are missing or outside the alphabet, base starts do not ascend within the signal, or the signal is
                empty or not finite.
        """
        name = f"read {chunk.read_id}"
        if not len(chunk.labels) or chunk.labels.min() < 1 or chunk.labels.max() > len(self.alphabet):
            raise DataError(f"{name}: no labels, or labels outside 1..{len(self.alphabet)} ({self.alphabet})")
        samples = self._add_signal(name, chunk.signal)
        if chunk.starts is not None:
            starts = np.asarray(chunk.starts)
            if len(starts) != len(chunk.labels) or starts[0] < 0 or starts[-1] >= samples or (np.diff(starts) < 1).any():
                raise DataError(f"{name}: base starts must ascend within the signal, one for each label")
            self.hash.update(self.columns["base_starts"].append(starts))
        split = SPLITS.index(chunk.split)
        self.hash.update(self.columns["labels"].append(chunk.labels))
        self.samples += samples
        self.columns["signal_offsets"].append(np.array([self.samples]))
        self.columns["label_offsets"].append(np.array([self.columns["labels"].length]))
        self.columns["splits"].append(np.array([split]))
        if chunk.contig is not None and chunk.blocks is not None:
            own = [len(self.read_ids), self.contigs.setdefault(chunk.contig, len(self.contigs))]
            self.columns["places"].append(np.insert(chunk.blocks, [0, 0], own, axis=1).ravel())
        self.read_ids.append(chunk.read_id.encode())
        self.hash.update(b"%d %s %d %d;" % (split, self.read_ids[-1], samples, len(chunk.labels)))
        self.counts[chunk.split] += 1

    def _add_signal(self, name: str, signal: np.ndarray | Row) -> int:
        """Adds a signal and returns its number of samples."""
        if isinstance(signal, Row):
            self.hash.update(self.columns["signal_rows"].append(np.array([signal.file, signal.row])))
            return signal.samples
        signal = np.asarray(signal, np.float16)
        if not len(signal) or not np.isfinite(signal).all():
            raise DataError(f"{name}: its signal is empty, or has NaN or infinite values; leave it out or repair it")
        self.hash.update(self.columns["signals"].append(signal))
        return len(signal)

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        try:
            for column in self.columns.values():
                column.close()
            if kind is None:
                self._commit()
        finally:
            shutil.rmtree(self.partial, ignore_errors=True)

    def _commit(self) -> None:
        empty = [name for name in self.needed if not self.counts[name]]
        if empty:
            raise DataError(
                f"{self.meta.get('source', 'this data')}: no chunk is left for {' and '.join(empty)} "
                f"({sum(self.counts.values())} chunks in all); give more reads, or change data.validation or data.test"
            )
        np.save(self.partial / "read_ids.npy", np.array(self.read_ids))
        meta = {
            **self.meta,
            "format": FORMAT,
            "alphabet": self.alphabet,
            "chunks": self.counts,
            "samples": self.samples,
            "bases": self.columns["labels"].length,
            "contigs": list(self.contigs),
            "fingerprint": self.hash.hexdigest()[:16],
        }
        (self.partial / "meta.json").write_text(json.dumps(meta, indent=1), encoding="utf-8")
        self.partial.rename(self.folder)


class Dataset:
    """A data set on disk, its arrays read through memory maps.

    Args:
        folder: a folder written by `DatasetWriter`.
        elsewhere: the files that hold the signals, if they are not in the folder.
    Raises:
        DataError: the folder is not a data set, has another format, or is truncated.
    """

    def __init__(self, folder: Path, elsewhere: Sequence[Path] = ()) -> None:
        self.folder = folder
        try:
            self.meta: dict[str, Any] = json.loads((folder / "meta.json").read_text(encoding="utf-8"))
            arrays = {name: np.load(folder / f"{name}.npy", mmap_mode="r", allow_pickle=False) for name in DTYPES}
            self.read_ids = np.load(folder / "read_ids.npy", allow_pickle=False)
            self.rows = np.load(folder / "signal_rows.npy", allow_pickle=False).reshape(-1, 2) if elsewhere else None
        except Exception as error:  # a damaged file may raise anything
            raise DataError(f"{folder}: not a complete data set ({error}); delete the folder and prepare it again") from error
        if not isinstance(self.meta, dict) or self.meta.get("format") != FORMAT:
            raise DataError(f"{folder}: meta.json is not of format {FORMAT}, which this version reads; prepare it again")
        if any(array.dtype != DTYPES[name] or array.ndim != 1 for name, array in arrays.items()):
            raise DataError(f"{folder}: its arrays have wrong types; delete the folder and prepare it again")
        # Plain arrays over the maps' memory: a slice of a `memmap` takes ten times as long as one of an array.
        self.signals, self.labels, self.base_starts = (
            np.asarray(arrays[name]) for name in ("signals", "labels", "base_starts")
        )
        self.elsewhere = [open_array(path) for path in elsewhere]
        # The small arrays are used by every batch: plain memory is faster than a map.
        self.signal_offsets = np.array(arrays["signal_offsets"])
        self.label_offsets = np.array(arrays["label_offsets"])
        self.splits = np.array(arrays["splits"])
        if problem := self._problem():
            raise DataError(f"{folder}: {problem}; the data set is damaged: delete the folder and prepare it again")

    def _problem(self) -> str:
        """Describes how the arrays are inconsistent; empty if they are consistent."""
        chunks = len(self.splits)
        samples = len(self.signals) if self.rows is None else self.meta.get("samples")
        for name, offsets, end in (
            ("signal_offsets", self.signal_offsets, samples),
            ("label_offsets", self.label_offsets, len(self.labels)),
        ):
            if len(offsets) != chunks + 1 or offsets[0] != 0 or offsets[-1] != end or (np.diff(offsets) < 1).any():
                return f"{name} do not cut {end} values into {chunks} chunks"
        if len(self.base_starts) not in (0, len(self.labels)) or len(self.read_ids) != chunks:
            return "its arrays have other lengths than each other"
        if "fingerprint" not in self.meta or not np.isin(self.splits, range(len(SPLITS))).all():
            return "its splits or its fingerprint are not readable"
        return "" if self.rows is None else self._misplaced(self.rows)

    def _misplaced(self, rows: np.ndarray) -> str:
        if len(rows) != len(self.splits) or rows.min() < 0 or rows[:, 0].max() >= len(self.elsewhere):
            return "its signal rows are not readable"
        for number, array in enumerate(self.elsewhere):
            of = rows[:, 0] == number
            if of.any() and (array.ndim != 2 or rows[of, 1].max() >= len(array) or (self.lengths[of] > array.shape[1]).any()):
                return f"the signals in {array.filename} are fewer, or others, than when it was prepared"
        return ""

    def __len__(self) -> int:
        return len(self.splits)

    @property
    def fingerprint(self) -> str:
        """Digest of the data set, 16 hex digits."""
        return str(self.meta["fingerprint"])

    @property
    def alphabet(self) -> str:
        """The letters of labels 1, 2, ..."""
        return str(self.meta.get("alphabet", ALPHABET))

    @property
    def sample_rates(self) -> list[int]:
        """Sample rates of its reads in Hz, ascending; empty if its sources do not tell."""
        return sample_rates(self.meta.get("counts", {}))

    @property
    def has_starts(self) -> bool:
        """Whether the first sample of every base is known, so that a chunk can be cropped."""
        return len(self.base_starts) > 0

    @property
    def label_counts(self) -> np.ndarray:
        """Number of occurrences of each label but the blank: int64 [letters]."""
        return np.bincount(self.labels, minlength=len(self.alphabet) + 1)[1:]

    def indices(self, split: str) -> np.ndarray:
        """Chunks of one split: int64 [n], ascending."""
        return np.flatnonzero(self.splits == SPLITS.index(split))

    def choice(self, split: str, limit: int | None, seed: int = 0) -> np.ndarray:
        """A random choice of `limit` chunks of a split (None: all): int64 [n], ascending.

        A larger choice with the same seed includes the smaller one.
        """
        indices = self.indices(split)
        return indices if limit is None else np.sort(np.random.default_rng(seed).permutation(indices)[:limit])

    @cached_property
    def lengths(self) -> np.ndarray:
        """Samples in each chunk: int64 [chunks]."""
        return np.diff(self.signal_offsets)

    @cached_property
    def target_lengths(self) -> np.ndarray:
        """Bases in each chunk: int64 [chunks]."""
        return np.diff(self.label_offsets)

    @cached_property
    def frames_needed(self) -> np.ndarray:
        """Fewest output frames for each chunk's target: int64 [chunks].

        Raises:
            DataError: a label is outside the alphabet.
        """
        if self.labels.min() < 1 or self.labels.max() > len(self.alphabet):
            raise DataError(
                f"{self.folder}: labels outside 1..{len(self.alphabet)} ({self.alphabet}); the data set is damaged: "
                "delete the folder and prepare it again"
            )
        return frames_needed(self.labels, self.label_offsets)

    def chunk(self, index: int) -> tuple[np.ndarray, np.ndarray, np.ndarray | None]:
        """Signal float [samples], labels uint8 [bases], base starts int32 [bases] (None if not known) of one chunk."""
        b = slice(self.label_offsets[index], self.label_offsets[index + 1])
        if self.rows is None:
            signal = self.signals[self.signal_offsets[index] : self.signal_offsets[index + 1]]
        else:
            file, row = self.rows[index]
            signal = self.elsewhere[file][row][: self.signal_offsets[index + 1] - self.signal_offsets[index]]
            if signal.dtype.kind in "iu":  # raw counts
                signal = normalise(signal)
            if self.meta["settings"].get("rna"):
                signal = np.ascontiguousarray(signal[::-1])
        return signal, self.labels[b], self.base_starts[b] if self.has_starts else None

    @property
    def places(self) -> tuple[np.ndarray, list[Contig]]:
        """Blocks that aligned chunks cover, int64 [blocks, 4]: chunk, contig index, first and last position; and contigs."""
        blocks = np.load(self.folder / "places.npy", allow_pickle=False).reshape(-1, 4)
        return blocks, [(name, length) for name, length in self.meta["contigs"]]

    def infeasible(self, indices: np.ndarray, stride: int) -> np.ndarray:
        """The `indices` of chunks whose target needs more frames than the network gives at this stride."""
        return indices[self.frames_needed[indices] > output_length(self.lengths[indices], stride)]


def open_array(path: Path) -> Any:
    """A `.npy` file of numbers as a memory map.

    Raises:
        DataError: the file is missing or truncated, or has no numbers.
    """
    try:
        array = np.load(path, mmap_mode="r", allow_pickle=False)
    except Exception as error:  # a damaged file may raise anything
        raise DataError(
            f"{path}: cannot be read as a NumPy array ({error}); is it truncated, or another kind of file?"
        ) from error
    if not isinstance(array, np.ndarray) or array.dtype.kind not in "fiu":
        raise DataError(f"{path}: has no numbers")
    return array
