"""The objective, and the quality of the basecalls."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch
from torch import Tensor

from basecaller.data.batches import Batch, collate, sorted_batches
from basecaller.data.dataset import Dataset
from basecaller.networks.decode import greedy, to_string
from basecaller.training.engine import Engine
from basecaller.training.metrics import identity_summary
from basecaller.training.scores import BasecallScores, ValidationScores

BATCH_SIZES = {"cpu": 16, "cuda": 64}
"""Chunks in a validation batch: a batch that fits a CPU's cache is twice as fast as one of 64. It changes no result."""


def scored_batches(
    engine: Engine, dataset: Dataset, indices: np.ndarray
) -> Iterator[tuple[np.ndarray, Batch, float, Tensor, list[int]]]:
    """Scores of whole chunks, each as if it were alone: without cropping, and with padding hidden.

    Args:
        engine: engine of the network.
        dataset, indices: the chunks.
    Yields:
        The chunks of a batch, int64 [batch], the batch, its loss in nats, its scores [batch, frames, labels], and the number of
        valid frames of each row.
    """
    network = engine.network
    for rows in sorted_batches(indices, dataset.lengths, BATCH_SIZES[network.device.type]):
        batch = collate(dataset, rows, "masked", network.stride)
        yield rows, batch, *engine.nats(batch), network.frames(torch.from_numpy(batch.lengths)).tolist()


def targets_of(batch: Batch, alphabet: str) -> list[str]:
    """The sequences of a batch."""
    return [to_string(t, alphabet) for t in np.split(batch.targets, np.cumsum(batch.target_lengths)[:-1])]


@torch.inference_mode()
def evaluate(engine: Engine, dataset: Dataset, indices: np.ndarray, basecall: bool = True) -> ValidationScores:
    """Scores a network on whole chunks, each as if it were alone.

    So the objective is the same function for every batch size and padding of a training.

    Args:
        engine: engine of the network.
        dataset, indices: the chunks; every target must fit the output.
        basecall: also call the bases, by the best path, and compare them with the targets.
    """
    alphabet = engine.network.alphabet
    nats, bases, blanks, frames = 0.0, 0, 0, 0
    calls: list[str] = []
    truths: list[str] = []
    for _, batch, loss, scores, valid in scored_batches(engine, dataset, indices):
        nats += loss
        bases += len(batch.targets)
        if basecall:
            best = scores.argmax(2).cpu().numpy()
            for row, n in zip(best, valid, strict=True):
                calls.append(greedy(row[:n], alphabet))
                blanks += int((row[:n] == 0).sum())
                frames += n
            truths += targets_of(batch, alphabet)
    if not basecall:
        return ValidationScores(nats / bases, nats / len(indices))
    called = BasecallScores(**vars(identity_summary(calls, truths, alphabet)), blank_fraction=blanks / frames)
    return ValidationScores(nats / bases, nats / len(indices), called)
