"""`report.json`, `report.html` and `report.md`, written from the same facts; and the notes that optuna-dashboard shows."""

from __future__ import annotations

import html
import math
from pathlib import Path
from typing import TYPE_CHECKING, Any

from basecaller.files import replacing, write_json
from basecaller.hpo.grid import as_text
from basecaller.hpo.records import store_study
from basecaller.hpo.verdicts import short, shown

if TYPE_CHECKING:
    import optuna

Facts = dict[str, Any]


def number(value: float | None, form: str = ".4f") -> str:
    """A number, or nothing where there is none."""
    return "" if value is None or (isinstance(value, float) and math.isnan(value)) else format(value, form)


def with_error(value: float | None, error: float | None) -> str:
    """A mean and its standard error."""
    return number(value) + (f" ± {number(error)}" if value is not None and error is not None else "")


def duration(seconds: float | None) -> str:
    """Seconds as people say them."""
    if seconds is None:
        return ""
    return f"{seconds:.1f} s" if seconds < 100 else f"{seconds / 60:.1f} min" if seconds < 6000 else f"{seconds / 3600:.1f} h"


def write_pages(facts: Facts, folder: Path) -> Path:
    """Writes `report.json`, `report.md` and `report.html`, each whole or not at all.

    Returns:
        The HTML page.
    """
    import jinja2

    from basecaller.reporting.figures import figure_of, overview

    write_json(folder / "report.json", without_curves(facts))
    figures = {stage["name"]: figure_of(stage, facts["stages"]) for stage in facts["stages"]}
    loader = jinja2.PackageLoader("basecaller.reporting")
    environment = jinja2.Environment(
        loader=loader, trim_blocks=True, lstrip_blocks=True, autoescape=False, undefined=jinja2.StrictUndefined
    )
    environment.filters |= {
        "number": number, "duration": duration, "shown": shown, "typed": as_text, "short": short, "e": html.escape,
        "percent": lambda value: number(value, ".1%"), "count": lambda value: number(value, ",.0f"),
    }  # fmt: skip
    environment.globals |= {"with_error": with_error}
    for name in ("report.md", "report.html"):
        text = environment.get_template(f"{name}.j2").render(
            facts | {"figures": figures, "overview": overview(facts["stages"])}
        )
        with replacing(folder / name) as partial:
            partial.write_text(text, encoding="utf-8")
    return folder / "report.html"


def without_curves(facts: Facts) -> Facts:
    """The facts less the learning curves, which lie in every run's `metrics.csv`."""
    stages = [
        stage | {"points": [{k: v for k, v in point.items() if k != "curves"} for point in stage["points"]]}
        for stage in facts["stages"]
    ]
    return facts | {"stages": stages}


def save_notes(studies: dict[str, optuna.Study], stages: list[Facts]) -> None:
    """Writes question, verdict and command to each study, where optuna-dashboard shows them, and how many samples each
    trial needed to the level that all reach: that level is known only when all have ended.
    """
    from optuna_dashboard import save_note

    for stage in stages:
        lines = [
            f"**{stage['question']}**", stage["verdict"]["text"], stage["edge_text"], stage["guessing"], stage["confounding"],
            f"Run it again: `{stage['command']}`",
        ]  # fmt: skip
        save_note(studies[stage["name"]], "\n\n".join(line for line in lines if line))
        store_study(studies[stage["name"]], convergence=stage["convergence"])
