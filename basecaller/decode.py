"""From label scores to bases."""

import numpy as np

from basecaller.data.dataset import ALPHABET

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
