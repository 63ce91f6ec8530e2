"""The progress of a search: a line that stays at the bottom of a terminal, or a line in the log once a minute."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta
from threading import Event, Thread

from rich.console import Console
from rich.control import Control
from rich.segment import ControlType
from rich.text import Text

from basecaller.common.errors import StorageError
from basecaller.common.files import write_json
from basecaller.search_plan.agenda import Agenda, State
from basecaller.search_plan.questions import Questions
from basecaller.search_plan.request import Request

log = logging.getLogger(__name__)

DRAWN_EVERY, TOLD_EVERY = 2.0, 60.0
"""Seconds between two lines: on a terminal, and in a log."""


def in_words(state: State, now: datetime) -> str:
    """The progress of a search in words and, once a trial has ended, when the search will end."""
    trials = f"{state.ended:,} of about {state.expected:,} trials, {state.running} running"
    if not state.ended:
        return trials
    end = now + timedelta(seconds=state.left)
    day = "" if end.date() == now.date() else f"{end:%a} "
    return f"{trials}; ends about {day}{end:%H:%M}, in {_rounded(state.left)}"


def _rounded(seconds: float) -> str:
    """A duration for a reader."""
    minutes = round(seconds / 60)
    if minutes < 1:
        return "less than a minute"
    return f"{minutes} min" if minutes < 100 else f"{seconds / 3600:.1f} h"


class Progress:
    """Shows the progress of a search while it trains or tests.

    On a terminal the cursor waits at the beginning of the line, so that the next output, here or from a worker, overwrites it.
    A search that prints nothing draws no line.

    Args:
        request: the search.
        questions: its questions so far.
        quiet: whether the search prints nothing.
        meanwhile: called again and again while trainings run, so that its work does not delay them.
    """

    def __init__(self, request: Request, questions: Questions, quiet: bool, meanwhile: Callable[[], None]) -> None:
        self.agenda, self.folder, self.meanwhile = Agenda(request, questions), request.folder, meanwhile
        self.console = Console(stderr=True, markup=False, highlight=False)
        self.drawn = self.console.is_terminal and not self.console.is_dumb_terminal and not quiet
        self.told, self.failed = 0.0, False

    @contextmanager
    def asking(self, stage: str, name: str) -> Iterator[None]:
        """Shows the progress while a question is asked; see `Agenda.ask` for the names."""
        self.agenda.ask(stage, name)
        self.told = 0.0  # a line at the start of each question
        with self._shown(ended=False):
            yield

    @contextmanager
    def testing(self) -> Iterator[None]:
        """Shows the progress after the last question, while models are tested."""
        with self._shown(ended=True):
            yield

    @contextmanager
    def _shown(self, ended: bool) -> Iterator[None]:
        over = Event()
        thread = Thread(target=self._follow, args=(over, ended), daemon=True)
        thread.start()
        try:
            yield
        finally:
            over.set()
            thread.join()
            if self.drawn:
                self._draw("")

    def _follow(self, over: Event, ended: bool) -> None:
        while True:
            self._tell(ended)
            if not over.is_set():
                self.meanwhile()
            if over.wait(DRAWN_EVERY):
                return

    def _tell(self, ended: bool) -> None:
        now = time.monotonic()
        if not self.drawn and self.told and now - self.told < TOLD_EVERY:
            return
        try:
            line = in_words(self.agenda.state(ended), datetime.now())
            write_json(self.folder / "progress.json", {"text": line})  # for the report
        except (StorageError, OSError):  # the trainings report an outage
            log.debug("how far the search is", exc_info=True)
            return
        except Exception:  # in this thread; the search and its reports go on
            if not self.failed:  # once, not every two seconds
                log.warning("no forecast of the end", exc_info=True)
            self.failed = True
            return
        self.told = now
        if self.drawn:
            self._draw(line)
        else:
            log.info("search: %s", line)

    def _draw(self, line: str) -> None:
        text = Text(line, "cyan", no_wrap=True)
        text.truncate(max(1, self.console.width - 1), overflow="ellipsis")
        erase = Control(ControlType.CARRIAGE_RETURN, (ControlType.ERASE_IN_LINE, 2))
        self.console.print(erase, text, Control(ControlType.CARRIAGE_RETURN), sep="", end="")
