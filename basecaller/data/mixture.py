"""Several weighted data sets as one."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from basecaller.common.errors import DataError, SettingError
from basecaller.data.dataset import Dataset
from basecaller.data.signal import normalisation_of


@dataclass(frozen=True)
class Part:
    """One source of a mixture.

    Attributes:
        name: the user's name for the source.
        kind: a key of `sources.SOURCES`.
        weight: its share of the chunks, relative to the other parts' weights.
        source: settings of the source.
    """

    name: str
    kind: str
    weight: float
    source: Any


@dataclass(frozen=True)
class Settings:
    """Settings of `data.sources`.

    Raises:
        SettingError: some sources are direct RNA and others are not, or their signals are normalised differently.
    """

    parts: tuple[Part, ...]

    def __post_init__(self) -> None:
        check_alike(placed(self))


def placed(source: Any) -> dict[str, Any]:
    """The settings of a source, or of a mixture's sources, by their place in the config."""
    if isinstance(source, Settings):
        return {f"data.sources.{part.name}": part.source for part in source.parts}
    return {"data": source}


def check_alike(sources: dict[str, Any]) -> None:
    """Checks that a model's sources are read in one direction, and normalised alike.

    Args:
        sources: settings of sources, by their place in the config.
    Raises:
        SettingError: they are not.
    """
    rna = {where: source.rna for where, source in sources.items() if hasattr(source, "rna")}
    if len(set(rna.values())) > 1:
        yes, no = (", ".join(where for where, is_rna in rna.items() if is_rna == wanted) for wanted in (True, False))
        raise SettingError(
            f"{yes} is direct RNA (rna: true) and {no} is not; their signals run in opposite directions, and a model calls "
            "reads in only one: use sources of one kind, or train a model for each"
        )
    by = {where: normalisation_of(source) for where, source in sources.items()}
    if len(set(by.values())) > 1:
        each = " and ".join(normalisation.told(where) for where, normalisation in by.items())
        raise SettingError(f"{each}: a model needs all reads normalised in the same way; use one value for all")


def _read_ids(name: str, dataset: Dataset) -> np.ndarray:
    """Ids of a part's reads: bytes [chunks]. Those that only number the reads of a source, unlike POD5's, begin with its name:
    the same number in two parts means different reads."""
    ids: np.ndarray = dataset.read_ids
    return ids if dataset.meta["source"] == "pod5" else np.char.add(f"{name}:".encode(), ids)


class Mixture(Dataset):
    """A view of several data sets; nothing is copied.

    Args:
        parts: name, weight and data set of each.
        fingerprint: fingerprint of their sources.
        folder: folder for the audit; it holds nothing else.
    Raises:
        DataError: their alphabets differ.
    """

    def __init__(self, parts: list[tuple[str, float, Dataset]], fingerprint: str, folder: Path) -> None:
        self.parts, self.folder = parts, folder
        datasets = [dataset for _, _, dataset in parts]
        alphabets = {dataset.alphabet for dataset in datasets}
        if len(alphabets) > 1:
            raise DataError(f"data.sources: their alphabets differ ({', '.join(sorted(alphabets))}); they cannot be mixed")
        counts = {f"{name}: {reason}": n for name, _, dataset in parts for reason, n in dataset.meta["counts"].items()}
        self.meta = {"source": "mixed", "counts": counts, "alphabet": alphabets.pop(), "fingerprint": fingerprint}
        self.firsts = np.cumsum([0, *map(len, datasets)])
        self.splits = np.concatenate([dataset.splits for dataset in datasets])
        self.read_ids = np.concatenate([_read_ids(name, dataset) for name, _, dataset in parts])
        self.lengths = np.concatenate([dataset.lengths for dataset in datasets])
        self.target_lengths = np.concatenate([dataset.target_lengths for dataset in datasets])
        self.frames_needed = np.concatenate([dataset.frames_needed for dataset in datasets])

    @property
    def shares(self) -> dict[str, float]:
        """Each part's share of the chunks that a training draws."""
        total = sum(weight for _, weight, _ in self.parts)
        return {name: weight / total for name, weight, _ in self.parts}

    @property
    def has_starts(self) -> bool:
        return all(dataset.has_starts for _, _, dataset in self.parts)

    @property
    def label_counts(self) -> np.ndarray:
        return np.sum([dataset.label_counts for _, _, dataset in self.parts], 0)

    def chunk(self, index: int) -> tuple[np.ndarray, np.ndarray, np.ndarray | None]:
        part = int(np.searchsorted(self.firsts, index, side="right")) - 1
        return self.parts[part][2].chunk(int(index - self.firsts[part]))

    def choice(self, split: str, limit: int | None, seed: int = 0) -> np.ndarray:
        """A random choice of chunks of a split with every part's share: int64 [n], ascending.

        For training, chunks of a part with too few are repeated. Validation and test repeat no chunk, and so have fewer chunks.
        """
        shares = np.array(list(self.shares.values()))
        there = [self.firsts[i] + dataset.indices(split) for i, (_, _, dataset) in enumerate(self.parts)]
        sizes = np.array([len(indices) for indices in there])
        if not sizes.all():
            return np.zeros(0, np.int64)
        total = int(sizes.sum()) if limit is None else limit
        if split != "train":
            total = min(total, int((sizes / shares).min()))
        wanted = np.maximum(1, np.rint(total * shares).astype(np.int64))
        rng = np.random.default_rng(seed)
        chosen = []
        for indices, count in zip(there, wanted, strict=True):
            rounds = -(-count // len(indices))
            chosen.append(np.concatenate([rng.permutation(indices) for _ in range(rounds)])[:count])
        return np.sort(np.concatenate(chosen))
