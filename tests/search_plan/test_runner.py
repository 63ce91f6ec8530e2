"""The reports of a search while its trainings run."""

from __future__ import annotations

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
