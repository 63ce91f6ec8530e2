"""What this program needs of Optuna beyond its public interface; `tests/test_private_names.py` says which of it, and why.

A study does not hand out its storage, nor a trial its id. The cache in front of a database, the tables below it and the
heartbeats have no public names at all.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import optuna
from optuna.storages import BaseStorage, RDBStorage
from optuna.storages._cached_storage import _CachedStorage
from optuna.storages._heartbeat import BaseHeartbeat, BaseHeartbeatThread, get_heartbeat_thread, is_heartbeat_enabled
from optuna.storages._rdb.models import StudyModel, StudyUserAttributeModel, TrialModel, TrialUserAttributeModel
from optuna.storages._rdb.storage import _create_scoped_session
from sqlalchemy.dialects import postgresql, sqlite


def storage_of(study: optuna.Study) -> BaseStorage:
    """The storage that a study lies in."""
    return study._storage


def study_id(study: optuna.Study) -> int:
    """Its key in the storage."""
    return study._study_id


def trial_id(trial: optuna.Trial | optuna.trial.FrozenTrial) -> int:
    """Its key in the storage, unlike its number, which counts within the study."""
    return trial._trial_id


def trial_id_of(study: optuna.Study, number: int) -> int:
    """The key of a study's trial by its number."""
    return study._storage.get_trial_id_from_study_id_trial_number(study._study_id, number)


# -- heartbeats, which a database server keeps


def heartbeat(study: optuna.Study, trial_id: int) -> BaseHeartbeatThread:
    """Keeps a trial's heartbeat going inside a block."""
    return get_heartbeat_thread(trial_id, study._storage)


def beat(study: optuna.Study, trial_id: int) -> None:
    """One heartbeat of a trial."""
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
    """See `enduring.EnduringStorage.exclusive`; nothing is locked in a journal file."""
    lock = getattr(study._storage, "exclusive", None)
    return lock(key) if lock else nullcontext()


# -- attributes, many in one commit


def set_study_attributes(study: optuna.Study, attributes: Mapping[str, Any]) -> None:
    """Sets a study's user attributes: in a database all in one commit."""
    if isinstance(study._storage, DatabaseStorage):
        study._storage.set_study_user_attrs(study._study_id, attributes)
    else:
        for key, value in attributes.items():
            study._storage.set_study_user_attr(study._study_id, key, value)


def set_trial_attributes(study: optuna.Study, trial_id: int, attributes: Mapping[str, Any]) -> None:
    """Sets a trial's user attributes: in a database all in one commit.

    Raises:
        optuna.exceptions.UpdateFinishedTrialError: the trial has ended.
    """
    if isinstance(study._storage, DatabaseStorage):
        study._storage.set_trial_user_attrs(trial_id, attributes)
    else:
        for key, value in attributes.items():
            study._storage.set_trial_user_attr(trial_id, key, value)


class DatabaseStorage(_CachedStorage):
    """Optuna's own storage of a database, cache included, that also sets many attributes at once: a commit for each of forty
    costs more than all else around a short trial."""

    @property
    def database(self) -> RDBStorage:
        """The storage behind the cache."""
        return self._backend

    def set_study_user_attrs(self, study_id: int, attributes: Mapping[str, Any]) -> None:
        """Sets a study's user attributes in one statement, where the database can.

        Raises:
            KeyError: there is no such study.
        """
        insert = self._insert()
        if insert is None:
            for key, value in attributes.items():
                self.set_study_user_attr(study_id, key, value)
        elif attributes:
            with _create_scoped_session(self._backend.scoped_session) as session:
                StudyModel.find_or_raise_by_id(study_id, session)
                session.execute(_upsert(insert, StudyUserAttributeModel, {"study_id": study_id}, attributes))

    def set_trial_user_attrs(self, trial_id: int, attributes: Mapping[str, Any]) -> None:
        """Sets a trial's user attributes in one statement, where the database can.

        Raises:
            optuna.exceptions.UpdateFinishedTrialError: the trial has ended.
        """
        insert = self._insert()
        if insert is None:
            for key, value in attributes.items():
                self.set_trial_user_attr(trial_id, key, value)
        elif attributes:
            with _create_scoped_session(self._backend.scoped_session) as session:
                trial: Any = TrialModel.find_or_raise_by_id(trial_id, session)
                self._backend.check_trial_is_updatable(trial_id, trial.state)
                session.execute(_upsert(insert, TrialUserAttributeModel, {"trial_id": trial_id}, attributes))

    def _insert(self) -> Any:
        """The database's INSERT, if it is one that can overwrite rows."""
        return {"sqlite": sqlite.insert, "postgresql": postgresql.insert}.get(self._backend.engine.name)


def _upsert(insert: Any, table: Any, owner: dict[str, int], attributes: Mapping[str, Any]) -> Any:
    rows = [{**owner, "key": key, "value_json": json.dumps(value)} for key, value in attributes.items()]
    statement = insert(table).values(rows)
    return statement.on_conflict_do_update(index_elements=[*owner, "key"], set_={"value_json": statement.excluded.value_json})
