"""The common entry of all commands: errors become one message, and output works with any terminal, locale and pipe."""

from __future__ import annotations

import codecs
import functools
import logging
import os
import select
import signal
import sys
import threading
from collections.abc import Callable
from typing import Any

from basecaller.common.errors import SettingError, file_problem, one_line
from basecaller.config.messages import is_users, readable

USER_ERROR, INTERRUPTED, PIPE_CLOSED, TERMINATED = 2, 130, 141, 143
"""Exit statuses; the last three are a shell's for commands that SIGINT, SIGPIPE and SIGTERM end."""


class _TerminatedError(KeyboardInterrupt):
    """SIGTERM, as from a cluster, `docker stop` or `kill`. Handled like Ctrl-C, so that worker processes end too."""


def as_message(function: Callable[..., Any]) -> Callable[..., Any]:
    """Makes an entry point show a user's error as one message and exit with 2; any other error keeps its traceback."""

    @functools.wraps(function)
    def wrapped(*args: Any, **kwargs: Any) -> Any:
        os.environ["HYDRA_FULL_ERROR"] = "1"  # Hydra raises errors instead of printing them
        _handle(signal.SIGINT, signal.default_int_handler)
        _handle(signal.SIGTERM, _terminate)
        _set_up_streams()
        try:
            try:
                _check_arguments()
                return function(*args, **kwargs)
            finally:
                sys.stdout.flush()
        except _TerminatedError:
            print("terminated; the same command continues from here", file=sys.stderr)
            sys.exit(TERMINATED)
        except KeyboardInterrupt:
            print("interrupted; the same command continues from here", file=sys.stderr)
            sys.exit(INTERRUPTED)
        except BrokenPipeError:
            if not _is_output_closed():
                raise
            sys.exit(PIPE_CLOSED)
        except SystemExit as ended:
            if isinstance(ended.__context__, BrokenPipeError):  # Rich exits with 1
                ended.code = PIPE_CLOSED
            raise
        except Exception as error:
            message = _message(error)
            if message is None:
                raise
            print(f"error: {message}", file=sys.stderr)
            sys.exit(USER_ERROR)

    return wrapped


def _handle(number: int, handler: Callable[[int, Any], Any]) -> None:
    """Handles a signal that would end the process; Python handles signals in the main thread only."""
    if threading.current_thread() is threading.main_thread() and signal.getsignal(number) == signal.SIG_DFL:
        signal.signal(number, handler)


def _terminate(number: int, frame: Any) -> None:
    raise _TerminatedError


def _message(error: Exception) -> str | None:
    """The message of a user's error, or of a system error with a file; None for any other error."""
    if is_users(error):
        return one_line(str(readable(error)))
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, OSError) and (problem := file_problem(cause)):
            return problem
        cause = cause.__cause__
    return None


def _check_arguments() -> None:
    """Rejects arguments that are not text in this locale: they cannot name databases or POD5 files.

    Raises:
        SettingError: there is such an argument.
    """
    for argument in sys.argv[1:]:
        if any(0xD800 <= ord(letter) <= 0xDFFF for letter in argument):
            raise SettingError(
                f"{argument}: not text in this locale ({sys.getfilesystemencoding()}); set PYTHONUTF8=1 or LC_ALL=C.UTF-8, or "
                "rename the file"
            )


def _set_up_streams() -> None:
    """Opens missing streams and makes all of them print any text; adds times to messages until Hydra sets up its logging."""
    for name, mode in (("stdin", "r"), ("stdout", "w"), ("stderr", "w")):
        if getattr(sys, name) is None:  # closed by the parent process: a file opened later must not take its place
            setattr(sys, name, open(os.devnull, mode, encoding="utf-8"))  # noqa: SIM115, PTH123
    codecs.register_error("basecaller", _replaced)
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="basecaller")
    # a full disk or a closed pipe is reported once, by the error that ends the program
    logging.raiseExceptions = False
    sys.unraisablehook = _unraisable
    logging.basicConfig(format="%(asctime)s %(message)s", datefmt="%H:%M:%S")
    logging.getLogger("basecaller").setLevel(logging.INFO)


def _unraisable(raised: sys.UnraisableHookArgs) -> None:
    if not isinstance(raised.exc_value, OSError):
        sys.__unraisablehook__(raised)


def _replaced(error: UnicodeError) -> tuple[str | bytes, int]:
    """Keeps bytes of a file's name that are not text; replaces other characters that a terminal lacks with `?`."""
    assert isinstance(error, UnicodeEncodeError)
    letters = error.object[error.start : error.end]
    return bytes(ord(c) - 0xDC00 if 0xDC80 <= ord(c) <= 0xDCFF else ord("?") for c in letters), error.end


def _is_output_closed() -> bool:
    """Whether the reader of the output has exited, such as `head`; if so, the rest of the buffers is dropped."""
    closed = [number for number in (1, 2) if _has_no_reader(number)]
    for number in closed:
        os.dup2(os.open(os.devnull, os.O_WRONLY), number)
    return bool(closed)


def _has_no_reader(descriptor: int) -> bool:
    poll = select.poll()
    poll.register(descriptor, 0)
    return any(event & select.POLLERR for _, event in poll.poll(0))
