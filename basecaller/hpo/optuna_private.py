"""All use of Optuna's private interface; `tests/hpo/test_private_names.py` lists the names and the reasons.

A study does not expose its storage, nor a trial its id. The cache in front of a database, its tables and the heartbeats have
no public names at all.
"""

from __future__ import annotations

import copy
import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from datetime import datetime
from typing import Any, cast

import optuna
from optuna.storages import BaseStorage, RDBStorage
from optuna.storages._cached_storage import _CachedStorage
from optuna.storages._heartbeat import BaseHeartbeat, BaseHeartbeatThread, get_heartbeat_thread, is_heartbeat_enabled
from optuna.storages._rdb.models import (
    StudyModel,
    StudySystemAttributeModel,
    StudyUserAttributeModel,
    TrialIntermediateValueModel,
    TrialModel,
    TrialSystemAttributeModel,
    TrialUserAttributeModel,
)
from optuna.storages._rdb.storage import _create_scoped_session
from optuna.trial import FrozenTrial, TrialState
from sqlalchemy.dialects import postgresql, sqlite

from basecaller.hpo.records import Attributes


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
    """See `enduring.EnduringStorage.exclusive`; does nothing for a journal file."""
    lock = getattr(study._storage, "exclusive", None)
    return lock(key) if lock else nullcontext()


# -- attributes, many in one commit


def study_attributes(study: optuna.Study) -> Attributes:
    """All attributes of a study."""
    return Attributes(study.user_attrs, study._storage.get_study_system_attrs(study._study_id))


def set_study_attributes(study: optuna.Study, attributes: Attributes) -> None:
    """Sets a study's attributes, in a database all in one commit."""
    if isinstance(study._storage, DatabaseStorage):
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
    if isinstance(study._storage, DatabaseStorage):
        study._storage.add_trials(study._study_id, trials)
    else:
        study.add_trials(trials)


def write_trial(
    study: optuna.Study, trial_id: int, attributes: Attributes, curve: Mapping[int, float], claim: bool = False
) -> bool:
    """Writes to a trial; in a database all in one commit. See `DatabaseStorage.write_trial`."""
    storage = study._storage
    if isinstance(storage, DatabaseStorage):
        return storage.write_trial(trial_id, attributes, curve, claim)
    if claim and not storage.set_trial_state_values(trial_id, TrialState.RUNNING):
        return False
    for key, value in attributes.user.items():
        storage.set_trial_user_attr(trial_id, key, value)
    for key, value in attributes.system.items():
        storage.set_trial_system_attr(trial_id, key, value)
    for step, loss in curve.items():
        storage.set_trial_intermediate_value(trial_id, step, loss)
    return True


def end_trial(
    study: optuna.Study,
    trial_id: int,
    attributes: Attributes,
    curve: Mapping[int, float],
    state: TrialState,
    value: float | None,
) -> None:
    """Ends a trial and stores its last facts; in a database in one commit. See `DatabaseStorage.end_trial`."""
    storage = study._storage
    if isinstance(storage, DatabaseStorage):
        storage.end_trial(trial_id, attributes, curve, state, value)
    else:
        write_trial(study, trial_id, attributes, curve)
        storage.set_trial_state_values(trial_id, state, None if value is None else [value])


class DatabaseStorage(_CachedStorage):
    """Optuna's own database storage with its cache, which also sets many attributes at once: forty separate commits cost more
    than everything else around a short trial."""

    @property
    def database(self) -> RDBStorage:
        """The storage behind the cache."""
        return self._backend

    def stale_trials(self, study_id: int) -> list[int]:
        """The running trials of a study whose job no longer records heartbeats."""
        return super()._get_stale_trial_ids(study_id)

    def _get_stale_trial_ids(self, study_id: int) -> list[int]:
        return self.stale_trials(study_id)

    def set_study_attributes(self, study_id: int, attributes: Attributes) -> None:
        """Sets a study's attributes in one transaction, if the database supports it.

        Raises:
            KeyError: there is no such study.
        """
        insert, owner = self._insert(), {"study_id": study_id}
        if insert is None:
            for key, value in attributes.user.items():
                self.set_study_user_attr(study_id, key, value)
            for key, value in attributes.system.items():
                self.set_study_system_attr(study_id, key, value)
        elif any(attributes):
            with _create_scoped_session(self._backend.scoped_session) as session:
                StudyModel.find_or_raise_by_id(study_id, session)
                for table, of in zip((StudyUserAttributeModel, StudySystemAttributeModel), attributes, strict=True):
                    if of:
                        session.execute(_upsert(insert, table, owner, of))

    def add_trials(self, study_id: int, trials: Sequence[FrozenTrial]) -> None:
        """Adds trials, all or none, in one transaction."""
        with _create_scoped_session(self._backend.scoped_session) as session:
            StudyModel.find_or_raise_by_id(study_id, session, for_update=True)  # it also counts the trials
            for trial in trials:
                self._backend._get_prepared_new_trial(study_id, trial, session)

    def write_trial(self, trial_id: int, attributes: Attributes, curve: Mapping[int, float], claim: bool) -> bool:
        """Writes to a trial in one transaction.

        Args:
            trial_id: the trial's key in the storage.
            attributes: attributes to set.
            curve: intermediate values by step.
            claim: whether to also set the trial from waiting to running.
        Returns:
            False if the trial is to be claimed but no longer waits; nothing is written then.
        Raises:
            KeyError: there is no such trial.
            optuna.exceptions.UpdateFinishedTrialError: the trial has ended.
        """
        with self._updating(trial_id) as (session, trial):
            if claim:
                if trial.state != TrialState.WAITING:
                    return False
                trial.state, trial.datetime_start = TrialState.RUNNING, datetime.now()
            self._note(session, trial_id, attributes, curve)
        return True

    def end_trial(
        self, trial_id: int, attributes: Attributes, curve: Mapping[int, float], state: TrialState, value: float | None
    ) -> None:
        """Ends a trial and writes its last facts in the same transaction. See `write_trial`."""
        with self._updating(trial_id) as (session, trial):
            self._note(session, trial_id, attributes, curve)
            if value is not None:
                self._backend._set_trial_value_without_commit(session, trial, 0, value)
            trial.state, trial.datetime_complete = state, datetime.now()

    @contextmanager
    def _updating(self, trial_id: int) -> Iterator[tuple[Any, Any]]:
        """A database session, and an unfinished trial locked in it."""
        with _create_scoped_session(self._backend.scoped_session) as session:
            trial: Any = TrialModel.find_or_raise_by_id(trial_id, session, for_update=True)
            self._backend.check_trial_is_updatable(trial_id, trial.state)
            yield session, trial

    def _note(self, session: Any, trial_id: int, attributes: Attributes, curve: Mapping[int, float]) -> None:
        insert, owner = self._insert(), {"trial_id": trial_id}
        tables: Any = list(zip((TrialUserAttributeModel, TrialSystemAttributeModel), attributes, strict=True))
        if insert is None:
            for table, of in tables:
                for key, value in of.items():
                    self._backend._set_trial_attr_without_commit(session, table, trial_id, key, value)
            for step, value in curve.items():
                self._backend._set_trial_intermediate_value_without_commit(session, trial_id, step, value)
            return
        for table, of in tables:
            if of:
                session.execute(_upsert(insert, table, owner, of))
        if curve:
            stored = {step: TrialIntermediateValueModel.intermediate_value_to_stored_repr(loss) for step, loss in curve.items()}
            rows = [
                {**owner, "step": step, "intermediate_value": value, "intermediate_value_type": kind}
                for step, (value, kind) in stored.items()
            ]
            session.execute(_overwriting(insert, TrialIntermediateValueModel, rows, [*owner, "step"]))

    def _insert(self) -> Any:
        """The database's INSERT, if it can overwrite rows."""
        return {"sqlite": sqlite.insert, "postgresql": postgresql.insert}.get(self._backend.engine.name)


def _upsert(insert: Any, table: Any, owner: dict[str, int], attributes: Mapping[str, Any]) -> Any:
    rows = [{**owner, "key": key, "value_json": json.dumps(value)} for key, value in attributes.items()]
    return _overwriting(insert, table, rows, [*owner, "key"])


def _overwriting(insert: Any, table: Any, rows: list[dict[str, Any]], keys: list[str]) -> Any:
    """An INSERT that overwrites existing rows."""
    statement = insert(table).values(rows)
    changed = {name: statement.excluded[name] for name in rows[0] if name not in keys}
    return statement.on_conflict_do_update(index_elements=keys, set_=changed)
