"""basecaller: staged hyperparameter search for nanopore basecallers."""

import os
import signal
import sys
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from basecaller.api import (
        Basecall,
        Basecaller,
        SearchResult,
        TrainingResult,
        run_search,
        run_sweep,
        run_training,
    )
    from basecaller.errors import BasecallerError

__version__ = "0.1.0"

__all__ = [
    "Basecall",
    "Basecaller",
    "BasecallerError",
    "SearchResult",
    "TrainingResult",
    "run_search",
    "run_sweep",
    "run_training",
]

# Ctrl-C ends a command that still imports without a traceback; then `entry.as_message` takes over. `-m` stands there only while
# Python looks for the module to run: who imports this package keeps the handler that he has.
if sys.argv[:1] == ["-m"] and signal.getsignal(signal.SIGINT) is signal.default_int_handler:
    signal.signal(signal.SIGINT, signal.SIG_DFL)

# OpenMP's threads spin while they wait for each other; on cores that something else uses too, that makes a training ten to
# forty times slower. libgomp reads this once, when PyTorch loads it; this file is what every process reads before.
if "OMP_WAIT_POLICY" not in os.environ:
    os.environ.setdefault("GOMP_SPINCOUNT", "10000")


def __getattr__(name: str) -> Any:
    # Every command, `--help` and worker process imports this file.
    if name in __all__:
        from basecaller import api  # starts slowly: imports PyTorch, Hydra and Optuna

        return getattr(api, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
