"""Prepared data sets: made from their source on first use, found again by a key of source and settings."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import logging
import shutil
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

from filelock import FileLock
from rich.console import Console
from rich.progress import track

from basecaller.data import bonito, mixture, pod5, simulator, tensors
from basecaller.data.dataset import ALPHABET, SPLITS, Chunk, Dataset, DatasetWriter

log = logging.getLogger(__name__)

EDGE = 1 << 20
"""Bytes read from each end of a file for its fingerprint; with the size, enough to tell sequencing files apart."""


@dataclass(frozen=True)
class Source:
    """A kind of source.

    Attributes:
        settings: dataclass of its settings.
        chunks: all usable chunks of such settings; counts what is kept and dropped.
        files: that it reads, checked to be there.
        places: settings that say where files are, not what is in them.
        signals: the files in which signals stay; None where they are copied.
    """

    settings: type
    chunks: Callable[[Any, Counter[str]], Iterator[Chunk]]
    files: Callable[[Any], list[Path]] = lambda settings: []
    places: tuple[str, ...] = ()
    signals: Callable[[Any], list[Path]] | None = None


SOURCES = {
    "simulated": Source(simulator.Settings, simulator.simulate),
    "pod5": Source(pod5.Settings, pod5.import_pod5, pod5.source_files, ("pod5", "bam", "reference")),
    "bonito": Source(bonito.Settings, bonito.import_bonito, bonito.source_files, ("path",), bonito.signal_files),
    "rawctcnet": Source(tensors.Settings, tensors.import_tensors, tensors.source_files, ("path", "signals", "sequences")),
}
"""By the name in `data.name`. A mixture (`data=mixed`) is made of these."""


@lru_cache
def _file_fingerprint(path: str, size: int, modified: int) -> str:
    digest = hashlib.sha256(str(size).encode())
    with Path(path).open("rb") as file:
        digest.update(file.read(EDGE))
        file.seek(max(0, size - EDGE))
        digest.update(file.read(EDGE))
    return digest.hexdigest()


def source_fingerprint(name: str, source: Any) -> str:
    """What a data set is made from, whatever its files are called and wherever they lie: 16 hex digits.

    Raises:
        DataError: a source file is missing.
    """
    if isinstance(source, mixture.Settings):
        told: Any = [[part.weight, source_fingerprint(part.kind, part.source)] for part in source.parts]
    else:
        kind, told = SOURCES[name], dataclasses.asdict(source)
        for key in kind.places:  # how many, not which
            told[key] = len(told[key]) if isinstance(told[key], list | tuple) else int(told[key] is not None)
        told["files"] = []
        for path in kind.files(source):
            stat = path.stat()
            told["files"].append(_file_fingerprint(str(path), stat.st_size, stat.st_mtime_ns))
        if name == "simulated":
            told["version"] = simulator.VERSION
    return hashlib.sha256(json.dumps([name, told], sort_keys=True).encode()).hexdigest()[:16]


def prepare(name: str, source: Any, root: Path) -> Dataset:
    """The data set of a source, made now if it is not there yet.

    Several processes may ask at once: one makes it, the others wait. A data set is only ever seen whole.

    Args:
        name: of the source, a key of `SOURCES`, or `mixed`.
        source: its settings.
        root: folder of all prepared data sets.
    Raises:
        DataError: the source cannot be used; nothing is left behind.
    """
    if isinstance(source, mixture.Settings):
        parts = [(part.name, part.weight, prepare(part.kind, part.source, root)) for part in source.parts]
        return mixture.Mixture(parts, source_fingerprint(name, source))
    kind, fingerprint = SOURCES[name], source_fingerprint(name, source)
    folder = root / f"{name}-{fingerprint}"
    if not folder.exists():
        root.mkdir(parents=True, exist_ok=True)
        with FileLock(root / f".{folder.name}.lock"):
            for leftover in root.glob(f"{folder.name}.partial-*"):  # of a process that was killed; we hold the lock
                shutil.rmtree(leftover)
            if not folder.exists():
                log.info("preparing %s", folder)
                _write(name, kind, source, folder, fingerprint)
    return Dataset(folder, kind.signals(source) if kind.signals else ())


def _write(name: str, kind: Source, source: Any, folder: Path, fingerprint: str) -> None:
    counts: Counter[str] = Counter()
    settings = json.loads(json.dumps(dataclasses.asdict(source)))
    meta = {"source": name, "settings": settings, "counts": counts, "made_from": fingerprint}
    needed = [split for split in SPLITS if split != "test" or source.test > 0]
    console = Console(stderr=True)
    chunks = track(kind.chunks(source, counts), "preparing", console=console, transient=True, disable=not console.is_terminal)
    with DatasetWriter(folder, meta, getattr(source, "alphabet", ALPHABET), needed) as writer:
        for chunk in chunks:
            writer.add(chunk)
