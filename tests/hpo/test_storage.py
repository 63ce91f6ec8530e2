"""Storages as `open_storage` opens them pass Optuna's own tests of storages, for every kind of database."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from optuna.storages import BaseStorage
from optuna.testing.pytest_storages import StorageTestCase

from basecaller.common.errors import StorageError
from basecaller.hpo.storage import check_storage, open_storage, open_study
from tests.helpers.postgres import Server


def test_a_journal_that_names_no_file_is_refused(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(StorageError, match=r"storage=journal://mine\.log: names no file; write three slashes"):
        open_storage("journal://mine.log")
    assert not list(tmp_path.iterdir())


def test_a_url_of_an_unknown_kind_is_answered_with_those_that_work():
    with pytest.raises(StorageError, match=r"such as sqlite:///outputs/optuna\.db, or postgresql\+psycopg://me@server"):
        open_storage("postgres://me@server/basecaller")


@pytest.mark.parametrize("scheme", ["sqlite", "journal"])
def test_a_storage_is_checked_without_making_a_file(folder, scheme):
    check_storage(f"{scheme}:///new/optuna.db")
    assert not list(Path("new").iterdir())
    Path("file").touch()
    with pytest.raises(StorageError, match=f"storage={scheme}:///file/optuna.db: file: is a file, not a folder"):
        check_storage(f"{scheme}:///file/optuna.db")
    with pytest.raises(StorageError, match=f"storage={scheme}:////proc/optuna.db: /proc: No such file"):
        check_storage(f"{scheme}:////proc/optuna.db")
    Path("reads.fastq").write_text("@r\nACGT\n+\nIIII\n" * 99, encoding="utf-8")
    with pytest.raises(StorageError, match=f"storage={scheme}:///reads.fastq: cannot be opened"):
        check_storage(f"{scheme}:///reads.fastq")


def test_a_storage_of_another_user_is_refused_before_anything_runs(folder, monkeypatch):
    url = "sqlite:///optuna.db"
    open_study(url, "tiny/sweep/x")
    monkeypatch.setattr(os, "access", lambda path, mode: False)  # root may write anything
    with pytest.raises(StorageError, match=r"storage=sqlite:///optuna\.db: optuna\.db: Permission denied; change its perm"):
        check_storage(url)


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
