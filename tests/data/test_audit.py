"""The audit: what it counts, and what it warns of."""

import dataclasses
import json
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from basecaller.data import Dataset, simulator
from basecaller.data.audit import audit
from basecaller.data.dataset import Chunk, DatasetWriter
from basecaller.data.sources import prepare
from basecaller.decode import to_string
from tests.conftest import SIMULATED


def test_the_audit_counts_what_is_there(dataset):
    facts = audit(dataset)
    assert sum(split["chunks"] for split in facts["splits"].values()) == len(dataset) == 80
    assert facts["counts"] == {"reads kept": 80}
    assert sum(facts["composition"].values()) == pytest.approx(1, abs=1e-3)
    assert facts["infeasible"]["1"] == 0
    assert facts["infeasible"]["8"] > 0
    assert facts["on_both_sides"] == 0
    assert all(share < 0.1 for share in facts["seen"].values())
    assert facts["padded"] == 0
    assert facts["pore"]["fit"]["as given"] > 0.9
    (line,) = facts["verdict"]
    assert line.startswith("51 chunks to train on")
    assert (dataset.folder / "audit.png").stat().st_size > 5000
    json.dumps(facts)


def test_an_audit_of_another_version_is_made_again(tmp_path):
    folder = prepare("simulated", SIMULATED, tmp_path).folder
    facts = audit(Dataset(folder))
    kept = json.loads((folder / "audit.json").read_text())
    (folder / "audit.json").write_text(json.dumps({"fingerprint": kept["fingerprint"], "verdict": [], "version": 1}))
    assert audit(Dataset(folder)) == facts | {key: kept[key] for key in ("fingerprint", "table", "version")}


def made(folder: Path, change: Callable[[Chunk, int], Chunk]) -> dict:
    """The audit of a data set of simulated reads, each of them changed."""
    chunks = simulator.simulate(dataclasses.replace(SIMULATED, reads=120), Counter())
    with DatasetWriter(folder / "set", {}) as writer:
        for i, each in enumerate(chunks):
            writer.add(change(each, i))
    return audit(Dataset(folder / "set"))


def reversed_labels(each: Chunk, i: int) -> Chunk:
    return dataclasses.replace(each, labels=each.labels[::-1])


def shifted_labels(each: Chunk, i: int) -> Chunk:
    return dataclasses.replace(each, labels=np.roll(each.labels, 1))


def filled_up(each: Chunk, i: int) -> Chunk:
    return dataclasses.replace(each, signal=np.append(each.signal, np.zeros(50)))


def not_normalised(each: Chunk, i: int) -> Chunk:
    return dataclasses.replace(each, signal=each.signal * 20 + 90)


def without_g(each: Chunk, i: int) -> Chunk:
    return dataclasses.replace(each, labels=np.where(each.labels == 3, 1, each.labels))


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (reversed_labels, "labels reversed fit the R9.4 pore's levels better"),
        (shifted_labels, "labels shifted by"),
        (filled_up, "100.0% of the chunks end in a constant"),
        (not_normalised, "not normalised"),
        (without_g, "G is 0.0% of the bases"),
    ],
)
def test_the_verdict_names_what_will_go_wrong(tmp_path, change, words):
    facts = made(tmp_path, change)
    assert any(words in line for line in facts["verdict"]), facts["verdict"]


def test_a_genome_on_both_sides_of_a_split_is_called_out(tmp_path):
    small = dataclasses.replace(SIMULATED, reads=200, genome_bases=1000)
    facts = audit(prepare("simulated", small, tmp_path))
    sequences = {split: [] for split in ("train", "validation", "test")}
    dataset = prepare("simulated", small, tmp_path)
    for i in range(len(dataset)):
        sequences[("train", "validation", "test")[dataset.splits[i]]].append(to_string(dataset.chunk(i)[1]))
    trained = {sequence[j : j + 16] for sequence in sequences["train"] for j in range(len(sequence) - 15)}
    for split in ("validation", "test"):
        words = [sequence[j : j + 16] for sequence in sequences[split] for j in range(len(sequence) - 15)]
        assert facts["seen"][split] == pytest.approx(np.mean([word in trained for word in words]), abs=1e-4)
    assert any("of the sequence of validation" in line and "data.split=position" in line for line in facts["verdict"])


def test_chunks_on_both_sides_of_a_split_are_counted(tmp_path):
    kept: list[Chunk] = []

    def twice(each: Chunk, i: int) -> Chunk:
        kept.append(each)
        return dataclasses.replace(kept[0], split=each.split) if i % 10 == 0 else each

    facts = made(tmp_path, twice)
    assert facts["on_both_sides"] > 0
    assert "are in train too" in " ".join(facts["verdict"])
