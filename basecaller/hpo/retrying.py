"""A database storage that survives an outage of its server by repeating every call until the server is back. Through the
server, hosts without a shared file system also know which jobs are alive and who may change a study's queue."""

from __future__ import annotations

import functools
import logging
import os
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any

import optuna
from optuna.storages import BaseStorage
from sqlalchemy import Connection, text
from sqlalchemy.exc import (
    DatabaseError,
    DataError,
    DBAPIError,
    IntegrityError,
    InterfaceError,
    OperationalError,
    ProgrammingError,
    SQLAlchemyError,
)

from basecaller.common.errors import StorageError
from basecaller.hpo.optuna_database import DatabaseStorage
from basecaller.hpo.urls import reason, scrubbed, without_password

log = logging.getLogger(__name__)

WAIT = 300.0
"""Seconds that a call waits for an unreachable server; the environment variable BASECALLER_STORAGE_WAIT overrides it."""

FIRST_PAUSE, LONGEST_PAUSE = 0.5, 10.0

CREATION_ATTEMPTS = 8
"""Number of attempts to open an empty database while other processes make its tables."""

BEATS = 10
"""Number of heartbeats of a trial in the time that its process waits for an unreachable server."""

SQLITE_TIMEOUT = 120.0
"""Seconds that one process waits for another's write to an SQLite file."""


def wait_limit() -> float:
    """Seconds that a call waits for the server."""
    return float(os.environ.get("BASECALLER_STORAGE_WAIT", WAIT))


def gone(error: BaseException | None) -> bool:
    """Whether an error means that the server is unreachable or an SQLite file locked, rather than that the call is wrong."""
    while error is not None:
        if isinstance(error, DBAPIError):
            text = str(error.orig)
            sqlite = "sqlite" in type(error.orig).__module__
            away = isinstance(error, OperationalError | InterfaceError) or error.connection_invalidated
            return "locked" in text if sqlite else away
        error = error.__cause__ or error.__context__
    return False


def broken(error: BaseException | None) -> bool:
    """Whether an error means that the database cannot be used: it is read-only, damaged or on a full disk."""
    while error is not None:
        if isinstance(error, DatabaseError):
            return not isinstance(error, IntegrityError | ProgrammingError | DataError)
        error = error.__cause__ or error.__context__
    return False


def _retrying(method: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(method)
    def patiently(self: RetryingStorage, *args: Any, **kwargs: Any) -> Any:
        limit, started, pause = wait_limit(), time.monotonic(), FIRST_PAUSE
        while True:
            try:
                return method(self, *args, **kwargs)
            except optuna.exceptions.UpdateFinishedTrialError:
                # the repeated call finds its own work done: only the server's answer was lost
                if pause > FIRST_PAUSE and method.__name__ in ("set_trial_state_values", "end_trial"):
                    return True
                raise
            except (optuna.exceptions.StorageInternalError, DBAPIError) as error:
                waited = time.monotonic() - started
                said = scrubbed(reason(error), self.url)
                if not gone(error):
                    if broken(error):
                        raise StorageError(f"storage={self.shown}: {said}; fix this, or give another storage=") from None
                    raise
                if waited + pause > limit:
                    raise StorageError(
                        f"storage={self.shown}: unreachable for {waited:.0f} seconds ({said}); start the server, then run "
                        "the same command, which continues from here"
                    ) from None
                if pause == FIRST_PAUSE:
                    log.warning("storage %s is unreachable; waiting up to %.0f seconds", self.shown, limit)
                time.sleep(pause)
                pause = min(2 * pause, LONGEST_PAUSE)

    return patiently


OWN = ("stale_trials", "set_study_attributes", "add_trials", "claim_trial", "write_trial", "end_trial")
"""Methods of `DatabaseStorage` that Optuna's storages lack."""


def _in_every_method(storage: type[RetryingStorage]) -> type[RetryingStorage]:
    """Makes all inherited methods of a storage wait for the server."""
    for name in (*vars(BaseStorage), *OWN):
        if not name.startswith("_") and callable(getattr(DatabaseStorage, name, None)):
            setattr(storage, name, _retrying(getattr(DatabaseStorage, name)))
    return storage


@_in_every_method
class RetryingStorage(DatabaseStorage):
    """Optuna's database storage. If its server is unreachable, every call waits for it, see `wait_limit`.

    Args:
        backend: the storage.
        url: the storage's URL.
    Raises:
        StorageError: from any call, if the server stays unreachable or the database cannot be used.
    """

    def __init__(self, backend: optuna.storages.RDBStorage, url: str) -> None:
        super().__init__(backend)
        self.url, self.shown = url, without_password(url)

    def record_heartbeat(self, trial_id: int) -> None:
        """Tries only once, since the next heartbeat comes soon."""
        with suppress(optuna.exceptions.StorageInternalError, DBAPIError):
            super().record_heartbeat(trial_id)

    @contextmanager
    def exclusive(self, key: int) -> Iterator[None]:
        """Keeps every other process on every host out of the block if the server is PostgreSQL (an advisory lock).

        Args:
            key: key of the lock, 64 bits, signed. The server drops the lock when the connection ends.
        """
        if self.database.engine.dialect.name != "postgresql":
            yield
            return
        connection = self._locked(key)
        try:
            yield
        finally:
            with suppress(DBAPIError):
                connection.rollback()
            connection.close()

    @_retrying
    def _locked(self, key: int) -> Connection:
        connection = self.database.engine.connect()
        try:
            if not connection.execute(text("SELECT pg_try_advisory_xact_lock(:key)"), {"key": key}).scalar():
                log.info("waiting for another host to change the queue of the same study")
                connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": key})
        except BaseException:
            connection.close()
            raise
        return connection


def connect(url: str) -> RetryingStorage:
    """The storage of a database, with its tables.

    Args:
        url: a URL of SQLAlchemy, such as `sqlite:///FILE`.
    Raises:
        RuntimeError: SQLAlchemy cannot open it; its error is the cause.
        OSError, ImportError, ValueError: its driver is missing, or the URL is wrong.
    """
    if url.startswith("sqlite:"):
        kwargs: dict[str, Any] = {"engine_kwargs": {"connect_args": {"timeout": SQLITE_TIMEOUT}}}
    else:  # a live process that waits for the server must not be taken for dead when the server is back
        kwargs = {
            "engine_kwargs": {"pool_pre_ping": True},
            "heartbeat_interval": max(1, round(wait_limit() / BEATS)),
            "grace_period": max(2, round(2 * wait_limit())),
        }
    try:
        return RetryingStorage(_connected(url, kwargs), url)
    except SQLAlchemyError as error:
        raise RuntimeError(str(error)) from error


def _connected(url: str, kwargs: dict[str, Any]) -> optuna.storages.RDBStorage:
    """Optuna's storage. Several processes may find a database empty at once; all but the first to make its tables try again."""
    for attempt in range(CREATION_ATTEMPTS):
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
                return optuna.storages.RDBStorage(url, **kwargs)
        except SQLAlchemyError as error:
            raced = "already exists" in str(error) or "UniqueViolation" in str(error) or "UNIQUE constraint" in str(error)
            if not raced or attempt + 1 == CREATION_ATTEMPTS:
                raise
            time.sleep(0.2 * (attempt + 1))
    raise AssertionError
