"""A small search, and the report on it."""

from __future__ import annotations

import json
from pathlib import Path

from rich.console import Console

from basecaller.reporting.writing import write_report
from basecaller.search_plan.request import Request
from basecaller.search_plan.search import Search
from tests.conftest import TINY
from tests.helpers.sweeping import URL

PLAN = ["padding", "batch_norm", "lr_adam"]
GIVEN = [*(line for line in TINY if not line.startswith("search.replicates")), "search.replicates=2"]


def search(*overrides: str) -> Search:
    asked = [*GIVEN, f"plan=[{','.join(PLAN)}]", "search.workers=1", *overrides]
    return Search(Request(asked), Console(quiet=True))


def report(folder: Path, plan: list[str] = PLAN) -> tuple[dict, str, str]:
    write_report(URL, "tiny", folder / "outputs/tiny", plan)
    where = folder / "outputs/tiny"
    return (
        json.loads((where / "report.json").read_text()),
        (where / "report.html").read_text(),
        (where / "report.md").read_text(),
    )
