"""The progress and the expected end of a search: the forecast, the line, and both in a real search."""

from __future__ import annotations

import os
import pty
import re
import subprocess
import sys
from datetime import datetime
from pathlib import Path

import pytest
from rich.console import Console

from basecaller.hpo.storage import open_storage
from basecaller.search_plan import agenda
from basecaller.search_plan.agenda import State
from basecaller.search_plan.forecast import RECENT, Planned, Training, seconds_left, slowness
from basecaller.search_plan.progress import in_words
from basecaller.search_plan.request import Request
from basecaller.search_plan.search import Search
from tests.conftest import TINY
from tests.helpers.networks import BONITO, DATA

LINE = re.compile(r"(\d+) of about (\d+) trials, (\d+) running(; ends about (\w+ )?\d\d:\d\d, in .+)?")


def test_the_latest_trainings_give_the_speed_of_the_machine():
    assert slowness([]) == 1
    assert slowness([Training(1, 2), Training(3, 4)]) == 1.5
    assert slowness([Training(1, 9)] * 5 + [Training(1, 2)] * RECENT) == 2  # the load was different then
    assert slowness([Training(1, 3)] * 20 + [Training(80, 80)]) == pytest.approx(1.4)  # a long one counts for more


def test_planned_trainings_share_the_workers():
    trained = [Training(1, 2)]
    assert seconds_left([], trained, 2) == 0
    assert seconds_left([Planned(4, 10)], trained, 2) == 40
    assert seconds_left([Planned(5, 10)], trained, 2) == 60  # the fifth runs alone
    assert seconds_left([Planned(1, 10), Planned(1, 10)], trained, 8) == 40  # the second waits for the first
    assert seconds_left([Planned(4, 10)], trained, 2, pause=1) == 42
    assert seconds_left([Planned(2, 10, spent=15)], trained, 2) == 5
    assert seconds_left([Planned(2, 10, spent=50)], trained, 2) == 0  # late, and about to end


def test_the_expected_end_holds_if_later_trainings_are_longer():
    """A search of 100 trials of 1 s, 50 of 3 s, 6 of 8 s and 2 of 150 s on two workers, on a machine 1.6 times as slow as
    estimated, that pauses for 0.3 s between trainings and varies by a fifth."""
    stages, slow, pause = [(100, 1.0), (50, 3.0), (6, 8.0), (2, 150.0)], 1.6, 0.3
    took = [(cost, cost * slow * (0.8 + 0.4 * (i % 7) / 6)) for count, cost in stages for i in range(count)]
    total = sum(seconds + pause for _, seconds in took) / 2
    passed = 0.0
    for done, (_, seconds) in enumerate(took, 1):
        passed += (seconds + pause) / 2
        if passed < 0.3 * total or done > 156:
            continue
        left, before = [], done
        for count, cost in stages:
            left.append(Planned(max(0, count - before), cost))
            before = max(0, before - count)
        expected = passed + seconds_left(left, [Training(*each) for each in took[:done]], 2, pause)
        assert expected == pytest.approx(total, rel=0.25)


@pytest.mark.parametrize(
    ("state", "words"),
    [
        (State(0, 2, 300, 500), "0 of about 300 trials, 2 running"),  # nothing was measured yet
        (State(10, 2, 1300, 20), "10 of about 1,300 trials, 2 running; ends about 21:50, in less than a minute"),
        (State(10, 0, 300, 600), "10 of about 300 trials, 0 running; ends about 22:00, in 10 min"),
        (State(10, 2, 300, 3 * 3600), "10 of about 300 trials, 2 running; ends about Thu 00:50, in 3.0 h"),
    ],
)
def test_a_line_shows_the_progress_of_a_search(state, words):
    assert in_words(state, datetime(2026, 11, 25, 21, 50)) == words


COMMAND = [*TINY, "plan=[padding,lr_adam]", "model.batch_norm=true", "search.workers=1", "stage.extend=0", "search.rounds=2",
           "search.round_budget=2", "search.finalists=3", "search.finalist_share=0.5"]  # fmt: skip


@pytest.mark.slow
def test_the_remaining_work_shrinks_to_nothing(tmp_path: Path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    open_storage.cache_clear()
    search = Search(Request(COMMAND), Console(quiet=True))
    agenda, seen = search.runner.progress.agenda, []
    close, ask = agenda.close, agenda.ask

    def asked(stage: str, name: str) -> None:
        ask(stage, name)
        seen.append((name, agenda.state()))

    def closed(study: str) -> None:
        close(study)
        seen.append((study, agenda.state(ended=True)))

    monkeypatch.setattr(agenda, "ask", asked)
    monkeypatch.setattr(agenda, "close", closed)
    search.run()
    names = [name for name, _ in seen]
    assert {"padding", "lr_adam", "finalists", "headline"} <= set(names)
    last = seen[-1][1]
    assert last.running == 0
    assert last.ended == last.expected
    assert last.left < seen[0][1].left or seen[0][1].left < 5  # only the winner's test is left
    expected = [state.expected for _, state in seen]
    assert 0.5 * last.ended < expected[len(expected) // 2] < 2 * last.ended
    # the same search again has nothing to do
    again = Search(Request(COMMAND), Console(quiet=True))
    assert again.questions.before.state == "finished"
    again.runner.progress.agenda.ask("padding", "padding")
    assert again.runner.progress.agenda.state().expected == 0


@pytest.mark.slow
def test_the_trials_of_another_network_are_forecast(tmp_path: Path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    open_storage.cache_clear()
    options = ["plan=[lr_adamw]", "optimizer.lr=0.002,0.004", "stage.extend=0", "search.workers=1"]
    search = Search(Request([*DATA, *BONITO, *options]), Console(quiet=True))
    search.run()
    state = search.runner.progress.agenda.state(ended=True)
    assert state.ended == state.expected == 4  # two rates, the winner and the untuned defaults


def test_the_workers_share_the_tests_of_the_headline(tmp_path: Path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(agenda, "testing_seconds", lambda request: 60.0)
    search = Search(Request([*TINY, "search.headline_seeds=2", "search.workers=2"]), Console(quiet=True))
    assert seconds_left(search.runner.progress.agenda._testing(), [], 2) == 2 * 60


@pytest.mark.slow
def test_a_search_that_prints_nothing_draws_no_line(tmp_path: Path, monkeypatch):
    """So a script that calls `run_search` keeps its terminal to itself."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("FORCE_COLOR", "1")  # as on a terminal
    monkeypatch.setenv("TERM", "xterm")
    drawn = [Search(Request(COMMAND), Console(quiet=quiet)).runner.progress.drawn for quiet in (True, False)]
    assert drawn == [False, True]


@pytest.mark.slow
def test_a_log_has_a_line_at_the_start_of_each_stage(tmp_path: Path):
    done = subprocess.run(
        [sys.executable, "-m", "basecaller.search", *COMMAND], cwd=tmp_path, capture_output=True, text=True, check=True
    )
    lines = [line for line in done.stderr.splitlines() if "search: " in line]
    assert len(lines) >= done.stdout.count("python -m basecaller.train -m")
    assert all(LINE.search(line) for line in lines)
    assert "\x1b" not in done.stderr


@pytest.mark.slow
def test_output_on_a_terminal_overwrites_the_line(tmp_path: Path):
    process, terminal = pty.fork()
    if process == 0:
        os.chdir(tmp_path)
        environment = os.environ | {"TERM": "xterm", "COLUMNS": "90"}
        os.execvpe(sys.executable, [sys.executable, "-m", "basecaller.search", *COMMAND], environment)
    shown = b""
    while True:
        try:
            piece = os.read(terminal, 4096)
        except OSError:  # the other side has closed it
            break
        if not piece:
            break
        shown += piece
    assert os.waitstatus_to_exitcode(os.waitpid(process, 0)[1]) == 0
    text = shown.decode(errors="replace")
    drawn = re.findall(r"\r\x1b\[2K\x1b\[36m([^\x1b]+)\x1b\[0m\r", text)  # the cursor is back at the beginning of the line
    assert drawn
    assert all(LINE.fullmatch(line) and len(line) < 90 for line in drawn)
    logged = [line for line in text.splitlines() if " updates, " in line and "val_loss" in line]
    assert logged
    assert all(line.rstrip("\r").endswith("\x1b[K") for line in logged)
