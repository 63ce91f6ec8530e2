"""Speed of basecalling."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch

from basecaller.calling.caller import Caller, cut
from basecaller.networks.decode import greedy
from basecaller.networks.rawctcnet import RawCTCNet
from basecaller.training.engine import choose_path
from benchmarks.measuring import Row, default, in_turns
from tests.helpers.reference import PlainRawCTCNet


def basecalling(folder: Path) -> list[Row]:
    """Samples per second of whole reads (cut, scored, stitched, decoded greedily), against the network alone."""
    chosen, _ = default(folder)
    rng = torch.Generator().manual_seed(0)
    caller, plain = Caller(RawCTCNet(chosen.model), None, 16, "greedy"), PlainRawCTCNet(chosen.model).eval()
    path = choose_path(chosen.model, torch.device("cpu"), precision="auto")
    length = 3 * caller.chunk - 4 * caller.edge  # three whole chunks
    reads = [(str(i), torch.randn(length, generator=rng).numpy()) for i in range(4)]

    @torch.inference_mode()
    def peer() -> None:
        for _, signal in reads:
            pieces = [signal[first:stop] for first, stop, _, _ in cut(len(signal), caller.chunk, caller.edge)]
            for row in plain(torch.from_numpy(np.stack(pieces))).argmax(2).numpy():
                greedy(row)

    a, b = in_turns([lambda: list(caller.calls(reads)), peer], 5)
    samples = sum(len(signal) for _, signal in reads)
    how = f"4 reads of {length:,} samples, greedy, {path}; against the plain network on the same chunks"
    return [Row("basecalling", samples / a, samples / b, "samples/s", b / a, "at least 5", b / a >= 5, how)]
