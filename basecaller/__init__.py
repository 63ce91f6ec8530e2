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
    from basecaller.common.errors import BasecallerError

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

# Ctrl-C ends a command without a traceback while it still imports; then `entry.as_message` takes over. `sys.argv` is `-m` only
# while Python looks for the module to run: a program that imports this package keeps its own handler.
if sys.argv[:1] == ["-m"] and signal.getsignal(signal.SIGINT) is signal.default_int_handler:
    signal.signal(signal.SIGINT, signal.SIG_DFL)

# OpenMP's threads spin while they wait for each other, which makes a training ten to forty times slower on cores with other
# load. libgomp reads the variable once, when PyTorch loads it. Every process imports this file before that.
if "OMP_WAIT_POLICY" not in os.environ:
    os.environ.setdefault("GOMP_SPINCOUNT", "10000")


def __getattr__(name: str) -> Any:
    if name in __all__:
        from basecaller import api  # here: it imports PyTorch, and every command and worker imports this file

        return getattr(api, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
