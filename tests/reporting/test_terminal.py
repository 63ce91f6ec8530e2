"""The report's tables in a terminal."""

from __future__ import annotations

import io
from types import SimpleNamespace

import pytest
from rich.console import Console

from basecaller.reporting.terminal import stage_table


@pytest.mark.parametrize("width", [60, 80, 200])
def test_a_stage_table_shows_its_settings_at_any_width(width):
    point = {
        "settings": {"model.max_dilation": 128, "optimizer.lr": 0.000353553}, "mean": 1.23, "error": 0.01, "identity_mean": 0.5,
        "seeds": 3, "updates": 640, "samples": 305_000, "seconds": 12.3, "seconds_to_level": 8.1, "state": "winner",
        "reused": 0,
    }  # fmt: skip
    console = Console(width=width, file=io.StringIO())
    console.print(stage_table(SimpleNamespace(points=[SimpleNamespace(**point)]), console))
    shown = console.file.getvalue()
    assert all(text in shown for text in ("max_dilation", "128", "0.0003536", "1.2300", "winner"))
    assert ("305" in shown) == (width > 100)
