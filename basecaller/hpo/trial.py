"""A trial as its job sees it: the job claims it from the queue, reports its curve, and ends it with an outcome."""

from __future__ import annotations

import time
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import optuna
from filelock import Timeout
from optuna.trial import TrialState

from basecaller.common.files import remove_lock
from basecaller.hpo.optuna_private import Attributes, end_trial, heartbeat, storage_of, trial_id_of, write_trial
from basecaller.hpo.queue import CLAIM_TIMEOUT, place, trial_lock
from basecaller.hpo.records import Outcome, claim_queued, read_trial, trial_attributes
from basecaller.hpo.storage import made_study

REPORTS_EVERY = 1.0
"""Seconds between two writes of a learning curve that no pruner reads. A short trial's curve is written only at its end."""


class JobTrial:
    """The trial that a job works for; it ends with an `Outcome`.

    Args:
        study: the study, with the pruner that decides on the trial's curve.
        trial_id: Optuna's key of the trial.
        point: key of the grid's point.
    """

    def __init__(self, study: optuna.Study, trial_id: int, point: str | None = None) -> None:
        self.study, self.trial_id, self.point = study, trial_id, point
        self.prunes = not isinstance(study.pruner, optuna.pruners.NopPruner)
        self.unwritten: dict[int, float] = {}
        self.last: float | None = None
        self.written = time.monotonic()

    def report(self, value: float, step: int) -> None:
        """Reports one point of the learning curve.

        Raises:
            optuna.TrialPruned: the study's pruner stops this trial.
        """
        self.unwritten[step] = self.last = value
        if self.prunes or time.monotonic() - self.written >= REPORTS_EVERY:
            write_trial(self.study, self.trial_id, Attributes(), self.unwritten)
            self.unwritten, self.written = {}, time.monotonic()
        if self.prunes and self.study.pruner.prune(self.study, storage_of(self.study).get_trial(self.trial_id)):
            raise optuna.TrialPruned

    def end(
        self, outcome: Outcome, value: float | None = None, message: str = "", shown: Collection[str] = (), **facts: Any
    ) -> None:
        """Ends the trial.

        Args:
            outcome: how the trial ended.
            value: the objective of a complete trial.
            message: why the trial gave no value.
            shown: names of the facts that a person reads; optuna-dashboard has a column for each.
            facts: fields of the trial's record and other facts of its job.
        """
        facts |= {"outcome": outcome} | ({"message": message} if message else {})
        state = {Outcome.COMPLETE: TrialState.COMPLETE, Outcome.PRUNED: TrialState.PRUNED}.get(outcome, TrialState.FAIL)
        value = self.last if outcome == Outcome.PRUNED else value
        end_trial(self.study, self.trial_id, trial_attributes(facts, shown), self.unwritten, state, value)


@contextmanager
def claim(
    url: str,
    study_name: str,
    number: int,
    folder: Path,
    facts: dict[str, Any],
    pruner: optuna.pruners.BasePruner | None = None,
) -> Iterator[JobTrial | None]:
    """Claims a waiting trial and holds its lock inside the block; a database server gets its heartbeats.

    Args:
        url: URL of the storage.
        study_name, number: the trial's study and number.
        folder: folder of the experiment, which holds the locks.
        facts: fields of the trial's record that are known from its claim on.
        pruner: decides on the trial's curve; None prunes nothing.
    Yields:
        The trial, or None if another process has it or it has already ended.
    """
    study = made_study(url, study_name, pruner)
    lock = trial_lock(folder, study_name, number)
    try:
        lock.acquire(timeout=CLAIM_TIMEOUT)
    except Timeout:
        yield None
        return
    try:
        key, facts = trial_id_of(study, number), facts | {"claimed": place(folder)}
        queued = claim_queued(study, key, facts)
        if queued is None:
            record = read_trial(study, key)
            if record.state == "running" and record.sweeper is not None and record.claimed is None:  # a sampler's
                write_trial(study, key, trial_attributes(facts), {})
                queued = {"point": record.point}
            elif record.claimed not in (None, place(folder)):
                remove_lock(lock)  # the trial's own lock is on another host
        if queued is None:
            yield None
        else:
            with heartbeat(study, key):
                yield JobTrial(study, key, queued.get("point"))
            remove_lock(lock)  # only if the trial has ended
    finally:
        lock.release()
