"""The short version, for a terminal."""

from __future__ import annotations

from typing import Any

from rich.console import Console
from rich.table import Table

from basecaller.hpo.verdicts import short, shown
from basecaller.reporting.pages import duration, number, with_error

Facts = dict[str, Any]


def stage_table(stage: Facts) -> Table:
    """The points of a stage, a column for each swept key; the winner is marked."""
    keys = list(dict.fromkeys(key for point in stage["points"] for key in point["settings"]))
    table = Table()
    for key in keys:
        table.add_column(short(key))
    for heading in ("nats/base", "±", "identity", "seeds", "updates", "ksamples", "s", "state"):
        table.add_column(heading, justify="left" if heading == "state" else "right", no_wrap=True)
    for point in stage["points"]:
        table.add_row(
            *(shown(point["settings"][key]) if key in point["settings"] else "" for key in keys),
            number(point["mean"]),
            number(point["error"] if point["seeds"] > 1 else None),
            number(point["identity_mean"], ".1%"),
            str(point["seeds"]),
            number(point["updates"], ",.0f"),
            number(point["samples"] and point["samples"] / 1000, ",.0f"),
            number(point["seconds"], ".1f") + ("*" if point["taken_over"] else ""),
            point["state"],
            style="bold" if point["state"] == "winner" else None,
        )
    if any(point["taken_over"] for point in stage["points"]):
        table.caption = "* trained before, with the same settings, seed, data and code"
    return table


def print_stage(stage: Facts, console: Console) -> None:
    """A stage's table and conclusion."""
    console.print(stage_table(stage))
    for text in (stage["verdict"]["text"], stage["edge_text"], stage["confounding"]):
        if text:
            console.print(text)


def print_report(facts: Facts, console: Console) -> None:
    """The answer, and the chain that led to it."""
    table = Table(
        "stage", "winner", "nats/base", "ahead by", "seeds", "verdict", title=facts["experiment"], title_justify="left"
    )
    for stage in facts["stages"]:
        verdict = stage["verdict"]
        state = (
            verdict["kind"] + (", at the edge" if stage["edges"] else "") + (f", {stage['open']} open" if stage["open"] else "")
        )
        margin = with_error(verdict["margin"], verdict["error"])
        table.add_row(stage["name"], stage["winner_label"], number(stage["value"]), margin, str(verdict["seeds"]), state)
    for name in facts["not_run"]:
        table.add_row(name, "", "", "", "", "not run yet")
    console.print(table)
    winner, baseline = facts["winner"], facts["baseline"]
    if winner:
        test = winner["test"]
        console.print(
            f"test identity {test['identity_mean']:.1%} mean, {test['identity_median']:.1%} median (unrelated "
            f"{test['identity_floor']:.1%}), loss {test['loss']:.4f} nats/base"
        )
        console.print(winner["command"], style="dim", soft_wrap=True)
    else:
        console.print("no winner yet")
    if baseline:
        console.print(
            f"untuned defaults on a trial's budget: {baseline['val_loss']:.4f} nats/base, the winning settings "
            f"{with_error(abs(baseline['gain']), baseline['error'])} {'better' if baseline['gain'] >= 0 else 'worse'}"
        )
    if facts["taken_over"]:
        saved = sum(each["seconds"] for each in facts["taken_over"])
        console.print(f"{len(facts['taken_over'])} trials were taken over instead of trained again: {duration(saved)} saved")
