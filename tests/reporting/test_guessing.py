"""Whether a winner has learned anything, in words."""

from __future__ import annotations

import math

import pytest

from basecaller.reporting.guessing import guessing


@pytest.mark.parametrize(
    ("loss", "letters", "identity", "told"),
    [
        (1.39, 4, 0.5, ["its loss is 1.3900 nats per base, and ln 4 is 1.3863"]),
        (1.38, 4, 0.5, []),
        (1.38, 4, 0.02, ["its identity is 2.0%, and that of unrelated sequences 2.0%"]),
        (1.5, 4, 0.01, ["its loss is 1.5000", "its identity is 1.0%"]),
        (1.5, 5, 0.5, []),
        (1.61, 5, 0.5, ["ln 5 is 1.6094"]),
    ],
)
def test_a_winner_that_guesses_is_reported_with_the_reason(loss, letters, identity, told):
    said = guessing(loss, letters, identity, 0.02)
    assert ("Too short to tell" in said) == bool(told)
    assert all(reason in said for reason in told)
    assert ("its loss" in said, "its identity" in said) == (loss >= math.log(letters), identity <= 0.02)
