"""Fixtures of the tests of networks."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from basecaller.networks import named


@pytest.fixture
def module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], str]:
    """Writes the module of a network into the working folder; returns the name of its class."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [*sys.path])
    written = []

    def write(body: str, name: str = "") -> str:
        name = name or f"net_{tmp_path.name}_{len(written)}".replace("-", "_")
        written.append(name)
        (tmp_path / f"{name}.py").write_text(body)
        for cached in (named._class, named._described, named._geometry):
            cached.cache_clear()
        sys.modules.pop(name, None)
        return f"{name}.Net"

    return write
