"""Whether a winner has learned anything, in words."""

from __future__ import annotations

import pytest

from basecaller.reporting.guessing import guessing


@pytest.mark.parametrize(
    ("loss", "letters", "identity", "told"),
    [(1.39, 4, 0.5, True), (1.38, 4, 0.5, False), (1.38, 4, 0.02, True), (1.5, 5, 0.5, False), (1.61, 5, 0.5, True)],
)
def test_a_winner_that_guesses_is_reported(loss, letters, identity, told):
    assert ("Too short to tell" in guessing(loss, letters, identity, 0.02)) == told
