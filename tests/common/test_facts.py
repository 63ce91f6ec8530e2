"""Facts are written to JSON and read back, also those of an earlier or a later version."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from basecaller.calling.quality import Calibration, read_calibration
from basecaller.common.errors import DataError
from basecaller.common.facts import from_json, to_json
from basecaller.reporting.facts import winner_facts


@dataclass(frozen=True)
class Inner:
    share: float
    told: str | None


@dataclass(frozen=True)
class Outer:
    number: int
    right: bool
    inner: Inner
    several: list[Inner]
    named: dict[str, list[Inner]]
    maybe: Inner | None = None
    texts: list[str] = field(default_factory=list)


FACTS = Outer(3, True, Inner(0.5, None), [Inner(1.0, "a"), Inner(2.0, None)], {"x": [Inner(0.25, None)], "y": []})
PLAIN = {
    "number": 3, "right": True, "inner": {"share": 0.5}, "several": [{"share": 1.0, "told": "a"}, {"share": 2.0}],
    "named": {"x": [{"share": 0.25}], "y": []}, "texts": [],
}  # fmt: skip


def test_facts_go_to_json_and_back():
    assert to_json(FACTS) == PLAIN
    assert from_json(Outer, json.loads(json.dumps(PLAIN))) == FACTS


def test_other_versions_are_read():
    later = PLAIN | {"more": [1, 2], "maybe": {"share": 1, "told": None, "new": {}}}
    assert from_json(Outer, later).maybe == Inner(1.0, None)
    earlier = {key: value for key, value in PLAIN.items() if key != "texts"}  # has a default
    assert from_json(Outer, earlier) == FACTS


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        ({"number": "3"}, "number: must be a int, is '3'"),
        ({"number": True}, "number: must be a int, is True"),
        ({"right": 1}, "right: must be a bool, is 1"),
        ({"inner": None}, "inner: must be a dict, is None"),
        ({"several": {"share": 1.0}}, "several: must be a list"),
        ({"named": {"x": [{"told": "a"}]}}, "named: has no share"),
        ({"named": {"x": [{"share": []}]}}, r"named: share: must be a float, is \[\]"),
    ],
)
def test_fields_that_do_not_fit_are_named(changed, words):
    with pytest.raises(ValueError, match=words):
        from_json(Outer, PLAIN | changed)


@pytest.mark.parametrize("content", [None, [], "x", 3])
def test_facts_must_be_json_objects(content):
    with pytest.raises(ValueError, match="must be a dict"):
        from_json(Outer, content)


TEST = {
    "chunks": 40, "bases": 8000, "loss": 0.9, "identity_mean": 0.75, "identity_median": 0.76, "mismatch_rate": 0.1,
    "insertion_rate": 0.05, "deletion_rate": 0.1, "identity_floor": 0.43, "length_ratio": 0.95, "blank_fraction": 0.6,
    "homopolymers": [{"length": 1, "count": 100, "correct": 0.8}], "reads": 12, "too_dense": 0,
}  # fmt: skip
SEED = {"loss": 0.9, "identity_mean": 0.75, "identity_median": 0.76}
GAIN = {
    "identity_points": 3.5, "error": 0.5, "loss": 0.1, "seeds": [1001], "reads": 12, "text": "Tuning gained 3.5 points.",
    "ours": [SEED], "defaults": [SEED],
}  # fmt: skip
WINNER = {
    "settings": {"padding": "off", "optimizer.lr": 0.004, "train.batch_schedule": [32, 1], "train.clip": None},
    "val_loss": 0.88, "test": TEST, "gain": GAIN,
    "facts": {"updates": 100, "samples": 40_000, "seconds": 3.5, "parameters": 9000, "receptive_field": 300},
    "command": "python -m basecaller.train seed=1001", "folder": "outputs/x/winner", "study": "x/headline/0", "trial": 2,
    "fixed": ["padding"], "fallback": False,
}  # fmt: skip


@pytest.mark.parametrize("gain", [GAIN, {"seeds": [], "text": "What tuning gained is not known."}])
def test_a_winner_is_read_as_it_was_written(tmp_path: Path, gain):
    (tmp_path / "winner").mkdir()
    (tmp_path / "winner/winner.json").write_text(json.dumps(WINNER | {"gain": gain}))
    found = winner_facts(tmp_path)
    assert found is not None
    assert found.test.homopolymers[0].correct == 0.8
    assert to_json(found) == WINNER | {"gain": gain}


def test_a_winner_that_cannot_be_read_is_named(tmp_path: Path):
    assert winner_facts(tmp_path) is None
    (tmp_path / "winner").mkdir()
    (tmp_path / "winner/winner.json").write_text(json.dumps(WINNER | {"test": {}}))
    with pytest.raises(DataError, match=r"winner\.json: test: has no identity_mean, .*; delete it"):
        winner_facts(tmp_path)


def test_a_calibration_is_read_with_and_without_its_bins(tmp_path: Path):
    assert read_calibration(tmp_path) is None
    for bins in ({}, {"bins": [{"raw": 3, "bases": 100, "observed": 2.5}]}):
        (tmp_path / "calibration.json").write_text(json.dumps({"slope": 1, "offset": -0.5} | bins))
        assert read_calibration(tmp_path) == Calibration(1.0, -0.5)
    (tmp_path / "calibration.json").write_text(json.dumps({"slope": "steep"}))
    with pytest.raises(DataError, match=r"calibration\.json: slope: must be a float"):
        read_calibration(tmp_path)
