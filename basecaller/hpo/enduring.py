"""A database storage that outlives its server's absence: every call is made again until the server is back. A server is also
where hosts without a common file system hear of each other: who lives, and who may change a study's queue."""

from __future__ import annotations

import functools
import json
import logging
import os
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from datetime import datetime
from typing import Any

import optuna
from optuna.storages import BaseStorage
from optuna.storages._cached_storage import _CachedStorage
from optuna.storages._rdb.models import StudyModel, TrialIntermediateValueModel, TrialModel, TrialUserAttributeModel
from optuna.storages._rdb.storage import _create_scoped_session
from optuna.trial import TrialState
from sqlalchemy import Connection, text
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.exc import (
    DatabaseError,
    DataError,
    DBAPIError,
    IntegrityError,
    InterfaceError,
    OperationalError,
    ProgrammingError,
)

from basecaller.errors import StorageError
from basecaller.hpo.urls import reason, scrubbed, without_password

log = logging.getLogger(__name__)

WAIT = 300.0
"""Seconds that a call waits for a server that went away; the environment variable BASECALLER_STORAGE_WAIT overrides it."""

FIRST_PAUSE, LONGEST_PAUSE = 0.5, 10.0


def wait_limit() -> float:
    """Seconds that a call waits."""
    return float(os.environ.get("BASECALLER_STORAGE_WAIT", WAIT))


def gone(error: BaseException | None) -> bool:
    """Whether an error says that the server is away, or an SQLite file locked, rather than that the call is wrong."""
    while error is not None:
        if isinstance(error, DBAPIError):
            text = str(error.orig)
            sqlite = "sqlite" in type(error.orig).__module__
            away = isinstance(error, OperationalError | InterfaceError) or error.connection_invalidated
            return "locked" in text if sqlite else away
        error = error.__cause__ or error.__context__
    return False


def broken(error: BaseException | None) -> bool:
    """Whether an error says that the database cannot be used as it is: read-only, on a full disk, damaged."""
    while error is not None:
        if isinstance(error, DatabaseError):
            return not isinstance(error, IntegrityError | ProgrammingError | DataError)
        error = error.__cause__ or error.__context__
    return False


def _enduring(method: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(method)
    def patiently(self: EnduringStorage, *args: Any, **kwargs: Any) -> Any:
        limit, started, pause = wait_limit(), time.monotonic(), FIRST_PAUSE
        while True:
            try:
                return method(self, *args, **kwargs)
            except optuna.exceptions.UpdateFinishedTrialError:
                # a call that is made again finds its own work done: only the server's answer had been lost
                if pause > FIRST_PAUSE and method.__name__ in ("set_trial_state_values", "end_trial"):
                    return True
                raise
            except (optuna.exceptions.StorageInternalError, DBAPIError) as error:
                waited = time.monotonic() - started
                said = scrubbed(reason(error), self.url)
                if not gone(error):
                    if broken(error):
                        raise StorageError(f"storage={self.shown}: {said}; mend that, or give another storage=") from None
                    raise
                if waited + pause > limit:
                    raise StorageError(
                        f"storage={self.shown}: away for {waited:.0f} seconds ({said}); start it again, then the same command: "
                        "it goes on from here"
                    ) from None
                if pause == FIRST_PAUSE:
                    log.warning("storage %s is away; waiting up to %.0f seconds", self.shown, limit)
                time.sleep(pause)
                pause = min(2 * pause, LONGEST_PAUSE)

    return patiently


class EnduringStorage(_CachedStorage):
    """See the module.

    Args:
        backend: the storage.
        url: of it.
    """

    def __init__(self, backend: optuna.storages.RDBStorage, url: str) -> None:
        super().__init__(backend)
        self.url, self.shown = url, without_password(url)

    def record_heartbeat(self, trial_id: int) -> None:
        """Tries once: the next one comes soon."""
        with suppress(optuna.exceptions.StorageInternalError, DBAPIError):
            super().record_heartbeat(trial_id)

    @_enduring
    def _get_stale_trial_ids(self, study_id: int) -> list[int]:
        return super()._get_stale_trial_ids(study_id)

    @_enduring
    def add_trials(self, study_id: int, trials: Sequence[optuna.trial.FrozenTrial]) -> None:
        """Adds trials, all or none, in one transaction."""
        with _create_scoped_session(self._backend.scoped_session) as session:
            StudyModel.find_or_raise_by_id(study_id, session, for_update=True)  # it also counts the trials
            for trial in trials:
                self._backend._get_prepared_new_trial(study_id, trial, session)

    @_enduring
    def write_trial(self, trial_id: int, attributes: Mapping[str, Any], curve: Mapping[int, float], claim: bool) -> bool:
        """Writes to a trial in one transaction: a commit for each of its forty attributes costs more than all else around a
        short trial.

        Args:
            trial_id: of the trial.
            attributes: user attributes.
            curve: intermediate values by step.
            claim: whether it shall go from waiting to running, too.
        Returns:
            False where it shall, and does not wait any more; nothing is written then.
        Raises:
            optuna.exceptions.UpdateFinishedTrialError: the trial has ended.
        """
        with self._updating(trial_id) as (session, trial):
            if claim:
                if trial.state != TrialState.WAITING:
                    return False
                trial.state, trial.datetime_start = TrialState.RUNNING, datetime.now()
            self._note(session, trial_id, attributes, curve)
        return True

    @_enduring
    def end_trial(
        self, trial_id: int, attributes: Mapping[str, Any], curve: Mapping[int, float], state: TrialState, value: float | None
    ) -> bool:
        """Ends a trial; all that is known of it by then is written in the same transaction. See `write_trial`."""
        with self._updating(trial_id) as (session, trial):
            self._note(session, trial_id, attributes, curve)
            if value is not None:
                self._backend._set_trial_value_without_commit(session, trial, 0, value)
            trial.state, trial.datetime_complete = state, datetime.now()
        return True

    @contextmanager
    def _updating(self, trial_id: int) -> Iterator[tuple[Any, Any]]:
        """A session, and a trial that has not ended, locked in it."""
        with _create_scoped_session(self._backend.scoped_session) as session:
            trial: Any = TrialModel.find_or_raise_by_id(trial_id, session, for_update=True)
            self._backend.check_trial_is_updatable(trial_id, trial.state)
            yield session, trial

    def _note(self, session: Any, trial_id: int, attributes: Mapping[str, Any], curve: Mapping[int, float]) -> None:
        insert = {"sqlite": sqlite.insert, "postgresql": postgresql.insert}.get(self._backend.engine.name)
        if insert is None:
            for key, value in attributes.items():
                self._backend._set_trial_attr_without_commit(session, TrialUserAttributeModel, trial_id, key, value)
            for step, value in curve.items():
                self._backend._set_trial_intermediate_value_without_commit(session, trial_id, step, value)
            return
        told = [{"trial_id": trial_id, "key": key, "value_json": json.dumps(value)} for key, value in attributes.items()]
        points = []
        for step, value in curve.items():
            stored, kind = TrialIntermediateValueModel.intermediate_value_to_stored_repr(value)
            points.append({"trial_id": trial_id, "step": step, "intermediate_value": stored, "intermediate_value_type": kind})
        for model, rows, key in ((TrialUserAttributeModel, told, "key"), (TrialIntermediateValueModel, points, "step")):
            if rows:
                statement: Any = insert(model.__table__)
                changed = {name: statement.excluded[name] for name in rows[0] if name not in ("trial_id", key)}
                statement = statement.on_conflict_do_update(index_elements=["trial_id", key], set_=changed)
                session.connection().execute(statement, rows)

    @contextmanager
    def exclusive(self, key: int) -> Iterator[None]:
        """Keeps every other process of every host out of the block, where the server is PostgreSQL (an advisory lock).

        Args:
            key: of the lock, 64 bits, signed. The server drops it when the connection ends.
        """
        if self._backend.engine.dialect.name != "postgresql":
            yield
            return
        connection = self._locked(key)
        try:
            yield
        finally:
            with suppress(DBAPIError):
                connection.rollback()
            connection.close()

    @_enduring
    def _locked(self, key: int) -> Connection:
        connection = self._backend.engine.connect()
        try:
            if not connection.execute(text("SELECT pg_try_advisory_xact_lock(:key)"), {"key": key}).scalar():
                log.info("waiting for another host that changes the same study's queue")
                connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": key})
        except BaseException:
            connection.close()
            raise
        return connection


for _name in vars(BaseStorage):
    if not _name.startswith("_") and callable(getattr(_CachedStorage, _name, None)):
        setattr(EnduringStorage, _name, _enduring(getattr(_CachedStorage, _name)))
