"""The views of a search in optuna-dashboard: a note and a figure for every study, and a figure of what each question was
worth.

They are made from the report's facts at the end of a sweep and with every report, and written if they have changed.
"""

from __future__ import annotations

import html
import re
import textwrap
from collections.abc import Iterator
from typing import Any

import optuna
import plotly.graph_objects as go
from optuna_dashboard import save_note, save_plotly_graph_object

from basecaller.common.nested import digest
from basecaller.config.schema import OBJECTIVE
from basecaller.hpo.edges import is_ordered
from basecaller.hpo.optuna_private import at_once
from basecaller.hpo.ranking import mean_of
from basecaller.hpo.records import StudyRecord, store_study
from basecaller.hpo.standing import standing
from basecaller.hpo.storage import name_objective
from basecaller.hpo.verdicts import named, seeds, short, shown
from basecaller.reporting.contents import ReportFacts
from basecaller.reporting.formats import COLOURS, LOSS, with_error
from basecaller.reporting.stage_contents import ChoiceFacts, PointFacts, StageFacts
from basecaller.reporting.stage_facts import stage_facts
from basecaller.runs.run_id import IGNORED

MOST = 16
"""Number of choices that fit into a figure; if there are more, it shows the best."""

MEASURES = {"val_loss": LOSS, "area_under_curve": "mean loss along the way (nats per base)"}

SURE = {
    "clear": "Choices of equal worth show such a lead in fewer than 5 of 100 stages like this one.",
    "no difference": "There may be a difference that these seeds cannot show.",
    "undecided": "Not very: choices of equal worth often look like this. More seeds (stage.replicates) would tell.",
    "one seed": "Not known: a single seed does not show the noise. More seeds (stage.replicates; of a search's candidates,"
    " search.finalist_seeds and search.headline_seeds) would tell.",
    "no contest": "There was nothing to compare with.",
}
"""How reliable a verdict is, by its kind, see `ranking.Conclusion`."""

MARKS = (
    "star: the answer; filled: each choice at its best; faint: single runs;<br>"
    "bars: one standard error, without the effect that a seed has on all points"
)
"""Labels of the marks in a study's figure."""

GREEN, GREY, LINES = COLOURS[2], "#808080", "#e8e8e8"

WORTH_MARKERS: dict[str, dict[str, Any]] = {
    "other choices": {"size": 7, "symbol": "circle-open", "color": GREY},
    "nearest choice, clear": {"size": 10, "color": GREEN},
    "nearest choice, not clear": {"size": 10, "color": COLOURS[1]},
}
"""Marks of what each question was worth."""


def show_study(study: optuna.Study) -> None:
    """Shows the state of a study; for a sweep that belongs to no search."""
    name = study.study_name.split("/")[1]
    _show(study, stage_facts(name, study, standing(study)))


def show_search(studies: dict[str, optuna.Study], facts: ReportFacts) -> None:
    """Shows the state of a search's studies and, once it has a winner, the worth of all questions in each of them."""
    worth = worth_figure(facts.stages, facts.winner.gain.text) if facts.winner else None
    for stage in facts.stages:
        _show(studies[stage.name], stage, worth)


def _show(study: optuna.Study, stage: StageFacts, worth: go.Figure | None = None) -> None:
    note, figures = note_of(stage), {"stage": stage_figure(stage), "search": worth}
    texts = {"note": note} | {name: figure.to_json() for name, figure in figures.items() if figure is not None}
    before = StudyRecord.of(study).shown
    now = before | {name: digest(text) for name, text in texts.items()}
    if now == before:
        return
    with at_once(study) as target:
        name_objective(target, str(OBJECTIVE))
        if now["note"] != before.get("note"):
            save_note(target, note)
        for name, figure in figures.items():
            if figure is not None and now[name] != before.get(name):
                save_plotly_graph_object(target, figure, graph_object_id=name)
        store_study(target, shown=now)


# -- the note


def note_of(stage: StageFacts) -> str:
    """Question, answer, its certainty, the fixed settings, and the command that asks again, in Markdown."""
    verdict = stage.verdict
    fixed = "; ".join(_fixed(stage))
    others = {key: values for key, values in stage.axes.items() if key != stage.choice and len(values) > 1}
    along = "; ".join(f"{short(key)} {', '.join(map(shown, values))}" for key, values in others.items())
    sources = [f"- {source}" for lines in stage.injected.values() for source in lines]
    entries = {
        "": f"**{stage.question}**" if stage.question else "",
        "Answer": stage.winner_label,
        "Asked again": stage.again.why if stage.again else "",
        "In detail": verdict.text,
        "How sure": SURE.get(verdict.kind, "") if not stage.open else f"{stage.open} trials are still open.",
        "Warnings": " ".join(filter(None, (stage.edge_text, stage.guessing, stage.confounding))),
        "Note": stage.skipped or stage.note,
        "Held fixed": fixed and f"{fixed}; at each seed the same initial weights and chunks.",
        "Tuned along, each choice at its own best": along if stage.choice else "",
        "Taken from earlier answers": "\n\n" + "\n".join(sources) if sources else "",
        "Run it again": f"`{_breakable(stage.command)}`",
    }
    return "\n\n".join(f"**{name}:** {text}" if name else text for name, text in entries.items() if text)


def _fixed(stage: StageFacts) -> Iterator[str]:
    """Settings that all trials share, for a reader, without those computed from a swept key."""
    for key, line in stage.fixed.items():
        bookkeeping = key == "seed" or any(key == name or key.startswith(f"{name}.") for name in IGNORED)
        value = line.partition("=")[2]
        if not bookkeeping and "${" not in value:
            name = short(key.removesuffix(".name").removesuffix(".mode"))  # name of a config group
            yield f"{name} {({'true': 'on', 'false': 'off'}).get(value.lower(), value)}"


def _breakable(line: str) -> str:
    """A command that a page can break into lines: extra spaces in a mapping mean nothing to Hydra."""
    return re.sub(r"stage\.studies=\{[^}]*\}", lambda found: found[0].replace(",", ", "), line)


# -- the figure of a study


def stage_figure(stage: StageFacts) -> go.Figure | None:
    """The measured values of each choice: the mean with its standard error, a mark for each point of the grid, and faint dots
    for single runs, under the verdict. None if nothing was measured.
    """
    points = [point for point in stage.points if point.measured]
    if not points:
        return None
    labels = _labels(stage, points)
    best = {label: min((p for p in points if labels[p.point] == label), key=_rank) for label in labels.values()}
    kept = sorted(best, key=lambda label: _rank(best[label]))[:MOST]
    points = [point for point in points if labels[point.point] in kept]
    levels = list(dict.fromkeys(_level(stage, point) for point in points))
    figure = go.Figure()
    for number, level in enumerate(levels):
        on_level = [point for point in points if _level(stage, point) == level]
        runs = [(labels[point.point], seed, value) for point in on_level for seed, value in point.measured.items()]
        colour = COLOURS[number % len(COLOURS)]
        figure.add_scatter(
            x=[label for label, _, _ in runs],
            y=[round(value, 5) for _, _, value in runs],
            text=[f"seed {seed}" for _, seed, _ in runs],
            hoverinfo="text+y",
            marker={"size": 5, "color": colour, "opacity": 0.3},
            mode="markers",
            offsetgroup=str(number),
            showlegend=False,
        )
        symbols = [_symbol(point, best[labels[point.point]]) for point in on_level]
        figure.add_scatter(
            x=[labels[point.point] for point in on_level],
            y=[round(mean_of(point.measured), 5) for point in on_level],
            error_y={"type": "data", "array": [_error(stage, point) for point in on_level], "thickness": 1.5},
            text=[_hover(stage, point) for point in on_level],
            hoverinfo="text",
            marker={"size": [14 if symbol == "star" else 8 for symbol in symbols], "symbol": symbols, "color": colour},
            mode="markers",
            offsetgroup=str(number),
            name=level,
            showlegend=len(levels) > 1,
        )
    remarks = "".join(f" {remark.capitalize()}." for remark in stage.remarks)
    _lay_out(figure, stage.question or stage.name, f"{stage.verdict.text}{remarks}")
    axis = (short(stage.choice) if stage.choice else "") + (f" (the best {MOST} of {len(best)})" if len(best) > MOST else "")
    figure.update_layout(
        scattermode="group",
        xaxis={
            "type": "category",
            "categoryorder": "array",
            "categoryarray": [label for label in best if label in kept],
            "title": {"text": f"{axis}<br><sub>{MARKS}</sub>"},
            "automargin": True,
        },
        yaxis={"title": {"text": MEASURES[stage.measure]}, "gridcolor": LINES, "range": _range(points)},
    )
    return figure


def _labels(stage: StageFacts, points: list[PointFacts]) -> dict[str, str]:
    """The axis label of each point's choice, from small to large if choices have an order."""
    choices = {p.point: p.settings.get(stage.choice, p.label) if stage.choice else p.label for p in points}
    if is_ordered(list(choices.values())):
        choices = dict(sorted(choices.items(), key=lambda pair: pair[1]))
    texts = {point: choice if isinstance(choice, str) else shown(choice) for point, choice in choices.items()}
    return {point: html.escape(text, quote=False).replace("_and_", "_and_<br>") for point, text in texts.items()}


def _level(stage: StageFacts, point: PointFacts) -> str:
    """The settings of a point other than its choice."""
    others = [key for key in stage.axes if key != stage.choice and key in point.settings] if stage.choice else []
    return html.escape(", ".join(f"{short(key)} {shown(point.settings[key])}" for key in others), quote=False)


def _symbol(point: PointFacts, best: PointFacts) -> str:
    return "star" if point.state == "winner" else "circle" if point is best else "circle-open"


def _range(points: list[PointFacts]) -> list[float]:
    """The range of the loss axis: plotly's own range starts at 0 for grouped marks."""
    values = [value for point in points for value in point.measured.values()]
    margin = 0.08 * (max(values) - min(values)) or 0.1
    return [round(min(values) - margin, 5), round(max(values) + margin, 5)]


def _rank(point: PointFacts) -> tuple[bool, int, float]:
    return point.state != "winner", -len(point.measured), mean_of(point.measured)


def _error(stage: StageFacts, point: PointFacts) -> float | None:
    noise = stage.verdict.noise
    return None if noise is None else round(noise / len(point.measured) ** 0.5, 5)


def _hover(stage: StageFacts, point: PointFacts) -> str:
    lines = [
        " ".join(named(key, value) for key, value in point.settings.items()),
        f"{with_error(mean_of(point.measured), _error(stage, point))} nats per base, {seeds(len(point.measured))}",
        *([f"identity {point.identity_mean:.1%}"] if point.identity_mean is not None else []),
        point.state,
    ]
    return "<br>".join(html.escape(line, quote=False) for line in lines)


# -- the figure of the search


def worth_figure(asked: list[StageFacts], gain: str) -> go.Figure:
    """The lead of the answer to each question over the other choices, with an interval for the nearest.

    Args:
        asked: the stages of the search.
        gain: the gain of tuning, in words.
    """
    compared = [(stage, choice) for stage in asked for choice in stage.others]
    answers = {stage.name: stage.winner_label for stage, _ in compared}
    rows = {name: html.escape(f"{name}: {answer}", quote=False) for name, answer in answers.items()}
    figure = go.Figure()
    for name, marker in WORTH_MARKERS.items():
        pairs = [(stage, choice) for stage, choice in compared if _standing(stage, choice) == name]
        figure.add_scatter(
            x=[round(choice.difference, 4) for _, choice in pairs],
            y=[rows[stage.name] for stage, _ in pairs],
            name=name,
            error_x={"type": "data", "array": [_band(choice) for _, choice in pairs]} if "nearest" in name else None,
            text=[html.escape(choice.label, quote=False) for _, choice in pairs],
            hoverinfo="text+x",
            marker=marker,
            mode="markers",
        )
    _lay_out(figure, "What each question was worth", gain)
    axis = "nats per base that the answer is ahead<br><sub>bars hold the true lead in 95 of 100 stages; none: one seed</sub>"
    figure.add_vline(x=0, line={"color": GREY, "width": 1})
    figure.update_layout(
        xaxis={"title": {"text": axis}, "gridcolor": LINES, "zeroline": False},
        yaxis={
            "categoryorder": "array",
            "categoryarray": list(rows.values()),
            "autorange": "reversed",
            "automargin": True,
            "dtick": 1,
            "tickfont": {"size": 9 if len(rows) < 20 else 7},
        },
    )
    return figure


def _standing(stage: StageFacts, choice: ChoiceFacts) -> str:
    """The key of a choice in `WORTH_MARKERS`."""
    if not choice.nearest:
        return "other choices"
    return f"nearest choice, {'clear' if stage.verdict.kind == 'clear' else 'not clear'}"


def _band(choice: ChoiceFacts) -> float | None:
    """Half the interval of a nearest choice; other choices have no bar, so that rows stay legible."""
    return round(choice.high - choice.difference, 4) if choice.nearest and choice.high is not None else None


def _lay_out(figure: go.Figure, heading: str, text: str) -> None:
    """Places title, margins and legend below plotly's buttons: a figure gets half the dashboard's page, 450 pixels high."""
    lines = [f"<b>{html.escape(line, quote=False)}</b>" for line in textwrap.wrap(heading, 68)]
    lines += [html.escape(line, quote=False) for line in textwrap.wrap(text, 80)]
    figure.update_layout(
        template="none",  # the default template is longer than the figure
        title={
            "text": "<br>".join(lines),
            "font": {"size": 12},
            "x": 0.02,
            "xanchor": "left",
            "y": 1,
            "yanchor": "top",
            "pad": {"t": 42},
        },
        margin={"t": 56 + 16 * len(lines), "r": 20, "b": 100, "l": 70},
        font={"size": 11},
        legend={"orientation": "h", "yref": "container", "y": 0.01, "x": 0},
        hovermode="closest",
    )
