"""What is in a data set, before anything trains on it."""

from __future__ import annotations

from typing import Any

import numpy as np
from rich.console import Group, RenderableType
from rich.table import Table

from basecaller.data.dataset import SPLITS, Dataset

STRIDES = (1, 2, 3, 4, 5, 6, 8)


def audit(dataset: Dataset) -> dict[str, Any]:
    """Counts and distributions of a data set, as plain values.

    Returns:
        `counts` (reads and chunks kept and dropped, by reason), `splits` (chunks, reads, samples, bases of each),
        `samples_per_chunk`, `bases_per_chunk` and `samples_per_base` (minimum, quartiles, maximum), `composition`
        (share of each base), `infeasible` (chunks too dense for CTC, by stride).
    """
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

    def spread(values: np.ndarray) -> list[float]:
        return [round(float(q), 2) for q in np.percentile(values, [0, 25, 50, 75, 100])]

    return {
        "counts": dataset.meta.get("counts", {}),
        "splits": splits,
        "samples_per_chunk": spread(dataset.lengths),
        "bases_per_chunk": spread(dataset.target_lengths),
        "samples_per_base": spread(dataset.lengths / dataset.target_lengths),
        "composition": dict(zip(dataset.alphabet, (bases / bases.sum()).round(4).tolist(), strict=True)),
        "infeasible": {stride: len(dataset.infeasible(everything, stride)) for stride in STRIDES},
    }


def render(dataset: Dataset) -> RenderableType:
    """The audit as tables for a terminal."""
    facts = audit(dataset)
    counts = Table("kept and dropped", "number", title=f"{dataset.folder}")
    for reason, number in sorted(facts["counts"].items(), key=lambda item: ("dropped" in item[0], item[0])):
        counts.add_row(reason, f"{number:,}")
    splits = Table("split", "reads", "chunks", "samples", "bases")
    for split, sizes in facts["splits"].items():
        splits.add_row(split, *(f"{sizes[k]:,}" for k in ("reads", "chunks", "samples", "bases")))
    spread = Table("per chunk", "minimum", "quartile", "median", "quartile", "maximum")
    for key in ("samples_per_chunk", "bases_per_chunk", "samples_per_base"):
        spread.add_row(key.replace("_per_chunk", "").replace("_", " "), *(f"{q:g}" for q in facts[key]))
    rest = Table(show_header=False)
    rest.add_row("base composition", "  ".join(f"{base} {share:.1%}" for base, share in facts["composition"].items()))
    dense = "  ".join(f"{stride}: {number:,}" for stride, number in facts["infeasible"].items())
    rest.add_row("chunks too dense for CTC, by model.stride", dense)
    rest.add_row("fingerprint", dataset.fingerprint)
    return Group(counts, splits, spread, rest)
