"""What is in a data set, and what is wrong with it, before anything trains on it."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import numpy as np
from rich import box
from rich.console import Group, RenderableType
from rich.table import Table

from basecaller.data.dataset import Dataset
from basecaller.data.signal import KMER_OFFSET, kmer_indices, pore_levels, reverse_complement
from basecaller.data.splits import SPLITS
from basecaller.files import read_json, replacing, write_json

STRIDES = (1, 2, 3, 4, 5, 6, 8)

LOOKED_AT = 2000
"""Chunks whose signals are looked at: a fixed choice, where there are more."""

ALIGNED = 100
"""Chunks whose events are held against the pore's table."""

FLAT = 20
"""Equal samples at a chunk's end that are taken for padding: noise does not repeat itself so often."""

FEW = 300
"""Training chunks below which any basecaller learns them by heart."""

Facts = dict[str, Any]


def audit(dataset: Dataset) -> Facts:
    """Counts, distributions and problems of a data set, as plain values; kept beside it, since it never changes.

    Returns:
        `counts` (reads and chunks kept and dropped, by reason), `splits` (chunks, reads, samples, bases of each),
        `samples_per_chunk`, `bases_per_chunk`, `samples_per_base` and `level` (minimum, quartiles, maximum), `histograms` of
        these (edges, counts), `composition` (share of each base), `infeasible` (chunks too dense for CTC, by stride),
        `on_both_sides` (chunks of validation and test that training has too, by content), `padded` (share of chunks that end in
        a constant), `pore` (correlation of event means with the R9.4 table, as given and otherwise; absent where base starts
        are not known), `shares` of a mixture's sources, and `verdict`: what will go wrong, and what to change.
    """
    cache = dataset.folder / "audit.json"
    known = read_json(cache)
    if known and known.get("fingerprint") == dataset.fingerprint:
        return known
    facts = _facts(dataset)
    facts["verdict"] = verdict(facts)
    if dataset.folder.is_dir():
        write_json(cache, facts | {"fingerprint": dataset.fingerprint})
        draw(facts, dataset.folder / "audit.png")
        facts = read_json(cache) or facts
    return facts


def _facts(dataset: Dataset) -> Facts:
    splits = {}
    for split in SPLITS:
        indices = dataset.indices(split)
        splits[split] = {
            "chunks": len(indices),
            "reads": len(np.unique(dataset.read_ids[indices])),
            "samples": int(dataset.lengths[indices].sum()),
            "bases": int(dataset.target_lengths[indices].sum()),
        }
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
    return {
        "counts": dict(dataset.meta.get("counts", {})),
        "splits": splits,
        **{key: [round(float(q), 2) for q in np.percentile(values, [0, 25, 50, 75, 100])] for key, values in spread.items()},
        "histograms": {key: _histogram(values) for key, values in spread.items()},
        "composition": dict(zip(dataset.alphabet, (bases / bases.sum()).round(4).tolist(), strict=True)),
        "infeasible": {str(stride): len(dataset.infeasible(everything, stride)) for stride in STRIDES},
        "on_both_sides": _on_both_sides(dataset),
        "padded": round(float(np.mean(padded)), 4),
        **({"shares": shares} if (shares := getattr(dataset, "shares", None)) else {}),
        **({"pore": pore} if (pore := pore_correlation(dataset)) else {}),
    }


def _histogram(values: np.ndarray) -> dict[str, list[float]]:
    low, high = np.percentile(values, [0.5, 99.5])
    counts, edges = np.histogram(np.clip(values, low, high), 40)
    return {"edges": [round(float(edge), 4) for edge in edges], "counts": counts.tolist()}


def _on_both_sides(dataset: Dataset) -> int:
    """Chunks to validate or test on whose labels and first samples occur among those to train on."""

    def contents(split: str) -> list[bytes]:
        found = []
        for i in dataset.indices(split):
            signal, labels, _ = dataset.chunk(int(i))
            content = np.ascontiguousarray(labels).tobytes() + np.ascontiguousarray(signal[:64], np.float32).tobytes()
            found.append(hashlib.blake2b(content, digest_size=12).digest())
        return found

    trained = set(contents("train"))
    return sum(content in trained for split in ("validation", "test") for content in contents(split))


def pore_correlation(dataset: Dataset) -> dict[str, float] | None:
    """Median over chunks of the correlation of event means with the R9.4 table's levels: of the labels as given, shifted by
    some bases, and as the other strand. None where base starts or letters are not known to the table.

    Another pore correlates badly in every way; swapped or shifted labels do better in a way that is not `as given`.
    """
    if not dataset.has_starts or dataset.alphabet != "ACGT":
        return None
    ways: dict[str, list[float]] = {}
    levels = pore_levels()[0]
    for i in np.random.default_rng(0).permutation(len(dataset))[:ALIGNED]:
        signal, labels, starts = dataset.chunk(int(i))
        if starts is None or len(labels) < 20:
            continue
        cuts, where = np.unique(starts, return_inverse=True)  # bases of no sample share their neighbour's
        sums = np.add.reduceat(np.asarray(signal, np.float64), cuts)
        means = (sums / np.diff(np.append(cuts, len(signal))))[where]
        for name, of, shift in (
            ("as given", labels, 0), ("shifted by -2", labels, -2), ("shifted by -1", labels, -1), ("shifted by 1", labels, 1),
            ("shifted by 2", labels, 2), ("other strand", reverse_complement(labels), 0), ("reversed", labels[::-1], 0),
        ):  # fmt: skip
            expected = levels[kmer_indices(np.ascontiguousarray(of))]
            begin = KMER_OFFSET + shift
            seen = means[max(0, begin) : begin + len(expected)]
            expected = expected[max(0, -begin) :][: len(seen)]
            if seen.std() > 0:
                ways.setdefault(name, []).append(float(np.corrcoef(seen, expected)[0, 1]))
    return {name: round(float(np.median(of)), 3) for name, of in ways.items()} or None


def verdict(facts: Facts) -> list[str]:
    """What will go wrong in training on a data set, and what to change; nothing where nothing will."""
    found = []
    chunks = facts["splits"]["train"]["chunks"]
    if chunks < FEW:
        found.append(
            f"{chunks} chunks to train on: a network learns so few by heart; add reads, or take a smaller data.validation"
        )
    held = sum(facts["splits"][split]["chunks"] for split in ("validation", "test"))
    if facts["on_both_sides"]:
        found.append(
            f"{facts['on_both_sides']:,} of {held:,} chunks of validation and test are in train too: scores would be too good; "
            "leave repeated reads out, or use data.split=position"
        )
    if facts["padded"] > 0.01:
        found.append(
            f"{facts['padded']:.1%} of the chunks end in a constant, as arrays that were filled up do: the network would learn "
            "to call nothing there; cut them to their signal"
        )
    low, _, median, _, high = facts["level"]
    if abs(median) > 1 or high - low > 200 or high - low < 0.5:
        found.append(
            f"signal levels run from {low:g} to {high:g} with median {median:g}: not normalised, (x - median) / (1.4826 MAD) "
            "is expected; keep raw counts as whole numbers, or normalise them"
        )
    per_base = facts["samples_per_base"][2]
    if not 3 <= per_base <= 60:
        found.append(f"{per_base:g} samples for a base (median): labels and signals do not seem to belong together")
    for base, share in facts["composition"].items():
        if share < 0.02:
            found.append(f"{base} is {share:.1%} of the bases: is the alphabet, or the order of its labels, another one?")
    pore = facts.get("pore")
    if pore:
        best = max(pore, key=lambda way: pore[way])
        if pore[best] > 0.4 and pore[best] > pore["as given"] + 0.1:
            found.append(
                f"labels {best} fit the R9.4 pore's levels better (correlation {pore[best]:.2f}) than as given "
                f"({pore['as given']:.2f}): check strand, direction and offset of the labels"
            )
    return found


def infeasible_at(facts: Facts, stride: int, tolerated: float) -> str:
    """What is to be said of a stride at which too many targets do not fit; empty where it may be."""
    total = sum(split["chunks"] for split in facts["splits"].values())
    count = facts["infeasible"].get(str(stride), 0)
    if count <= tolerated * total:
        return ""
    return f"model.stride={stride}: {count:,} of {total:,} targets have more labels than frames; use a smaller one"


NAMES = {"samples_per_chunk": "samples/chunk", "bases_per_chunk": "bases/chunk", "samples_per_base": "samples/base",
         "level": "signal level"}  # fmt: skip
BLOCKS = " ▁▂▃▄▅▆▇█"


def draw(facts: Facts, path: Path) -> None:
    """The histograms as a PNG."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9, 5.4), layout="constrained")
    for axes, (key, name) in zip(figure.subplots(2, 2).flat, NAMES.items(), strict=True):
        histogram = facts["histograms"][key]
        axes.stairs(histogram["counts"], histogram["edges"], fill=True, color="#0072B2")
        axes.set(xlabel=name, ylabel="chunks" if key != "level" else "samples")
    with replacing(path) as partial:
        figure.savefig(partial, format="png", dpi=110)


def render(dataset: Dataset) -> RenderableType:
    """The audit as tables for a terminal."""
    facts = audit(dataset)
    counts = Table("kept and dropped", "number", box=box.SIMPLE_HEAD)
    for reason, number in sorted(facts["counts"].items(), key=lambda item: ("dropped" in item[0], item[0])):
        counts.add_row(reason, f"{number:,}")
    splits = Table("split", "reads", "chunks", "samples", "bases", box=box.SIMPLE_HEAD)
    for split, sizes in facts["splits"].items():
        splits.add_row(split, *(f"{sizes[k]:,}" for k in ("reads", "chunks", "samples", "bases")))
    spread = Table("", "minimum", "25 %", "median", "75 %", "maximum", "histogram", box=box.SIMPLE_HEAD)
    for key, name in NAMES.items():
        heights = np.array(facts["histograms"][key]["counts"], float).reshape(10, 4).sum(1)
        bars = "".join(BLOCKS[round(8 * height / heights.max())] for height in heights)
        spread.add_row(name, *(f"{q:g}" for q in facts[key]), bars)
    rest = Table(show_header=False, box=box.SIMPLE_HEAD)
    rest.add_row("base composition", "  ".join(f"{base} {share:.1%}" for base, share in facts["composition"].items()))
    dense = "  ".join(f"{stride}: {number:,}" for stride, number in facts["infeasible"].items())
    rest.add_row("too dense for CTC, by stride", dense)
    rest.add_row("on both sides of a split", f"{facts['on_both_sides']:,}")
    if "shares" in facts:
        rest.add_row("share of each source", "  ".join(f"{name} {share:.0%}" for name, share in facts["shares"].items()))
    if "pore" in facts:
        told = "  ".join(f"{way}: {value:.2f}" for way, value in facts["pore"].items())
        rest.add_row("correlation with R9.4", told)
    rest.add_row("fingerprint", dataset.fingerprint)
    lines = [f"! {line}" for line in facts["verdict"]] or ["nothing found that would spoil a training"]
    return Group(str(dataset.folder), counts, splits, spread, rest, *lines)
