"""Fixtures of the tests of native code."""

from __future__ import annotations

from pathlib import Path

import pytest

from basecaller.native import build


@pytest.fixture(scope="session")
def compiler() -> None:
    """A C compiler, or no test."""
    try:
        build.compiler()
    except build.UnavailableError as error:
        pytest.skip(str(error))


@pytest.fixture(scope="session")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder in which libraries are built once for all tests."""
    return tmp_path_factory.mktemp("native")
