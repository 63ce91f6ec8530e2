"""Reads in overlapping chunks give the calls of whole reads."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from basecaller.calling.caller import Caller, cut, margin
from basecaller.common.errors import SettingError
from basecaller.common.geometry import output_length
from basecaller.data.signal import normalise
from tests.helpers.models import network


@given(st.integers(1, 5000), st.integers(1, 40), st.integers(0, 10))
def test_chunks_cover_every_sample_once(samples, spare, edge):
    chunk = 2 * edge + spare
    pieces = cut(samples, chunk, edge)
    kept = [(keep, until) for _, _, keep, until in pieces]
    assert kept[0][0] == 0
    assert kept[-1][1] == samples
    assert all(before[1] == after[0] for before, after in pairwise(kept))
    assert all(first <= keep <= until <= stop and stop - first <= chunk for first, stop, keep, until in pieces)


@pytest.mark.parametrize("stride", [1, 4])
def test_a_stitched_read_has_the_scores_of_the_whole_read(stride):
    made, rng = network(stride=stride), np.random.default_rng(0)
    reads = [(str(n), normalise(rng.normal(size=n)).astype(np.float32)) for n in (37, 1501, 900, 3000, 5)]
    caller = Caller(made, 3 * margin(made) + 2 * stride, 4, "greedy")
    for (read_id, signal), (found_id, found) in zip(reads, caller.probabilities(reads), strict=True):
        with torch.inference_mode():
            whole = made(torch.from_numpy(signal)[None]).softmax(2)[0].numpy()
        assert found_id == read_id
        assert found.shape == (output_length(len(signal), stride), 5)
        np.testing.assert_allclose(found, whole, atol=2e-5)


def test_reads_with_the_same_id_are_all_called():
    signals = [("twice", normalise(np.random.default_rng(7).normal(size=n)).astype(np.float32)) for n in (900, 1500)]
    calls = list(Caller(network(), None, 8, "greedy").calls(signals))
    assert [(call.read_id, call.samples) for call in calls] == [("twice", 900), ("twice", 1500)]


def test_chunks_that_are_too_short_are_refused():
    with pytest.raises(SettingError, match="chunk_samples=10: must be at least"):
        Caller(network(), 10, 4, "greedy")
