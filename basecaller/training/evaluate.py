"""The objective, and how good the basecalls are."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from basecaller.data.batches import Batch, collate, sorted_batches
from basecaller.data.dataset import Dataset
from basecaller.decode import Decoder, beam, greedy, to_string
from basecaller.metrics import align, identity_summary
from basecaller.network import RawCTCNet

BATCH_SIZES = {"cpu": 16, "cuda": 64}
"""Chunks in a validation batch: what fits a processor's cache is twice as fast there as 64. It changes no result."""


def ctc_nats(scores: Tensor, batch: Batch, network: RawCTCNet) -> Tensor:
    """CTC negative log-likelihood summed over a batch, in nats (Graves et al., ICML 2006).

    Args:
        scores: [batch, frames, labels], any float type; the loss is computed in float32.
        batch: true lengths and targets.
        network: gives the output length of each signal length.
    """
    log_probs = F.log_softmax(scores.float(), 2).transpose(0, 1)
    frames = network.frames(torch.from_numpy(batch.lengths))
    targets = torch.from_numpy(batch.targets).to(scores.device)
    return F.ctc_loss(log_probs, targets, frames, torch.from_numpy(batch.target_lengths), reduction="sum")


@torch.inference_mode()
def scored_batches(
    network: RawCTCNet, dataset: Dataset, indices: np.ndarray, autocast: torch.dtype | None = None
) -> Iterator[tuple[Batch, Tensor, list[int]]]:
    """Scores of whole chunks, each as if it were alone: no cropping, and padding hidden.

    Args:
        network: put into evaluation mode.
        dataset, indices: the chunks.
        autocast: type of the matrix products, None for float32.
    Yields:
        A batch, its scores [batch, frames, labels], and how many frames of each row are its chunk's.
    """
    network.eval()
    device = network.scores.weight.device
    for rows in sorted_batches(indices, dataset.lengths, BATCH_SIZES[device.type]):
        batch = collate(dataset, rows, "masked", network.settings.stride)
        with torch.autocast(device.type, autocast, enabled=autocast is not None):
            scores = network(torch.from_numpy(batch.signal).to(device), torch.from_numpy(batch.lengths).to(device))
        yield batch, scores, network.frames(torch.from_numpy(batch.lengths)).tolist()


def targets_of(batch: Batch, alphabet: str) -> list[str]:
    """The sequences of a batch."""
    return [to_string(t, alphabet) for t in np.split(batch.targets, np.cumsum(batch.target_lengths)[:-1])]


@torch.inference_mode()
def evaluate(
    network: RawCTCNet,
    dataset: Dataset,
    indices: np.ndarray,
    autocast: torch.dtype | None = None,
    decoder: Decoder | None = "greedy",
) -> dict[str, float]:
    """Scores a network on whole chunks, each as if it were alone.

    So the objective is the same function whatever batch size or padding a trial trained with.

    Args:
        network: put into evaluation mode.
        dataset, indices: the chunks; every target must fit the output.
        autocast: type of the matrix products, None for float32.
        decoder: also basecall so, and compare with the targets; None: only the loss.
    Returns:
        `loss`: nats per base. `loss_per_read`: nats per chunk. With a decoder also `blank_fraction`, the share of
        frames called blank, and what `metrics.identity_summary` gives; with `beam` also `greedy_identity_mean`.
    """
    alphabet = network.alphabet
    nats, bases, blanks, frames = 0.0, 0, 0, 0
    calls: list[str] = []
    beams: list[str] = []
    truths: list[str] = []
    for batch, scores, valid in scored_batches(network, dataset, indices, autocast):
        nats += ctc_nats(scores, batch, network).item()
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
