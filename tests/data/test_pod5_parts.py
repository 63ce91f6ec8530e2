"""POD5 files are imported in parts, in parallel; each read comes from one part."""

from __future__ import annotations

import dataclasses
import shutil
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import Future
from pathlib import Path

import numpy as np
import pytest

from basecaller.common.errors import DataError
from basecaller.common.files import write_json
from basecaller.data import pod5_parts, sources
from basecaller.networks.decode import to_string
from tests.helpers import reads as files
from tests.helpers.importing import dropped, load, settings


def many_files(folder: Path) -> tuple[Path, Path, list[files.SimulatedRead]]:
    """Three POD5 files in folders, and two BAM files, of thirty reads."""
    reads = files.make_reads(30, bases=300)
    for number in range(3):
        (folder / f"pod5/{number}").mkdir(parents=True)
        files.write_pod5(folder / f"pod5/{number}/reads.pod5", reads[number::3])
    (folder / "bam").mkdir()
    files.write_bam(folder / "bam/a.bam", [files.unaligned(read) for read in reads[:20]])
    files.write_bam(folder / "bam/b.bam", [files.unaligned(read) for read in reads[20:]])
    return folder / "pod5", folder / "bam", reads


@pytest.mark.slow
def test_a_parallel_import_of_folders_equals_a_sequential_one(tmp_path):
    path, bam, reads = many_files(tmp_path)
    chosen = settings(path, bam)
    chunks, counts = load(chosen)
    assert counts["reads kept"] == len(reads)
    dataset = sources.prepare("pod5", chosen, tmp_path / "data")
    assert len(dataset) == len(chunks)
    assert dataset.meta["counts"] == counts
    for i, expected in enumerate(chunks):
        signal, labels, starts = dataset.chunk(i)
        assert dataset.read_ids[i].decode() == expected.read_id
        assert np.array_equal(signal, expected.signal.astype(np.float16))
        assert np.array_equal(labels, expected.labels)
        assert np.array_equal(starts, expected.starts)
    assert not list((tmp_path / "data").glob("*.parts"))


@pytest.mark.slow
def test_an_interrupted_import_continues_with_the_missing_files(tmp_path):
    path, bam, _ = many_files(tmp_path)
    chosen = settings(path, bam)
    fingerprint = sources.source_fingerprint("pod5", chosen)
    parts = tmp_path / f"data/pod5-{fingerprint}.parts"
    done = sources._import_part("pod5", chosen, pod5_parts.parts(chosen, parts)[1], parts / "1")
    write_json(parts / "1.json", done | {"kept from before": 1})  # a second import of it would not have this
    (parts / "2.partial-1").mkdir()
    dataset = sources.prepare("pod5", chosen, tmp_path / "data")
    assert dataset.meta["counts"] == load(chosen)[1] | {"kept from before": 1}
    assert len(dataset) == len(load(chosen)[0])


@pytest.mark.slow
def test_a_terminated_import_does_not_wait_for_its_files(tmp_path, monkeypatch):
    path, bam, _ = many_files(tmp_path)

    def terminated(jobs: list[Future[None]], total: int) -> Iterator[Future[None]]:
        while not any(job.running() for job in jobs):
            time.sleep(0.1)
        raise KeyboardInterrupt
        yield from jobs

    monkeypatch.setattr(sources, "_import_part", _endless)
    monkeypatch.setattr(sources, "_shown", terminated)
    started = time.monotonic()
    with pytest.raises(KeyboardInterrupt):
        list(sources.import_parts("pod5", settings(path, bam), tmp_path / "data/x", Counter()))
    assert time.monotonic() - started < LONG


LONG = 60.0


def _endless(*arguments: object) -> None:
    time.sleep(LONG)


def test_a_damaged_file_among_others_is_named(tmp_path):
    path, bam, _ = many_files(tmp_path)
    damaged = path / "1/reads.pod5"
    damaged.write_bytes(damaged.read_bytes()[:3000])
    with pytest.raises(DataError, match=r"cannot read .*1/reads\.pod5"):
        sources.prepare("pod5", settings(path, bam), tmp_path / "data")
    assert not list((tmp_path / "data").glob("pod5-*"))


@pytest.mark.slow
def test_several_pairs_are_one_data_set(tmp_path):
    a, a_bam, _ = files.make_source(tmp_path / "a", count=3, seed=1)
    b, b_bam, _ = files.make_source(tmp_path / "b", count=4, seed=2)
    chunks, counts = load(dataclasses.replace(settings(a, a_bam), pod5=(str(a), str(b.parent)), bam=(str(a_bam), str(b_bam))))
    assert counts["reads kept"] == 7
    assert len({chunk.read_id for chunk in chunks}) == 7


def test_a_file_that_moves_to_another_pair_makes_another_data_set(tmp_path):
    """Its reads get the labels of another BAM file."""
    bams = [str(files.make_source(tmp_path / name, count=1, seed=seed)[1]) for seed, name in enumerate("ab")]
    for seed, name in enumerate("xyz"):
        files.write_pod5(tmp_path / f"{name}.pod5", files.make_reads(1, seed=seed))
    found = set()
    for second in (["z.pod5"], ["y.pod5", "z.pod5"]):
        for name in ("first", "second"):
            shutil.rmtree(tmp_path / name, ignore_errors=True)
            (tmp_path / name).mkdir()
        for name in ("x.pod5", "y.pod5", "z.pod5"):
            shutil.copy(tmp_path / name, tmp_path / ("second" if name in second else "first") / name)
        chosen = settings(tmp_path, tmp_path)
        pairs = dataclasses.replace(chosen, pod5=tuple(str(tmp_path / name) for name in ("first", "second")), bam=tuple(bams))
        found.add(sources.source_fingerprint("pod5", pairs))
    assert len(found) == 2


@pytest.mark.slow
def test_pairs_that_share_reads_import_each_from_the_pair_with_its_record(tmp_path):
    """As if one folder of POD5 was basecalled by barcode: the same files, with several BAM files."""
    reads = files.make_reads(5, bases=100)
    path = files.write_pod5(tmp_path / "reads.pod5", reads)
    first = files.write_bam(tmp_path / "first.bam", [files.unaligned(read) for read in reads[:3]])
    second = files.write_bam(tmp_path / "second.bam", [files.unaligned(read) for read in reads[2:]])
    both = dataclasses.replace(settings(path, first, chunk_samples=100_000), pod5=(str(path),) * 2)
    chunks, counts = load(dataclasses.replace(both, bam=(str(first), str(second))))
    assert [to_string(chunk.labels) for chunk in chunks] == [read.sequence for read in reads]
    assert counts["reads kept"] == 5
    assert dropped(counts) == {pod5_parts.NO_RECORD: 2, pod5_parts.IN_ANOTHER_PAIR: 3}
    same, counts = load(dataclasses.replace(both, bam=(str(first),) * 2))
    assert len(same) == counts["reads kept"] == 3


@pytest.mark.slow
def test_a_read_in_several_pod5_files_is_imported_once(tmp_path):
    reads = files.make_reads(6, bases=100)
    (tmp_path / "run").mkdir()
    files.write_pod5(tmp_path / "run" / "pass.pod5", reads[:4])
    files.write_pod5(tmp_path / "run" / "skip.pod5", reads[2:])
    bam = files.write_bam(tmp_path / "calls.bam", [files.unaligned(read) for read in reads[:5]])
    chunks, counts = load(settings(tmp_path / "run", bam, chunk_samples=100_000))
    assert [to_string(chunk.labels) for chunk in chunks] == [read.sequence for read in reads[:5]]
    assert dropped(counts) == {pod5_parts.REPEATED: 2, pod5_parts.NO_RECORD: 1}
