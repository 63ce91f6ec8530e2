"""What an evaluation counts."""

from __future__ import annotations

import numpy as np
import pytest

from basecaller.calling import evaluating
from basecaller.calling.caller import Call
from basecaller.calling.evaluating import evaluate_chunks, spread
from basecaller.errors import SettingError
from basecaller.evaluate import own_and_data
from tests.helpers.models import network


@pytest.mark.parametrize(
    ("cigar", "called", "true"),
    [
        ([[5, 0]], "ACGTA", "ACGTA"),
        ([[2, 7], [1, 8], [2, 7]], "ACTTA", "ACGTA"),
        ([[2, 0], [1, 1], [3, 0]], "ACCGTA", "AC-GTA"),
        ([[2, 0], [2, 2], [1, 0]], "AC--A", "ACGTA"),
    ],
)
def test_an_alignment_is_spread_into_its_columns(cigar, called, true):
    assert spread(called.replace("-", ""), true.replace("-", ""), cigar) == (called, true)


def test_every_chunk_has_its_own_identity(dataset, monkeypatch):
    """Chunks are scored in order of length, which is not their order in the data set."""

    def call(read_id, probabilities, *_):
        bases = len(probabilities) // 2
        return Call(read_id, ("ACGT" * bases)[:bases], np.arange(bases), np.full(bases, 0.9), 0)

    monkeypatch.setattr(evaluating, "decode", call)
    made, indices = network(), dataset.indices("test")
    _, together = evaluate_chunks(made, dataset, indices, "greedy")
    alone = [evaluate_chunks(made, dataset, np.array([index]), "greedy")[1].identities for index in indices]
    read_ids = [read_id.decode() for read_id in dataset.read_ids[indices]]
    assert sorted(zip(together.read_ids, together.identities, strict=True)) == sorted(
        (read_id, identity) for read_id, (identity,) in zip(read_ids, alone, strict=True)
    )
    assert together.read_ids != read_ids
    assert len(set(together.identities)) > 2


def test_a_folder_of_configs_alone_chooses_no_data():
    places = "hydra.searchpath=[file:///mine]"
    assert own_and_data(["model=x", places, "decoder=greedy"]) == (["model=x", "decoder=greedy"], [])
    assert own_and_data(["model=x", places, "data=lab"]) == (["model=x"], [places, "data=lab"])


@pytest.mark.parametrize(
    ("override", "words"),
    [("seed=2", "seed: evaluate has no such key; known keys are"), ("limt=3", "limt: .* did you mean limit")],
)
def test_keys_that_would_choose_the_default_data_set_are_refused(override, words):
    with pytest.raises(SettingError, match=words):
        own_and_data(["model=x", override])
