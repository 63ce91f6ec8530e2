"""The short version of the report, for a terminal."""

from __future__ import annotations

from rich import box
from rich.console import Console
from rich.table import Table

from basecaller.hpo.verdicts import short, shown
from basecaller.reporting.contents import ReportFacts
from basecaller.reporting.formats import duration, in_lines, many, number, with_error
from basecaller.reporting.stage_contents import StageFacts

WIDEST = 1000
"""A terminal width that is enough for every table, in characters."""

NAME, VERDICT = 21, 11
"""Widths that winner and verdict keep in a narrow terminal, in characters."""

SPARED = ("ksamples", "s to loss", "s", "seeds", "±", "updates")
"""Columns to drop, in this order, if a terminal is too narrow for all."""


def stage_table(stage: StageFacts, console: Console) -> Table:
    """A table of a stage's points with a column for each swept key; the winner is marked."""
    empty = {
        "±": all(point.seeds < 2 for point in stage.points),
        "s to loss": all(point.seconds_to_level is None for point in stage.points),
    }
    for dropped in range(len(SPARED) + 1):
        table = _table(stage, (*(heading for heading, applies in empty.items() if applies), *SPARED[:dropped]))
        if console.measure(table, options=console.options.update(width=WIDEST)).maximum <= console.width:
            break
    if any(point.reused for point in stage.points) and any(column.header == "s" for column in table.columns):
        table.caption = "* trained before, with the same settings, seed, data and code"
    return table


def _table(stage: StageFacts, dropped: tuple[str, ...]) -> Table:
    keys = list(dict.fromkeys(key for point in stage.points for key in point.settings))
    table = Table(box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0), show_edge=False)
    for key in keys:
        table.add_column(short(key), no_wrap=True)
    headings = ("nats/base", "±", "identity", "seeds", "updates", "ksamples", "s", "s to loss", "state")
    for heading in headings:
        if heading not in dropped:
            table.add_column(heading, justify="left" if heading == "state" else "right", no_wrap=True)
    for point in stage.points:
        cells = {
            "nats/base": number(point.mean),
            "±": number(point.error if point.seeds > 1 else None),
            "identity": number(point.identity_mean, ".1%"),
            "seeds": str(point.seeds),
            "updates": number(point.updates, ",.0f"),
            "ksamples": number(point.samples and point.samples / 1000, ",.0f"),
            "s": number(point.seconds, ".1f") + ("*" if point.reused else ""),
            "s to loss": number(point.seconds_to_level, ".1f"),
            "state": point.state,
        }
        table.add_row(
            *(shown(point.settings[key]) if key in point.settings else "" for key in keys),
            *(cell for heading, cell in cells.items() if heading not in dropped),
            style="bold" if point.state == "winner" else None,
        )
    return table


def print_stage(stage: StageFacts, console: Console) -> None:
    """Prints a stage's table and conclusion."""
    console.print(stage_table(stage, console))
    for text in (stage.verdict.text, stage.edge_text, stage.guessing, stage.confounding, stage.per_cost):
        if text:
            console.print(text)


def overview_table(facts: ReportFacts, console: Console) -> Table:
    """A table of the stages and their winners. If a terminal is too narrow, columns are dropped, but no name is cut."""
    rows = []
    for stage in facts.stages:
        verdict = stage.verdict
        rows.append(
            {
                "stage" if facts.plan else "sweep": stage.name,
                "winner": stage.winner_label,
                "nats/base": number(stage.value),
                "ahead by": with_error(verdict.margin, verdict.error),
                "seeds": str(verdict.seeds),
                "verdict": ", ".join((verdict.kind, *stage.remarks)),
            }
        )
    rows += [{"stage": name, "verdict": "not run yet"} for name in facts.not_run]
    headings = list(dict.fromkeys(heading for row in rows for heading in row))
    lengths = {heading: max(len(heading), *(len(row.get(heading, "")) for row in rows)) for heading in headings}
    name = min(NAME, lengths["winner"])
    for winner, dropped in ((lengths["winner"], ()), (name, ()), (name, ("seeds",)), (name, ("seeds", "ahead by"))):
        widths = {heading: lengths[heading] for heading in headings if heading not in dropped} | {"winner": winner}
        table = Table(box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0), show_edge=False, title=facts.experiment, title_justify="left")
        for heading, width in widths.items():
            if heading == "verdict":
                table.add_column(heading, min_width=min(width, VERDICT))
            else:
                numbers = heading in ("nats/base", "ahead by", "seeds")
                table.add_column(heading, width=width, overflow="fold", justify="right" if numbers else "left")
        if console.measure(table, options=console.options.update(width=WIDEST)).minimum <= console.width:
            break
    for row in rows:
        if len(row.get("winner", "")) > winner:
            row["winner"] = in_lines(row["winner"])
        table.add_row(*(row.get(heading, "") for heading in widths))
    return table


def print_report(facts: ReportFacts, console: Console) -> None:
    """Prints the answer and the stages that led to it."""
    console.print(overview_table(facts, console))
    if facts.debug_run:
        console.print(facts.debug_run)
    winner = facts.winner
    if winner:
        test = winner.test
        console.print(
            f"test identity {test.identity_mean:.1%} mean, {test.identity_median:.1%} median (unrelated "
            f"{test.identity_floor:.1%}), loss {test.loss:.4f} nats/base, on {test.chunks_in_words}"
        )
        console.print(winner.gain.text)
        if facts.headline and facts.headline.guessing:
            console.print(facts.headline.guessing)
        console.print(f"model: {winner.folder}")
        console.print(winner.command, style="dim", soft_wrap=True)
    elif facts.plan:
        console.print("no winner yet")
    for line in facts.data:
        console.print(f"data: {line}")
    if facts.reused:
        saved = sum(each.seconds for each in facts.reused)
        console.print(f"{many(len(facts.reused), 'trial')} reused earlier trainings: {duration(saved)} saved")
