"""Work of a search other than trials, in the same worker processes: joblib keeps one pool, and Hydra's launcher uses it too."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import suppress
from importlib import import_module
from threading import Thread
from typing import Any

from joblib import Parallel, delayed, parallel_config
from joblib.externals.loky import get_reusable_executor

from basecaller.common.workers import Workers
from basecaller.runs.orphans import watch

_starting: list[Thread] = []
"""Threads that wait for worker processes to start."""


def spread(workers: Workers, function: Callable[..., Any], arguments: Sequence[tuple[Any, ...]]) -> list[Any]:
    """Calls a function in parallel, in this process if there is one worker.

    Args:
        workers: how the search divides the machine.
        function: a function of a module.
        arguments: the arguments of each call.
    Returns:
        What the calls return, in order.
    """
    with parallel_config("loky", n_jobs=workers.count, inner_max_num_threads=workers.threads):
        # with other options than the launcher's, joblib would end its processes and start others
        return list(Parallel(batch_size=1, max_nbytes=None)(delayed(function)(*of) for of in arguments))


def warm_up(workers: Workers) -> None:
    """Starts the worker processes, which takes seconds since they import PyTorch, while this process goes on."""
    if workers.count > 1:
        thread = Thread(target=_warm_up, args=(workers,), daemon=True)
        _starting.append(thread)
        thread.start()


def shut_down() -> None:
    """Ends the worker processes. They would wait for five minutes, in the folder in which they started."""
    while _starting:  # else they would start after this
        _starting.pop().join()
    get_reusable_executor().shutdown()


def _warm_up(workers: Workers) -> None:
    with suppress(Exception, KeyboardInterrupt):  # the first trial shows it
        spread(workers, _begin, [()] * workers.count)


def _begin() -> None:
    import_module("basecaller.runs.trial")  # here: only the workers need PyTorch now
    watch()
