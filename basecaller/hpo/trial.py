"""A trial as its job sees it: claimed from the queue, told its curve, ended in a named state."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import optuna
from filelock import Timeout
from optuna.trial import TrialState

from basecaller.files import remove_lock
from basecaller.hpo.optuna_private import heartbeat, storage_of, trial_id, trial_id_of
from basecaller.hpo.queue import CLAIM_TIMEOUT, place, trial_lock
from basecaller.hpo.records import Outcome, read_trial, store_trial
from basecaller.hpo.storage import open_study


class JobTrial:
    """The trial that a job works for; it ends with an `Outcome`.

    Attributes:
        point: of the grid.
    """

    def __init__(self, study: optuna.Study, trial: optuna.Trial, point: str | None = None) -> None:
        self.study, self.trial, self.point = study, trial, point

    @property
    def number(self) -> int:
        return self.trial.number

    def note(self, **facts: Any) -> None:
        """Keeps plain values with the trial: fields of its record, and what else its training measured."""
        store_trial(self.study, trial_id(self.trial), **facts)

    def report(self, value: float, step: int) -> None:
        """One point of the learning curve.

        Raises:
            optuna.TrialPruned: the study's pruner gives this trial up.
        """
        self.trial.report(value, step)
        if self.trial.should_prune():
            raise optuna.TrialPruned

    def end(self, outcome: Outcome, value: float | None = None, message: str = "", **facts: Any) -> None:
        """Ends the trial; `value` is the objective, for a complete one; `facts` are kept with it, see `note`."""
        self.note(**facts, outcome=outcome, **({"message": message} if message else {}))
        state = {Outcome.COMPLETE: TrialState.COMPLETE, Outcome.PRUNED: TrialState.PRUNED}.get(outcome, TrialState.FAIL)
        self.study.tell(self.trial, value, state)


@contextmanager
def claim(
    url: str, study_name: str, number: int, folder: Path, pruner: optuna.pruners.BasePruner | None = None
) -> Iterator[JobTrial | None]:
    """Claims a waiting trial, and holds its lock inside the block; a database server hears its heartbeat.

    Args:
        url: of the storage.
        study_name, number: the trial.
        folder: of the experiment, where the locks lie.
        pruner: decides on the trial's curve; None prunes nothing.
    Yields:
        The trial, or None where another process has it or it has ended already.
    """
    study = open_study(url, study_name, pruner)
    lock = trial_lock(folder, study_name, number)
    try:
        lock.acquire(timeout=CLAIM_TIMEOUT)
    except Timeout:
        yield None
        return
    try:
        key = trial_id_of(study, number)
        record = read_trial(study, key)
        asked = record.state == "running" and record.sweeper is not None and record.claimed is None
        if asked or (record.state == "waiting" and storage_of(study).set_trial_state_values(key, TrialState.RUNNING)):
            store_trial(study, key, claimed=place(folder))
            with heartbeat(study, key):
                yield JobTrial(study, optuna.Trial(study, key), record.point)
            remove_lock(lock)  # only of a trial that has ended
        else:
            if record.claimed not in (None, place(folder)):
                remove_lock(lock)  # its lock lies on another host
            yield None
    finally:
        lock.release()
