"""Optuna's database storage, which also writes many attributes at once. It needs private names of Optuna, and SQLAlchemy, which
starts slowly: `storage.open_storage` imports this file when it opens a database.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from copy import copy
from datetime import UTC, datetime
from functools import cache
from typing import Any

from optuna.storages import RDBStorage
from optuna.storages._cached_storage import _CachedStorage
from optuna.storages._rdb.models import (
    StudyModel,
    StudySystemAttributeModel,
    StudyUserAttributeModel,
    TrialIntermediateValueModel,
    TrialModel,
    TrialSystemAttributeModel,
    TrialUserAttributeModel,
    TrialValueModel,
)
from optuna.storages._rdb.storage import _create_scoped_session
from optuna.trial import FrozenTrial, TrialState
from sqlalchemy import insert, select, update
from sqlalchemy.dialects import postgresql, sqlite

from basecaller.hpo.optuna_private import Attributes, ManyAtOnce

# Tables, not Optuna's classes of them: SQLAlchemy needs several times as long to make their objects as to run a statement.
TRIALS: Any = TrialModel.__table__
TRIAL_VALUES: Any = TrialValueModel.__table__
TRIAL_SYSTEM: Any = TrialSystemAttributeModel.__table__

INSERTS: dict[str, Any] = {"sqlite": sqlite.insert, "postgresql": postgresql.insert}
"""The INSERT of databases that can overwrite rows with it."""


class DatabaseStorage(_CachedStorage, ManyAtOnce):
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
        """In one transaction, if the database supports it."""
        if not self._overwrites:
            for key, value in attributes.user.items():
                self.set_study_user_attr(study_id, key, value)
            for key, value in attributes.system.items():
                self.set_study_system_attr(study_id, key, value)
        elif any(attributes):
            with self._transaction() as session:
                StudyModel.find_or_raise_by_id(study_id, session)
                for table, values in zip((StudyUserAttributeModel, StudySystemAttributeModel), attributes, strict=True):
                    self._overwrite(session, table, "key", _rows({"study_id": study_id}, values))

    def add_trials(self, study_id: int, trials: Sequence[FrozenTrial]) -> None:
        """In one transaction."""
        with self._transaction() as session:
            StudyModel.find_or_raise_by_id(study_id, session, for_update=True)  # it also counts the trials
            for trial in trials:
                bare = copy(trial)
                bare.user_attrs, bare.system_attrs = {}, {}  # all at once instead
                made: Any = self._backend._get_prepared_new_trial(study_id, bare, session)
                self._note(session, made.trial_id, Attributes(trial.user_attrs, trial.system_attrs), {})

    def claim_trial(self, trial_id: int, attributes: Attributes) -> dict[str, Any] | None:
        """In one transaction."""
        with self._transaction() as session:
            waits = update(TRIALS).where(TRIALS.c.trial_id == trial_id, TRIALS.c.state == TrialState.WAITING)
            if not session.execute(waits.values(state=TrialState.RUNNING, datetime_start=_now())).rowcount:
                return None
            stored = session.execute(
                select(TRIAL_SYSTEM.c.key, TRIAL_SYSTEM.c.value_json).where(TRIAL_SYSTEM.c.trial_id == trial_id)
            ).all()
            self._note(session, trial_id, attributes, {})
        return {key: json.loads(value) for key, value in stored}

    def write_trial(self, trial_id: int, attributes: Attributes, curve: Mapping[int, float]) -> None:
        """In one transaction."""
        with self._updating(trial_id) as session:
            self._note(session, trial_id, attributes, curve)

    def end_trial(
        self, trial_id: int, attributes: Attributes, curve: Mapping[int, float], state: TrialState, value: float | None
    ) -> None:
        """In one transaction."""
        with self._updating(trial_id) as session:
            self._note(session, trial_id, attributes, curve)
            if value is not None:
                stored, kind = TrialValueModel.value_to_stored_repr(value)
                row = {"trial_id": trial_id, "objective": 0, "value": stored, "value_type": kind}
                session.execute(insert(TRIAL_VALUES), row)
            ended = update(TRIALS).where(TRIALS.c.trial_id == trial_id)
            session.execute(ended.values(state=state, datetime_complete=_now()))

    def _transaction(self) -> AbstractContextManager[Any]:
        """A database session, committed at the end."""
        return _create_scoped_session(self._backend.scoped_session)

    @contextmanager
    def _updating(self, trial_id: int) -> Iterator[Any]:
        """A database session in which an unfinished trial is locked."""
        with self._transaction() as session:
            state = session.execute(select(TRIALS.c.state).where(TRIALS.c.trial_id == trial_id).with_for_update()).scalar()
            if state is None:
                raise KeyError(trial_id)
            self._backend.check_trial_is_updatable(trial_id, state)
            yield session

    def _note(self, session: Any, trial_id: int, attributes: Attributes, curve: Mapping[int, float]) -> None:
        owner = {"trial_id": trial_id}
        tables: Any = zip((TrialUserAttributeModel, TrialSystemAttributeModel), attributes, strict=True)
        if not self._overwrites:
            for table, values in tables:
                for key, value in values.items():
                    self._backend._set_trial_attr_without_commit(session, table, trial_id, key, value)
            for step, value in curve.items():
                self._backend._set_trial_intermediate_value_without_commit(session, trial_id, step, value)
            return
        for table, values in tables:
            self._overwrite(session, table, "key", _rows(owner, values))
        stored = {step: TrialIntermediateValueModel.intermediate_value_to_stored_repr(loss) for step, loss in curve.items()}
        points = [
            {**owner, "step": step, "intermediate_value": value, "intermediate_value_type": kind}
            for step, (value, kind) in stored.items()
        ]
        self._overwrite(session, TrialIntermediateValueModel, "step", points)

    @property
    def _overwrites(self) -> bool:
        """Whether the database's INSERT can overwrite rows."""
        return self._backend.engine.name in INSERTS

    def _overwrite(self, session: Any, table: Any, key: str, rows: list[dict[str, Any]]) -> None:
        """Inserts rows, or overwrites those of the same owner and key."""
        if rows:
            session.execute(_overwriting(self._backend.engine.name, table.__table__, key), rows)


def _rows(owner: dict[str, int], attributes: Mapping[str, Any]) -> list[dict[str, Any]]:
    return [{**owner, "key": key, "value_json": json.dumps(value)} for key, value in attributes.items()]


@cache  # making it takes longer than running it
def _overwriting(database: str, table: Any, key: str) -> Any:
    """An INSERT that overwrites existing rows of the same owner, a study or a trial, and key."""
    statement = INSERTS[database](table)
    unique = [column.name for column in table.columns if column.foreign_keys or column.name == key]
    changed = [column.name for column in table.columns if column.name not in unique and not column.primary_key]
    return statement.on_conflict_do_update(index_elements=unique, set_={name: statement.excluded[name] for name in changed})


def _now() -> datetime:
    """The time as Optuna stores it."""
    return datetime.now(UTC).replace(tzinfo=None)
