"""The entry of all commands."""

from __future__ import annotations

import signal
from concurrent.futures import ThreadPoolExecutor

from basecaller.cli import entry


def test_a_command_in_another_thread_leaves_signals_alone():
    """Only the main thread may handle them."""
    before = signal.signal(signal.SIGTERM, signal.SIG_DFL)
    try:
        with ThreadPoolExecutor(1) as threads:
            threads.submit(entry._handle, signal.SIGTERM, entry._terminate).result()
        assert signal.getsignal(signal.SIGTERM) == signal.SIG_DFL
        entry._handle(signal.SIGTERM, entry._terminate)
        assert signal.getsignal(signal.SIGTERM) == entry._terminate
    finally:
        signal.signal(signal.SIGTERM, before)
