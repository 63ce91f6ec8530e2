"""A trial as its job sees it: claimed from the queue, told its curve, ended in a named state."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import optuna
from filelock import Timeout
from optuna.storages._heartbeat import get_heartbeat_thread
from optuna.trial import TrialState

from basecaller.files import remove_lock
from basecaller.hpo.queue import CLAIM_TIMEOUT, place, trial_lock
from basecaller.hpo.storage import open_study


class JobTrial:
    """The trial that a job works for.

    Every trial ends as one of: complete, pruned, diverged, out of memory, infeasible, failed; the user attribute
    `outcome` says which, `message` why.
    """

    def __init__(self, study: optuna.Study, trial: optuna.Trial) -> None:
        self.study, self.trial = study, trial

    @property
    def number(self) -> int:
        return self.trial.number

    def note(self, facts: dict[str, Any]) -> None:
        """Keeps plain values with the trial, as user attributes."""
        at_once = getattr(self.study._storage, "set_trial_user_attrs", None)
        if at_once:
            at_once(self.trial._trial_id, facts)
        else:
            for key, value in facts.items():
                self.trial.set_user_attr(key, value)

    def report(self, value: float, step: int) -> None:
        """One point of the learning curve.

        Raises:
            optuna.TrialPruned: the study's pruner gives this trial up.
        """
        self.trial.report(value, step)
        if self.trial.should_prune():
            raise optuna.TrialPruned

    def end(self, outcome: str, value: float | None = None, message: str = "", **facts: Any) -> None:
        """Ends the trial; `value` is the objective, for a complete one; `facts` are kept with it."""
        self.note(facts | {"outcome": outcome} | ({"message": message} if message else {}))
        state = {"complete": TrialState.COMPLETE, "pruned": TrialState.PRUNED}.get(outcome, TrialState.FAIL)
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
        trial_id = study._storage.get_trial_id_from_study_id_trial_number(study._study_id, number)
        frozen = study._storage.get_trial(trial_id)
        asked = frozen.state == TrialState.RUNNING and "sweeper" in frozen.user_attrs and "claimed" not in frozen.user_attrs
        if asked or (
            frozen.state == TrialState.WAITING and study._storage.set_trial_state_values(trial_id, TrialState.RUNNING)
        ):
            study._storage.set_trial_user_attr(trial_id, "claimed", place(folder))
            with get_heartbeat_thread(trial_id, study._storage):
                yield JobTrial(study, optuna.Trial(study, trial_id))
            remove_lock(lock)  # only of a trial that has ended
        else:
            if frozen.user_attrs.get("claimed", place(folder)) != place(folder):
                remove_lock(lock)  # its lock lies on another host
            yield None
    finally:
        lock.release()
