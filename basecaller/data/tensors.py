"""The original RawCTCNet's files: all reads' signals, and all sequences, each as one flat tensor and its index.

`PREFIX.data.pth` is 1-D; `PREFIX.idxs.pth` is [N, 2], start and stop of each read in it. `.npy` arrays of the same shapes also
work. Labels in the files are 1=A 2=G 3=C 4=T; here they become 1=A 2=C 3=G 4=T.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from basecaller.common.errors import DataError
from basecaller.data.dataset import Chunk, open_array
from basecaller.data.signal import normalise
from basecaller.data.splits import splits_of_reads

VERSION = 1
"""Version of data sets made from such files: see `sources.Source`."""

LABELS = np.array([0, 1, 3, 2, 4], np.uint8)
"""A G C T to A C G T."""


@dataclass(frozen=True)
class Settings:
    """Settings of `conf/data/rawctcnet.yaml`.

    Attributes:
        path: Folder of the tensors.
        signals: Prefix of the files with signals.
        sequences: Prefix of the files with sequences.
        validation: Share of the reads for validation, by a hash of the read's number.
        test: Share of the reads for the test; or a separate source, as in {name: bonito, path: DIR}.
        rna: Whether reads are direct RNA, whose signals and labels run from the 3' end; both are then reversed, so that labels
            run from 5' to 3'.
    """

    path: str
    signals: str
    sequences: str
    validation: float = field(metadata={"above": 0, "below": 1})
    test: float = field(metadata={"least": 0, "below": 1})
    rna: bool = False


def source_files(settings: Settings) -> list[Path]:
    """The four files.

    Raises:
        DataError: one is missing.
    """
    found = []
    for prefix in (settings.signals, settings.sequences):
        for kind in ("idxs", "data"):
            names = [f"{prefix}.{kind}.{ending}" for ending in ("pth", "npy")]
            there = [path for name in names if (path := Path(settings.path) / name).is_file()]
            if not there:
                raise DataError(f"data.path: {settings.path} has no {' or '.join(names)}; see data.signals, data.sequences")
            found.append(there[0])
    return found


def _array(path: Path) -> np.ndarray:
    if path.suffix == ".npy":
        return open_array(path)
    import torch  # here: starts slowly, and .npy files do not need it

    try:
        tensor = torch.load(path, map_location="cpu", weights_only=True)
        if not isinstance(tensor, torch.Tensor):
            raise TypeError(f"a {type(tensor).__name__}, not a tensor")
        return tensor.numpy()
    except Exception as error:  # a damaged file may raise anything
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise DataError(f"{path}: cannot be read as a tensor ({reason})") from error


def _ranges(index: np.ndarray, data: np.ndarray, path: Path) -> np.ndarray:
    """Start and stop of each read: int64 [N, 2]."""
    if index.ndim != 2 or index.shape[1] != 2 or data.ndim != 1:
        raise DataError(f"{path}: has shape {list(index.shape)}, and its data {list(data.shape)}; [N, 2] and 1-D are needed")
    ranges = np.asarray(index, np.int64)
    if len(ranges) and (ranges.min() < 0 or ranges.max() > len(data) or (ranges[:, 0] > ranges[:, 1]).any()):
        raise DataError(f"{path}: its starts and stops lie outside the data, which has {len(data)} values")
    return ranges


def import_tensors(settings: Settings, counts: Counter[str]) -> Iterator[Chunk]:
    """All usable reads, each one chunk.

    Args:
        settings: settings of the source.
        counts: audit counters, incremented in place.
    Raises:
        DataError: a file is missing or damaged, or the files do not belong together.
    """
    files = source_files(settings)
    signal_index, signals, label_index, labels = map(_array, files)
    signal_ranges, label_ranges = _ranges(signal_index, signals, files[0]), _ranges(label_index, labels, files[2])
    if len(signal_ranges) != len(label_ranges):
        raise DataError(f"{settings.path}: {len(signal_ranges)} signals and {len(label_ranges)} sequences do not pair up")
    usable = dict[str, tuple[np.ndarray, np.ndarray]]()
    for number, ((first, last), (begin, end)) in enumerate(zip(signal_ranges, label_ranges, strict=True)):
        signal, target = signals[first:last], labels[begin:end]
        if reason := _why_not(signal, target):
            counts[f"reads dropped: {reason}"] += 1
        else:
            usable[f"read-{number}"] = signal, target
    splits = splits_of_reads(usable, settings.validation, settings.test)
    way = -1 if settings.rna else 1
    for name, (signal, target) in usable.items():
        counts["reads kept"] += 1
        counts["labels mapped from A G C T"] += 1
        yield Chunk(name, normalise(signal)[::way], LABELS[target.astype(np.int64)][::way], None, splits[name])


def _why_not(signal: np.ndarray, labels: np.ndarray) -> str:
    """Why a read cannot be used; empty if it can."""
    if not len(signal) or not np.isfinite(signal).all():
        return "empty signal, or NaN or infinite values in it"
    if signal.min() == signal.max():
        return "constant signal"
    if not len(labels) or labels.min() < 1 or labels.max() > 4:
        return "no labels, or labels outside 1..4"
    return ""
