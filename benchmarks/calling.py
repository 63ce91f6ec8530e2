"""Basecalling."""

from __future__ import annotations

from pathlib import Path

import torch

from basecaller.calling.caller import Caller
from basecaller.decode import greedy
from basecaller.network import RawCTCNet
from basecaller.training.engine import choose_path
from benchmarks.measuring import Row, default, in_turns
from tests.reference import PlainRawCTCNet


def basecalling(folder: Path) -> list[Row]:
    """Samples per second of whole reads, cut, scored, stitched and decoded greedily, against the plain network."""
    chosen, _ = default(folder)
    rng = torch.Generator().manual_seed(0)
    reads = [(str(i), torch.randn(40_000, generator=rng).numpy()) for i in range(4)]
    caller, plain = Caller(RawCTCNet(chosen.model), None, 16, "greedy"), PlainRawCTCNet(chosen.model).eval()
    path = choose_path(chosen.model, torch.device("cpu"), precision="auto")
    inside = caller.chunk - 2 * caller.edge

    @torch.inference_mode()
    def peer() -> None:
        for _, signal in reads:
            rows = torch.from_numpy(signal)[: len(signal) // inside * inside].view(-1, inside)
            for row in plain(rows).argmax(2).numpy():
                greedy(row)

    a, b = in_turns([lambda: list(caller.calls(reads)), peer], 5)
    samples = sum(len(signal) for _, signal in reads)
    how = f"4 reads of 40,000 samples, greedy, {path}; against the plain network on chunks that do not overlap"
    return [Row("basecalling", samples / a, samples / b, "samples/s", b / a, "at least 5", b / a >= 5, how)]
