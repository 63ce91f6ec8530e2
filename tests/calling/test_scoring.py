"""The scores of chunks and of reads, and what they count."""

from __future__ import annotations

import numpy as np
import pytest

from basecaller.calling import scoring
from basecaller.calling.caller import Call
from basecaller.calling.scoring import evaluate_chunks, evaluate_reads, homopolymers, seed_length, spread
from basecaller.calling.tables import event_rates
from basecaller.common.errors import DataError
from tests.conftest import Command
from tests.helpers.models import network


@pytest.mark.parametrize(
    ("cigar", "called", "true"),
    [
        ([[5, 0]], "ACGTA", "ACGTA"),
        ([[2, 7], [1, 8], [2, 7]], "ACTTA", "ACGTA"),
        ([[2, 0], [1, 1], [3, 0]], "ACCGTA", "AC-GTA"),
        ([[2, 0], [2, 2], [1, 0]], "AC--A", "ACGTA"),
    ],
)
def test_an_alignment_is_spread_into_its_columns(cigar, called, true):
    assert spread(called.replace("-", ""), true.replace("-", ""), cigar) == (called, true)


def test_every_chunk_has_its_own_identity(dataset, monkeypatch):
    """Chunks are scored in order of length, which is not their order in the data set."""

    def call(read_id, probabilities, *_):
        bases = len(probabilities) // 2
        return Call(read_id, ("ACGT" * bases)[:bases], np.arange(bases), np.full(bases, 0.9), 0)

    monkeypatch.setattr(scoring, "decode", call)
    made, indices = network(), dataset.indices("test")
    _, together = evaluate_chunks(made, dataset, indices, "greedy")
    alone = [evaluate_chunks(made, dataset, np.array([index]), "greedy")[1].identities for index in indices]
    read_ids = [read_id.decode() for read_id in dataset.read_ids[indices]]
    assert sorted(zip(together.read_ids, together.identities, strict=True)) == sorted(
        (read_id, identity) for read_id, (identity,) in zip(read_ids, alone, strict=True)
    )
    assert together.read_ids != read_ids
    assert len(set(together.identities)) > 2


def test_reads_are_evaluated_against_a_reference(model, tmp_path, run: Command, monkeypatch):
    mappy = pytest.importorskip("mappy")
    rng = np.random.default_rng(0)
    genome = "".join("ACGT"[i] for i in rng.integers(0, 4, 20_000))
    (tmp_path / "genome.fasta").write_text(f">g\n{genome}\n")

    def call(name: str, sequence: str) -> Call:
        return Call(name, sequence, np.arange(len(sequence)), np.where(np.arange(len(sequence)) % 20, 0.99, 0.9), 0)

    exact = [call(str(i), genome[i * 3000 : i * 3000 + 2000]) for i in range(4)]
    exact.append(call("backwards", mappy.revcomp(genome[12_000:14_000])))
    worse = list(genome[15_000:17_000])
    worse[::20] = ["A" if base != "A" else "C" for base in worse[::20]]
    foreign = call("x", "".join("ACGT"[i] for i in rng.integers(0, 4, 2000)))
    # reversed: the wrong bases have the low probabilities only if the probabilities are reversed too
    wrong = Call("w", mappy.revcomp("".join(worse)), np.arange(2000), call("", "A" * 2000).probabilities[::-1], 0)
    scores, tally = evaluate_reads([*exact, wrong, foreign], tmp_path / "genome.fasta")
    assert (scores.reads, scores.aligned) == (7, 6)
    assert tally.read_ids == ["0", "1", "2", "3", "backwards", "w"]
    assert tally.identities[:5] == [1.0] * 5
    assert tally.identities[5] == pytest.approx(0.95, abs=0.01)
    assert scores.identity_median == 1.0
    assert scores.length_ratio == pytest.approx(1, abs=0.002)
    assert scores.mismatch_rate == pytest.approx(100 / 12_000, abs=0.002)
    assert tally.quality[20][1] == 0
    assert 90 <= tally.quality[10][1] <= 100
    assert [each.length for each in scores.homopolymers][:3] == [1, 2, 3]
    assert scores.homopolymers[0].correct > 0.95
    poor = np.array(list(genome[2000:4000]))
    at = rng.random(2000) < 0.3
    poor[at] = rng.choice(list("ACGT"), at.sum())
    scores, _ = evaluate_reads([call("poor", "".join(poor))], tmp_path / "genome.fasta")
    assert scores.read_coverage_mean > 0.9  # a small genome allows short seeds, so whole reads align
    assert seed_length(3_000_000_000) == 15
    with pytest.raises(DataError, match="cannot be read as FASTA"):
        evaluate_reads(exact, tmp_path / "nothing.fasta")


def test_every_chunk_is_scored_under_the_name_of_its_read(dataset):
    """Chunks are scored in order of length, which is not their order in the data set."""
    made, indices = network(), dataset.indices("test")
    scores, tally = evaluate_chunks(made, dataset, indices, "greedy")
    _, *errors = event_rates(tally.counts.reads)
    assert [each.rate for each in errors] == [scores.mismatch_rate, scores.insertion_rate, scores.deletion_rate]
    alone = {}
    for index in indices:
        alone[dataset.read_ids[index].decode()] = evaluate_chunks(made, dataset, np.array([index]), "greedy")[1].alignments[0]
    assert dict(zip(tally.read_ids, tally.alignments, strict=True)) == alone
    assert tally.read_ids != list(alone)
    assert len(set(alone.values())) > 3


@pytest.mark.parametrize(
    ("called", "true", "expected"),
    [
        ("CAAAG", "CAAAG", [(3, True)]),
        ("CAA-G", "CAAAG", [(3, False)]),
        ("CAAAAG", "CAAA-G", [(3, False)]),
        ("CAAATG", "CAAA-G", [(3, True)]),  # the inserted letter is another one
        ("CTAAG", "CAAAG", [(3, False)]),
        ("AACGG", "AACGG", [(1, True)]),  # runs at the ends may continue
    ],
)
def test_homopolymers_are_correct_if_their_length_is_called(called, true, expected):
    assert homopolymers(called, true) == expected
