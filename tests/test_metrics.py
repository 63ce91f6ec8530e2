"""Decoding and identity, against cases worked by hand and Bonito's definition."""

import numpy as np
import pytest

from basecaller.decode import beam, greedy, to_string
from basecaller.metrics import align, identity_summary


@pytest.mark.parametrize(
    ("frames", "bases"),
    [([0, 0, 0], ""), ([1, 1, 0, 1], "AA"), ([1, 2, 2, 3, 0, 4], "ACGT"), ([], ""), ([0, 4, 4, 4, 0], "T")],
)
def test_greedy_collapses_repeats_then_drops_blanks(frames, bases):
    assert greedy(np.array(frames, np.int64)) == bases


def test_to_string_uses_the_projects_label_order():
    assert to_string(np.array([1, 2, 3, 4])) == "ACGT"


def test_alignment_counts_every_kind_of_column():
    truth = "ACGTTGCAAGTCCGATTACAGGCATCGATCG"
    mismatch = truth[:10] + "A" + truth[11:]
    assert truth[10] != "A"
    assert align(truth, truth).identity == 1.0
    assert (align(mismatch, truth).mismatches, align(mismatch, truth).insertions) == (1, 0)
    assert (align(truth[:15] + "GG" + truth[15:], truth).insertions) == 2
    missing = align(truth[:15] + truth[16:], truth)
    assert missing.deletions == 1
    assert missing.identity == pytest.approx(30 / 31)


def test_identity_is_zero_below_half_coverage():
    truth = "ACGTTGCAAGTCCGATTACAGGCATCGATCGA"
    assert align(truth[:10], truth).identity == 0.0
    assert align(truth[:20], truth).identity == 1.0
    assert align("", truth).identity == 0.0


def test_summary_shows_the_floor_of_unrelated_sequences():
    rng = np.random.default_rng(0)
    truths = [to_string(rng.integers(1, 5, 300)) for _ in range(20)]
    scored = identity_summary(truths, truths)
    assert scored.identity_mean == scored.identity_median == 1.0
    assert 0.2 < scored.identity_floor < 0.65
    assert scored.length_ratio == 1.0


def test_beam_search_sums_paths_where_greedy_takes_the_best_one():
    sharp = np.eye(5)[[0, 1, 1, 0, 1, 3]]
    assert beam(sharp) == greedy(sharp.argmax(1)) == "AAG"
    # blank is likeliest in each frame, yet "A" in either or both of them is likelier than no base at all
    flat = np.array([[0.6, 0.4, 0, 0, 0], [0.6, 0.4, 0, 0, 0]])
    assert greedy(flat.argmax(1)) == ""
    assert beam(flat) == "A"
    assert beam(np.zeros((0, 5))) == ""
