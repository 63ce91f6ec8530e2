"""Simulated reads of the R9.4 pore: a random genome, the pore's k-mer levels, measured dwell times and noise.

The constants come from real reads (lambda and klebsiella, R9.4, 4 kHz), see `docs/data.md`.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np

from basecaller.common.errors import SettingError
from basecaller.data.dataset import Chunk
from basecaller.data.pore import r94
from basecaller.data.signal import normalise, reverse_complement
from basecaller.data.splits import splits_of_reads

VERSION = HARD_VERSION = 1
"""Version of the simulated reads: see `sources.Source`."""

SAMPLE_RATE = 4000.0  # samples per second
SPEED_MEDIAN, SPEED_SIGMA, SPEED_RANGE = 400.0, 0.2, (210.0, 580.0)  # bases/s of a read, log-normal
LEVEL_RESIDUAL = 1.6  # pA, standard deviation of an event's level around the table's
NOISE_STD, NOISE_LAG1 = 1.7, 0.1  # pA within a base, and the lag-1 autocorrelation of that noise
ADC_STEP = 1443.03 / 8192  # pA per count: range over digitisation of a MinION
FLANK = 6  # bases around a read, so that its first and last k-mers are whole


@dataclass(frozen=True)
class Preset:
    """Parameters that make reads easy or hard.

    Attributes:
        dwell_least, dwell_sigma: samples of a base: a minimum plus a heavy-tailed log-normal with this sigma.
        wander, wander_bases: wandering of the speed along a read: standard deviation of its logarithm, and its correlation
            length in bases.
        drift, drift_samples: wandering of the current's level: standard deviation in pA, and correlation length in samples.
        steps: whether successive equal k-mers, as in a homopolymer, have different levels, which makes their number visible.
    """

    dwell_least: float
    dwell_sigma: float
    wander: float = 0.0
    wander_bases: float = 1.0
    drift: float = 0.0
    drift_samples: float = 1.0
    steps: bool = True


EASY = Preset(dwell_least=5.0, dwell_sigma=1.0)
HARD = Preset(dwell_least=1.0, dwell_sigma=0.8, wander=0.25, wander_bases=60.0, drift=2.0, drift_samples=2000.0, steps=False)
"""Dwells as short as on lambda, and properties that a network can only infer from a wide context: the local speed of the
strand, which determines the length of a homopolymer, and the drift of the current."""


@dataclass(frozen=True)
class Settings:
    """Settings of `conf/data/simulated.yaml` and `simulated_hard.yaml`.

    Attributes:
        reads: Number of reads in all splits together.
        min_bases: Length of the shortest reads, in bases; lengths are uniform.
        max_bases: Length of the longest reads, in bases.
        genome_bases: Length of the random genome, in bases; reads come from both strands.
        simulator_seed: Seed of genome and reads; `seed` is that of the training.
        validation: Share of the reads for validation.
        test: Share of the reads for the test; or a separate source, as in {name: bonito, path: DIR}.
    """

    reads: int = field(metadata={"least": 3})
    min_bases: int = field(metadata={"least": 5})
    max_bases: int = field(metadata={"least": 5})
    genome_bases: int = field(metadata={"least": 100})
    simulator_seed: int = field(metadata={"least": 0})
    validation: float = field(metadata={"above": 0, "below": 1})
    test: float = field(metadata={"least": 0, "below": 1})

    def check_keys(self, where: str) -> None:
        """Checks that reads have a length, and fit into the genome."""
        if self.max_bases < self.min_bases:
            raise SettingError(f"{where}.max_bases={self.max_bases}: must be at least {where}.min_bases={self.min_bases}")
        if self.genome_bases < self.max_bases + 2 * FLANK:
            raise SettingError(f"{where}.genome_bases={self.genome_bases}: shorter than a read of {where}.max_bases")


def wandering(rng: np.random.Generator, count: int, deviation: float, memory: float) -> np.ndarray:
    """An Ornstein-Uhlenbeck process: float [count], of this standard deviation and correlation exp(-distance / memory)."""
    step = max(1, int(memory / 20))  # drawn at every `step`-th place, linear in between
    knots = np.arange(0, count + step, step)
    kept, path = np.exp(-step / memory), rng.normal(0, deviation, len(knots))
    for i in range(1, len(path)):
        path[i] = kept * path[i - 1] + np.sqrt(1 - kept**2) * path[i]
    return np.interp(np.arange(count), knots, path)


def simulate_read(labels: np.ndarray, rng: np.random.Generator, preset: Preset = EASY) -> tuple[np.ndarray, np.ndarray]:
    """The signal of one strand.

    Args:
        labels: uint8 [FLANK + bases + FLANK], values 1 to 4; the flanks only affect the first and last levels.
        rng: source of dwell times and noise.
        preset: difficulty of the reads.
    Returns:
        Signal in picoampere, float32 [samples]; first sample of each base, int64 [bases].
    """
    bases = len(labels) - 2 * FLANK
    pore = r94()
    first = FLANK - (pore.offset or 0)
    mean = pore.expected(labels)[first : first + bases]
    speed = np.clip(rng.lognormal(np.log(SPEED_MEDIAN), SPEED_SIGMA), *SPEED_RANGE)
    # a log-normal with mean m has its median at m exp(-sigma^2 / 2)
    median = (SAMPLE_RATE / speed - preset.dwell_least) * np.exp(-(preset.dwell_sigma**2) / 2)
    stays = rng.lognormal(np.log(median), preset.dwell_sigma, bases)
    if preset.wander:
        stays *= np.exp(wandering(rng, bases, preset.wander, preset.wander_bases) - preset.wander**2 / 2)
    samples = np.rint(preset.dwell_least + stays).astype(np.int64)
    residual = rng.normal(0, LEVEL_RESIDUAL, bases)
    if not preset.steps:
        new = np.append(True, mean[1:] != mean[:-1])
        residual = residual[new][np.cumsum(new) - 1]
    levels = mean + residual
    white = rng.normal(0, NOISE_STD, int(samples.sum()) + 1)
    noise = np.sqrt(1 - NOISE_LAG1**2) * white[1:] + NOISE_LAG1 * white[:-1]  # MA(1), lag-1 autocorrelation near 0.1
    signal = np.repeat(levels, samples) + noise
    if preset.drift:
        signal += wandering(rng, len(signal), preset.drift, preset.drift_samples)
    signal = np.rint(signal / ADC_STEP) * ADC_STEP
    return signal.astype(np.float32), np.cumsum(samples) - samples


def simulate(settings: Settings, counts: Counter[str], preset: Preset = EASY) -> Iterator[Chunk]:
    """All reads of a simulated run, each one chunk; the same settings give the same reads.

    Args:
        settings: sizes and seed.
        counts: audit counters, incremented in place.
        preset: difficulty of the reads.
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
        signal, starts = simulate_read(labels, rng, preset)
        counts["reads kept"] += 1
        yield Chunk(read_id, normalise(signal), labels[FLANK:-FLANK], starts, splits[read_id])


def simulate_hard(settings: Settings, counts: Counter[str]) -> Iterator[Chunk]:
    """Like `simulate`, with hard reads."""
    return simulate(settings, counts, HARD)
