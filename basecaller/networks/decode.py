"""Decodes label scores into bases."""

from __future__ import annotations

from typing import Literal, get_args

import numpy as np
from fast_ctc_decode import beam_search

from basecaller.data.dataset import ALPHABET

Decoder = Literal["greedy", "beam"]
DECODERS: tuple[Decoder, ...] = get_args(Decoder)

BEAM_SIZE, BEAM_CUT = 32, 0.001
"""Width of the beam, as in Dorado and Bonito, and the probability below which the search drops a label."""


def to_string(labels: np.ndarray, alphabet: str = ALPHABET) -> str:
    """Letters of labels 1, 2, ..."""
    return np.frombuffer(("-" + alphabet).encode(), np.uint8)[labels].tobytes().decode()


def _emitting(best: np.ndarray) -> np.ndarray:
    """Frames of the best path that emit a base: int64 [bases]."""
    return np.flatnonzero(np.concatenate([[True], best[1:] != best[:-1]])[: len(best)] & (best != 0))


def greedy(best: np.ndarray, alphabet: str = ALPHABET) -> str:
    """Best-path CTC decoding: collapses repeated labels, then removes blanks (Graves et al., ICML 2006).

    Args:
        best: int [frames], the best label of each frame.
        alphabet: the letters of labels 1, 2, ...
    """
    return to_string(best[_emitting(best)], alphabet)


def beam(probabilities: np.ndarray, alphabet: str = ALPHABET) -> str:
    """Prefix beam search: the best sequence rather than the best path (Hannun et al., arXiv:1408.2873, 2014).

    Args:
        probabilities: float [frames, labels], each row summing to 1.
        alphabet: the letters of labels 1, 2, ...
    """
    return path(probabilities, "beam", alphabet)[0]


def path(probabilities: np.ndarray, decoder: Decoder, alphabet: str = ALPHABET) -> tuple[str, np.ndarray]:
    """Decodes a sequence, and the frame in which each of its bases is called: int64 [bases].

    Args:
        probabilities: float [frames, labels], each row summing to 1.
        decoder: the decoder to use.
        alphabet: the letters of labels 1, 2, ...
    """
    if not len(probabilities):
        return "", np.zeros(0, np.int64)
    if decoder == "greedy":
        best = probabilities.argmax(1)
        frames = _emitting(best)
        return to_string(best[frames], alphabet), frames
    called, frames = beam_search(probabilities.astype(np.float32), "-" + alphabet, BEAM_SIZE, BEAM_CUT)
    return str(called), np.asarray(frames, np.int64)
