"""POD5 and BAM files, imported in this process."""

from __future__ import annotations

import dataclasses
import tempfile
from collections import Counter
from pathlib import Path

import numpy as np

from basecaller.data import pod5, sources
from basecaller.data.dataset import Chunk

SETTINGS = {
    "reference": None, "labels": "auto", "chunk_samples": 1000, "min_samples": 100, "split": "read",
    "validation": 0.2, "test": 0.2, "min_quality": None, "min_identity": None, "rna": False,
}  # fmt: skip


def settings(pod5_path: Path, bam: Path, **changed: object) -> pod5.Settings:
    return pod5.Settings(**(SETTINGS | {"pod5": (str(pod5_path),), "bam": (str(bam),)} | changed))


def load(chosen: pod5.Settings) -> tuple[list[Chunk], Counter]:
    """All chunks of a source, prepared and read back."""
    with tempfile.TemporaryDirectory() as folder:
        # most sources of these tests have too few reads for validation and test splits
        counts, target = Counter[str](), Path(folder) / "set"
        chunks = list(sources.import_parts("pod5", chosen, target, counts))
        return [dataclasses.replace(chunk, signal=np.array(chunk.signal)) for chunk in chunks], counts


def dropped(counts: Counter[str]) -> dict[str, int]:
    """The counts of an import that are about dropped reads and chunks."""
    return {reason: n for reason, n in counts.items() if "dropped" in reason or "left out" in reason}
