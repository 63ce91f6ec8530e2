"""Native code of another processor, in an emulator."""

from __future__ import annotations

import ctypes
import subprocess
from ctypes import string_at
from typing import Any

import numpy as np

from basecaller.native.step import LABELS, Library


class Emulated(Library):
    """The compiled code as a program, which is called through pipes.

    Args:
        command: starts emulated.c.
    """

    def __init__(self, command: list[str]) -> None:
        self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        self.vector_length, self._half_width = np.frombuffer(self._read(8), np.int32).tolist()

    def close(self) -> None:
        self._process.communicate()

    def _write(self, *parts: Any) -> None:
        for part in parts:
            self._process.stdin.write(part)
        self._process.stdin.flush()

    def _read(self, count: int) -> bytes:
        answer = self._process.stdout.read(count)
        assert len(answer) == count, f"the emulated program ended with status {self._process.wait()}"
        return answer

    def ctc(self, scores: np.ndarray, targets: np.ndarray) -> tuple[float, np.ndarray]:
        frames, labels = scores.shape
        rows = np.zeros((frames, LABELS), np.float32)
        rows[:, :labels] = scores
        self._write(b"c", np.array([frames, len(targets), labels], np.int32), rows, targets.astype(np.int64))
        (nats,) = np.frombuffer(self._read(8))
        gradient = np.frombuffer(self._read(rows.nbytes), np.float32).reshape(rows.shape)
        return float(nats), gradient[:, :labels].copy()

    def workspace(self, size: Any, batch: Any, back: bool) -> int:
        return 0  # the program has its own

    def step(
        self,
        size: Any,
        batch: Any,
        weights: int,
        mean: int | None,
        variance: int | None,
        share: float,
        gradients: int | None,
        scores: int | None,
        longest: int,
        work: int,
    ) -> float:
        size, batch = size._obj, batch._obj  # of byref
        reads, statistics = batch.reads, 4 * size.blocks * size.channels * size.norm
        self._write(b"s", size, string_at(size.dilations, 4 * size.blocks), batch)
        self._write(string_at(batch.signal, 4 * reads * batch.samples), string_at(batch.frames, 8 * reads))
        if batch.scored:
            self._write(string_at(batch.scored, 8 * reads))
        if batch.targets:
            lengths = string_at(batch.target_lengths, 8 * reads)
            self._write(lengths, string_at(batch.targets, 8 * int(np.frombuffer(lengths, np.int64).sum())))
        self._write(np.int64(longest))
        count = 4 * int(np.frombuffer(self._read(8), np.int64)[0])
        self._write(string_at(weights, count))
        if statistics:
            self._write(string_at(mean, statistics), string_at(variance, statistics))
        self._write(np.float64(share), np.int32(gradients is not None))
        (nats,) = np.frombuffer(self._read(8))
        for address, length in (
            (mean, statistics), (variance, statistics), (gradients, count), (scores, 4 * reads * longest * size.labels)
        ):  # fmt: skip
            if address:
                ctypes.memmove(address, self._read(length), length)
        return float(nats)
