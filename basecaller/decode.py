"""From label scores to bases."""

import numpy as np
from fast_ctc_decode import beam_search

from basecaller.data.dataset import ALPHABET

BEAM_SIZE, BEAM_CUT = 32, 0.001
"""Width of the beam, as Dorado's and Bonito's, and the probability below which a label is not followed."""

LETTERS = np.frombuffer(("-" + ALPHABET).encode(), np.uint8)


def to_string(labels: np.ndarray) -> str:
    """Letters of labels 1..4."""
    return LETTERS[labels].tobytes().decode()


def greedy(best: np.ndarray) -> str:
    """Best-path CTC decoding: repeated labels collapse, then blanks go (Graves et al., ICML 2006).

    Args:
        best: int [frames], the best label of each frame.
    """
    keep = np.concatenate([[True], best[1:] != best[:-1]])[: len(best)] & (best != 0)
    return to_string(best[keep])


def beam(probabilities: np.ndarray) -> str:
    """Prefix beam search: the best sequence rather than the best path (Hannun et al., arXiv:1408.2873, 2014).

    Args:
        probabilities: float [frames, labels], each row summing to 1.
    """
    if not len(probabilities):
        return ""
    called, _ = beam_search(probabilities.astype(np.float32), "-" + ALPHABET, BEAM_SIZE, BEAM_CUT)
    return str(called)
