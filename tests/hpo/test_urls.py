"""URLs of storages are shown without their secrets."""

from __future__ import annotations

from pathlib import Path
from urllib.parse import unquote

import pytest
from sqlalchemy.exc import OperationalError

from basecaller.common.errors import StorageError
from basecaller.hpo.storage import open_study
from basecaller.hpo.urls import file_of, reason, scrubbed, without_password

URLS = {
    "postgresql+psycopg://me:sesame@host:5432/db": "postgresql+psycopg://me:***@host:5432/db",
    "postgresql://:sesame@host/db": "postgresql://:***@host/db",
    "postgresql://me:se%40same%2Fsesame@host/db": "postgresql://me:***@host/db",
    "postgresql://me:sesame/sesame?sesame#:@host/db": "postgresql://me:***@host/db",
    "postgresql://me:se@sesame@host/db": "postgresql://***",
    "postgresql://me:se@sesame/sesame@host/db": "postgresql://***",
    "postgresql://me:x@y:sesame@host/db": "postgresql://***",
    "postgresql://host/db?user=me&password=sesame": "postgresql://host/db?password=***&user=me",
    "postgresql://me@host/db?sslmode=require&passwd=a@sesame": "postgresql://me@host/db?passwd=***&sslmode=require",
    "mssql+pyodbc:///?odbc_connect=DRIVER%3Dx%3BPWD%3Dsesame": "mssql+pyodbc:///?odbc_connect=***",
    "storage='postgresql://me:sesame@host/db'": "storage='postgresql://me:***@host/db'",
    "++storage=mysql://me:sesame@host/db": "++storage=mysql://me:***@host/db",
    "postgresql://me@host/db": "postgresql://me@host/db",
    "sqlite:///a b/me:you@lab.db": "sqlite:///a b/me:you@lab.db",
    "journal:////x/me@lab": "journal:////x/me@lab",
    "optimizer.lr=0.1": "optimizer.lr=0.1",
}


@pytest.mark.parametrize("url", URLS)
def test_a_url_is_shown_without_its_secrets(url):
    assert without_password(url) == URLS[url]


@pytest.mark.parametrize("secret", ["sesame", "se%40same", "se%2Fsame"])
@pytest.mark.parametrize("form", ["postgresql://me:{}@host/db", "postgresql://me@host/db?password={}"])
def test_a_drivers_message_is_shown_without_secrets(form, secret):
    url = form.format(secret)
    told = scrubbed(f"no {unquote(secret)} at host ({secret}), see {url}", url)
    assert told == f"no *** at host (***), see {without_password(url)}"


@pytest.mark.parametrize("url", [url for url in URLS if "sesame" in url and "storage" not in url])
def test_a_storage_that_cannot_be_opened_is_named_without_secrets(folder, monkeypatch, url):
    monkeypatch.setenv("BASECALLER_STORAGE_WAIT", "0.1")
    with pytest.raises(StorageError) as told:
        open_study(url.replace("host", "host.invalid"), "tiny/sweep/x")
    assert "sesame" not in str(told.value)
    assert str(told.value).startswith("storage=")


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("sqlite:///outputs/optuna.db", "outputs/optuna.db"),
        ("sqlite:////tmp/x.db?timeout=3", "/tmp/x.db"),
        ("journal:///~/search.log", "/home/me/search.log"),
        ("sqlite:///", None),
        ("sqlite://", None),
        ("postgresql:///outputs/optuna.db", None),
    ],
)
def test_the_file_of_a_storage(monkeypatch, url, expected):
    monkeypatch.setenv("HOME", "/home/me")
    assert file_of(url) == (expected and Path(expected))


def test_the_reason_is_the_drivers_first_line():
    driver = OperationalError("SELECT 1", {}, Exception("connection refused\nIs the server running?"))
    wrapped = RuntimeError("Optuna says something long")
    wrapped.__cause__ = driver
    assert reason(driver) == reason(wrapped) == "connection refused"
    assert reason(ValueError("first\nsecond")) == "first"
    assert reason(ValueError()) == "ValueError"
