"""Prepared data sets: made from their source on first use, found again by a key of source and settings."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import logging
import shutil
from collections import Counter
from functools import lru_cache
from pathlib import Path
from typing import Any

from filelock import FileLock

from basecaller.data import pod5, simulator
from basecaller.data.dataset import Dataset, DatasetWriter

log = logging.getLogger(__name__)

EDGE = 1 << 20
"""Bytes read from each end of a file for its fingerprint; with the size, enough to tell sequencing files apart."""


@lru_cache
def _file_fingerprint(path: str, size: int, modified: int) -> str:
    digest = hashlib.sha256(str(size).encode())
    with Path(path).open("rb") as file:
        digest.update(file.read(EDGE))
        file.seek(max(0, size - EDGE))
        digest.update(file.read(EDGE))
    return digest.hexdigest()


def source_fingerprint(source: Any) -> str:
    """What a data set is made from, whatever its files are called and wherever they lie: 16 hex digits.

    Raises:
        DataError: a source file is missing.
    """
    settings = dataclasses.asdict(source)
    if isinstance(source, pod5.Settings):
        files = []
        for path in pod5.source_files(source):
            stat = path.stat()
            files.append(_file_fingerprint(str(path), stat.st_size, stat.st_mtime_ns))
        for key in ("pod5", "bam", "reference"):
            settings[key] = len(settings[key] or [])
        settings["files"] = files
    else:
        settings["version"] = simulator.VERSION
    text = json.dumps([type(source).__module__, settings], sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def prepare(name: str, source: Any, root: Path) -> Dataset:
    """The data set of a source, made now if it is not there yet.

    Several processes may ask at once: one makes it, the others wait. A data set is only ever seen whole.

    Args:
        name: of the source, for the folder.
        source: its settings.
        root: folder of all prepared data sets.
    Raises:
        DataError: the source cannot be used; nothing is left behind.
    """
    folder = root / f"{name}-{source_fingerprint(source)}"
    if not folder.exists():
        root.mkdir(parents=True, exist_ok=True)
        with FileLock(root / f".{folder.name}.lock"):
            for leftover in root.glob(f"{folder.name}.partial-*"):  # of a process that was killed; we hold the lock
                shutil.rmtree(leftover)
            if not folder.exists():
                log.info("preparing %s", folder)
                _write(name, source, folder)
    return Dataset(folder)


def _write(name: str, source: Any, folder: Path) -> None:
    counts: Counter[str] = Counter()
    chunks = pod5.import_pod5(source, counts) if isinstance(source, pod5.Settings) else simulator.simulate(source, counts)
    meta = {"source": name, "settings": json.loads(json.dumps(dataclasses.asdict(source))), "counts": counts}
    with DatasetWriter(folder, meta) as writer:
        for chunk in chunks:
            writer.add(chunk)
