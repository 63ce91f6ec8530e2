"""Ends worker processes whose sweep was killed. joblib's workers would stay for minutes, or for ever if the sweep died while it
sent them a job, each with its memory."""

from __future__ import annotations

import multiprocessing
import os
import time
from functools import cache
from threading import Lock, Thread
from typing import Any

EVERY = 2.0
"""Seconds between two looks at the parent process."""

busy = Lock()
"""Held while a trial runs. It runs to its end, since another sweep can use its result."""


@cache
def watch() -> None:
    """From now on, ends this process when its parent has died, if it is a worker that Python's multiprocessing started."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        Thread(target=_watch, args=(parent,), daemon=True).start()


def _watch(parent: Any) -> None:
    if parent.sentinel is not None:  # the system's parent may be a fork server
        parent.join()
    else:  # a worker of joblib
        while os.getppid() == parent.pid:
            time.sleep(EVERY)
    with busy:
        os._exit(0)
