"""The report's tables in a terminal."""

from __future__ import annotations

import io
from types import SimpleNamespace

import pytest
from rich.console import Console

from basecaller.reporting.formats import many
from basecaller.reporting.terminal import overview_table, stage_table


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


def test_the_footnote_on_reused_trainings_needs_the_column_that_it_is_about():
    point = {
        "settings": {"stage.candidate": "a_long_name_of_a_candidate"}, "mean": 1.23, "error": None, "identity_mean": 0.5,
        "seeds": 1, "updates": 640, "samples": 305_000, "seconds": 12.3, "seconds_to_level": None, "state": "winner",
        "reused": 1,
    }  # fmt: skip
    for width, marked in ((60, False), (100, True)):
        console = Console(width=width, file=io.StringIO())
        console.print(stage_table(SimpleNamespace(points=[SimpleNamespace(**point)]), console))
        shown = console.file.getvalue()
        assert ("12.3*" in shown) == ("* trained before" in shown) == marked


@pytest.mark.parametrize(("width", "headings"), [(60, 4), (80, 5), (200, 6)])
def test_the_overview_cuts_no_name_at_any_width(width, headings):
    names = ["max_dilation_32_twice", "stacks_6_and_batch_times_4", "padding on"]
    verdict = SimpleNamespace(kind="no difference", margin=-0.0058, error=0.0094, seeds=8)
    stages = [
        SimpleNamespace(name="batch_norm.3", winner_label=name, value=0.8684, verdict=verdict, remarks=["at the edge"])
        for name in names
    ]
    facts = SimpleNamespace(plan=["batch_norm"], experiment="tiny", stages=stages, not_run=["stacks"])
    console = Console(width=width, file=io.StringIO())
    console.print(overview_table(facts, console))
    shown = console.file.getvalue()
    assert all(text in shown for text in (names[0], "stacks_6_and_", "batch_times_4", "batch_norm.3", "0.8684", "run yet"))
    assert "…" not in shown
    assert shown.count("difference,") == shown.count("edge") == 3
    assert sum(heading in shown for heading in ("stage ", "winner", "nats/base", "ahead by", "seeds", "verdict")) == headings


def test_one_thing_is_no_plural():
    assert [many(count, "trial") for count in (1, 2, 1000)] == ["1 trial", "2 trials", "1,000 trials"]
