"""The tables of benchmarks, against numbers counted by hand."""

from __future__ import annotations

import csv
import math
from collections import Counter
from dataclasses import fields
from pathlib import Path

import numpy as np
import pytest

from basecaller.calling import tables
from basecaller.calling.caller import Call
from basecaller.calling.counts import Counts, ReadRow, homopolymer_counts, signature_counts
from basecaller.calling.quality import Calibration
from basecaller.calling.scoring import evaluate_reads

# 14 columns: 9 matches; mismatches G for A and T for G; T inserted; T and A deleted
TRUE = "ACTG-AAAAAACGT"
CALLED = "AC-GTAA-AAGCTT"
# of the 12 called bases, in phred; the wrong ones are the fourth, the ninth and the eleventh
PHRED = [10, 20, 20, 10, 20, 20, 20, 20, 10, 20, 20, 20]
# 8 columns: an A inserted
TRUE_2 = "GAA-AAAC"
CALLED_2 = "GAAAAAAC"


def probabilities(phred: list[int]) -> np.ndarray:
    return 1 - 10.0 ** (-np.array(phred) / 10)


def counted(alphabet: str = "ACGT", calibration: Calibration = Calibration()) -> Counts:  # noqa: B008
    counts = Counts(alphabet, calibration)
    counts.add("a", CALLED, TRUE, probabilities([*PHRED, 40]))  # probabilities after the alignment are ignored
    counts.add("b", CALLED_2, TRUE_2, probabilities([20] * 8))
    return counts


def row(rate: float, quality: float, right: float = math.nan, wrong: float = math.nan) -> ReadRow:
    return ReadRow("r", 1, 0, 0, 0, rate, quality, right, wrong)


def test_an_alignment_is_counted_column_by_column():
    first, second = counted().reads
    assert (first.read_id, first.matches, first.mismatches, first.insertions, first.deletions) == ("a", 9, 2, 1, 2)
    assert first.match_rate == 9 / 14
    assert first.quality == (9 * 20 + 3 * 10) / 12
    assert first.quality_right == pytest.approx((8 * 20 + 10) / 9)
    assert first.quality_wrong == pytest.approx((10 + 10 + 20) / 3)
    assert (second.matches, second.insertions, second.quality_wrong) == (7, 1, 20)


def test_qualities_are_those_of_fastq():
    first, _ = counted(calibration=Calibration(0.5, 1.2)).reads  # 10 becomes 6.2, 20 becomes 11.2
    assert first.quality == (9 * 11 + 3 * 6) / 12


def test_event_rates_are_of_all_columns_and_of_each_alignment():
    match, mismatch, insertion, deletion = tables.event_rates(counted().reads)
    assert [each.event for each in (match, mismatch, insertion, deletion)] == ["match", "mismatch", "insertion", "deletion"]
    assert [each.count for each in (match, mismatch, insertion, deletion)] == [16, 2, 2, 2]
    assert match.rate == 16 / 22
    assert insertion.rate == 2 / 22
    low, high = 9 / 14, 7 / 8
    assert match.mean == match.median == pytest.approx((low + high) / 2)
    assert match.lower_quartile == pytest.approx(0.75 * low + 0.25 * high)
    assert match.upper_quartile == pytest.approx(0.25 * low + 0.75 * high)
    assert mismatch.mean == pytest.approx((2 / 14 + 0) / 2)


def test_homopolymer_errors_are_bases_missing_wrong_or_too_many():
    counts = counted()
    # first, six A: one deleted, one mismatched, and the T inserted before them is not an error; second, five A: one inserted
    assert counts.homopolymers.tolist() == [[2, 11, 3], [0, 0, 0], [0, 0, 0], [0, 0, 0]]
    rows = tables.homopolymer_errors(counts.homopolymers, "ACGT")
    assert [each.base for each in rows] == ["A", "C", "G", "T", "all"]
    assert rows[0].error_rate == rows[-1].error_rate == 3 / 11
    assert math.isnan(rows[1].error_rate)


@pytest.mark.parametrize(
    ("called", "true", "expected"),
    [
        ("TTTT", "TTTT", (0, 0, 0)),  # too short
        ("TTTTT", "TTTT-", (0, 0, 0)),
        ("TTTTT", "TTTTT", (1, 5, 0)),
        ("CTT--TG", "CTTTTTG", (1, 5, 2)),
        ("TTTTTATTTTT", "TTTTTATTTTT", (2, 10, 0)),
        ("TTTATT", "TTT-TT", (1, 5, 0)),  # another base inserted
        ("TTTTTTT", "TT-TTT-", (1, 5, 2)),
        ("AAAAA", "TTTTT", (1, 5, 5)),
    ],
)
def test_homopolymers_by_hand(called, true, expected):
    found = homopolymer_counts(*(np.frombuffer(of.encode(), np.uint8) for of in (called, true)), "ACGT")
    assert tuple(found[3]) == expected
    assert found.sum() == sum(expected)


def test_an_insertion_between_two_homopolymers_is_an_error_of_its_letter():
    found = homopolymer_counts(*(np.frombuffer(of, np.uint8) for of in (b"AAAAACCCCCC", b"AAAAA-CCCCC")), "ACGT")
    assert found[:2].tolist() == [[1, 5, 0], [1, 5, 1]]


def test_the_overlap_of_bases_is_the_common_area_of_two_distributions():
    counts = counted()
    assert counts.qualities[:, [10, 20]].tolist() == [[1, 15], [2, 2]]
    rows = tables.quality_distributions(counts.qualities)
    assert [(each.quality, each.right, each.wrong) for each in rows] == [(10, 1, 2), (20, 15, 2)]
    assert rows[0].share_of_wrong == 0.5
    assert tables.overlap_of_bases(rows) == pytest.approx(1 / 16 + 1 / 2)
    counts.qualities[1] = 0
    assert math.isnan(tables.overlap_of_bases(tables.quality_distributions(counts.qualities)))


def normal(x: float) -> float:
    return 0.5 * math.erfc(-x / math.sqrt(2))


@pytest.mark.parametrize(
    ("right", "wrong", "expected"),
    [
        ([20.0, 15.0], [15.0, 20.0], 1.0),
        ([20.0], [15.0], 0.0),
        ([20.4], [20.0], 2 * normal(-1)),  # two kernels of width 0.2, which cross in the middle
        ([20.4, 20.8], [20.0, 20.4], normal(-2) + normal(0)),
        ([50.0], [50.0, math.nan], 1.0),  # a read without a wrong base counts among the right ones
        ([1.0], [math.nan], math.nan),
    ],
)
def test_the_overlap_of_reads_is_the_area_below_both_densities(right, wrong, expected):
    several = max(len(right), len(wrong))
    right, wrong = (of + [math.nan] * (several - len(of)) for of in (right, wrong))
    reads = [row(1.0, 1.0, *pair) for pair in zip(right, wrong, strict=True)]
    assert tables.overlap_of_reads(reads) == pytest.approx(expected, abs=2e-4, nan_ok=True)


def test_the_area_under_the_curve_of_the_best_reads_first():
    curve = tables.auc_curve([row(0.5, 10), row(1.0, 20), row(0.9, 15)])
    assert [each.fraction for each in curve] == pytest.approx([1 / 3, 2 / 3, 1])
    assert [each.match_rate for each in curve] == pytest.approx([1.0, 0.95, 0.8])
    assert [each.quality for each in curve] == [20, 15, 10]
    assert tables.auc(curve) == pytest.approx((1.0 + 0.975 + 0.875) / 3)
    assert tables.auc(tables.auc_curve([row(1.0, 5), row(1.0, 9)])) == pytest.approx(1)
    assert math.isnan(tables.auc([]))


def test_signatures_count_events_between_called_neighbours():
    counts = Counts()
    counts.add("a", CALLED, TRUE, probabilities(PHRED))
    rows = tables.signatures(counts.signatures, "ACGT")
    assert len(rows) == 4**3 * 6
    found = {(each.context, each.event, each.true): each.count for each in rows if each.count}
    assert found == {
        ("ACG", "match", "C"): 1,
        ("CTG", "deletion", "T"): 1,
        ("CGT", "match", "G"): 1,
        ("GTA", "insertion", "-"): 1,
        ("TAA", "match", "A"): 1,
        ("AAA", "match", "A"): 2,
        ("AAA", "deletion", "A"): 1,
        ("AAG", "match", "A"): 1,
        ("AGC", "mismatch", "A"): 1,
        ("GCT", "match", "C"): 1,
        ("CTT", "mismatch", "G"): 1,
    }
    rates = {(each.context, each.event): each.rate for each in rows if each.context == "AAA" and each.event != "mismatch"}
    assert rates == pytest.approx({("AAA", "match"): 2 / 3, ("AAA", "insertion"): 0, ("AAA", "deletion"): 1 / 3})
    assert all(math.isnan(each.rate) for each in rows if each.context == "CCC")


def test_signatures_of_random_alignments_are_those_of_a_walk_along_the_columns():
    rng = np.random.default_rng(0)
    called, true = (rng.choice(list("ACGT-"), 500) for _ in range(2))
    called, true = (row[(called != "-") | (true != "-")] for row in (called, true))
    expected = Counter[tuple[str, ...]]()
    for i in range(len(called)):
        before, after = ([letter for letter in part if letter != "-"] for part in (called[:i], called[i + 1 :]))
        if before and after:
            expected[before[-1], called[i], true[i], after[0]] += 1
    found = signature_counts(*(np.frombuffer("".join(of).encode(), np.uint8) for of in (called, true)), "ACGT")
    letters = "ACGT-"
    assert found.sum() == sum(expected.values())
    assert {tuple(letters[i] for i in at): found[tuple(at)] for at in np.argwhere(found).tolist()} == expected


def test_letters_that_the_model_lacks_match_nothing():
    counts = Counts("ACGTM")
    counts.add("a", "ACMGT", "ACMNT", probabilities([20] * 5))
    assert (counts.reads[0].matches, counts.reads[0].mismatches) == (4, 1)
    assert counts.signatures.shape == (5, 6, 6, 5)
    assert counts.signatures[1, 4, 4, 2] == 1  # M between C and G
    assert counts.signatures.sum() == 2  # not the column of N


def test_reads_count_in_the_direction_in_which_they_were_called(tmp_path: Path):
    mappy = pytest.importorskip("mappy")
    rng = np.random.default_rng(1)
    random = ["".join(rng.choice(list("ACGT"), 400)) for _ in range(2)]
    genome = f"{random[0]}CAAAAAAAAC{random[1]}"
    (tmp_path / "genome.fasta").write_text(f">g\n{genome}\n")
    missing = f"{random[0]}CAAAAAAAC{random[1]}"
    found = {}
    for name, sequence in (("along", missing), ("against", mappy.revcomp(missing))):
        call = Call(name, sequence, np.arange(len(sequence)), np.full(len(sequence), 0.99), 0)
        _, tally = evaluate_reads([call], tmp_path / "genome.fasta")
        found[name] = tally.counts
        assert sum(of.deletions for of in tally.counts.reads) == 1
    along, against = found["along"].homopolymers, found["against"].homopolymers
    assert along.tolist() == against[::-1].tolist()  # A for T
    assert along[0, 2] == 1
    assert along[3, 2] == 0
    turned = found["against"].signatures[::-1, :, :, ::-1].transpose(3, 1, 2, 0)
    turned = turned[:, [3, 2, 1, 0, 4]][:, :, [3, 2, 1, 0, 4]]
    np.testing.assert_array_equal(found["along"].signatures, turned)


def test_the_files_have_the_documented_columns(tmp_path: Path):
    tables.write_tables(counted(), tmp_path)
    told = (Path(__file__).parents[2] / "docs/basecalls.md").read_text(encoding="utf-8")
    for path in tmp_path.iterdir():
        with path.open(newline="", encoding="utf-8") as file:
            header, *rows = csv.reader(file)
        assert f"| `{path.name}` | {', '.join(f'`{name}`' for name in header)} |" in told
        assert rows
    assert {path.stem for path in tmp_path.iterdir()} == {
        "summary", "events", "homopolymers", "qualities", "auc", "signatures", "reads",
    }  # fmt: skip
    with (tmp_path / "reads.csv").open(newline="", encoding="utf-8") as file:
        first, *_ = csv.DictReader(file)
    assert list(first) == [column.name for column in fields(ReadRow)]
    assert (first["read_id"], first["matches"], first["match_rate"]) == ("a", "9", "0.642857")
    with (tmp_path / "summary.csv").open(newline="", encoding="utf-8") as file:
        numbers = {each["metric"]: each["value"] for each in csv.DictReader(file)}
    assert numbers["match_rate"] == f"{16 / 22:.6g}"
    assert numbers["homopolymer_error_rate_A"] == f"{3 / 11:.6g}"
    assert numbers["homopolymer_error_rate_C"] == ""
    assert float(numbers["phredq_overlap_of_bases"]) == pytest.approx(1 / 16 + 1 / 2)


def test_nothing_called_gives_empty_tables(tmp_path: Path):
    counts = Counts()
    counts.add("silent", "", "", np.zeros(0))
    tables.write_tables(counts, tmp_path)
    assert (tmp_path / "reads.csv").read_text().count("\n") == 1
    assert "auc,\n" in (tmp_path / "summary.csv").read_text()
