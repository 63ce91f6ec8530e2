"""Optuna's database storage, which also writes many attributes at once. It needs private names of Optuna, and SQLAlchemy, which
starts slowly: `storage.open_storage` imports this file when it opens a database.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import datetime
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
)
from optuna.storages._rdb.storage import _create_scoped_session
from optuna.trial import FrozenTrial, TrialState
from sqlalchemy.dialects import postgresql, sqlite

from basecaller.hpo.optuna_private import Attributes, ManyAtOnce


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
        """In one transaction."""
        with _create_scoped_session(self._backend.scoped_session) as session:
            StudyModel.find_or_raise_by_id(study_id, session, for_update=True)  # it also counts the trials
            for trial in trials:
                self._backend._get_prepared_new_trial(study_id, trial, session)

    def write_trial(self, trial_id: int, attributes: Attributes, curve: Mapping[int, float], claim: bool) -> bool:
        """In one transaction."""
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
        """In one transaction."""
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
