"""`print_config=true`: the composed config as YAML, without passwords."""

from __future__ import annotations

from typing import Any

from omegaconf import OmegaConf
from rich.console import Console

from basecaller.hpo.urls import shown_config


def print_config(config: Any) -> None:
    """Prints a config, coloured on a terminal.

    Args:
        config: a composed config, printed unresolved; or plain values.
    """
    text, console = OmegaConf.to_yaml(shown_config(OmegaConf.create(config))), Console()
    if console.is_terminal:
        from rich.syntax import Syntax  # here: Pygments starts slowly, and every job imports this module

        console.print(Syntax(text, "yaml", background_color="default", word_wrap=True))
    else:
        print(text, end="")
