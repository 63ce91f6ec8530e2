"""The data set on disk: complete or absent, the same for the same source, split by read."""

import dataclasses
import json
import multiprocessing
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from basecaller.common.errors import DataError
from basecaller.common.facts import from_json
from basecaller.data import Dataset, simulator
from basecaller.data.audit import Audit, audit
from basecaller.data.dataset import Chunk, DatasetWriter
from basecaller.data.sources import prepare, source_fingerprint
from basecaller.data.splits import splits_of_reads
from basecaller.networks.decode import to_string
from tests.conftest import SIMULATED


def chunk(split: str = "train", **changed: object) -> Chunk:
    whole = Chunk("r1", np.ones(10, np.float32), np.array([1, 2, 3], np.uint8), np.array([0, 3, 6]), split)
    return dataclasses.replace(whole, **changed)


def test_what_was_written_is_read_back(tmp_path):
    with DatasetWriter(tmp_path / "set", {"source": "test"}) as writer:
        for split in ("train", "validation", "test"):
            writer.add(chunk(split))
    dataset = Dataset(tmp_path / "set")
    signal, labels, starts = dataset.chunk(1)
    assert signal.dtype == np.float16
    assert (signal.tolist(), labels.tolist(), starts.tolist()) == ([1.0] * 10, [1, 2, 3], [0, 3, 6])
    assert dataset.indices("validation").tolist() == [1]
    assert np.load(tmp_path / "set" / "signals.npy").shape == (30,)  # a plain .npy file


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"signal": np.array([1.0, np.nan] * 5)}, "NaN"),
        ({"signal": np.zeros(0)}, "empty"),
        ({"labels": np.array([1, 2, 5], np.uint8)}, "outside"),
        ({"labels": np.array([1, 0, 2], np.uint8)}, "outside"),
        ({"starts": np.array([0, 6, 3])}, "ascend"),
        ({"starts": np.array([0, 3, 10])}, "ascend"),
    ],
)
def test_a_bad_chunk_is_refused_by_name_and_nothing_is_left(tmp_path, changed, message):
    with pytest.raises(DataError, match=message) as caught, DatasetWriter(tmp_path / "set", {}) as writer:
        writer.add(chunk(**changed))
    assert "r1" in str(caught.value)
    assert list(tmp_path.iterdir()) == []


def test_an_empty_split_is_refused_and_nothing_is_left(tmp_path):
    with (
        pytest.raises(DataError, match=r"no chunk is left for validation and test"),
        DatasetWriter(tmp_path / "s", {}) as writer,
    ):
        writer.add(chunk())
    assert list(tmp_path.iterdir()) == []


def test_a_truncated_data_set_is_named(tmp_path):
    dataset = prepare("simulated", SIMULATED, tmp_path)
    path = dataset.folder / "labels.npy"
    path.write_bytes(path.read_bytes()[:-10])
    with pytest.raises(DataError, match=str(dataset.folder)):
        Dataset(dataset.folder)


@pytest.mark.parametrize("label", [0, 5, 255])
def test_a_damaged_label_is_found_before_a_training_uses_it(tmp_path, label):
    """Native code trusts its labels."""
    with DatasetWriter(tmp_path / "set", {"source": "test"}) as writer:
        for split in ("train", "validation", "test"):
            writer.add(chunk(split))
    labels = np.load(tmp_path / "set/labels.npy")
    labels[1] = label
    np.save(tmp_path / "set/labels.npy", labels)
    damaged = Dataset(tmp_path / "set")
    with pytest.raises(DataError, match=r"set: labels outside 1\.\.4 \(ACGT\); the data set is damaged: delete the folder"):
        damaged.infeasible(damaged.indices("train"), 1)


def test_a_half_written_data_set_is_never_picked_up(tmp_path):
    folder = tmp_path / f"simulated-{source_fingerprint('simulated', SIMULATED)}"
    half = folder.with_name(f"{folder.name}.partial-1")
    half.mkdir()
    (half / "meta.json").write_text("{}")
    dataset = prepare("simulated", SIMULATED, tmp_path)
    assert len(dataset) > 0
    assert not half.exists()


def test_a_data_set_is_opened_again_only_if_its_files_have_changed(tmp_path):
    """A sweep prepares its data set twice for every trial."""
    dataset = prepare("simulated", SIMULATED, tmp_path)
    assert prepare("simulated", SIMULATED, tmp_path) is dataset
    (dataset.folder / "audit.json").write_text("{}", encoding="utf-8")
    assert prepare("simulated", SIMULATED, tmp_path) is dataset
    np.save(dataset.folder / "splits.npy", dataset.splits[::-1])
    assert prepare("simulated", SIMULATED, tmp_path).splits.tolist() == dataset.splits[::-1].tolist()
    (dataset.folder / "splits.npy").unlink()
    with pytest.raises(DataError, match="not a complete data set"):
        prepare("simulated", SIMULATED, tmp_path)


def _prepare(folder: Path) -> str:
    return prepare("simulated", SIMULATED, folder).fingerprint


@pytest.mark.slow
def test_processes_that_ask_at_once_get_the_same_data_set(tmp_path):
    with multiprocessing.get_context("spawn").Pool(2) as pool:
        assert len(set(pool.map(_prepare, [tmp_path] * 4))) == 1


def test_the_same_settings_give_the_same_reads_and_others_do_not(tmp_path):
    again = prepare("simulated", SIMULATED, tmp_path)
    assert again.fingerprint == prepare("simulated", SIMULATED, tmp_path / "other").fingerprint
    other = prepare("simulated", dataclasses.replace(SIMULATED, simulator_seed=4), tmp_path)
    assert other.fingerprint != again.fingerprint


def test_more_reads_keep_the_first_ones_and_their_splits():
    few = list(simulator.simulate(SIMULATED, Counter()))
    more = list(simulator.simulate(dataclasses.replace(SIMULATED, reads=100), Counter()))
    for a, b in zip(few, more, strict=False):
        assert (a.read_id, a.split) == (b.read_id, b.split)
        np.testing.assert_array_equal(a.signal, b.signal)


def test_splits_follow_the_read_id_alone():
    ids = [f"read-{i}" for i in range(4000)]
    splits = splits_of_reads(ids, 0.1, 0.2)
    shares = Counter(splits.values())
    assert abs(shares["validation"] / 4000 - 0.1) < 0.02
    assert abs(shares["test"] / 4000 - 0.2) < 0.02
    assert splits_of_reads(ids[::-7], 0.1, 0.2).items() <= splits.items()


@pytest.mark.parametrize("test", [0.0, 0.05])
@pytest.mark.parametrize("reads", range(1, 40))
def test_every_split_has_a_read_if_there_are_enough(reads, test):
    ids = [f"read-{i}" for i in range(reads)]
    splits = splits_of_reads(ids, 0.05, test)
    assert set(splits) == set(ids)
    wanted = {"train", "validation", "test"} if test else {"train", "validation"}
    assert set(splits.values()) == wanted or reads < len(wanted)
    before = splits_of_reads([f"read-{i}" for i in range(2000)], 0.05, test)  # by the hash alone
    if {before[read_id] for read_id in ids} == wanted:
        assert splits.items() <= before.items()


def test_the_source_fingerprint_follows_content_not_place(tmp_path):
    from basecaller.data import pod5
    from tests.helpers import reads as files
    from tests.helpers.importing import settings

    path, bam, _ = files.make_source(tmp_path / "a", count=3)
    first = source_fingerprint("pod5", settings(path, bam))
    moved = (tmp_path / "a").rename(tmp_path / "b")
    assert source_fingerprint("pod5", settings(moved / path.name, moved / bam.name)) == first
    assert (
        source_fingerprint("pod5", dataclasses.replace(settings(moved / path.name, moved / bam.name), chunk_samples=500))
        != first
    )
    files.write_bam(moved / bam.name, [])
    assert source_fingerprint("pod5", settings(moved / path.name, moved / bam.name)) != first
    with pytest.raises(DataError, match="does not exist"):
        source_fingerprint("pod5", settings(path, bam))
    assert pod5.SPLIT_BY


def test_simulated_dwell_times_are_those_of_real_reads():
    chosen = dataclasses.replace(SIMULATED, reads=400, min_bases=100, max_bases=200)
    chunks = list(simulator.simulate(chosen, Counter()))
    dwell = np.concatenate([np.diff(c.starts) for c in chunks])
    assert 9 < dwell.mean() < 11.5
    assert 7 <= np.median(dwell) <= 9
    assert 33 <= np.percentile(dwell, 99) <= 44  # heavy-tailed: a normal distribution would end near 27
    assert dwell.std() > 7
    speed = [4000 * len(c.labels) / len(c.signal) for c in chunks]
    assert 330 < np.median(speed) < 450


def test_hard_reads_have_the_short_dwells_of_real_ones_and_wander():
    chosen = dataclasses.replace(SIMULATED, reads=150, min_bases=300, max_bases=500)
    chunks = list(simulator.simulate_hard(chosen, Counter()))
    dwells = [np.diff(c.starts) for c in chunks]
    dwell = np.concatenate(dwells)
    assert 9.5 < dwell.mean() < 11.5
    assert 7 <= np.median(dwell) <= 9
    assert np.percentile(dwell, 1) <= 2
    assert np.percentile(dwell, 5) <= 3
    easy = [np.diff(c.starts) for c in simulator.simulate(chosen, Counter())]

    def neighbours(of: list[np.ndarray]) -> float:
        """Correlation of the speeds of two successive stretches of 20 bases, without the speed of their reads."""
        logs = [np.log(d[: len(d) // 20 * 20].reshape(-1, 20).mean(1)) for d in of]
        logs = [each - each.mean() for each in logs]
        return float(np.corrcoef(np.concatenate([v[1:] for v in logs]), np.concatenate([v[:-1] for v in logs]))[0, 1])

    assert neighbours(dwells) > 0.25 > 0.1 > neighbours(easy)
    rng = np.random.default_rng(0)
    path = simulator.wandering(rng, 400_000, 2.0, 1000.0)
    assert path.std() == pytest.approx(2.0, rel=0.15)
    assert np.corrcoef(path[1000:], path[:-1000])[0, 1] == pytest.approx(np.exp(-1), abs=0.15)
    one_kmer, steps = np.full(1012, 2, np.uint8), {}
    for preset in (simulator.EASY, simulator.HARD):
        signal, starts = simulator.simulate_read(one_kmer, rng, preset)
        steps[preset] = abs(np.diff(signal[starts])).mean()  # of two samples: noise, and the step between their bases
    assert steps[simulator.HARD] == pytest.approx(1.92, rel=0.1)
    assert steps[simulator.EASY] == pytest.approx(2.63, rel=0.1)


def test_simulated_noise_within_a_base_is_that_of_real_reads():
    rng = np.random.default_rng(0)
    signal, starts = simulator.simulate_read(np.full(412, 2, np.uint8), rng)
    events = [e for e in np.split(signal, starts[1:]) if len(e) >= 10]
    assert 1.5 < np.median([e.std() for e in events]) < 2.0
    residual = np.concatenate([e - e.mean() for e in events if len(e) > 20])
    assert -0.05 < np.corrcoef(residual[1:], residual[:-1])[0, 1] < 0.2


def test_an_audit_describes_the_data_set(dataset):
    facts = audit(dataset)
    assert sum(split.chunks for split in facts.splits.values()) == len(dataset) == 80
    assert facts.counts == {"reads kept": 80}
    assert sum(facts.composition.values()) == pytest.approx(1, abs=1e-3)
    assert facts.infeasible["1"] == 0
    assert facts.infeasible["8"] > 0
    assert facts.on_both_sides == 0
    assert all(share < 0.1 for share in facts.seen.values())
    assert facts.padded == 0
    assert facts.pore.fit["as given"] > 0.9
    (line,) = facts.verdict
    assert line.startswith("51 chunks to train on")
    assert (dataset.folder / "audit.png").stat().st_size > 5000
    assert from_json(Audit, json.loads((dataset.folder / "audit.json").read_text())) == facts


@pytest.mark.slow
def test_an_audit_of_another_version_is_repeated(tmp_path):
    folder = prepare("simulated", SIMULATED, tmp_path).folder
    facts = audit(Dataset(folder))
    kept = json.loads((folder / "audit.json").read_text())
    (folder / "audit.json").write_text(json.dumps({"fingerprint": kept["fingerprint"], "verdict": [], "version": 1}))
    assert audit(Dataset(folder)) == facts
    (folder / "audit.json").write_text(json.dumps(kept | {"splits": []}))  # damaged
    assert audit(Dataset(folder)) == facts
    (folder / "audit.json").write_text(json.dumps(kept | {"verdict": ["kept"], "more": 1}))
    assert audit(Dataset(folder)).verdict == ["kept"]


def made(folder: Path, change: Callable[[Chunk, int], Chunk]) -> Audit:
    """The audit of a data set of simulated reads, after a change to each of them."""
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


@pytest.mark.slow
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
def test_the_verdict_names_problems(tmp_path, change, words):
    facts = made(tmp_path, change)
    assert any(words in line for line in facts.verdict), facts.verdict


def test_a_genome_on_both_sides_of_a_split_is_reported(tmp_path):
    small = dataclasses.replace(SIMULATED, reads=200, genome_bases=1000)
    facts = audit(prepare("simulated", small, tmp_path))
    sequences = {split: [] for split in ("train", "validation", "test")}
    dataset = prepare("simulated", small, tmp_path)
    for i in range(len(dataset)):
        sequences[("train", "validation", "test")[dataset.splits[i]]].append(to_string(dataset.chunk(i)[1]))
    trained = {sequence[j : j + 16] for sequence in sequences["train"] for j in range(len(sequence) - 15)}
    for split in ("validation", "test"):
        words = [sequence[j : j + 16] for sequence in sequences[split] for j in range(len(sequence) - 15)]
        assert facts.seen[split] == pytest.approx(np.mean([word in trained for word in words]), abs=1e-4)
    assert any("of the sequence of validation" in line and "data.split=position" in line for line in facts.verdict)


def test_chunks_on_both_sides_of_a_split_are_counted(tmp_path):
    kept: list[Chunk] = []

    def twice(each: Chunk, i: int) -> Chunk:
        kept.append(each)
        return dataclasses.replace(kept[0], split=each.split) if i % 10 == 0 else each

    facts = made(tmp_path, twice)
    assert facts.on_both_sides > 0
    assert "are in train too" in " ".join(facts.verdict)
