"""`search.json` is read as it was written, also by another version."""

from __future__ import annotations

import json

import pytest

from basecaller.reporting.search_state import RUNNING, Asked, SearchState

FIRST = Asked("padding", 1, 1, "", "tiny/padding/a", {"optimizer": "adam"}, {"padding": "on"}, True)
AGAIN = Asked(
    "padding",
    2,
    2,
    "with longer training",
    "tiny/padding.2/b",
    {},
    {"padding": "off", "train.clip": None},
    False,
    {"padding": "on"},
    ["train.chunks=40"],
)
STATE = SearchState("basecaller search", ["padding"], [FIRST, AGAIN], {"headline": "tiny/headline/c"}, ["few"], 2.5, RUNNING)


def test_a_state_is_read_as_it_was_written(tmp_path):
    assert SearchState.read(tmp_path) == SearchState()
    STATE.write(tmp_path)
    assert SearchState.read(tmp_path) == STATE
    assert STATE.studies == {
        "padding": "tiny/padding/a", "padding.2": "tiny/padding.2/b", "headline": "tiny/headline/c",
    }  # fmt: skip


def test_the_state_of_an_earlier_version_may_lack_fields_and_have_others(tmp_path):
    STATE.write(tmp_path)
    file = tmp_path / "search.json"
    stored = json.loads(file.read_text())
    for entry in stored["history"]:
        entry |= {"name": "padding", "under": entry["under"] | {"budget": []}}
        del entry["budget"]
    for key in ("compared", "data", "state"):
        del stored[key]
    file.write_text(json.dumps(stored | {"more": 1}))
    found = SearchState.read(tmp_path)
    assert [of.name for of in found.history] == ["padding", "padding.2"]
    assert (found.seconds, found.state, found.compared) == (2.5, None, {})


@pytest.mark.parametrize("content", ["", "[]", '{"history": 3}', '{"history": [{"stage": "padding"}]}'])
def test_a_damaged_state_is_none(tmp_path, content):
    (tmp_path / "search.json").write_text(content)
    assert SearchState.read(tmp_path) == SearchState()
