"""`python -m benchmarks`: speed against a limit or a peer, in one table with a ratio and a goal for each row.

Since machines are noisy, the contenders run in turns, several times, and the table shows medians. `--only NAME` runs one group
of rows; `--json FILE` writes the rows.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from collections.abc import Callable
from dataclasses import asdict
from functools import partial
from pathlib import Path

import torch
from rich import box
from rich.console import Console
from rich.table import Table

from basecaller.common.errors import BasecallerError
from basecaller.native.build import UnavailableError
from benchmarks.batching import padding
from benchmarks.calling import basecalling
from benchmarks.gpu import gpu
from benchmarks.measuring import Row
from benchmarks.memory import memory
from benchmarks.searching import cost, plan, workers
from benchmarks.training import beside, epoch, precision, step, whole

GROUPS: dict[str, Callable[[Path], list[Row]]] = {
    "step": step, "whole": whole, "beside": beside, "precision": precision,
    "epoch": epoch, "padding": padding, "cost": cost, "plan": plan, "memory": memory, "basecalling": basecalling,
}  # fmt: skip


ALONE = {"workers": workers, "gpu": gpu}
"""Groups that run only with `--only`."""


def measured(chosen: argparse.Namespace) -> list[Row]:
    """The rows of the requested groups."""
    rows: list[Row] = []
    with tempfile.TemporaryDirectory() as folder:
        groups = GROUPS if chosen.only is None else {chosen.only: (GROUPS | ALONE)[chosen.only]}
        if chosen.real and "padding" in groups:
            groups = groups | {"padding": partial(padding, real=chosen.real)}
        for name, group in groups.items():
            print(name, file=sys.stderr)
            rows += group(Path(folder))
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--json", type=Path, help="write the rows there")
    parser.add_argument("--only", choices=[*GROUPS, *ALONE], help="one group of rows")
    parser.add_argument("--real", nargs=2, metavar=("POD5", "BAM"), help="real reads, for padding waste")
    chosen = parser.parse_args()
    torch.set_num_threads(1)
    try:
        rows = measured(chosen)
    except (BasecallerError, UnavailableError) as error:
        sys.exit(f"error: {error}")
    table = Table("", "ours", "theirs", "unit", "ratio", "goal", "met", box=box.SIMPLE_HEAD)
    for row in rows:
        table.add_row(
            row.name,
            f"{row.ours:,.4g}",
            f"{row.theirs:,.4g}",
            row.unit,
            f"{row.ratio:.2f}",
            row.goal,
            "yes" if row.met else "no",
        )
    Console(width=None if sys.stdout.isatty() else 130).print(table)
    if chosen.json:
        chosen.json.write_text(json.dumps([asdict(row) for row in rows], indent=1) + "\n")


if __name__ == "__main__":
    main()
