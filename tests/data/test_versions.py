"""The version in a data set's key changes with the content of the arrays, and with nothing else."""

from __future__ import annotations

import dataclasses
import hashlib
from pathlib import Path

import numpy as np
import pytest

from basecaller.data import Dataset, bonito, pod5, pod5_parts, simulator, tensors
from basecaller.data.sources import SOURCES, prepare, source_fingerprint
from tests.conftest import SIMULATED
from tests.helpers import reads as files
from tests.helpers.importing import settings
from tests.helpers.reads import CONTIG, aligned_read


def of_pod5(folder: Path) -> object:
    """Reads of both strands and with every CIGAR operation, by MD, some unaligned."""
    operations = [("S", 9), ("M", 90), ("D", 40), ("=", 60), ("X", 2), ("N", 500), ("M", 80), ("I", 20), ("d", 3), ("M", 90)]
    made = [aligned_read(operations, reverse=seed % 2 == 1, seed=seed) for seed in range(8)]
    for each in made:
        each.record.set_tag("MD", each.md)
    calls = files.make_reads(8, bases=200)
    path = files.write_pod5(folder / "reads.pod5", [*(each.read for each in made), *calls])
    records = [*(each.record for each in made), *map(files.unaligned, calls)]
    bam = files.write_bam(folder / "calls.bam", records, {CONTIG: len(made[0].genome)})
    return settings(path, bam)


def of_bonito(folder: Path) -> object:
    return bonito.Settings((str(files.bonito_directory(folder / "b", 30, 300, np.int16)),), 20, "ACGT", 0.2, 0.2)


def of_tensors(folder: Path) -> object:
    return tensors.Settings(str(files.tensors(folder / "t", 30, "npy")[0]), "signals", "sequences", 0.2, 0.2)


MADE = {
    "pod5": (of_pod5, pod5.VERSION),
    "bonito": (of_bonito, bonito.VERSION),
    "rawctcnet": (of_tensors, tensors.VERSION),
    "simulated": (lambda folder: SIMULATED, simulator.VERSION),
    "simulated_hard": (lambda folder: SIMULATED, simulator.HARD_VERSION),
}


def digest(dataset: Dataset) -> str:
    """Digest of all that a training sees; signals to the hundredth, since processors may round the last bit differently."""
    content = hashlib.sha256()
    for i in range(len(dataset)):
        signal, labels, starts = dataset.chunk(i)
        content.update(np.rint(np.asarray(signal, np.float64) * 100).astype(np.int16).tobytes())
        content.update(labels.tobytes() + (b"" if starts is None else np.asarray(starts, np.int32).tobytes()))
        content.update(b"%s %d" % (dataset.read_ids[i], dataset.splits[i]))
    return content.hexdigest()[:12]


KNOWN = {
    ("pod5", 6): "d655dfba8a59",
    ("bonito", 1): "036b69520e16",
    ("rawctcnet", 1): "09ea3a678cc4",
    ("simulated", 1): "755708677cce",
    ("simulated_hard", 1): "da6cf34a1945",
}
"""Digests by source and version; those of earlier versions may go."""


@pytest.mark.parametrize("name", MADE)
def test_the_arrays_are_those_of_the_version(tmp_path, name):
    make, version = MADE[name]
    found = digest(prepare(name, make(tmp_path), tmp_path / "data"))
    assert KNOWN.get((name, version)) == found, (
        f"what is in a data set of {name} changed: raise VERSION in its module, and note ({name!r}, VERSION): {found!r} here"
    )


@pytest.mark.parametrize("name", MADE)
def test_another_version_is_another_data_set(tmp_path, monkeypatch, name):
    chosen = MADE[name][0](tmp_path)
    before = source_fingerprint(name, chosen)
    monkeypatch.setitem(SOURCES, name, dataclasses.replace(SOURCES[name], version=SOURCES[name].version + 1))
    assert source_fingerprint(name, chosen) != before


def test_another_normalisation_is_another_data_set_and_the_default_that_of_earlier_versions(tmp_path):
    chosen = of_pod5(tmp_path)
    kept = {
        f.name: getattr(chosen, f.name) for f in dataclasses.fields(chosen) if f.name not in ("normalisation", "mean", "stdev")
    }
    earlier = dataclasses.make_dataclass("Earlier", kept)(**kept)
    before = source_fingerprint("pod5", chosen)
    assert source_fingerprint("pod5", earlier) == before
    assert source_fingerprint("pod5", dataclasses.replace(chosen, normalisation="quantile")) != before


def test_words_of_the_audit_are_not_part_of_the_key(tmp_path, monkeypatch):
    chosen = of_pod5(tmp_path)
    first = prepare("pod5", chosen, tmp_path / "data")
    monkeypatch.setattr(pod5_parts, "NO_RECORD", "reads dropped: in other words")
    again = prepare("pod5", chosen, tmp_path / "elsewhere")
    assert (again.folder.name, again.fingerprint) == (first.folder.name, first.fingerprint)
