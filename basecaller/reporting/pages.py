"""`report.json`, `report.html` and `report.md`, written from the same facts."""

from __future__ import annotations

import itertools
from datetime import datetime
from pathlib import Path

import jinja2
from markupsafe import Markup

from basecaller.common.files import replacing, write_json
from basecaller.config.schema import OBJECTIVE
from basecaller.hpo.grid import as_text
from basecaller.hpo.verdicts import named, short, shown
from basecaller.reporting.contents import ReportFacts
from basecaller.reporting.formats import duration, interval, many, number, with_error
from basecaller.reporting.search_state import RUNNING

REFRESH = 10
"""Seconds after which the page of a running search reloads itself."""


def write_pages(facts: ReportFacts, folder: Path) -> Path:
    """Writes `report.json`, `report.md` and `report.html`, each whole or not at all. While a search runs, its page reloads
    itself every `REFRESH` seconds.

    Returns:
        The HTML page.
    """
    from basecaller.reporting.figures import apart, figure_of, learning, overview, questions  # here: Matplotlib starts slowly

    write_json(folder / "report.json", facts.plain())
    headline, count = facts.headline, itertools.count()
    drawn = {
        "figures": {
            stage.name: None if headline and stage.study == headline.study else figure_of(stage, facts.stages)
            for stage in facts.stages
        },
        "overview": overview(facts.stages),
        "questions": questions(facts.stages),
        "learning": headline and learning(headline),
        "refresh": REFRESH if facts.state == RUNNING else None,
        "debug_run": facts.debug_run,
    }
    loader = jinja2.PackageLoader("basecaller.reporting")
    environment = jinja2.Environment(
        loader=loader,
        trim_blocks=True,
        lstrip_blocks=True,
        autoescape=lambda name: name != "report.md.j2",  # Markdown is plain text
        undefined=jinja2.StrictUndefined,
    )
    environment.filters |= {
        "number": number,
        "many": many,
        "duration": duration,
        "shown": shown,
        "typed": as_text,
        "short": short,
        "percent": lambda value: number(value, ".1%"),
        "count": lambda value: number(value, ",.0f"),
    }
    environment.filters["drawn"] = lambda svg: Markup(apart(svg, next(count)))
    environment.globals |= {
        "with_error": with_error,
        "interval": interval,
        "named": named,
        "now": datetime.now,
        "objective": OBJECTIVE,
    }
    for name in ("report.md", "report.html"):
        text = environment.get_template(f"{name}.j2").render(vars(facts), **drawn)
        with replacing(folder / name) as partial:
            partial.write_text(text, encoding="utf-8")
    return folder / "report.html"
