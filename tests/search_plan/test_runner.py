"""The reports of a search while its trainings run."""

from __future__ import annotations

from threading import Event
from types import SimpleNamespace

from basecaller.search_plan import runner as module
from tests.helpers.searching import search


def test_reports_take_a_twentieth_of_the_time(folder, monkeypatch):
    runner, clock, written = search().runner, [0.0], list[float]()
    monkeypatch.setattr(module, "time", SimpleNamespace(monotonic=lambda: clock[0]))

    def report() -> None:
        written.append(clock[0])
        clock[0] += 2

    monkeypatch.setattr(runner, "report", report)
    for second in range(100):  # a step ends every second
        clock[0] = max(clock[0], second)
        runner.due = True
        runner._report_if_due()
    assert written == [0, 42, 84]
    runner.next_report, runner.due = 0, False
    runner._report_if_due()
    assert len(written) == 3


def test_a_forecast_that_fails_ends_neither_the_search_nor_its_reports(folder, monkeypatch, caplog):
    progress, reported = search().runner.progress, Event()
    progress.meanwhile = reported.set

    def state(ended: bool) -> None:
        raise ValueError("a bug")

    monkeypatch.setattr(progress.agenda, "state", state)
    for _ in range(2):
        reported.clear()
        with progress.testing():
            assert reported.wait(60)
    assert [bool(record.exc_info) for record in caplog.records] == [True]  # it would say so every two seconds
