"""The objective, and how good the basecalls are."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch
from torch import Tensor

from basecaller.data.batches import Batch, collate, sorted_batches
from basecaller.data.dataset import Dataset
from basecaller.decode import Decoder, beam, greedy, to_string
from basecaller.metrics import align, identity_summary
from basecaller.training.engine import Engine

BATCH_SIZES = {"cpu": 16, "cuda": 64}
"""Chunks in a validation batch: what fits a processor's cache is twice as fast there as 64. It changes no result."""


def scored_batches(engine: Engine, dataset: Dataset, indices: np.ndarray) -> Iterator[tuple[Batch, float, Tensor, list[int]]]:
    """Scores of whole chunks, each as if it were alone: no cropping, and padding hidden.

    Args:
        engine: of the network.
        dataset, indices: the chunks.
    Yields:
        A batch, its loss in nats, its scores [batch, frames, labels], and how many frames of each row are its chunk's.
    """
    network = engine.network
    for rows in sorted_batches(indices, dataset.lengths, BATCH_SIZES[network.device.type]):
        batch = collate(dataset, rows, "masked", network.stride)
        yield batch, *engine.nats(batch), network.frames(torch.from_numpy(batch.lengths)).tolist()


def targets_of(batch: Batch, alphabet: str) -> list[str]:
    """The sequences of a batch."""
    return [to_string(t, alphabet) for t in np.split(batch.targets, np.cumsum(batch.target_lengths)[:-1])]


@torch.inference_mode()
def evaluate(engine: Engine, dataset: Dataset, indices: np.ndarray, decoder: Decoder | None = "greedy") -> dict[str, float]:
    """Scores a network on whole chunks, each as if it were alone.

    So the objective is the same function whatever batch size or padding a trial trained with.

    Args:
        engine: of the network.
        dataset, indices: the chunks; every target must fit the output.
        decoder: also basecall so, and compare with the targets; None: only the loss.
    Returns:
        `loss`: nats per base. `loss_per_read`: nats per chunk. With a decoder also `blank_fraction`, the share of
        frames called blank, and what `metrics.identity_summary` gives; with `beam` also `greedy_identity_mean`.
    """
    alphabet = engine.network.alphabet
    nats, bases, blanks, frames = 0.0, 0, 0, 0
    calls: list[str] = []
    beams: list[str] = []
    truths: list[str] = []
    for batch, loss, scores, valid in scored_batches(engine, dataset, indices):
        nats += loss
        bases += len(batch.targets)
        if decoder:
            best = scores.argmax(2).cpu().numpy()
            for row, n in zip(best, valid, strict=True):
                calls.append(greedy(row[:n], alphabet))
                blanks += int((row[:n] == 0).sum())
                frames += n
            if decoder == "beam":
                probabilities = scores.float().softmax(2).cpu().numpy()
                beams += [beam(row[:n], alphabet) for row, n in zip(probabilities, valid, strict=True)]
            truths += targets_of(batch, alphabet)
    scored = {"loss": nats / bases, "loss_per_read": nats / len(indices)}
    if decoder:
        scored |= {"blank_fraction": blanks / frames} | identity_summary(beams or calls, truths, alphabet)
    if decoder == "beam":
        scored["greedy_identity_mean"] = float(
            np.mean([align(c, t, alphabet).identity for c, t in zip(calls, truths, strict=True)])
        )
    return scored
