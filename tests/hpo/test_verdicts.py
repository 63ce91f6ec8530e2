"""Sentences about a winner besides the verdict."""

from __future__ import annotations

from basecaller.hpo.verdicts import at_edges


def test_edges_are_reported_in_words():
    text = at_edges({"optimizer.lr": "lowest"}, {"optimizer.lr": 5e-05})
    assert text == "At the edge: lr 5e-05 is the lowest of its grid; a better value may lie beyond."
    assert at_edges({}, {}) == ""
