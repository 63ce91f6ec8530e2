"""Basecalling."""

from __future__ import annotations

from pathlib import Path

import torch

from basecaller.data.batches import collate
from basecaller.decode import greedy
from basecaller.network import RawCTCNet
from benchmarks.measuring import Row, default, in_turns
from tests.reference import PlainRawCTCNet


def basecalling(folder: Path) -> list[Row]:
    """Samples per second of the trained network with greedy decoding, against the plain network."""
    chosen, dataset = default(folder)
    network, plain = RawCTCNet(chosen.model).eval(), PlainRawCTCNet(chosen.model).eval()
    batch = collate(dataset, dataset.indices("train")[:16], "masked", chosen.model.stride)
    signal = torch.from_numpy(batch.signal)

    @torch.inference_mode()
    def call(model: torch.nn.Module) -> None:
        for row in model(signal).argmax(2).numpy():
            greedy(row)

    a, b = in_turns([lambda: call(network), lambda: call(plain)], 5)
    samples = signal.numel()
    return [Row("basecalling", samples / a, samples / b, "samples/s", b / a, "shown", True,
                "batches of 16, greedy; against the plain network")]  # fmt: skip
