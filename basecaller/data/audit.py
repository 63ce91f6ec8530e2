"""The audit of a data set before training: its contents and its problems."""

from __future__ import annotations

import hashlib
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from rich import box
from rich.console import Group, RenderableType
from rich.table import Table

from basecaller.common.facts import from_json, to_json
from basecaller.common.files import read_json, replacing, write_json
from basecaller.data.dataset import ALPHABET, Dataset, sample_rates
from basecaller.data.pod5 import NO_MD, NOT_ALIGNED
from basecaller.data.pore import Pore, Ways, fit, r94
from basecaller.data.splits import SPLITS

VERSION = 4
"""Version of the facts: increase it with any change, so that earlier audits are repeated."""

STRIDES = (1, 2, 3, 4, 5, 6, 8)

LOOKED_AT = 2000
"""Number of chunks whose signals are read: a fixed choice, if there are more."""

MARGIN = {False: 0.1, True: 0.03}
"""By how much changed labels must fit the pore's levels better than the given ones to be reported: if base starts are known,
and if labels are placed where they fit best, so that wrong labels also fit well."""

WORD = 16
"""Length in bases of the words searched for on both sides of a split: four billion exist, so chance matches are rare."""

SEEN = 0.2
"""Share of the held-out sequence that training may have seen without a warning: repeats of a large genome stay below it."""

FLAT = 20
"""Number of equal samples at a chunk's end that count as padding: noise does not repeat so often."""

FEW = 300
"""Number of training chunks below which any basecaller memorises them."""

LEAST_FIT = 0.4
"""Correlation below which the pore is assumed to be another one, and no misfit is reported."""


@dataclass(frozen=True)
class SplitSizes:
    """The size of a split of a data set."""

    chunks: int
    reads: int
    samples: int
    bases: int


@dataclass(frozen=True)
class Histogram:
    """Counts of values between edges, of which there is one more than counts."""

    edges: list[float]
    counts: list[int]


@dataclass(frozen=True)
class PoreFit:
    """The fit of labels to the levels of a pore.

    Attributes:
        name: name of the pore's table.
        placed: whether labels had to be placed, since the data set has no base starts.
        fit: see `pore.fit`.
    """

    name: str
    placed: bool
    fit: Ways


@dataclass(frozen=True)
class Seen:
    """Overlap of the training split with held-out chunks.

    Attributes:
        on_both_sides: number of held-out chunks that are also in training, by content.
        seen: by name, the share of their stretches of `WORD` bases that occur in training, on the same strand.
    """

    on_both_sides: int
    seen: dict[str, float]


@dataclass(frozen=True)
class Audit(Seen):
    """Counts, distributions and problems of a data set: the contents of `audit.json`.

    Attributes:
        fingerprint: fingerprint of the data set.
        table: digest of the pore's table.
        version: see `VERSION`.
        counts: reads and chunks kept and dropped, by reason.
        splits: sizes by split.
        samples_per_chunk, bases_per_chunk, samples_per_base, level: minimum, quartiles and maximum.
        histograms: histograms of these four, by name.
        composition: share of each base.
        infeasible: chunks too dense for CTC, by stride.
        padded: share of chunks that end in a constant.
        pore: fit to the pore's levels; None if the letters are not the table's.
        shares: shares of a mixture's sources; None if there is one source.
        verdict: problems in training, and what to change.
    """

    fingerprint: str
    table: str
    version: int
    counts: dict[str, int]
    splits: dict[str, SplitSizes]
    samples_per_chunk: list[float]
    bases_per_chunk: list[float]
    samples_per_base: list[float]
    level: list[float]
    histograms: dict[str, Histogram]
    composition: dict[str, float]
    infeasible: dict[str, int]
    padded: float
    pore: PoreFit | None
    shares: dict[str, float] | None
    verdict: list[str]


def audit(dataset: Dataset, pore: Pore | None = None) -> Audit:
    """Audits a data set. The result is stored next to the data set, which never changes.

    Args:
        dataset: data set to audit.
        pore: the k-mer table to compare labels with; None: R9.4's.
    """
    cache, pore = dataset.folder / "audit.json", pore or r94()
    with suppress(ValueError):  # the file is missing, or from another version
        known = from_json(Audit, read_json(cache))
        if (known.fingerprint, known.table, known.version) == (dataset.fingerprint, pore.digest, VERSION):
            return known
    facts = _facts(dataset, pore)
    facts = replace(facts, verdict=verdict(facts))
    with suppress(OSError):  # it only saves time, and the data set's folder may be read-only
        write_json(cache, to_json(facts))
    draw(facts, dataset.folder / "audit.png")
    return facts


def _facts(dataset: Dataset, pore: Pore) -> Audit:
    """An audit without its verdict."""
    ways = fit(dataset, pore)
    splits = {}
    for split in SPLITS:
        indices = dataset.indices(split)
        splits[split] = SplitSizes(
            chunks=len(indices),
            reads=len(np.unique(dataset.read_ids[indices])),
            samples=int(dataset.lengths[indices].sum()),
            bases=int(dataset.target_lengths[indices].sum()),
        )
    bases = dataset.label_counts
    everything = np.arange(len(dataset))
    some = np.sort(np.random.default_rng(0).permutation(everything)[:LOOKED_AT])
    signals = [np.asarray(dataset.chunk(int(i))[0], np.float32) for i in some]
    spread = {
        "samples_per_chunk": dataset.lengths,
        "bases_per_chunk": dataset.target_lengths,
        "samples_per_base": dataset.lengths / dataset.target_lengths,
        "level": np.concatenate(signals),
    }
    padded = [len(signal) > FLAT and bool((signal[-FLAT:] == signal[-1]).all()) for signal in signals]
    held = seen_in_training(dataset, {split: (dataset, dataset.indices(split)) for split in ("validation", "test")})
    return Audit(
        **vars(held),
        fingerprint=dataset.fingerprint,
        table=pore.digest,
        version=VERSION,
        counts=dict(dataset.meta.get("counts", {})),
        splits=splits,
        samples_per_chunk=_quartiles(spread["samples_per_chunk"]),
        bases_per_chunk=_quartiles(spread["bases_per_chunk"]),
        samples_per_base=_quartiles(spread["samples_per_base"]),
        level=_quartiles(spread["level"]),
        histograms={key: _histogram(values) for key, values in spread.items()},
        composition=dict(zip(dataset.alphabet, (bases / bases.sum()).round(4).tolist(), strict=True)),
        infeasible={str(stride): len(dataset.infeasible(everything, stride)) for stride in STRIDES},
        padded=round(float(np.mean(padded)), 4),
        pore=PoreFit(pore.name, not dataset.has_starts, ways) if ways else None,
        shares=getattr(dataset, "shares", None) or None,
        verdict=[],
    )


def _quartiles(values: np.ndarray) -> list[float]:
    """Minimum, quartiles and maximum."""
    return [round(float(q), 2) for q in np.percentile(values, [0, 25, 50, 75, 100])]


def _histogram(values: np.ndarray) -> Histogram:
    low, high = np.percentile(values, [0.5, 99.5])
    counts, edges = np.histogram(np.clip(values, low, high), 40)
    return Histogram([round(float(edge), 4) for edge in edges], counts.tolist())


def seen_in_training(dataset: Dataset, held: dict[str, tuple[Dataset, np.ndarray]]) -> Seen:
    """Overlap of a data set's training split with held-out chunks.

    Args:
        dataset: data set to train on.
        held: by name, a data set and its held-out chunks, int64 [n].
    """
    base = 1 + len(dataset.alphabet)
    digests, words = list[bytes](), dict[str, np.ndarray]()
    for name, (other, indices) in held.items():
        digests += [_digest(*other.chunk(int(i))[:2]) for i in indices]
        some = np.random.default_rng(0).permutation(indices)[:LOOKED_AT]
        words[name] = np.concatenate([np.zeros(0, np.int64), *(_words(other.chunk(int(i))[1], base) for i in some)])
    asked = np.unique(np.concatenate(list(words.values())))
    trained, known = set[bytes](), np.zeros(len(asked), bool)
    for i in dataset.indices("train"):
        signal, labels, _ = dataset.chunk(int(i))
        trained.add(_digest(signal, labels))
        if len(asked):
            own = _words(labels, base)
            places = np.minimum(np.searchsorted(asked, own), len(asked) - 1)
            known[places[asked[places] == own]] = True
    return Seen(
        on_both_sides=sum(digest in trained for digest in digests),
        seen={name: round(float(known[np.searchsorted(asked, own)].mean()), 4) for name, own in words.items() if len(own)},
    )


def leaks(seen: dict[str, float]) -> list[str]:
    """Warnings about held-out chunks much of whose sequence is also in training.

    Args:
        seen: share of the sequence by name, see `Seen`.
    """
    shares = " and ".join(f"{share:.0%} of the sequence of {name}" for name, share in seen.items() if share > SEEN)
    if not shares:
        return []
    return [
        f"{shares} is in train too (stretches of {WORD} bases): both sides have the same small genome or the same repeats, so "
        "scores show how well these are memorised; use data.split=position, or test on another genome (data.test)"
    ]


def _digest(signal: np.ndarray, labels: np.ndarray) -> bytes:
    """Digest of a chunk's labels and first samples."""
    content = np.ascontiguousarray(labels).tobytes() + np.ascontiguousarray(signal[:64], np.float32).tobytes()
    return hashlib.blake2b(content, digest_size=12).digest()


def _words(labels: np.ndarray, base: int) -> np.ndarray:
    """All stretches of `WORD` labels as numbers: int64 [len - WORD + 1]."""
    if len(labels) < WORD:
        return np.zeros(0, np.int64)
    windows = np.lib.stride_tricks.sliding_window_view(labels.astype(np.int64), WORD)
    words: np.ndarray = windows @ np.int64(base) ** np.arange(WORD)
    return words


def verdict(facts: Audit, only_tested: bool = False) -> list[str]:
    """Problems in training on a data set, and what to change; empty if there are none.

    Args:
        facts: facts of the data set.
        only_tested: whether the data set is only for the test, so that its splits do not matter.
    """
    found = [] if only_tested else _of_splits(facts)
    if facts.padded > 0.01:
        found.append(
            f"{facts.padded:.1%} of the chunks end in a constant, as padded arrays do: the network would learn to call nothing "
            "there; cut them to their signal"
        )
    low, _, median, _, high = facts.level
    if abs(median) > 1 or high - low > 200 or high - low < 0.5:
        found.append(
            f"signal levels run from {low:g} to {high:g} with median {median:g}: not normalised as (x - median) / "
            "(1.4826 MAD); keep raw counts as whole numbers, or normalise them"
        )
    per_base = facts.samples_per_base[2]
    if not 3 <= per_base <= 60:
        found.append(f"{per_base:g} samples per base (median): labels and signals do not seem to belong together")
    rates = sample_rates(facts.counts)
    if len(rates) > 1:
        found.append(
            f"reads were sampled at {' and '.join(map(str, rates))} Hz, so bases differ in length between runs: a model "
            "calls reads of one rate best; train one for each"
        )
    poor, unknown = (sum(n for key, n in facts.counts.items() if key.endswith(reason)) for reason in (NOT_ALIGNED, NO_MD))
    if poor:
        found.append(
            f"{poor:,} reads did not align and have their basecalls as labels, which are often poor: leave them out with "
            "data.labels=reference"
        )
    if unknown:
        found.append(
            f"{unknown:,} aligned reads have their basecalls as labels, for lack of MD tags: give data.reference=FASTA for "
            "labels from the reference, or data.labels=moves if basecalls are meant"
        )
    for base, share in facts.composition.items():
        if share < 0.02 and (base in ALPHABET or not share):  # additional letters may be rare, such as modified bases
            found.append(f"{base} is {share:.1%} of the bases: check the alphabet and the order of its labels")
    if facts.pore is not None:
        found += _misfit(facts.pore)
    return found


def _of_splits(facts: Audit) -> list[str]:
    """Problems of the splits for training, validation and test."""
    found = []
    chunks = facts.splits["train"].chunks
    if chunks < FEW:
        found.append(f"{chunks} chunks to train on: a network memorises so few; add reads, or use a smaller data.validation")
    held = sum(facts.splits[split].chunks for split in ("validation", "test"))
    if facts.on_both_sides:
        found.append(
            f"{facts.on_both_sides:,} of {held:,} chunks of validation and test are in train too: scores would be too good; "
            "leave repeated reads out, or use data.split=position"
        )
    return found + leaks(facts.seen)


def _misfit(pore: PoreFit) -> list[str]:
    """Warnings if labels fit a pore's levels better after a change, such as reversal, than as given."""
    ways = pore.fit
    best = max(ways, key=lambda way: ways[way])
    if ways[best] < LEAST_FIT or ways[best] < ways["as given"] + MARGIN[pore.placed]:
        return []
    fitting = f"fit the {pore.name} pore's levels better (correlation {ways[best]:.2f}) than as given ({ways['as given']:.2f})"
    if best.startswith("shifted"):
        return [
            f"labels {best} {fitting}: if they come from a basecaller's move table, this is usual and costs a base or two at "
            "the ends of chunks; otherwise check the offset of the labels"
        ]
    return [f"labels {best} {fitting}: check strand, direction and order of the labels"]


def infeasible_at(facts: Audit, stride: int, tolerated: float) -> str:
    """The warning about a stride at which too many targets do not fit; empty if the stride is possible.

    Args:
        facts: audit of the data set.
        stride: samples per frame.
        tolerated: largest share of such targets without a warning, see `train.infeasible`.
    """
    total = sum(split.chunks for split in facts.splits.values())
    count = facts.infeasible.get(str(stride), 0)
    if count <= tolerated * total:
        return ""
    return f"model.stride={stride}: {count:,} of {total:,} targets have more labels than frames; use a smaller one"


NAMES = {
    "samples_per_chunk": "samples/chunk",
    "bases_per_chunk": "bases/chunk",
    "samples_per_base": "samples/base",
    "level": "signal level",
}
BLOCKS = " ▁▂▃▄▅▆▇█"


def draw(facts: Audit, path: Path) -> None:
    """Draws the histograms as a PNG."""
    from matplotlib.figure import Figure  # here: starts slowly, and most audits draw nothing

    figure = Figure(figsize=(9, 5.4), layout="constrained")
    for axes, (key, name) in zip(figure.subplots(2, 2).flat, NAMES.items(), strict=True):
        histogram = facts.histograms[key]
        axes.stairs(histogram.counts, histogram.edges, fill=True, color="#0072B2")
        axes.set(xlabel=name, ylabel="chunks" if key != "level" else "samples")
    with replacing(path) as partial:
        figure.savefig(partial, format="png", dpi=110)


def render(dataset: Dataset, pore: Pore | None = None, only_tested: bool = False) -> RenderableType:
    """The audit as tables for a terminal; see `verdict`."""
    facts = audit(dataset, pore)
    counts = Table("kept and dropped", "number", box=box.SIMPLE_HEAD)
    for reason, number in sorted(facts.counts.items(), key=lambda item: ("dropped" in item[0], item[0])):
        counts.add_row(reason, f"{number:,}")
    splits = Table("split", "reads", "chunks", "samples", "bases", box=box.SIMPLE_HEAD)
    for split, sizes in facts.splits.items():
        splits.add_row(split, *(f"{size:,}" for size in (sizes.reads, sizes.chunks, sizes.samples, sizes.bases)))
    spread = Table("", "minimum", "25 %", "median", "75 %", "maximum", "histogram", box=box.SIMPLE_HEAD)
    for key, name in NAMES.items():
        heights = np.array(facts.histograms[key].counts, float).reshape(10, 4).sum(1)
        bars = "".join(BLOCKS[round(8 * height / heights.max())] for height in heights)
        spread.add_row(name, *(f"{q:g}" for q in getattr(facts, key)), bars)
    rest = Table(show_header=False, box=box.SIMPLE_HEAD)
    rest.add_row("base composition", "  ".join(f"{base} {share:.1%}" for base, share in facts.composition.items()))
    dense = "  ".join(f"{stride}: {number:,}" for stride, number in facts.infeasible.items())
    rest.add_row("too dense for CTC, by stride", dense)
    rest.add_row("on both sides of a split", f"{facts.on_both_sides:,}")
    rest.add_row("sequence also in train", "  ".join(f"{split} {share:.1%}" for split, share in facts.seen.items()))
    if facts.shares:
        rest.add_row("share of each source", "  ".join(f"{name} {share:.0%}" for name, share in facts.shares.items()))
    if facts.pore is not None:
        fits = "  ".join(f"{way}: {value:.2f}" for way, value in facts.pore.fit.items())
        placed = ", labels placed" if facts.pore.placed else ""
        rest.add_row(f"correlation with {facts.pore.name}{placed}", fits)
    rest.add_row("fingerprint", dataset.fingerprint)
    lines = [f"! {line}" for line in verdict(facts, only_tested)] or ["no problems found"]
    return Group(str(dataset.folder), counts, splits, spread, rest, *lines)
