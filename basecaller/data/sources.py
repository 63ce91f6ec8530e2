"""Prepared data sets: made from their source on first use, and found again by a key of source and settings."""

from __future__ import annotations

import dataclasses
import hashlib
import itertools
import json
import logging
import multiprocessing
import shutil
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from signal import SIG_DFL, SIGINT
from signal import signal as on_signal
from typing import Any

import numpy as np
from rich.console import Console
from rich.progress import track

from basecaller.common.errors import BasecallerError, DataError
from basecaller.common.files import content_digest, holding, naming, read_json, shared_lock, write_json
from basecaller.common.workers import cores
from basecaller.data import bonito, mixture, pod5, pod5_parts, simulator, tensors
from basecaller.data.dataset import ALPHABET, Chunk, Dataset, DatasetWriter
from basecaller.data.splits import SPLITS

log = logging.getLogger(__name__)

EDGE = 1 << 20
"""Bytes read from each end of a file for its fingerprint; with the size, enough to tell sequencing files apart."""


@dataclass(frozen=True)
class Parts:
    """Functions to import a source of several files, each separately in parallel processes.

    Attributes:
        find: finds all parts; the folder is for files that they share.
        chunks: returns all usable chunks of one part, without their splits; counts kept and dropped reads.
        check: checks the counts of all parts.
        split: returns the splits of each imported part's chunks, -1 for chunks to drop.
    """

    find: Callable[[Any, Path], list[Any]]
    chunks: Callable[[Any, Any, Counter[str]], Iterator[Chunk]]
    check: Callable[[Any, list[Any], list[Counter[str]]], None]
    split: Callable[[Any, list[Dataset], Counter[str]], list[np.ndarray]]


@dataclass(frozen=True)
class Source:
    """A kind of source.

    Attributes:
        settings: dataclass of its settings.
        version: version of the data sets made from it, a part of their key. Increase it with any change to how signals are
            normalised, cut, labelled or split, but not for the words of a message.
        chunks: returns all usable chunks, or describes how to import them in parts; counts kept and dropped reads.
        files: returns the files that it reads, checked to exist.
        places: settings that locate files: the content of the files identifies a data set, not their place.
        whole: settings in `places` whose files are fingerprinted completely: an edited genome keeps its size and its ends.
        signals: returns the files in which signals stay; None if they are copied.
        grouped: returns how the files belong together, if their order does not tell; else nothing.
    """

    settings: type
    version: int
    chunks: Callable[[Any, Counter[str]], Iterator[Chunk]] | Parts
    files: Callable[[Any], list[Path]] = lambda settings: []
    places: tuple[str, ...] = ()
    whole: tuple[str, ...] = ()
    signals: Callable[[Any], list[Path]] | None = None
    grouped: Callable[[Any], list[int]] = lambda settings: []


SOURCES = {
    "simulated": Source(simulator.Settings, simulator.VERSION, simulator.simulate),
    "simulated_hard": Source(simulator.Settings, simulator.HARD_VERSION, simulator.simulate_hard),
    "pod5": Source(
        pod5.Settings,
        pod5.VERSION,
        Parts(pod5_parts.parts, pod5_parts.import_part, pod5_parts.check_parts, pod5_parts.split_parts),
        pod5.source_files,
        places=("pod5", "bam", "reference"),
        whole=("reference",),
        grouped=pod5.grouped,
    ),
    "bonito": Source(
        bonito.Settings,
        bonito.VERSION,
        bonito.import_bonito,
        bonito.source_files,
        places=("path",),
        signals=bonito.signal_files,
    ),
    "rawctcnet": Source(
        tensors.Settings,
        tensors.VERSION,
        tensors.import_tensors,
        tensors.source_files,
        places=("path", "signals", "sequences"),
    ),
}
"""Sources by their name in `data.name`. A mixture (`data=mixed`) consists of these."""


@lru_cache
def _file_fingerprint(path: str, size: int, modified: int, whole: bool) -> str:
    if whole:
        return content_digest(Path(path))
    digest = hashlib.sha256(str(size).encode())
    with Path(path).open("rb") as file:
        digest.update(file.read(EDGE))
        file.seek(max(0, size - EDGE))
        digest.update(file.read(EDGE))
    return digest.hexdigest()


def file_fingerprint(path: Path, whole: bool = False) -> str:
    """Digest of a file's size and both ends, or of all of it."""
    stat = path.stat()
    return _file_fingerprint(str(path), stat.st_size, stat.st_mtime_ns, whole)


def source_fingerprint(name: str, source: Any) -> str:
    """Digest of a data set's source, independent of the names and places of its files: 16 hex digits.

    Raises:
        DataError: a source file is missing.
    """
    if isinstance(source, mixture.Settings):
        return _mixed(name, source, [source_fingerprint(part.kind, part.source) for part in source.parts])
    kind, content = SOURCES[name], dataclasses.asdict(source)
    for key in kind.places:  # the number of files, not their names
        content[key] = len(content[key]) if isinstance(content[key], list | tuple) else int(content[key] is not None)
    whole = [Path(named) for key in kind.whole if (named := getattr(source, key))]
    content["files"] = [file_fingerprint(path, path in whole) for path in kind.files(source)]
    content["version"] = kind.version
    # earlier versions lacked keys with a default, and their data sets are still used
    for setting in dataclasses.fields(source):
        if setting.default is not dataclasses.MISSING and content[setting.name] == setting.default:
            del content[setting.name]
    if grouped := kind.grouped(source):
        content["grouped"] = grouped
    return _digest(name, content)


def _mixed(name: str, source: mixture.Settings, fingerprints: list[str]) -> str:
    """The fingerprint of a mixture, from those of its parts."""
    return _digest(name, [[part.weight, own] for part, own in zip(source.parts, fingerprints, strict=True)])


def _digest(name: str, told: Any) -> str:
    return hashlib.sha256(json.dumps([name, told], sort_keys=True).encode()).hexdigest()[:16]


def prepare(name: str, source: Any, root: Path) -> Dataset:
    """The data set of a source, made now if it does not exist yet.

    Several processes may ask at once: one makes it, the others wait. No process ever sees an incomplete data set.

    Args:
        name: name of the source, a key of `SOURCES`, or `mixed`.
        source: settings of the source.
        root: folder of all prepared data sets.
    Raises:
        DataError: the source cannot be used; nothing is left behind.
    """
    if isinstance(source, mixture.Settings):
        own = [source_fingerprint(part.kind, part.source) for part in source.parts]
        fingerprint = _mixed(name, source, own)
        parts = [
            (part.name, part.weight, _made(part.kind, part.source, root, each))
            for part, each in zip(source.parts, own, strict=True)
        ]
        return mixture.Mixture(parts, fingerprint, root / f"{name}-{fingerprint}")
    return _made(name, source, root, source_fingerprint(name, source))


def _made(name: str, source: Any, root: Path, fingerprint: str) -> Dataset:
    """The data set of a single source with this fingerprint, made now if it does not exist yet."""
    kind, folder = SOURCES[name], root / f"{name}-{fingerprint}"
    if not folder.exists():
        root.mkdir(parents=True, exist_ok=True)
        with holding(shared_lock(root / f".{folder.name}.lock"), f"prepares {folder}"), naming(folder):
            for leftover in root.glob(f"{folder.name}.partial-*"):  # from a killed process, since we hold the lock
                shutil.rmtree(leftover)
            if not folder.exists():
                log.info("preparing %s", folder)
                _write(name, kind, source, folder, fingerprint)
    elsewhere = tuple(kind.signals(source)) if kind.signals else ()
    files = [*sorted(folder.glob("*.npy")), folder / "meta.json", *elsewhere]
    states = [file.stat() for file in files if file.exists()]
    return _opened(folder, elsewhere, tuple((s.st_dev, s.st_ino, s.st_size, s.st_mtime_ns) for s in states))


@lru_cache(maxsize=4)
def _opened(folder: Path, elsewhere: tuple[Path, ...], states: tuple[tuple[int, ...], ...]) -> Dataset:
    """A data set, opened and checked once as long as its files stay the same: every trial of a sweep uses it twice."""
    return Dataset(folder, elsewhere)


def _write(name: str, kind: Source, source: Any, folder: Path, fingerprint: str) -> None:
    counts: Counter[str] = Counter()
    settings = json.loads(json.dumps(dataclasses.asdict(source)))
    meta = {"source": name, "settings": settings, "counts": counts, "made_from": fingerprint}
    needed = [split for split in SPLITS if split != "test" or source.test > 0]
    chunks = (
        import_parts(name, source, folder, counts) if isinstance(kind.chunks, Parts) else _shown(kind.chunks(source, counts))
    )
    try:
        with DatasetWriter(folder, meta, getattr(source, "alphabet", ALPHABET), needed) as writer:
            for chunk in chunks:
                writer.add(chunk)
    except DataError:  # unlike an interrupted import, this one never resumes
        shutil.rmtree(_parts_folder(folder), ignore_errors=True)
        raise
    shutil.rmtree(_parts_folder(folder), ignore_errors=True)


def _shown(things: Iterable[Any], total: int | None = None) -> Iterator[Any]:
    """Yields the same things, with a progress bar on a terminal."""
    console = Console(stderr=True)
    hidden = not console.is_terminal
    return iter(track(things, "preparing", total, console=console, transient=True, disable=hidden))


def _parts_folder(folder: Path) -> Path:
    return folder.with_name(f"{folder.name}.parts")


def import_parts(name: str, source: Any, folder: Path, counts: Counter[str]) -> Iterator[Chunk]:
    """All chunks of a source that is imported in parts. Parts stay until all are done: an interrupted import resumes there."""
    steps, home = SOURCES[name].chunks, _parts_folder(folder)
    assert isinstance(steps, Parts)
    home.mkdir(parents=True, exist_ok=True)
    for leftover in home.glob("*.partial-*"):
        shutil.rmtree(leftover)
    parts = steps.find(source, home)
    if len(parts) == 1:
        each = [_import_part(name, source, parts[0], home / "0", _shown)]
    else:
        spawn, others = multiprocessing.get_context("spawn"), multiprocessing.active_children()
        with ProcessPoolExecutor(min(cores(), len(parts)), spawn, _end_quietly) as executor:
            jobs = [executor.submit(_import_part, name, source, part, home / f"{i}") for i, part in enumerate(parts)]
            try:
                each = [job.result() for job in _shown(jobs, len(jobs))]
            except BrokenProcessPool as error:
                raise BasecallerError(
                    f"data.name={name}: an import process was killed, most likely for lack of memory; the same command "
                    "continues with the remaining files"
                ) from error
            except KeyboardInterrupt:  # SIGTERM reaches this process only, which would wait until the files are imported
                for process in set(multiprocessing.active_children()).difference(others):
                    process.terminate()
                raise
            finally:
                for job in jobs:
                    job.cancel()
    steps.check(source, parts, each)
    for own in each:
        counts.update(own)
    imported = [Dataset(home / f"{i}") for i in range(len(parts)) if (home / f"{i}").exists()]
    for part, splits in zip(imported, steps.split(source, imported, counts), strict=True):
        blocks, contigs = part.places
        firsts = np.searchsorted(blocks[:, 0], np.arange(len(part) + 1))
        for i in np.flatnonzero(splits >= 0).tolist():
            signal, labels, starts = part.chunk(i)
            covered = blocks[firsts[i] : firsts[i + 1]]
            contig = contigs[covered[0, 1]] if len(covered) else None
            yield Chunk(part.read_ids[i].decode(), signal, labels, starts, SPLITS[splits[i]], contig, covered[:, 2:])


def _end_quietly() -> None:
    """Makes Ctrl-C end a worker silently: it reaches every process of a terminal, and the parent prints the message."""
    on_signal(SIGINT, SIG_DFL)


def _import_part(name: str, source: Any, part: Any, target: Path, shown: Callable[..., Iterator[Any]] = iter) -> Counter[str]:
    """Imports a part, if not already done; a part without chunks leaves only its counts."""
    done = target.with_suffix(".json")
    if (known := read_json(done)) is not None:
        return Counter(known)
    steps, counts = SOURCES[name].chunks, Counter[str]()
    assert isinstance(steps, Parts)
    shutil.rmtree(target, ignore_errors=True)
    chunks = shown(steps.chunks(source, part, counts))
    first = next(chunks, None)
    if first is not None:
        with DatasetWriter(target, {"source": name}, needed=()) as writer:
            for chunk in itertools.chain([first], chunks):
                writer.add(chunk)
    write_json(done, counts)
    return counts
