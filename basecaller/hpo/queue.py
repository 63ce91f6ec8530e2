"""The grid as a queue: missing entries wait in the study, jobs claim them, and entries of a dead process are put back.

A trial is alive as long as its job holds the trial's lock file; the kernel drops the lock when the process dies. For a job on
a host with another file system, a database server keeps the heartbeat.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from uuid import uuid4

import optuna
from filelock import FileLock, Timeout
from optuna.exceptions import UpdateFinishedTrialError
from optuna.trial import TrialState, create_trial

from basecaller.common.files import holding, remove_lock, replacing, shared_lock
from basecaller.common.nested import digest
from basecaller.hpo.grid import Entry, Space
from basecaller.hpo.optuna_private import add_trials, exclusive, silent, storage_of
from basecaller.hpo.records import CONCLUSIVE, Outcome, TrialRecord, queued, read_trial, store_trial, trials_of

log = logging.getLogger(__name__)

ATTEMPTS = 3
"""How often a sweep launches a point whose process dies every time; after that, its trial ends as `killed`."""

KILLED = "its process died, perhaps for lack of memory; a smaller batch needs less"
"""The message of a trial that ends as `killed`."""

CLAIM_TIMEOUT = 10.0
"""Seconds that a job waits for its own lock, which a neighbour may be probing."""


@contextmanager
def study_lock(folder: Path, study: optuna.Study) -> Iterator[None]:
    """The lock held while a study's queue changes: by one process of this folder and, on a database server, of all hosts."""
    lock, key = named_lock(folder, digest(study.study_name)), int(digest(study.study_name, length=15), 16)
    with holding(lock, f"changes the queue of {study.study_name}"), exclusive(study, key):
        yield


def place(folder: Path) -> str:
    """A name for the folder of the locks: the same for hosts that share a file system, different for others."""
    return _place(folder.resolve())


@cache
def _place(folder: Path) -> str:
    with named_lock(folder, "place"):
        file = folder / "locks" / "place"
        if not file.exists():
            with replacing(file) as partial:
                partial.write_text(uuid4().hex, encoding="utf-8")
        return file.read_text(encoding="utf-8")


def trial_lock(folder: Path, study: str, number: int) -> FileLock:
    """The lock that a trial's job holds while it runs."""
    return named_lock(folder, f"{digest(study)}-{number}")


def named_lock(folder: Path, name: str) -> FileLock:
    """A lock of this experiment; the kernel drops it when its holder dies."""
    locks = folder / "locks"
    locks.mkdir(parents=True, exist_ok=True)
    return shared_lock(locks / f"{name}.lock")


def fill(study: optuna.Study, space: Space, entries: list[Entry]) -> None:
    """Enqueues the entries that have no waiting, running or finally ended trial.

    Args:
        study: the study; the caller holds its lock (`study_lock`).
        space: gives the distributions of the swept keys.
        entries: the wanted entries, in order.
    """
    here = {trial.entry for trial in trials_of(study) if trial.state != "fail" or trial.outcome in CONCLUSIVE}
    missing = [
        create_trial(
            state=TrialState.WAITING,
            params=entry.point.values,
            distributions=space.distributions,
            user_attrs=dict(queued(entry.key).user),
            system_attrs=dict(queued(entry.key).system),
        )
        for entry in entries
        if entry.key not in here
    ]
    add_trials(study, missing)


def waiting(study: optuna.Study, entries: list[Entry]) -> list[tuple[int, Entry]]:
    """Trial numbers and entries waiting in the queue, in the entries' order."""
    numbers: dict[tuple[str, int] | None, int] = {}
    for trial in trials_of(study, TrialState.WAITING):
        numbers.setdefault(trial.entry, trial.number)
    return [(numbers[entry.key], entry) for entry in entries if entry.key in numbers]


def running(study: optuna.Study) -> list[TrialRecord]:
    """Trials that a process works on, or was working on when it died."""
    return trials_of(study, TrialState.RUNNING)


def release_abandoned(
    study: optuna.Study, folder: Path, launches: Mapping[tuple[str, int], int] | None = None
) -> list[tuple[str, int]]:
    """Ends the running trials whose process is gone: as `abandoned`, to run again, or as `killed` if this sweep has launched
    them so often that they most likely kill their process themselves (in a sampled space: once).

    The caller holds the lock of the study (`study_lock`).

    Returns:
        Keys of the entries that are free again.
    """
    freed: list[tuple[str, int]] = []
    unheard = silent(study)  # of a database server; see `storage.open_storage`
    for trial in running(study):
        lock = trial_lock(folder, study.study_name, trial.number)
        if not _is_dead(trial, lock, folder, unheard):
            continue
        kills = trial.entry is not None and (launches or {}).get(trial.entry, 0) >= ATTEMPTS
        try:
            with lock.acquire(timeout=0):
                if read_trial(study, trial.trial_id).state != "running":
                    continue
                if kills:
                    store_trial(study, trial.trial_id, outcome=Outcome.KILLED, message=KILLED)
                else:
                    store_trial(study, trial.trial_id, outcome=Outcome.ABANDONED)
                storage_of(study).set_trial_state_values(trial.trial_id, TrialState.FAIL)
        except (Timeout, UpdateFinishedTrialError):  # another process has just handled it
            continue
        remove_lock(lock)
        if kills:
            log.warning("trial %d (%s): %s", trial.number, trial.point, KILLED)
            continue
        if trial.entry is not None:
            freed.append(trial.entry)
        point = trial.point or "without a point yet"
        log.warning("trial %d (%s): its process died; it goes back into the queue", trial.number, point)
    return freed


def _is_dead(trial: TrialRecord, lock: FileLock, folder: Path, unheard: set[int]) -> bool:
    """Whether the process of a trial is gone: its job's or, before a job claims it, its sweeper's."""
    if trial.claimed in (None, place(folder)) and Path(lock.lock_file).exists():
        return _is_free(lock)
    if trial.sweeper is not None and not trial.claimed:
        of_sweeper = named_lock(folder, trial.sweeper)
        if Path(of_sweeper.lock_file).exists():
            return _is_free(of_sweeper)
    # a sampler's trial gets its point under the study's lock, which is held here: its process died before that
    pointless = trial.entry is None and trial.sweeper is None and trial.claimed is None
    return pointless or trial.trial_id in unheard


def _is_free(lock: FileLock) -> bool:
    try:
        with lock.acquire(timeout=0):
            return True
    except Timeout:
        return False
