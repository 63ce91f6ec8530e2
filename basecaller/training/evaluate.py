"""The objective, and how good the basecalls are."""

from __future__ import annotations

from typing import Literal

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from basecaller.data.batches import Batch, collate, sorted_batches
from basecaller.data.dataset import Dataset
from basecaller.decode import beam, greedy, to_string
from basecaller.metrics import align, identity_summary
from basecaller.network import RawCTCNet

Decoder = Literal["greedy", "beam"]

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
def evaluate(
    network: RawCTCNet,
    dataset: Dataset,
    indices: np.ndarray,
    autocast: torch.dtype | None = None,
    decoder: Decoder | None = "greedy",
) -> dict[str, float]:
    """Scores a network on whole chunks, each as if it were alone: no cropping, and padding hidden.

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
    network.eval()
    device = network.scores.weight.device
    nats, bases, blanks, frames = 0.0, 0, 0, 0
    calls: list[str] = []
    beams: list[str] = []
    truths: list[str] = []
    for rows in sorted_batches(indices, dataset.lengths, BATCH_SIZES[device.type]):
        batch = collate(dataset, rows, "masked", network.settings.stride)
        with torch.autocast(device.type, autocast, enabled=autocast is not None):
            scores = network(torch.from_numpy(batch.signal).to(device), torch.from_numpy(batch.lengths).to(device))
        nats += ctc_nats(scores, batch, network).item()
        bases += len(batch.targets)
        if decoder:
            best = scores.argmax(2).cpu().numpy()
            valid = network.frames(torch.from_numpy(batch.lengths)).tolist()
            for row, n in zip(best, valid, strict=True):
                calls.append(greedy(row[:n]))
                blanks += int((row[:n] == 0).sum())
                frames += n
            if decoder == "beam":
                probabilities = scores.float().softmax(2).cpu().numpy()
                beams += [beam(row[:n]) for row, n in zip(probabilities, valid, strict=True)]
            truths += [to_string(t) for t in np.split(batch.targets, np.cumsum(batch.target_lengths)[:-1])]
    scored = {"loss": nats / bases, "loss_per_read": nats / len(indices)}
    if decoder:
        scored |= {"blank_fraction": blanks / frames} | identity_summary(beams or calls, truths)
    if decoder == "beam":
        scored["greedy_identity_mean"] = float(np.mean([align(c, t).identity for c, t in zip(calls, truths, strict=True)]))
    return scored
