"""Simulated reads of the R9.4 pore: a random genome, the pore's k-mer levels, measured dwell times and noise.

The constants are those of real reads (lambda and klebsiella, R9.4, 4 kHz), see `docs/data.md`.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np

from basecaller.data.dataset import Chunk
from basecaller.data.pore import r94
from basecaller.data.signal import normalise, reverse_complement
from basecaller.data.splits import splits_of_reads

VERSION = 1
"""Of the reads that are drawn: see `sources.Source`."""

SAMPLE_RATE = 4000.0  # samples per second
SPEED_MEDIAN, SPEED_SIGMA, SPEED_RANGE = 400.0, 0.2, (210.0, 580.0)  # bases/s of a read, log-normal
DWELL_LEAST, DWELL_SIGMA = 5.0, 1.0  # a base's samples: the shortest, plus a log-normal with this heavy tail
LEVEL_RESIDUAL = 1.6  # pA, standard deviation of an event's level around the table's
NOISE_STD, NOISE_LAG1 = 1.7, 0.1  # pA within a base, and the lag-1 autocorrelation of that noise
ADC_STEP = 1443.03 / 8192  # pA per count: range over digitisation of a MinION
FLANK = 6  # bases around a read, so that its first and last k-mers are whole


@dataclass(frozen=True)
class Settings:
    """What `conf/data/simulated.yaml` sizes.

    Attributes:
        reads: number of reads over all splits.
        min_bases, max_bases: read length is uniform between them.
        genome_bases: length of the random genome; reads come from both strands.
        simulator_seed: seed of genome and reads; not the seed of training.
        validation, test: fraction of the reads in those splits.
    """

    reads: int = field(metadata={"least": 3})
    min_bases: int = field(metadata={"least": 5})
    max_bases: int = field(metadata={"least": 5})
    genome_bases: int = field(metadata={"least": 100})
    simulator_seed: int = field(metadata={"least": 0})
    validation: float = field(metadata={"above": 0, "below": 1})
    test: float = field(metadata={"least": 0, "below": 1})


def simulate_read(labels: np.ndarray, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """The signal of one strand.

    Args:
        labels: uint8 [FLANK + bases + FLANK], values 1 to 4; the flanks shape the first and last levels only.
        rng: source of dwell times and noise.
    Returns:
        Signal in picoampere, float32 [samples]; first sample of each base, int64 [bases].
    """
    bases = len(labels) - 2 * FLANK
    pore = r94()
    first = FLANK - (pore.offset or 0)
    mean = pore.expected(labels)[first : first + bases]
    speed = np.clip(rng.lognormal(np.log(SPEED_MEDIAN), SPEED_SIGMA), *SPEED_RANGE)
    # a log-normal of mean m has its median at m exp(-sigma^2 / 2)
    median = (SAMPLE_RATE / speed - DWELL_LEAST) * np.exp(-(DWELL_SIGMA**2) / 2)
    samples = np.rint(DWELL_LEAST + rng.lognormal(np.log(median), DWELL_SIGMA, bases)).astype(np.int64)
    levels = mean + rng.normal(0, LEVEL_RESIDUAL, bases)
    white = rng.normal(0, NOISE_STD, int(samples.sum()) + 1)
    noise = np.sqrt(1 - NOISE_LAG1**2) * white[1:] + NOISE_LAG1 * white[:-1]  # MA(1), lag-1 autocorrelation near 0.1
    signal = np.repeat(levels, samples) + noise
    signal = np.rint(signal / ADC_STEP) * ADC_STEP
    return signal.astype(np.float32), np.cumsum(samples) - samples


def simulate(settings: Settings, counts: Counter[str]) -> Iterator[Chunk]:
    """All reads of a simulated run, each one chunk; the same settings give the same reads.

    Args:
        settings: sizes and seed.
        counts: audit counters, raised in place.
    """
    rng = np.random.default_rng(settings.simulator_seed)
    genome = rng.integers(1, 5, settings.genome_bases, dtype=np.uint8)
    read_ids = [f"sim-{settings.simulator_seed}-{number:06d}" for number in range(settings.reads)]
    splits = splits_of_reads(read_ids, settings.validation, settings.test)
    for read_id in read_ids:
        bases = int(rng.integers(settings.min_bases, settings.max_bases + 1))
        span = bases + 2 * FLANK
        start = int(rng.integers(0, settings.genome_bases - span + 1))
        labels = genome[start : start + span]
        if rng.random() < 0.5:
            labels = reverse_complement(labels)
        signal, starts = simulate_read(labels, rng)
        counts["reads kept"] += 1
        yield Chunk(read_id, normalise(signal), labels[FLANK:-FLANK], starts, splits[read_id])
