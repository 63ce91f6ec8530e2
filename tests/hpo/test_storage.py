"""Storages as `open_storage` opens them pass Optuna's own tests of storages, for every kind of database."""

from __future__ import annotations

from pathlib import Path

import pytest
from optuna.storages import BaseStorage
from optuna.testing.pytest_storages import StorageTestCase

from basecaller.hpo.storage import open_storage
from tests.helpers.postgres import Server


@pytest.mark.slow
class TestSQLite(StorageTestCase):
    @pytest.fixture
    def storage(self, tmp_path: Path) -> BaseStorage:
        return open_storage(f"sqlite:///{tmp_path}/optuna.db")


class TestJournalFile(StorageTestCase):
    @pytest.fixture
    def storage(self, tmp_path: Path) -> BaseStorage:
        return open_storage(f"journal:///{tmp_path}/journal.log")


@pytest.fixture(scope="module")
def database(server: Server) -> str:
    """The URL of an empty database."""
    return server.database("suite")


class TestPostgreSQL(StorageTestCase):
    @pytest.fixture
    def storage(self, database: str) -> BaseStorage:
        """The storage, without the studies of the previous test: creating the tables again takes longer than a test."""
        storage = open_storage(database)
        for study in storage.get_all_studies():
            storage.delete_study(storage.get_study_id_from_name(study.study_name))
        return storage
