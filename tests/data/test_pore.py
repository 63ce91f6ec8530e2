"""K-mer tables, and labels compared with them."""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from basecaller.common.errors import DataError
from basecaller.config.composition import compose_config
from basecaller.config.settings import data_settings
from basecaller.data import Dataset, simulator
from basecaller.data.audit import audit
from basecaller.data.dataset import Chunk, DatasetWriter
from basecaller.data.pore import Pore, placed_correlation, r94, read_table
from basecaller.data.signal import reverse_complement
from tests.conftest import SIMULATED, TINY, Command

KMERS = ["".join("ACGT"[(i >> shift) & 3] for shift in range(10, -1, -2)) for i in range(4**6)]


def made(folder: Path, change: Callable[[np.ndarray], np.ndarray], placed: bool) -> Dataset:
    """Simulated reads whose labels were changed; with base starts, or to be placed."""
    reads = dataclasses.replace(SIMULATED, reads=60, min_bases=60, max_bases=90)
    with DatasetWriter(folder / "set", {}) as writer:
        for each in simulator.simulate(reads, Counter()):
            starts = None if placed else each.starts
            writer.add(Chunk(each.read_id, each.signal, change(each.labels), starts, each.split))
    return Dataset(folder / "set")


@pytest.mark.slow
@pytest.mark.parametrize("placed", [False, True])
@pytest.mark.parametrize(
    ("change", "way"),
    [
        (lambda labels: labels, "as given"),
        (lambda labels: np.array([0, 1, 3, 2, 4], np.uint8)[labels], "in the order A G C T"),
        (lambda labels: np.array([0, 4, 3, 2, 1], np.uint8)[labels], "in the order T G C A"),
        (reverse_complement, "other strand"),
        (lambda labels: labels[::-1], "reversed"),
    ],
)
def test_mixed_up_labels_are_reported_by_kind(tmp_path, change, way, placed):
    facts = audit(made(tmp_path, change, placed))
    fit = facts.pore.fit
    assert facts.pore.placed is placed
    assert max(fit, key=lambda key: fit[key]) == way
    told = [line for line in facts.verdict if "fit the R9.4 pore's levels better" in line]
    assert told if way != "as given" else not told
    assert all(f"labels {way} fit" in line for line in told)


def table(path: Path, header: str, row: Callable[[str, float], str]) -> Path:
    lines = [row(kmer, float(level)) for kmer, level in zip(KMERS, r94().levels, strict=True)]
    path.write_text("\n".join([header, *lines[::-1]]) + "\n")
    return path


@pytest.mark.parametrize(
    ("header", "row"),
    [
        ("kmer\tweight\tlevel_mean", lambda kmer, level: f"{kmer}\t1\t{level}"),
        ("kmer,level", lambda kmer, level: f"{kmer},{level}"),
        ("# levels of a pore", lambda kmer, level: f"{kmer.lower().replace('t', 'u')} {level}"),
    ],
)
def test_tables_are_read_in_all_common_formats(tmp_path, header, row):
    np.testing.assert_allclose(read_table(table(tmp_path / "levels.txt", header, row)), r94().levels, rtol=1e-6)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("", "is not a table of k-mers"),
        ("read\tlength\n", "is not a table of k-mers"),
        ("A 1\nC 2\nG 3\n", "has no level for 1 of 4 1-mers"),
        ("AA 1\nACG 2\n", "row 2: ACG is not a 2-mer"),
        ("A 1\nC two\n", "row 2: could not convert"),
        ("A 1\nC\n", "row 2"),
    ],
)
def test_a_file_that_is_not_a_table_is_named(tmp_path, content, words):
    path = tmp_path / "levels.txt"
    path.write_text(content)
    with pytest.raises(DataError, match=words) as raised:
        read_table(path)
    assert str(path) in str(raised.value)


def test_your_own_table_needs_no_offset(tmp_path, run: Command):
    path = table(tmp_path / "mine.tsv", "kmer\tlevel_mean", lambda kmer, level: f"{kmer}\t{2 * level - 90}")
    told = run("prepare", *TINY, "data.min_bases=60", "data.max_bases=90", f"data.pore_model={path}")
    assert "correlation with mine.tsv" in told.stdout
    assert "as given: 0.9" in " ".join(told.stdout.split())
    with pytest.raises(DataError, match=r"data\.pore_model: gone\.tsv is not a file"):
        data_settings(compose_config(["data.pore_model=gone.tsv"]))


@pytest.mark.slow
def test_an_audit_is_repeated_for_another_table(tmp_path):
    dataset = made(tmp_path, lambda labels: labels, False)
    own = audit(dataset, Pore("mine", r94().levels))  # the position of a base in its k-mer is fitted
    assert own.pore.fit["as given"] == audit(dataset).pore.fit["as given"] > 0.9
    upside_down = Pore("mine", -r94().levels)
    assert audit(dataset, upside_down).pore.fit["as given"] < 0.3


def test_levels_are_placed_where_they_fit_best():
    rng = np.random.default_rng(0)
    levels = rng.normal(size=(2, 30))
    levels = (levels - levels.mean(1, keepdims=True)) / levels.std(1, keepdims=True)
    signals = [np.repeat(row, rng.integers(1, 9, 30)) for row in levels]
    signals = [(signal - signal.mean()) / signal.std() for signal in signals]
    right = placed_correlation(signals, list(levels))
    wrong = placed_correlation(signals, list(levels[::-1]))
    assert (right > 0.97).all()
    assert (wrong < right - 0.1).all()
    assert placed_correlation([signals[0][:30]], [signals[0][:30]]) == pytest.approx(1)
