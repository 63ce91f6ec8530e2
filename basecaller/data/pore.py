"""The pore's levels by k-mer, and how well the labels of a data set fit its signals by these levels."""

from __future__ import annotations

import hashlib
import itertools
import re
from dataclasses import dataclass
from functools import cache, cached_property
from importlib.resources import as_file, files
from pathlib import Path

import numpy as np

from basecaller.common.errors import DataError
from basecaller.data.dataset import ALPHABET, Dataset
from basecaller.data.signal import encode, reverse_complement

ALIGNED = 100
"""Number of chunks whose event means are compared with a table."""

PLACED, LONGEST = 30, 8000
"""Number of chunks whose labels are placed by dynamic programming, and samples of the longest: the cost grows quadratically."""

FRAMES_PER_BASE = 4
"""Frames, means of a few samples, that stand for a base (median) when labels are placed."""

LONGEST_KMER = 12


@dataclass(frozen=True)
class Pore:
    """A k-mer table.

    Attributes:
        name: readable name.
        levels: float32 [4^k], in the order AA...A .. TT...T; only differences between them matter.
        offset: base i of a read lies under the k-mer seq[i - offset : i - offset + k]; None if unknown.
    """

    name: str
    levels: np.ndarray
    offset: int | None = None

    @property
    def k(self) -> int:
        return (len(self.levels).bit_length() - 1) // 2

    @cached_property
    def digest(self) -> str:
        """Digest of the levels, 16 hex digits."""
        return hashlib.sha256(self.levels.tobytes()).hexdigest()[:16]

    def expected(self, labels: np.ndarray) -> np.ndarray:
        """The level of every k-mer of labels 1 to 4: float32 [len - k + 1]."""
        return self.levels[kmer_indices(labels, self.k)]


def kmer_indices(labels: np.ndarray, k: int = 6) -> np.ndarray:
    """Row in a k-mer table of every k-mer of labels 1..4: int64 [len - k + 1]."""
    powers = 4 ** np.arange(k - 1, -1, -1)
    indices: np.ndarray = np.lib.stride_tricks.sliding_window_view(labels.astype(np.int64) - 1, k) @ powers
    return indices


@cache
def r94() -> Pore:
    """The R9.4 pore at 450 bases/s, 6-mers, in picoampere. (Oxford Nanopore Technologies, 2016, MPL 2.0: see `pore_models/`.)

    Base i sits under seq[i - 2 : i + 4]: the best correlation on event means of real reads, 0.98.
    """
    with as_file(files("basecaller.data") / "pore_models" / "r9.4_450bps_6mer.tsv") as path:
        return Pore("R9.4", read_table(path), 2)


def pore_of(path: str | None) -> Pore:
    """The table that `data.pore_model` names; by default R9.4's.

    Raises:
        DataError: the table cannot be read.
    """
    return r94() if path is None else Pore(Path(path).name, read_table(Path(path)))


def read_table(path: Path) -> np.ndarray:
    """The levels of a k-mer table: float32 [4^k].

    Args:
        path: text file with a k-mer and its level in each row, like Oxford Nanopore's tables. The level is in the column
            `level_mean` if there is a header, else in the second column.
    Raises:
        DataError: it is missing, is not such a table, or lacks k-mers.
    """
    try:
        rows = [
            re.split(r"[,\s]+", line.strip())
            for line in path.read_text(encoding="utf-8").splitlines()
            if line.strip() and line[0] != "#"
        ]
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"data.pore_model: cannot read {path}: {error}") from error
    column = 1
    if rows and not re.fullmatch("[ACGTU]+", rows[0][0].upper()):
        column = rows[0].index("level_mean") if "level_mean" in rows[0] else 1
        rows = rows[1:]
    k = len(rows[0][0]) if rows else 0
    if not 1 <= k <= LONGEST_KMER:
        raise DataError(f"data.pore_model: {path} is not a table of k-mers and levels, with rows such as `ACGTAC 86.5`")
    levels = np.full(4**k, np.nan, np.float32)
    for number, row in enumerate(rows, 1):
        labels = encode(row[0])
        try:
            if len(labels) != k or not labels.all():
                raise ValueError(f"{row[0]} is not a {k}-mer")
            levels[kmer_indices(labels, k)] = float(row[column])
        except (ValueError, IndexError) as error:
            raise DataError(f"data.pore_model: {path}, row {number}: {error}; a k-mer and its level are needed") from error
    if missing := int((~np.isfinite(levels)).sum()):
        raise DataError(f"data.pore_model: {path} has no level for {missing} of {4**k} {k}-mers")
    return levels


Ways = dict[str, float]


def fit(dataset: Dataset, pore: Pore) -> Ways | None:
    """The fit of a data set's labels to its signals by a table, as given and after the usual mix-ups of labels.
    Another pore fits badly in every way.

    Returns:
        For each way, the median over chunks of a correlation. If base starts are known, it correlates event means with the
        levels; else the signal with the levels in their best placement (then any labels fit somewhat, and the right ones
        best). None if the letters are not the table's, or no chunk is long enough.
    """
    if dataset.alphabet != ALPHABET:
        return None
    order = np.random.default_rng(0).permutation(len(dataset))
    if not dataset.has_starts:
        return _placed(dataset, order[dataset.lengths[order] <= LONGEST][:PLACED], pore)
    found: dict[str, list[float]] = {}
    for i in order[:ALIGNED]:
        signal, labels, starts = dataset.chunk(int(i))
        if starts is None or len(labels) < 2 * LONGEST_KMER:
            continue
        means = event_means(signal, starts)
        for way, shown in _ways(labels).items():
            expected = pore.expected(shown)
            for offset in range(pore.k) if pore.offset is None else (pore.offset,):
                found.setdefault(f"{way}@{offset}", []).append(_correlation(means, expected, offset))
        for shift in (-2, -1, 1, 2) if pore.offset is not None else ():
            value = _correlation(means, pore.expected(labels), (pore.offset or 0) + shift)
            found.setdefault(f"shifted by {shift}@", []).append(value)
    return _best(found)


def _ways(labels: np.ndarray) -> dict[str, np.ndarray]:
    """Labels as given and after every possible mix-up."""
    ways = {"as given": labels, "other strand": reverse_complement(labels), "reversed": labels[::-1]}
    for letters in itertools.islice(itertools.permutations(ALPHABET), 1, None):
        order = "".join(letters)  # letters of the labels 1, 2, 3, 4 in this mix-up
        ways[f"in the order {' '.join(order)}"] = np.append(0, encode(order))[labels].astype(np.uint8)
    return ways


def _best(found: dict[str, list[float]]) -> Ways | None:
    """Medians at the best offset of each way, and for the best order of letters."""
    medians: Ways = {}
    for key, values in found.items():
        way = key.partition("@")[0]
        medians[way] = max(medians.get(way, -1.0), round(float(np.median(values)), 3))
    orders = sorted((way for way in medians if way.startswith("in the order")), key=lambda way: -medians[way])
    return {way: value for way, value in medians.items() if way not in orders[1:]} or None


def event_means(signal: np.ndarray, starts: np.ndarray) -> np.ndarray:
    """Mean of the signal over each base: float64 [bases]. Bases without samples share their neighbour's mean."""
    cuts, where = np.unique(starts, return_inverse=True)
    sums = np.add.reduceat(np.asarray(signal, np.float64), cuts)
    means: np.ndarray = (sums / np.diff(np.append(cuts, len(signal))))[where]
    return means


def _correlation(means: np.ndarray, expected: np.ndarray, offset: int) -> float:
    """Correlation of event means with the levels of k-mers that begin `offset` bases earlier."""
    seen = means[max(0, offset) : offset + len(expected)]
    expected = expected[max(0, -offset) :][: len(seen)]
    return float(np.corrcoef(seen, expected)[0, 1]) if seen.std() > 0 and expected.std() > 0 else 0.0


def _placed(dataset: Dataset, chosen: np.ndarray, pore: Pore) -> Ways | None:
    """See `fit`: places every chunk in every way, all at once."""
    names, signals, levels = list[str](), list[np.ndarray](), list[np.ndarray]()
    for i in chosen:
        signal, labels, _ = dataset.chunk(int(i))
        width = max(1, round(len(signal) / len(labels) / FRAMES_PER_BASE))
        frames = np.asarray(signal[: len(signal) // width * width], np.float32).reshape(-1, width).mean(1)
        if len(labels) < 2 * LONGEST_KMER or len(frames) < len(labels) or frames.std() == 0:
            continue
        for way, shown in _ways(labels).items():
            expected = pore.expected(np.ascontiguousarray(shown))
            if expected.std() > 0:
                names.append(way)
                signals.append((frames - frames.mean()) / frames.std())
                levels.append((expected - expected.mean()) / expected.std())
    found: dict[str, list[float]] = {}
    for name, value in zip(names, placed_correlation(signals, levels), strict=True):
        found.setdefault(name, []).append(float(value))
    return _best(found)


def placed_correlation(signals: list[np.ndarray], levels: list[np.ndarray]) -> np.ndarray:
    """The fit of levels to signals if each level gets its best stretch of signal, in order, at least one frame each.

    Dynamic programming over frames and levels for the least sum of squared differences (as in Sakoe and Chiba, IEEE Trans.
    ASSP 26, 1978, where a frame has one level), all pairs at once.

    Args:
        signals: float [frames] each, with mean 0 and variance 1.
        levels: float [levels] each, likewise; not more than frames.
    Returns:
        float [pairs]: the square root of the share of the signal's variance that the levels explain.
    """
    if not signals:
        return np.zeros(0)
    frames, counts = np.array([len(s) for s in signals]), np.array([len(level) for level in levels])
    x = np.zeros((frames.max(), len(signals)), np.float32)
    m = np.zeros((len(levels), counts.max()), np.float32)
    for row, (signal, level) in enumerate(zip(signals, levels, strict=True)):
        x[: len(signal), row], m[row, : len(level)] = signal, level
    least = np.full(m.shape, np.inf, np.float32)
    least[:, 0] = (x[0] - m[:, 0]) ** 2
    ends = np.empty(len(signals))
    for t in range(len(x)):
        if t:
            least[:, 1:] = np.minimum(least[:, 1:], least[:, :-1])
            least += (x[t][:, None] - m) ** 2
        done = np.flatnonzero(frames == t + 1)
        ends[done] = least[done, counts[done] - 1]
    explained: np.ndarray = np.sqrt(np.maximum(0.0, 1 - ends / frames))
    return explained
