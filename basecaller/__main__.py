"""`basecaller <command> ...`, the same as `python -m basecaller.<command> ...`."""

from __future__ import annotations

import difflib
import importlib
import os
import sys

from basecaller import __version__
from basecaller.cli.commands import COMMANDS
from basecaller.cli.completion import BASH, candidates
from basecaller.cli.entry import USER_ERROR, as_message
from basecaller.cli.help import answer_help, overview
from basecaller.common.errors import SettingError


@as_message
def main() -> None:
    name, *arguments = sys.argv[1:] or [""]
    if name == "help" and arguments:
        name, *arguments = [*arguments, "--help"]
    if name in ("", "-h", "--help", "help"):
        print(overview())
        sys.exit(0 if name else USER_ERROR)
    elif name == "--version":
        print(f"basecaller {__version__}")
    elif name == "completion":
        _complete(arguments)
    elif name in COMMANDS:
        answer_help(name, arguments)  # before the command's module, which may import torch
        sys.argv[1:] = arguments
        importlib.import_module(f"basecaller.{name}").main()
    else:
        close = difflib.get_close_matches(name, COMMANDS, n=1)
        raise SettingError(
            f"{name}: no such command; {f'did you mean {close[0]}?' if close else 'basecaller --help lists them'}"
        )


def _complete(arguments: list[str]) -> None:
    """`basecaller completion bash` prints the setup for bash; bash then calls this with the line in its environment."""
    if "COMP_LINE" in os.environ:
        line = os.environ["COMP_LINE"].encode()[: int(os.environ["COMP_POINT"])].decode(errors="ignore")
        print("".join(f"{each}\n" for each in candidates(line)), end="")
    elif arguments == ["bash"]:
        print(BASH)
    else:
        raise SettingError('completion: only for bash; add to ~/.bashrc: eval "$(basecaller completion bash)"')


if __name__ == "__main__":
    main()
