"""What is said of a winner beside the verdict."""

from __future__ import annotations

import pytest

from basecaller.hpo.verdicts import at_edges, guessing


def test_edges_are_called_out_in_words():
    text = at_edges({"optimizer.lr": "lowest"}, {"optimizer.lr": 5e-05})
    assert text == "At the edge: lr 5e-05 is the lowest of its grid, a better value may lie beyond."
    assert at_edges({}, {}) == ""


@pytest.mark.parametrize(
    ("loss", "letters", "identity", "told"),
    [(1.39, 4, 0.5, True), (1.38, 4, 0.5, False), (1.38, 4, 0.02, True), (1.5, 5, 0.5, False), (1.61, 5, 0.5, True)],
)
def test_a_winner_that_guesses_is_called_out(loss, letters, identity, told):
    assert ("Too short to tell" in guessing(loss, letters, identity, 0.02)) == told
