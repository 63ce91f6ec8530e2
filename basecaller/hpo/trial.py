"""A trial as its job sees it: claimed from the queue, told its curve, ended in a named state."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import optuna
from filelock import Timeout
from optuna.storages import BaseStorage
from optuna.storages._heartbeat import get_heartbeat_thread
from optuna.trial import TrialState

from basecaller.files import remove_lock
from basecaller.hpo.enduring import EnduringStorage
from basecaller.hpo.queue import CLAIM_TIMEOUT, place, trial_lock
from basecaller.hpo.storage import made_study

REPORTS_EVERY = 1.0
"""Seconds between two writes of a learning curve that no pruner looks at: that of a short trial is written with its end."""


class JobTrial:
    """The trial that a job works for.

    Every trial ends as one of: complete, pruned, diverged, out of memory, infeasible, failed; the user attribute
    `outcome` says which, `message` why.

    Args:
        study: with the pruner that decides on the trial's curve.
        trial: as it was when it was claimed.
    """

    def __init__(self, study: optuna.Study, trial: optuna.Trial | optuna.trial.FrozenTrial) -> None:
        self.study, self.trial_id, self.user_attrs = study, trial._trial_id, trial.user_attrs
        self.prunes = not isinstance(study.pruner, optuna.pruners.NopPruner)
        self.unwritten: dict[int, float] = {}
        self.last: float | None = None
        self.written = time.monotonic()

    def note(self, facts: dict[str, Any]) -> None:
        """Keeps plain values with the trial, as user attributes, and the curve so far."""
        write(self.study._storage, self.trial_id, facts, self.unwritten)
        self.unwritten, self.written = {}, time.monotonic()

    def report(self, value: float, step: int) -> None:
        """One point of the learning curve.

        Raises:
            optuna.TrialPruned: the study's pruner gives this trial up.
        """
        self.unwritten[step] = self.last = value
        if self.prunes or time.monotonic() - self.written >= REPORTS_EVERY:
            self.note({})
        if self.prunes and self.study.pruner.prune(self.study, self.study._storage.get_trial(self.trial_id)):
            raise optuna.TrialPruned

    def end(self, outcome: str, value: float | None = None, message: str = "", **facts: Any) -> None:
        """Ends the trial; `value` is the objective, for a complete one; `facts` are kept with it."""
        facts |= {"outcome": outcome} | ({"message": message} if message else {})
        state = {"complete": TrialState.COMPLETE, "pruned": TrialState.PRUNED}.get(outcome, TrialState.FAIL)
        storage, value = self.study._storage, self.last if outcome == "pruned" else value
        if isinstance(storage, EnduringStorage):
            storage.end_trial(self.trial_id, facts, self.unwritten, state, value)
        else:
            write(storage, self.trial_id, facts, self.unwritten)
            storage.set_trial_state_values(self.trial_id, state, None if value is None else [value])


def write(
    storage: BaseStorage, trial_id: int, attributes: dict[str, Any], curve: dict[int, float], claim: bool = False
) -> bool:
    """Writes to a trial, at once where the storage can: see `EnduringStorage.write_trial`."""
    if isinstance(storage, EnduringStorage):
        return storage.write_trial(trial_id, attributes, curve, claim)
    if claim and not storage.set_trial_state_values(trial_id, TrialState.RUNNING):
        return False
    for key, value in attributes.items():
        storage.set_trial_user_attr(trial_id, key, value)
    for step, loss in curve.items():
        storage.set_trial_intermediate_value(trial_id, step, loss)
    return True


@contextmanager
def claim(
    url: str,
    study_name: str,
    number: int,
    folder: Path,
    facts: dict[str, Any],
    pruner: optuna.pruners.BasePruner | None = None,
) -> Iterator[JobTrial | None]:
    """Claims a waiting trial, and holds its lock inside the block; a database server hears its heartbeat.

    Args:
        url: of the storage.
        study_name, number: the trial.
        folder: of the experiment, where the locks lie.
        facts: kept with the trial from its claim on.
        pruner: decides on the trial's curve; None prunes nothing.
    Yields:
        The trial, or None where another process has it or it has ended already.
    """
    study = made_study(url, study_name, pruner)
    lock = trial_lock(folder, study_name, number)
    try:
        lock.acquire(timeout=CLAIM_TIMEOUT)
    except Timeout:
        yield None
        return
    try:
        trial_id = study._storage.get_trial_id_from_study_id_trial_number(study._study_id, number)
        frozen = study._storage.get_trial(trial_id)
        asked = frozen.state == TrialState.RUNNING and "sweeper" in frozen.user_attrs and "claimed" not in frozen.user_attrs
        waits = frozen.state == TrialState.WAITING
        facts = facts | {"claimed": place(folder)}
        if (asked or waits) and write(study._storage, trial_id, facts, {}, claim=waits):
            with get_heartbeat_thread(trial_id, study._storage):
                yield JobTrial(study, frozen)
            remove_lock(lock)  # only of a trial that has ended
        else:
            if frozen.user_attrs.get("claimed", place(folder)) != place(folder):
                remove_lock(lock)  # its lock lies on another host
            yield None
    finally:
        lock.release()
