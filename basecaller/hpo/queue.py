"""The grid as a queue: what is missing waits in the study, jobs claim it, and what a dead process left is put back.

A trial is alive as long as its job holds the trial's lock file; the kernel drops the lock when the process dies. Of a job on a
host with another file system a database server keeps the heartbeat.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, nullcontext
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any
from uuid import uuid4

from filelock import FileLock, Timeout

from basecaller.files import holding, remove_lock, replacing, shared_lock
from basecaller.hpo.grid import Entry, Space
from basecaller.hpo.identity import digest

if TYPE_CHECKING:
    import optuna

log = logging.getLogger(__name__)

CONCLUSIVE = ("diverged", "infeasible")
"""Outcomes that the same settings would reach again: such a point is not tried again. Others are, by the next sweep."""

ATTEMPTS = 3
"""How often a point is given to another process when one dies over it."""

CLAIM_TIMEOUT = 10.0
"""Seconds that a job waits for its own lock, which a neighbour may be probing."""


@contextmanager
def study_lock(folder: Path, study: optuna.Study) -> Iterator[None]:
    """Held while a study's queue is changed: by one process of this folder and, on a database server, of all hosts."""
    exclusive = getattr(study._storage, "exclusive", lambda key: nullcontext())
    lock = named_lock(folder, digest(study.study_name))
    with holding(lock, f"changes the queue of {study.study_name}"), exclusive(int(digest(study.study_name, length=15), 16)):
        yield


def place(folder: Path) -> str:
    """A name for the folder that its locks lie in: hosts with a common file system share it, others have their own."""
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
    """Held by the job of a trial while it runs."""
    return named_lock(folder, f"{digest(study)}-{number}")


def named_lock(folder: Path, name: str) -> FileLock:
    """A lock of this experiment; the kernel drops it when its holder dies."""
    locks = folder / "locks"
    locks.mkdir(parents=True, exist_ok=True)
    return shared_lock(locks / f"{name}.lock")


def fill(study: optuna.Study, space: Space, entries: list[Entry]) -> None:
    """Enqueues the entries that have no trial which waits, runs, or has ended for good."""
    from optuna.trial import TrialState, create_trial

    from basecaller.hpo.enduring import EnduringStorage

    here = set()
    for trial in study.get_trials(deepcopy=False):
        if trial.state != TrialState.FAIL or trial.user_attrs.get("outcome") in CONCLUSIVE:
            here.add(_key(trial))
    missing = [
        create_trial(
            state=TrialState.WAITING,
            params=entry.point.values,
            distributions=space.distributions,
            user_attrs={"point": entry.point.key, "seed": entry.seed},
        )
        for entry in entries
        if entry.key not in here
    ]
    if isinstance(study._storage, EnduringStorage):
        study._storage.add_trials(study._study_id, missing)
    else:
        study.add_trials(missing)


def _key(trial: optuna.trial.FrozenTrial) -> tuple[Any, Any]:
    return trial.user_attrs.get("point"), trial.user_attrs.get("seed")


def waiting(study: optuna.Study, entries: list[Entry]) -> list[tuple[int, Entry]]:
    """Trial numbers and entries that wait in the queue, in the entries' order."""
    from optuna.trial import TrialState

    numbers: dict[Any, int] = {}
    for trial in study.get_trials(deepcopy=False, states=(TrialState.WAITING,)):
        numbers.setdefault(_key(trial), trial.number)
    return [(numbers[entry.key], entry) for entry in entries if entry.key in numbers]


def running(study: optuna.Study) -> list[optuna.trial.FrozenTrial]:
    """Trials that some process works on, or died over."""
    from optuna.trial import TrialState

    return study.get_trials(deepcopy=False, states=(TrialState.RUNNING,))


def release_abandoned(
    study: optuna.Study, folder: Path, launches: Mapping[tuple[str, int], int] | None = None
) -> list[tuple[str, int]]:
    """Ends the running trials whose process is gone: as `abandoned`, to be done again; as `killed` where this sweep has
    launched them so often that it is they, most likely, that kill their process (of a sampled space: once).

    Returns:
        The keys of the entries that are free again.
    """
    from optuna.exceptions import UpdateFinishedTrialError
    from optuna.trial import TrialState

    freed = []
    silent = _silent(study)
    for trial in running(study):
        lock = trial_lock(folder, study.study_name, trial.number)
        if not _is_dead(trial, lock, folder, silent):
            continue
        try:
            with lock.acquire(timeout=0):
                if study._storage.get_trial(trial._trial_id).state != TrialState.RUNNING:
                    continue
                note = {"outcome": "abandoned"}
                if launches and launches.get(_key(trial), 0) >= ATTEMPTS:
                    message = "its process died, perhaps for want of memory; a smaller batch needs less"
                    note = {"outcome": "killed", "message": message}
                for key, value in note.items():
                    study._storage.set_trial_user_attr(trial._trial_id, key, value)
                study._storage.set_trial_state_values(trial._trial_id, TrialState.FAIL)
        except (Timeout, UpdateFinishedTrialError):  # another process has just looked after it
            continue
        remove_lock(lock)
        if note["outcome"] == "killed":
            log.warning("trial %d (%s): %s", trial.number, _key(trial)[0], note["message"])
            continue
        freed.append(_key(trial))
        log.warning("trial %d (%s) was left by a process that died; it goes back into the queue", trial.number, freed[-1][0])
    return freed


def beat(study: optuna.Study, trial: optuna.Trial) -> None:
    """A first heartbeat of a trial that no job has claimed yet."""
    from optuna.storages._heartbeat import BaseHeartbeat, is_heartbeat_enabled

    if isinstance(study._storage, BaseHeartbeat) and is_heartbeat_enabled(study._storage):
        study._storage.record_heartbeat(trial._trial_id)


def _silent(study: optuna.Study) -> set[int]:
    """Trials of which a database server has heard nothing for long; see `storage.open_storage`."""
    from optuna.storages._heartbeat import BaseHeartbeat, is_heartbeat_enabled

    storage = study._storage
    if not isinstance(storage, BaseHeartbeat) or not is_heartbeat_enabled(storage):
        return set()
    return set(storage._get_stale_trial_ids(study._study_id))


def _is_dead(trial: optuna.trial.FrozenTrial, lock: FileLock, folder: Path, silent: set[int]) -> bool:
    """Whether the process that a trial belongs to is gone: its job's, or until that claims it, its sweeper's."""
    claimed = trial.user_attrs.get("claimed")
    if claimed in (None, place(folder)) and Path(lock.lock_file).exists():
        return _is_free(lock)
    if "sweeper" in trial.user_attrs and not claimed:
        of_sweeper = named_lock(folder, trial.user_attrs["sweeper"])
        if Path(of_sweeper.lock_file).exists():
            return _is_free(of_sweeper)
    return trial._trial_id in silent


def _is_free(lock: FileLock) -> bool:
    try:
        with lock.acquire(timeout=0):
            return True
    except Timeout:
        return False
