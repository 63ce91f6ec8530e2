"""Decoding: from the network's scores to bases."""

import numpy as np
import pytest

from basecaller.networks.decode import beam, greedy, to_string


@pytest.mark.parametrize(
    ("frames", "bases"),
    [([0, 0, 0], ""), ([1, 1, 0, 1], "AA"), ([1, 2, 2, 3, 0, 4], "ACGT"), ([], ""), ([0, 4, 4, 4, 0], "T")],
)
def test_greedy_collapses_repeats_then_drops_blanks(frames, bases):
    assert greedy(np.array(frames, np.int64)) == bases


def test_to_string_uses_the_projects_label_order():
    assert to_string(np.array([1, 2, 3, 4])) == "ACGT"


def test_beam_search_sums_paths_where_greedy_takes_the_best_one():
    sharp = np.eye(5)[[0, 1, 1, 0, 1, 3]]
    assert beam(sharp) == greedy(sharp.argmax(1)) == "AAG"
    # blank is likeliest in each frame, yet "A" in either or both of them is likelier than no base at all
    flat = np.array([[0.6, 0.4, 0, 0, 0], [0.6, 0.4, 0, 0, 0]])
    assert greedy(flat.argmax(1)) == ""
    assert beam(flat) == "A"
    assert beam(np.zeros((0, 5))) == ""
