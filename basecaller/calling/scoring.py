"""Detailed evaluation of a model's basecalls: on a data set, or aligned to a reference."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from basecaller.calling.caller import Call, decode
from basecaller.calling.counts import Counts
from basecaller.calling.quality import UNCALIBRATED, Calibration, raw_quality
from basecaller.common.errors import DataError
from basecaller.data.dataset import ALPHABET, Dataset
from basecaller.networks.base import Network
from basecaller.networks.decode import Decoder
from basecaller.training.engine import engine_of
from basecaller.training.evaluate import scored_batches, targets_of
from basecaller.training.metrics import Alignment, columns, error_rates, identity_summary
from basecaller.training.scores import ChunkScores, Homopolymers, ReadScores

SHORTEST_SEED, LONGEST_SEED = 11, 15
"""See `seed_length`; 15 is minimap2's default for nanopore reads."""

LONGEST_RUN = 8
"""Homopolymers of this length and longer are counted together."""


@dataclass
class Tally:
    """Counts over many calls.

    Attributes:
        read_ids, alignments: read id and alignment of each call.
        quality: raw phred, rounded -> [bases, errors], for the called bases inside alignments.
        runs: length of a true homopolymer -> [total number, number called with the correct length].
        counts: counts for the tables of benchmarks.
    """

    counts: Counts
    read_ids: list[str] = field(default_factory=list)
    alignments: list[Alignment] = field(default_factory=list)
    quality: dict[int, list[int]] = field(default_factory=dict)
    runs: dict[int, list[int]] = field(default_factory=dict)

    def add(self, read_id: str, called: str, true: str, length: int, probabilities: np.ndarray) -> None:
        """Counts an alignment.

        Args:
            read_id: read id of the call.
            called, true: columns of the alignment, `-` for gaps.
            length: length of the whole truth.
            probabilities: float, the network's probabilities of the called bases in it.
        """
        self.read_ids.append(read_id)
        self.alignments.append(Alignment.of(called, true, length))
        raw = iter(np.rint(raw_quality(probabilities)).astype(int).tolist())
        for letter, right in zip(called, true, strict=True):
            if letter != "-":
                entry = self.quality.setdefault(next(raw), [0, 0])
                entry[0] += 1
                entry[1] += letter != right
        for length, correct in homopolymers(called, true):
            entry = self.runs.setdefault(min(length, LONGEST_RUN), [0, 0])
            entry[0] += 1
            entry[1] += correct

    @property
    def identities(self) -> list[float]:
        """The identity of each call."""
        return [round(alignment.identity, 4) for alignment in self.alignments]

    @property
    def homopolymers(self) -> list[Homopolymers]:
        """The homopolymers by length."""
        return [Homopolymers(n, total, right / total) for n, (total, right) in sorted(self.runs.items())]


def homopolymers(called: str, true: str) -> list[tuple[int, bool]]:
    """Length of every run of equal bases inside an alignment, and whether it is called with exactly that length.

    Args:
        called, true: the columns of the alignment, `-` for gaps. Runs at its ends are ignored, since they may continue.
    """
    below: list[str] = []  # called letters under each true base, including the letters inserted after it
    for letter, right in zip(called, true, strict=True):
        if right == "-":
            if below:
                below[-1] += letter
        else:
            below.append(letter)
    sequence = true.replace("-", "")
    found = []
    for run in re.finditer(r"(.)\1*", sequence):
        begin, end, letter = run.start(), run.end(), run.group(1)
        if begin == 0 or end == len(sequence):
            continue
        inside = "".join(below[begin:end]).replace("-", "")
        before = below[begin - 1][1:]  # inserted just before the run
        exact = inside.startswith(letter * len(run.group())) and letter not in inside[len(run.group()) :]
        found.append((len(run.group()), exact and letter not in before))
    return found


def evaluate_chunks(
    network: Network, dataset: Dataset, indices: np.ndarray, decoder: Decoder, calibration: Calibration = UNCALIBRATED
) -> tuple[ChunkScores, Tally]:
    """Evaluates a model on chunks with known sequences.

    Args:
        network: the model's network.
        dataset, indices: the chunks.
        decoder: decodes the scores.
        calibration: calibration of the qualities in the tables.
    Returns:
        The model's scores, and the tally, with the chunks in order of length.
    """
    alphabet = network.alphabet
    if dataset.alphabet != alphabet:
        raise DataError(f"{dataset.folder}: its letters are {dataset.alphabet}, the model's {alphabet}")
    calls, truths, tally = list[str](), list[str](), Tally(Counts(alphabet, calibration))
    nats, bases, blanks, frames = 0.0, 0, 0, 0
    for rows, batch, loss, scores, valid in scored_batches(engine_of(network), dataset, indices):
        nats += loss
        bases += len(batch.targets)
        probabilities = scores.float().softmax(2).cpu().numpy()
        for index, row, n, truth in zip(rows, probabilities, valid, targets_of(batch, alphabet), strict=True):
            call = decode(dataset.read_ids[index].decode(), row[:n], decoder, alphabet, 0)
            called, true, first = columns(call.sequence, truth, alphabet)
            tally.add(call.read_id, called, true, len(truth), call.probabilities[first:])
            tally.counts.add(call.read_id, called, true, call.probabilities[first:])
            calls.append(call.sequence)
            truths.append(truth)
            blanks += int((row[:n].argmax(1) == 0).sum())
            frames += n
    scored = ChunkScores(
        **vars(identity_summary(calls, truths, alphabet, tally.alignments)),
        blank_fraction=blanks / frames,
        chunks=len(indices),
        bases=bases,
        loss=nats / bases,
        homopolymers=tally.homopolymers,
    )
    return scored, tally


def evaluate_reads(
    calls: Iterable[Call], reference: Path, alphabet: str = ALPHABET, calibration: Calibration = UNCALIBRATED
) -> tuple[ReadScores, Tally]:
    """Evaluates basecalled reads against a reference, by minimap2's alignments.

    Identity is matches over alignment columns of a read's best alignment; reads that do not align have none and are counted.

    Args:
        calls: calls of the reads.
        reference: FASTA file, or an index of minimap2.
        alphabet: letters of the calls.
        calibration: calibration of the qualities in the tables.
    Raises:
        DataError: the reference cannot be read, or mappy is not installed.
    """
    try:
        import mappy  # here: an optional extra
    except ImportError:
        raise DataError("reference=...: needs mappy: python -m pip install 'basecaller[align]'") from None
    k = seed_length(reference.stat().st_size) if reference.is_file() else LONGEST_SEED
    aligner = mappy.Aligner(str(reference), preset="map-ont", k=k, w=10 if k == LONGEST_SEED else 5)
    if not reference.is_file() or not aligner or not aligner.seq_names:
        raise DataError(f"reference={reference}: cannot be read as FASTA or as an index of minimap2, or has no sequence")
    coverages, tally, reads, bases = list[float](), Tally(Counts(alphabet, calibration)), 0, 0
    aligned = np.zeros(2, np.int64)  # bases called, bases of the reference
    for call in calls:
        reads, bases = reads + 1, bases + len(call.sequence)
        hit = next((h for h in aligner.map(call.sequence) if h.is_primary), None)
        if hit is None:
            continue
        part, backwards = slice(hit.q_st, hit.q_en), hit.strand < 0
        sequence, probabilities = call.sequence[part], call.probabilities[part]
        along = mappy.revcomp(sequence) if backwards else sequence
        called, true = spread(along, aligner.seq(hit.ctg, hit.r_st, hit.r_en), hit.cigar)
        tally.add(call.read_id, called, true, hit.r_en - hit.r_st, probabilities[::-1] if backwards else probabilities)
        if backwards:  # the tables distinguish bases, so count the bases that passed through the pore
            called, true = mappy.revcomp(called), mappy.revcomp(true)
        tally.counts.add(call.read_id, called, true, probabilities)
        coverages.append(len(sequence) / len(call.sequence))
        aligned += len(sequence), hit.r_en - hit.r_st
    scored = ReadScores(
        **vars(error_rates(tally.alignments)),
        reads=reads,
        aligned=len(tally.alignments),
        bases=bases,
        length_ratio=float(aligned[0] / max(1, aligned[1])),
        read_coverage_mean=float(np.mean(coverages)) if coverages else 0.0,
        homopolymers=tally.homopolymers,
    )
    return scored, tally


def seed_length(bases: int) -> int:
    """Length of minimap2's seeds: as short as a genome of this size allows, in which one such stretch in 64 occurs by chance.
    Matches of 15 bases, the default, are rare in calls of 75 % identity: only their best parts would align.
    """
    return next((k for k in range(SHORTEST_SEED, LONGEST_SEED) if 4**k >= 64 * bases), LONGEST_SEED)


def spread(sequence: str, reference: str, cigar: list[list[int]]) -> tuple[str, str]:
    """The columns of an alignment: sequence and reference with `-` for gaps.

    Args:
        sequence, reference: the aligned parts.
        cigar: lengths and operations, as BAM numbers them: 0, 7 and 8 are columns of both, 1 an insertion, 2 a deletion.
    """
    called, true, i, j = list[str](), list[str](), 0, 0
    for length, operation in cigar:
        of_call, of_reference = operation != 2, operation != 1
        called.append(sequence[i : i + length] if of_call else "-" * length)
        true.append(reference[j : j + length] if of_reference else "-" * length)
        i, j = i + length * of_call, j + length * of_reference
    return "".join(called), "".join(true)
