"""Basecalls of whole reads: cut into overlapping chunks, scored in batches, stitched, and decoded once."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np
import torch

from basecaller.common.errors import SettingError
from basecaller.common.geometry import output_length, stem_kernel
from basecaller.data.batches import Batch
from basecaller.networks.base import Network
from basecaller.networks.decode import Decoder, path
from basecaller.training.engine import engine_of

LEAST_CHUNK = 4000
"""Samples in a chunk if its length is not set; at least sixteen times an edge, so that at most an eighth is scored twice."""


@dataclass(frozen=True)
class Call:
    """A basecalled read.

    Attributes:
        read_id: id of the read.
        sequence: bases of the call.
        frames: int64 [bases], the output frame of each base.
        probabilities: float [bases], the network's probability of each base in its frame.
        samples: length of the signal.
    """

    read_id: str
    sequence: str
    frames: np.ndarray
    probabilities: np.ndarray
    samples: int


def margin(network: Network) -> int:
    """Samples at a chunk's inner edges whose scores depend on signal beyond it: half the receptive field, in whole frames."""
    return math.ceil((network.receptive_field + stem_kernel(network.stride)) / 2 / network.stride) * network.stride


def cut(samples: int, chunk: int, edge: int) -> list[tuple[int, int, int, int]]:
    """Chunks of a read: first sample, the sample after the last, and the stretch [keep, until) whose scores count.

    Args:
        samples: length of the read.
        chunk: longest chunk, a multiple of the stride.
        edge: see `margin`; less than half a chunk.
    """
    pieces, first = [], 0
    while True:
        last = first + chunk >= samples
        stop = samples if last else first + chunk
        pieces.append((first, stop, first + edge if first else 0, stop if last else stop - edge))
        if last:
            return pieces
        first += chunk - 2 * edge


class Caller:
    """Calls reads with a network.

    Args:
        network: the network on its device.
        chunk_samples: approximate length of a chunk; None: long enough that little is scored twice.
        batch_size: number of chunks scored together.
        decoder: decodes scores into bases.
    Raises:
        SettingError: chunks would be too short for the network's receptive field.
    """

    def __init__(self, network: Network, chunk_samples: int | None, batch_size: int, decoder: Decoder) -> None:
        self.network, self.batch_size, self.decoder = network.eval(), batch_size, decoder
        self.stride = network.stride
        self.engine = engine_of(network, precision="auto")
        self.edge = margin(network)
        self.chunk = (chunk_samples or max(LEAST_CHUNK, 16 * self.edge)) // self.stride * self.stride
        if self.chunk < 3 * self.edge:
            raise SettingError(
                f"chunk_samples={chunk_samples}: must be at least {3 * self.edge}, three times the margin at each end"
            )

    def probabilities(self, signals: Iterable[tuple[str, np.ndarray]]) -> Iterator[tuple[str, np.ndarray]]:
        """Label probabilities of whole reads, in their order: float32 [frames, labels].

        Away from the ends of its chunks, a frame has the same scores as in the whole read.

        Args:
            signals: read ids, and normalised signals, float [samples].
        """
        waiting: list[tuple[str, np.ndarray, int]] = []  # read id, its scores, chunks still to come
        queue: list[tuple[int, np.ndarray, tuple[int, int, int, int]]] = []  # read's place in waiting, signal, piece
        done = 0

        def run(count: int) -> None:
            batch, queue[:] = queue[:count], queue[count:]
            for (place, _, piece), scores in zip(batch, self._score(batch), strict=True):
                first, _, keep, until = piece
                begin, end = keep // self.stride, output_length(until, self.stride)
                read_id, whole, missing = waiting[place - done]
                whole[begin:end] = scores[begin - first // self.stride : end - first // self.stride]
                waiting[place - done] = read_id, whole, missing - 1

        for number, (read_id, signal) in enumerate(signals):
            pieces = cut(len(signal), self.chunk, self.edge)
            frames = output_length(len(signal), self.stride)
            waiting.append((read_id, np.zeros((frames, 1 + len(self.network.alphabet)), np.float32), len(pieces)))
            queue += [(number, signal, piece) for piece in pieces]
            while len(queue) >= self.batch_size:
                run(self.batch_size)
            while waiting and not waiting[0][2]:
                yield waiting[0][:2]
                waiting.pop(0)
                done += 1
        run(len(queue))
        yield from (entry[:2] for entry in waiting)

    @torch.inference_mode()
    def _score(self, batch: list[tuple[int, np.ndarray, tuple[int, int, int, int]]]) -> list[np.ndarray]:
        """Probabilities of each chunk's frames."""
        if not batch:
            return []
        lengths = np.array([piece[1] - piece[0] for _, _, piece in batch])
        rows = np.zeros((len(batch), lengths.max()), np.float32)
        for row, (_, signal, (first, stop, _, _)) in zip(rows, batch, strict=True):
            row[: stop - first] = signal[first:stop]
        nothing = np.zeros(0, np.int64)
        scores = self.engine.scores(Batch(rows, lengths, nothing, nothing)).float()
        found = scores.mT.contiguous().softmax(1).mT.cpu().numpy()  # ten times as fast as over a few adjacent labels
        return [row[: output_length(int(n), self.stride)] for row, n in zip(found, lengths, strict=True)]

    def calls(self, signals: Iterable[tuple[str, np.ndarray]]) -> Iterator[Call]:
        """Basecalls of reads, in their order."""
        lengths = deque[int]()

        def noted() -> Iterator[tuple[str, np.ndarray]]:
            for read_id, signal in signals:
                lengths.append(len(signal))
                yield read_id, signal

        for read_id, probabilities in self.probabilities(noted()):
            yield decode(read_id, probabilities, self.decoder, self.network.alphabet, lengths.popleft())


def decode(read_id: str, probabilities: np.ndarray, decoder: Decoder, alphabet: str, samples: int) -> Call:
    """The call of a read from its label probabilities, float [frames, labels]."""
    sequence, frames = path(probabilities, decoder, alphabet)
    labels = np.zeros(256, np.int64)
    labels[np.frombuffer(alphabet.encode(), np.uint8)] = np.arange(1, len(alphabet) + 1)
    return Call(read_id, sequence, frames, probabilities[frames, labels[np.frombuffer(sequence.encode(), np.uint8)]], samples)
