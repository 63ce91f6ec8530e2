"""The test of a training on reads that no stage has used."""

from __future__ import annotations

import numpy as np
import pytest

from basecaller.config.composition import compose_config
from basecaller.config.settings import settings
from basecaller.search_plan import held_out
from tests.conftest import TINY
from tests.helpers.models import network, save_model


@pytest.fixture
def chosen(dataset, monkeypatch):
    monkeypatch.setattr(held_out, "split_of", lambda data, split: (dataset, split))
    return settings(compose_config([line for line in TINY if not line.startswith("stage.")]))


def test_chunks_that_are_too_dense_for_a_network_are_left_out_of_the_test_and_counted(chosen, dataset, tmp_path):
    """An error would come after the last training, and its remedy, another train.infeasible, would repeat all of them."""
    indices = dataset.indices("test")
    dense = {stride: len(dataset.infeasible(indices, stride)) for stride in range(4, 20)}
    stride = next(stride for stride, count in dense.items() if chosen.train.infeasible * len(indices) < count < len(indices))
    found = held_out.tested(chosen, save_model(tmp_path, network()), stride)
    assert (found.chunks, found.too_dense) == (len(indices) - dense[stride], dense[stride])
    assert f" ({dense[stride]} more are too dense for CTC, and left out)" in found.chunks_in_words
    assert np.sum(list(found.chunks_of.values())) == found.chunks
    assert held_out.tested(chosen, tmp_path, stride) == found  # as stored
    every = held_out.tested(chosen, tmp_path, 4)
    assert (every.too_dense, every.chunks) == (0, len(indices))
    assert "dense" not in every.chunks_in_words
