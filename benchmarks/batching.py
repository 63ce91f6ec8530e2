"""The share of padding in batches."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from basecaller.config.composition import compose_config
from basecaller.config.settings import data_settings
from basecaller.data.batches import bucketed
from basecaller.data.dataset import Dataset
from basecaller.data.sources import prepare
from benchmarks.measuring import Row, default


def padding(folder: Path, real: Sequence[str] = ()) -> list[Row]:
    """Share of padded samples, with and without bucketing, also of real reads from a POD5 and a BAM file."""

    def waste(dataset: Dataset, indices: np.ndarray, batches: list[np.ndarray]) -> float:
        shown = sum(len(batch) * int(dataset.lengths[batch].max()) for batch in batches)
        return 1 - float(dataset.lengths[indices].sum()) / shown

    sets = {"simulated": default(folder)[1]}
    if real:
        data = data_settings(
            compose_config(["data=pod5", f"data.pod5={real[0]}", f"data.bam={real[1]}", f"data.folder={folder}"])
        )
        sets["real"] = prepare(data.name, data.source, folder)
    rows = []
    for name, dataset in sets.items():
        indices, rng = dataset.indices("train"), np.random.default_rng(1)
        order = rng.permutation(indices)
        shuffled = [order[i : i + 8] for i in range(0, len(order), 8)]
        a = waste(dataset, indices, bucketed(indices, dataset.lengths, 8, rng))
        b = waste(dataset, indices, shuffled)
        rows.append(
            Row(
                f"padding waste, {name}",
                100 * a,
                100 * b,
                "%",
                b / a,
                "at most 3 %",
                a <= 0.03,
                "batches of 8, bucketed by length, and merely shuffled",
            )
        )
    return rows
