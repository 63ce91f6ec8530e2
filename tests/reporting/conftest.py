"""Fixtures of the tests of reports."""

from __future__ import annotations

from pathlib import Path

import pytest

from basecaller.hpo.storage import open_storage
from tests.helpers.reporting import PLAN, search


@pytest.fixture(scope="session")
def searched(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a finished search of two stages, for tests that change nothing in it."""
    folder = tmp_path_factory.mktemp("searched")
    open_storage.cache_clear()
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        search(f"plan=[{','.join(PLAN[:2])}]").run()
    open_storage.cache_clear()
    return folder
