"""Batches of chunks of about equal length, cropped or padded to one rectangle."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from basecaller.common.errors import DataError, SettingError
from basecaller.common.geometry import output_length
from basecaller.data.dataset import Dataset

PADDINGS = ("off", "on", "masked")
POOL = 32
"""Number of batches whose chunks are sorted by length together: large enough to waste little, small enough to stay random."""


@dataclass(frozen=True)
class Batch:
    """Some chunks as one rectangle.

    Attributes:
        signal: float32 [batch, samples], zero beyond each chunk's end.
        lengths: int64 [batch], samples of each chunk.
        targets: int64 [bases of the batch], the labels concatenated.
        target_lengths: int64 [batch].
    """

    signal: np.ndarray
    lengths: np.ndarray
    targets: np.ndarray
    target_lengths: np.ndarray


def bucketed(indices: np.ndarray, lengths: np.ndarray, batch_size: int, rng: np.random.Generator) -> list[np.ndarray]:
    """Shuffles chunks into batches of about equal length, independently of the padding: every mode gets the same batches.

    Args:
        indices: int64 [n], the chunks to distribute; each is in one batch.
        lengths: int64 [all chunks], samples of each chunk.
        batch_size: chunks per batch; the last batch may have fewer.
        rng: decides the order.
    Returns:
        The chunks of each batch, int64 [batch], in the order of training.
    """
    order = rng.permutation(indices)
    pools = np.split(order, np.arange(batch_size * POOL, len(order), batch_size * POOL))
    by_length = [pool[np.argsort(lengths[pool], kind="stable")] for pool in pools]
    batches = [batch for pool in by_length for batch in np.split(pool, np.arange(batch_size, len(pool), batch_size))]
    return [batches[i] for i in rng.permutation(len(batches))]


def sorted_batches(indices: np.ndarray, lengths: np.ndarray, batch_size: int) -> list[np.ndarray]:
    """Batches of chunks in order of length, which needs the least padding; for validation, where order does not matter.

    Args:
        indices, lengths: see `bucketed`.
        batch_size: chunks per batch; the last batch may have fewer.
    Returns:
        The chunks of each batch, int64 [batch].
    """
    order = indices[np.argsort(lengths[indices], kind="stable")]
    return np.split(order, np.arange(batch_size, len(order), batch_size))


def crop(labels: np.ndarray, starts: np.ndarray, length: int, begin: int, samples: int) -> np.ndarray:
    """Labels of the bases that lie completely inside a window of a chunk: uint8 [bases inside].

    Args:
        labels: uint8 [bases].
        starts: int [bases], first sample of each base.
        length: samples in the chunk.
        begin: first sample of the window.
        samples: samples in the window.
    """
    stop = begin + samples  # a base ends where the next one starts, the last one with the chunk
    first = starts.searchsorted(begin)
    return labels[first:] if stop >= length else labels[first : starts[1:].searchsorted(stop, side="right")]


def _cropped_row(dataset: Dataset, index: int, samples: int, stride: int) -> tuple[np.ndarray, np.ndarray] | None:
    """A chunk cropped at its end or, if too many bases remain for CTC, at its start; None if both fail."""
    signal, labels, starts = dataset.chunk(index)
    if starts is None:  # its batch has only chunks of its length, see `training_batches`
        return signal, labels
    for begin in (0, len(signal) - samples):
        target = crop(labels, starts, len(signal), begin, samples)
        needed = len(target) + np.count_nonzero(target[1:] == target[:-1])  # see `geometry.frames_needed`
        if 0 < needed <= output_length(samples, stride):
            return signal[begin : begin + samples], target
    return None


def collate(dataset: Dataset, indices: np.ndarray, padding: str, stride: int) -> Batch:
    """Reads the chunks of one batch.

    Args:
        dataset: data set of the chunks.
        indices: int64 [batch].
        padding: `off` crops all to the shortest; `on` and `masked` pad to the longest with zeros.
        stride: stride of the network, to decide which crops CTC can align.
    Raises:
        DataError: a chunk holds NaN or infinite values.
    """
    if padding == "off":
        shortest = int(dataset.lengths[indices].min())
        rows = [row for i in indices if (row := _cropped_row(dataset, i, shortest, stride)) is not None]
    else:
        rows = [dataset.chunk(i)[:2] for i in indices]
    lengths = np.array([len(signal) for signal, _ in rows], np.int64)
    signal = np.zeros((len(rows), lengths.max()), np.float32)
    for row, (values, _) in zip(signal, rows, strict=True):
        row[: len(values)] = values
    if not np.isfinite(signal.sum()):
        broken = next(i for i in indices if not np.isfinite(dataset.chunk(i)[0]).all())
        raise DataError(
            f"{dataset.folder}: NaN or infinite values in chunk {broken} (read {dataset.read_ids[broken].decode()}); "
            "delete the folder and prepare it again"
        )
    targets = np.concatenate([labels for _, labels in rows]).astype(np.int64)
    return Batch(signal, lengths, targets, np.array([len(labels) for _, labels in rows], np.int64))


def check_padding(dataset: Dataset, padding: str, batch_size: int) -> None:
    """Checks that batches can be made with a padding.

    Raises:
        SettingError: chunks would have to be cropped, but their base starts are unknown.
    """
    if padding != "off" or dataset.has_starts:
        return
    lengths = np.unique(dataset.lengths[dataset.indices("train")])
    if len(lengths) > 1 and len(dataset.indices("train")) < len(lengths) * batch_size:
        raise SettingError(
            f"padding=off: {dataset.folder} has chunks of {len(lengths)} lengths but no base starts, so chunks cannot be "
            "cropped; use padding=masked"
        )


def padding_question(dataset: Dataset, batch_size: int) -> tuple[list[str], str]:
    """The paddings that a data set can tell apart.

    Args:
        dataset: data set to train on.
        batch_size: chunks per batch.
    Returns:
        The values of `padding` to compare, a single one if there is nothing to compare; and why they are not `off` and `on`.
    """
    lengths = np.unique(dataset.lengths[dataset.indices("train")])
    if len(lengths) == 1:
        return ["off"], f"every chunk has {lengths[0]} samples, so there is nothing to pad; padding=off is kept"
    try:
        check_padding(dataset, "off", batch_size)
    except SettingError:
        return ["masked", "on"], (
            "where bases start is not known, so chunks cannot be cropped; padding=on is held against padding=masked, which "
            "hides the padding from the network"
        )
    return ["off", "on"], ""


def training_batches(
    dataset: Dataset, indices: np.ndarray, parts: Sequence[tuple[int, int]], padding: str, stride: int, seed: int, epoch: int
) -> Iterator[Batch]:
    """One epoch of batches; the order depends only on the chunks, the parts, `seed` and `epoch`.

    If chunks would have to be cropped but cannot be, each batch has chunks of one length.

    Args:
        dataset, indices: the chunks.
        parts: pairs of number of chunks and batch size, in order.
        padding, stride: see `collate`.
        seed, epoch: decide the order.
    """
    rng = np.random.default_rng([seed, epoch])
    if len(parts) > 1:
        indices = rng.permutation(indices)
    end = 0
    for chunks, batch_size in parts:
        begin, end = end, end + chunks
        for batch in _dealt(dataset, indices[begin:end], batch_size, padding, rng):
            yield collate(dataset, batch, padding, stride)


def _dealt(dataset: Dataset, indices: np.ndarray, batch_size: int, padding: str, rng: np.random.Generator) -> list[np.ndarray]:
    batches = bucketed(indices, dataset.lengths, batch_size, rng)
    if padding != "off" or dataset.has_starts:
        return batches
    of = dataset.lengths[indices]
    alike = [bucketed(indices[of == length], dataset.lengths, batch_size, rng) for length in np.unique(of)]
    batches = [batch for same in alike for batch in same]
    return [batches[i] for i in rng.permutation(len(batches))]
