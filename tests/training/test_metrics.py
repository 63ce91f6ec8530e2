"""Identity by Bonito's definition, against cases computed by hand."""

import numpy as np
import pytest

from basecaller.networks.decode import to_string
from basecaller.training.metrics import align, identity_summary


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
