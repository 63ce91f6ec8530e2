"""The overrides of the evaluate command."""

from __future__ import annotations

import pytest

from basecaller.common.errors import SettingError
from basecaller.evaluate import own_and_data


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
