"""Reads are assigned to splits by read or by place on the genome; no split shares either."""

from __future__ import annotations

import numpy as np
import pytest

from basecaller.common.errors import DataError
from basecaller.data import sources
from basecaller.data.splits import SPLITS, splits_of_places
from basecaller.networks.decode import to_string
from tests.helpers import reads as files
from tests.helpers.importing import load, settings
from tests.helpers.reads import CONTIG, aligned, aligned_read


def test_positions_are_cut_by_covered_bases_and_genomes_separately():
    header = [("a", 1000), ("b", 1000)]
    blocks = [(i, 0, at, at + 9) for i, at in enumerate(range(500, 600, 10))]  # ten chunks, end to end
    blocks += [(10, 1, 0, 9), (11, 1, 5, 14), (12, 2, 0, 99), (13, 2, 100, 199), (14, 0, 0, 9), (14, 0, 990, 999)]
    contigs = [("a", 1000), ("b", 1000), ("other", 300)]
    splits = splits_of_places(16, np.array(blocks), contigs, [header, [("other", 300)], header[1:]], 0.25, 0.25)
    # a and b: 100 + 15 + 20 bases are covered; the first half ends 57.5 bases after 490, the third quarter at 591.25
    assert splits[:10].tolist() == [0, 0, 0, 0, 0, -1, 1, 1, 1, -1]
    assert splits[10:12].tolist() == [2, 2]
    assert splits[12:14].tolist() == [0, -1]  # half of 200, and across the cut at 150
    assert splits[14] == -1  # across an intron that holds the cuts
    assert splits[15] == 0  # no position


@pytest.mark.slow
@pytest.mark.parametrize("split", ["read", "position"])
@pytest.mark.parametrize("count", [3, 8, 20])
def test_few_long_reads_fill_every_split(tmp_path, count, split):
    """In one region of a large genome: 3 to 20 reads of 3,000 bases."""
    made = [aligned_read([("M", 3000)], seed=seed, before=seed * 50, after=0) for seed in range(count)]
    for each in made:
        each.record.set_tag("MD", "3000")
    path = files.write_pod5(tmp_path / "reads.pod5", [each.read for each in made])
    bam = files.write_bam(tmp_path / "mapped.bam", [each.record for each in made], {CONTIG: 100_000_000})
    chosen = settings(path, bam, split=split, validation=0.1, test=0.1, chunk_samples=1000)
    dataset = sources.prepare("pod5", chosen, tmp_path / "data")
    ids = {name: set(dataset.read_ids[dataset.indices(name)]) for name in SPLITS}
    assert all(ids.values())
    if split == "read":
        assert sum(map(len, ids.values())) == count
    else:
        share = len(dataset.indices("train")) / len(dataset)
        assert 0.65 < share < 0.95
        blocks, contigs = dataset.places
        assert contigs == [(CONTIG, 100_000_000)]
        last = {name: blocks[np.isin(blocks[:, 0], dataset.indices(name))][:, 2:] for name in SPLITS}
        assert last["train"].max() < last["validation"].min()
        assert last["validation"].max() < last["test"].min()


@pytest.mark.parametrize(("md", "labels"), [("400", "auto"), ("400", "moves"), (None, "auto")])
def test_position_splits_never_share_a_place_on_the_genome(tmp_path, md, labels):
    genome = np.random.default_rng(5).integers(1, 5, 4000).astype(np.uint8)
    reads = files.make_reads(30, bases=400, genome=genome)
    records = []
    for number, read in enumerate(reads):
        at = number * (len(genome) - 400) // 29
        record = aligned(read, 0, at, [(0, 400)], reverse=False)
        record.set_tag("MD", md)
        records.append(record)
    path = files.write_pod5(tmp_path / "reads.pod5", reads)
    bam = files.write_bam(tmp_path / "mapped.bam", records, {"contig": len(genome)})
    chunks, counts = load(settings(path, bam, split="position", labels=labels))
    places: dict[str, set[int]] = {split: set() for split in SPLITS}
    text = to_string(genome)
    for chunk in chunks:
        at = text.find(to_string(chunk.labels))
        places[chunk.split].update(range(at, at + len(chunk.labels)))
    assert all(places.values())
    assert max(places["train"]) < min(places["validation"])
    assert max(places["validation"]) < min(places["test"])
    assert counts["chunks dropped: across a cut between splits"] > 0


def test_a_split_by_position_needs_positions(tmp_path):
    path, bam, _ = files.make_source(tmp_path, count=3)
    with pytest.raises(DataError, match=r"data\.split=position needs records aligned"):
        load(settings(path, bam, split="position"))
