"""Work of a search other than trials, in the same worker processes: joblib keeps one pool, and Hydra's launcher uses it too."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from joblib import Parallel, delayed, parallel_config
from joblib.externals.loky import get_reusable_executor

from basecaller.common.workers import Workers


def spread(workers: Workers, function: Callable[..., Any], arguments: Sequence[tuple[Any, ...]]) -> list[Any]:
    """Calls a function in parallel, in this process if there is one worker.

    Args:
        workers: how the search divides the machine.
        function: a function of a module.
        arguments: the arguments of each call.
    Returns:
        What the calls return, in order.
    Raises:
        concurrent.futures.BrokenExecutor: a worker process was killed.
    """
    with parallel_config("loky", n_jobs=workers.count, inner_max_num_threads=workers.threads):
        # with other options than the launcher's, joblib would end its processes and start others
        return list(Parallel(batch_size=1, max_nbytes=None)(delayed(function)(*of) for of in arguments))


def shut_down() -> None:
    """Ends the worker processes. They would wait for five minutes, in the folder in which they started."""
    get_reusable_executor().shutdown()
