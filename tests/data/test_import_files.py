"""Files from elsewhere: damaged and foreign ones are named, FASTA is read without its index, links are followed."""

from __future__ import annotations

import gzip
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pysam
import pytest

from basecaller.common.errors import DataError
from basecaller.data import sources
from basecaller.data.folders import files_below
from basecaller.networks.decode import to_string
from tests.helpers import reads as files
from tests.helpers.importing import dropped, load, settings
from tests.helpers.reads import aligned_read


def mapped(folder: Path) -> tuple[Path, Path, list[files.AlignedRead]]:
    """Four aligned reads without MD, on contigs c0 to c3: their POD5 and BAM."""
    made = [aligned_read([("M", 150)], seed=seed) for seed in range(4)]
    path = files.write_pod5(folder / "reads.pod5", [each.read for each in made])
    bam = folder / "mapped.bam"
    header = pysam.AlignmentHeader.from_references([f"c{i}" for i in range(4)], [len(each.genome) for each in made])
    records = [each.record.to_dict() | {"ref_name": f"c{i}"} for i, each in enumerate(made)]
    with pysam.AlignmentFile(str(bam), "wb", header=header) as file:
        for record in records:
            file.write(pysam.AlignedSegment.from_dict(record, header))
    return path, bam, made


def as_bgzip(text: bytes, path: Path) -> None:
    plain = path.with_suffix("")
    plain.write_bytes(text)
    pysam.tabix_compress(str(plain), str(path), force=True)
    plain.unlink()


SOUND_FASTAS: dict[str, tuple[str, Callable[[bytes, Path], object]]] = {
    "plain": ("g.fa", lambda text, path: path.write_bytes(text)),
    "windows": ("g.fa", lambda text, path: path.write_bytes(text.replace(b"\n", b"\r\n"))),
    "lower case": ("g.fa", lambda text, path: path.write_bytes(text.lower().replace(b">c", b">c"))),
    "ragged": ("g.fa", lambda text, path: path.write_bytes(text.replace(b"A\n", b"A\n\n").replace(b"CG", b"C\nG"))),
    "descriptions": ("g.fa", lambda text, path: path.write_bytes(text.replace(b">c1", b">c1 the first\tof some"))),
    "no last line end": ("g.fa", lambda text, path: path.write_bytes(text.rstrip())),
    "gzip": ("g.fa.gz", lambda text, path: path.write_bytes(gzip.compress(text))),
    "bgzip": ("g.fa.gz", as_bgzip),
}


@pytest.mark.parametrize("kind", SOUND_FASTAS)
def test_a_fasta_is_read_without_its_index_and_nothing_is_written_beside_it(tmp_path, kind):
    (tmp_path / "genome").mkdir()
    path, bam, made = mapped(tmp_path)
    name, write = SOUND_FASTAS[kind]
    text = files.write_fasta(tmp_path / "plain.fa", {f"c{i}": each.genome for i, each in enumerate(made)}).read_bytes()
    write(text, tmp_path / "genome" / name)
    (tmp_path / "genome" / f"{name}.fai").write_text("c1\t150\t1\t3\t4\n")  # older than the FASTA, and wrong
    before = {file: file.read_bytes() for file in (tmp_path / "genome").iterdir()}
    chunks, counts = load(settings(path, bam, reference=str(tmp_path / "genome" / name), chunk_samples=100_000))
    assert [to_string(chunk.labels) for chunk in chunks] == [each.read.sequence for each in made]
    assert counts["labels from the reference"] == 4
    assert {file: file.read_bytes() for file in (tmp_path / "genome").iterdir()} == before


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "has no sequences"),
        (b"hello\n", "has no sequences"),
        (b">a\n>b\n", "has no sequences"),
        (b">a\nACGT\n>b\nAC\n>a\nACGT\n", "has two sequences named a"),
        (b"@a\nACGT\n+\nIIII\n", "FASTQ file of reads"),
        (gzip.compress(b">a\n" + bytes(np.random.default_rng(0).integers(65, 91, 90_000, np.uint8)))[:30_000], "cannot read"),
    ],
)
def test_a_fasta_that_cannot_be_used_is_named_and_not_the_pod5(tmp_path, content, words):
    path, bam, _ = mapped(tmp_path)
    fasta = tmp_path / "genome.fasta"
    fasta.write_bytes(content)
    with pytest.raises(DataError, match=words) as caught:
        load(settings(path, bam, reference=str(fasta)))
    assert str(fasta) in str(caught.value)
    assert str(path) not in str(caught.value)


def test_a_fasta_other_than_the_aligners_gives_no_labels(tmp_path):
    path, bam, made = mapped(tmp_path)
    rng = np.random.default_rng(9)
    contigs = {
        "c0": made[0].genome,
        "c1": np.append(made[1].genome, 1),  # another version
        "c2": rng.integers(1, 5, len(made[2].genome)).astype(np.uint8),
    }
    _, counts = load(settings(path, bam, reference=str(files.write_fasta(tmp_path / "other.fa", contigs))))
    assert dropped(counts) == {
        "reads dropped: aligned to another reference than the FASTA: lengths differ": 1,
        "reads dropped: aligned to another reference than the FASTA: bases differ": 1,
        "reads dropped: no reference c3 in the FASTA": 1,
    }
    assert counts["reads kept"] == 1


def test_an_edited_genome_makes_another_data_set(tmp_path):
    """The edit keeps the size and the first and last megabyte."""
    path, bam, _ = mapped(tmp_path)
    fasta = tmp_path / "genome.fa"
    content = bytearray(b">a\n" + b"ACGT" * (800 * 1024))
    fasta.write_bytes(content)
    chosen = settings(path, bam, reference=str(fasta))
    first = sources.source_fingerprint("pod5", chosen)
    content[1_500_000:1_500_001] = b"N"
    fasta.write_bytes(content)
    assert sources.source_fingerprint("pod5", chosen) != first


@pytest.mark.parametrize(("mode", "kind"), [("w", "SAM"), ("wc", "CRAM")])
def test_messages_about_sam_and_cram_say_how_to_convert(tmp_path, mode, kind):
    path, bam, _ = files.make_source(tmp_path, 3)
    other = tmp_path / "other" / f"calls.{kind.lower()}"
    other.parent.mkdir()
    with pysam.AlignmentFile(str(bam), check_sq=False) as given, pysam.AlignmentFile(str(other), mode, given) as written:
        for record in given:
            written.write(record)
    with pytest.raises(DataError, match=f"{other.name}: it is a {kind} file; convert it: samtools view -b"):
        load(settings(path, other))
    with pytest.raises(DataError, match=f"no .bam file below .*, only .{kind.lower()} files; convert them: samtools view"):
        load(settings(path, other.parent))


@pytest.mark.slow
def test_folders_behind_links_are_searched_once(tmp_path):
    disk, run = tmp_path / "disk", tmp_path / "run"
    (disk / "deep").mkdir(parents=True)
    run.mkdir()
    reads = files.make_reads(3, bases=100)
    files.write_pod5(disk / "a.pod5", reads[:1])
    files.write_pod5(disk / "deep" / "B.POD5", reads[1:2])
    files.write_pod5(tmp_path / "c.pod5", reads[2:])
    files.write_bam(disk / "deep" / "calls.bam", [files.unaligned(read) for read in reads])
    (run / "linked").symlink_to(disk)
    (run / "again").symlink_to(disk)
    (disk / "deep" / "loop").symlink_to(run)
    (run / "c.pod5").symlink_to(tmp_path / "c.pod5")
    (run / "._c.pod5").write_bytes(b"of macOS")
    assert len(files_below(run, ".pod5")) == 3
    chunks, counts = load(settings(run, run, chunk_samples=100_000))
    assert sorted(to_string(chunk.labels) for chunk in chunks) == sorted(read.sequence for read in reads)
    assert not dropped(counts)
    (run / "d.pod5").symlink_to(tmp_path / "gone.pod5")
    with pytest.raises(DataError, match=r"cannot read .*d\.pod5"):
        load(settings(run, run))


@pytest.mark.slow
def test_an_empty_pod5_and_files_of_other_kinds_are_named(tmp_path):
    path, bam, reads = files.make_source(tmp_path, 3)
    with pytest.raises(DataError, match=r"empty\.pod5 has no reads"):
        load(settings(files.write_pod5(tmp_path / "empty.pod5", []), bam))
    fastq = tmp_path / "calls.fastq"
    fastq.write_text("".join(f"@{read.read_id}\n{read.sequence}\n+\n{read.sequence}\n" for read in reads))
    with pytest.raises(DataError, match=r"cannot read .*calls\.fastq"):
        load(settings(path, fastq))
    with pytest.raises(DataError, match=r"data\.pod5: cannot read .*calls\.bam"):
        load(settings(bam, bam))
    other = files.write_bam(tmp_path / "other.bam", [files.unaligned(files.make_reads(1, seed=9)[0])])
    (tmp_path / "two").mkdir()
    for name in "ab":
        shutil.copy(path, tmp_path / "two" / f"{name}.pod5")
    with pytest.raises(DataError, match="has no record of any of the 3 reads"):
        load(settings(tmp_path / "two", other))


def test_an_import_leaves_no_temporary_files(tmp_path):
    path, bam, made = mapped(tmp_path)
    fasta = files.write_fasta(tmp_path / "g.fa", {f"c{i}": each.genome for i, each in enumerate(made)})
    chosen = settings(path, bam, reference=str(fasta), validation=0.2, test=0.2)
    dataset = sources.prepare("pod5", chosen, tmp_path / "data")
    assert [file for file in (tmp_path / "data").iterdir() if not file.name.startswith(".")] == [dataset.folder]
    shutil.rmtree(dataset.folder)
    bam.write_bytes(bam.read_bytes()[:-100])
    with pytest.raises(DataError, match=r"data\.bam: cannot read .*mapped\.bam"):
        sources.prepare("pod5", chosen, tmp_path / "data")
    assert not [file for file in (tmp_path / "data").iterdir() if not file.name.startswith(".")]


BAD_FILES = {
    "missing": ("does not exist", lambda pod, bam: pod.unlink()),
    "missing bam": ("is not a file", lambda pod, bam: bam.unlink()),
    "truncated pod5": ("cannot read", lambda pod, bam: pod.write_bytes(pod.read_bytes()[:-2000])),
    "foreign pod5": ("cannot read", lambda pod, bam: pod.write_text("reads, honestly")),
    "truncated bam": ("cannot read", lambda pod, bam: bam.write_bytes(bam.read_bytes()[:-500])),
    "foreign bam": ("cannot read", lambda pod, bam: bam.write_text("@HD nothing of the kind")),
    "empty bam": ("cannot read", lambda pod, bam: bam.write_bytes(b"")),
}


@pytest.mark.parametrize("kind", BAD_FILES)
def test_bad_files_are_named(tmp_path, kind):
    path, bam, _ = files.make_source(tmp_path, count=20)
    message, spoil = BAD_FILES[kind]
    spoil(path, bam)
    with pytest.raises(DataError, match=message) as caught:
        load(settings(path, bam))
    assert str(path) in str(caught.value) or str(bam) in str(caught.value)


def test_a_bam_of_other_reads_is_an_error_that_names_both_files(tmp_path):
    path, _, _ = files.make_source(tmp_path / "a", count=2, seed=1)
    _, bam, _ = files.make_source(tmp_path / "b", count=2, seed=2)
    with pytest.raises(DataError, match="no record of any of the 2 reads") as caught:
        load(settings(path, bam))
    assert str(path) in str(caught.value)
    assert str(bam) in str(caught.value)


def test_messages_about_fast5_say_how_to_convert(tmp_path):
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "a.fast5").touch()
    files.write_bam(tmp_path / "calls.bam", [])
    with pytest.raises(DataError, match="pod5 convert fast5"):
        load(settings(tmp_path / "run", tmp_path))
