"""Optuna's private names, except those of its database (`optuna_database.py`); `tests/hpo/test_private_names.py` gives the
reasons.

A study does not expose its storage, nor a trial its id. The heartbeats have no public names at all.
"""

from __future__ import annotations

import copy
from abc import abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any, NamedTuple, cast

import optuna
from optuna.storages import BaseStorage
from optuna.storages._heartbeat import BaseHeartbeat, BaseHeartbeatThread, get_heartbeat_thread, is_heartbeat_enabled
from optuna.trial import FrozenTrial, TrialState


def storage_of(study: optuna.Study) -> BaseStorage:
    """The storage of a study."""
    return study._storage


def study_id(study: optuna.Study) -> int:
    """The study's key in the storage."""
    return study._study_id


def trial_id(trial: optuna.Trial | optuna.trial.FrozenTrial) -> int:
    """The trial's key in the storage, unlike its number, which counts within the study."""
    return trial._trial_id


def trial_id_of(study: optuna.Study, number: int) -> int:
    """The key of a study's trial by its number."""
    return study._storage.get_trial_id_from_study_id_trial_number(study._study_id, number)


# -- heartbeats, which a database server keeps


def heartbeat(study: optuna.Study, trial_id: int) -> BaseHeartbeatThread:
    """Records a trial's heartbeats inside a block."""
    return get_heartbeat_thread(trial_id, study._storage)


def beat(study: optuna.Study, trial_id: int) -> None:
    """Records one heartbeat of a trial."""
    storage = study._storage
    if isinstance(storage, BaseHeartbeat) and is_heartbeat_enabled(storage):
        storage.record_heartbeat(trial_id)


def silent(study: optuna.Study) -> set[int]:
    """Keys of the running trials whose heartbeat has stopped for longer than the storage's grace period."""
    storage = study._storage
    if not isinstance(storage, BaseHeartbeat) or not is_heartbeat_enabled(storage):
        return set()
    return set(storage._get_stale_trial_ids(study._study_id))


# -- locks of a server


def exclusive(study: optuna.Study, key: int) -> AbstractContextManager[None]:
    """See `retrying.RetryingStorage.exclusive`; does nothing for a journal file."""
    lock = getattr(study._storage, "exclusive", None)
    return lock(key) if lock else nullcontext()


# -- attributes, many in one commit


class Attributes(NamedTuple):
    """Attributes of a study or a trial: those that optuna-dashboard shows (user), and the others (system)."""

    user: Mapping[str, Any] = {}
    system: Mapping[str, Any] = {}


class ManyAtOnce(BaseStorage):
    """A storage that writes many things in one commit, as databases do; see `optuna_database.DatabaseStorage`."""

    @abstractmethod
    def set_study_attributes(self, study_id: int, attributes: Attributes) -> None:
        """Sets a study's attributes.

        Raises:
            KeyError: there is no such study.
        """

    @abstractmethod
    def add_trials(self, study_id: int, trials: Sequence[FrozenTrial]) -> None:
        """Adds trials, all or none."""

    @abstractmethod
    def claim_trial(self, trial_id: int, attributes: Attributes) -> dict[str, Any] | None:
        """Sets a trial from waiting to running, and attributes of it.

        Returns:
            The system attributes that the trial had before; None if it does not wait, and nothing is written then.
        """

    @abstractmethod
    def write_trial(self, trial_id: int, attributes: Attributes, curve: Mapping[int, float]) -> None:
        """Writes to a trial.

        Args:
            trial_id: the trial's key in the storage.
            attributes: attributes to set.
            curve: intermediate values by step.
        Raises:
            KeyError: there is no such trial.
            optuna.exceptions.UpdateFinishedTrialError: the trial has ended.
        """

    @abstractmethod
    def end_trial(
        self, trial_id: int, attributes: Attributes, curve: Mapping[int, float], state: TrialState, value: float | None
    ) -> None:
        """Ends a trial and writes its last facts. See `write_trial`."""


def study_attributes(study: optuna.Study) -> Attributes:
    """All attributes of a study."""
    return Attributes(study.user_attrs, study._storage.get_study_system_attrs(study._study_id))


def set_study_attributes(study: optuna.Study, attributes: Attributes) -> None:
    """Sets a study's attributes, in a database all in one commit."""
    if isinstance(study._storage, ManyAtOnce):
        study._storage.set_study_attributes(study._study_id, attributes)
    else:
        for key, value in attributes.user.items():
            study._storage.set_study_user_attr(study._study_id, key, value)
        for key, value in attributes.system.items():
            study._storage.set_study_system_attr(study._study_id, key, value)


@contextmanager
def at_once(study: optuna.Study) -> Iterator[optuna.Study]:
    """A study for a block that sets many system attributes one by one: they are written when the block ends, in a database
    in one commit."""
    kept = _Kept(study._storage)
    target = copy.copy(study)
    target._storage = cast(BaseStorage, kept)
    yield target
    set_study_attributes(study, Attributes(system=kept.attributes))


class _Kept:
    """A storage that buffers the system attributes set on one study, and returns them as if they were written."""

    def __init__(self, storage: BaseStorage) -> None:
        self.storage, self.attributes = storage, dict[str, Any]()

    def __getattr__(self, name: str) -> Any:
        return getattr(self.storage, name)

    def set_study_system_attr(self, study_id: int, key: str, value: Any) -> None:
        self.attributes[key] = value

    def get_study_system_attrs(self, study_id: int) -> dict[str, Any]:
        return self.storage.get_study_system_attrs(study_id) | self.attributes


def add_trials(study: optuna.Study, trials: Sequence[FrozenTrial]) -> None:
    """Adds trials to a study; in a database all or none, in one commit."""
    if isinstance(study._storage, ManyAtOnce):
        study._storage.add_trials(study._study_id, trials)
    else:
        study.add_trials(trials)


def claim_trial(study: optuna.Study, trial_id: int, attributes: Attributes) -> dict[str, Any] | None:
    """Claims a waiting trial; in a database in one commit. See `ManyAtOnce.claim_trial`."""
    storage = study._storage
    if isinstance(storage, ManyAtOnce):
        return storage.claim_trial(trial_id, attributes)
    if (trial := storage.get_trial(trial_id)).state != TrialState.WAITING:
        return None
    if not storage.set_trial_state_values(trial_id, TrialState.RUNNING):
        return None
    write_trial(study, trial_id, attributes, {})
    return trial.system_attrs


def write_trial(study: optuna.Study, trial_id: int, attributes: Attributes, curve: Mapping[int, float]) -> None:
    """Writes to a trial; in a database all in one commit. See `ManyAtOnce.write_trial`."""
    storage = study._storage
    if isinstance(storage, ManyAtOnce):
        storage.write_trial(trial_id, attributes, curve)
        return
    for key, value in attributes.user.items():
        storage.set_trial_user_attr(trial_id, key, value)
    for key, value in attributes.system.items():
        storage.set_trial_system_attr(trial_id, key, value)
    for step, loss in curve.items():
        storage.set_trial_intermediate_value(trial_id, step, loss)


def end_trial(
    study: optuna.Study,
    trial_id: int,
    attributes: Attributes,
    curve: Mapping[int, float],
    state: TrialState,
    value: float | None,
) -> None:
    """Ends a trial and stores its last facts; in a database in one commit. See `ManyAtOnce.end_trial`."""
    storage = study._storage
    if isinstance(storage, ManyAtOnce):
        storage.end_trial(trial_id, attributes, curve, state, value)
    else:
        write_trial(study, trial_id, attributes, curve)
        storage.set_trial_state_values(trial_id, state, None if value is None else [value])
