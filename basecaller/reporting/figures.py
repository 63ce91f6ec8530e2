"""Figures as SVG. A stage has learning curves, loss against rate, or a heat map, depending on its grid. The search has figures
of what each question was worth, how the winner learned, and the winner's loss after every stage."""

from __future__ import annotations

import io
import json
import math
import re
from collections.abc import Callable
from dataclasses import asdict, dataclass, field, replace
from functools import lru_cache, wraps
from html import escape
from typing import Any, ParamSpec, TypeVar

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from basecaller.hpo.edges import is_ordered
from basecaller.hpo.verdicts import short
from basecaller.reporting.contests import asked
from basecaller.reporting.formats import COLOURS, LOSS, in_lines, interval
from basecaller.reporting.stage_contents import ChoiceFacts, PointFacts, StageFacts

STYLE: Any = {
    "font.size": 10,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "svg.fonttype": "path",
    "svg.hashsalt": "basecaller",
    "axes.grid": True,
    "grid.alpha": 0.25,
}
"""Matplotlib's settings while a figure is drawn."""

Given = ParamSpec("Given")
Drawn = TypeVar("Drawn")


def _styled(draw: Callable[Given, Drawn]) -> Callable[Given, Drawn]:
    """Draws with `STYLE`, without changing a notebook's own settings."""

    @wraps(draw)
    def drawn(*args: Given.args, **kwargs: Given.kwargs) -> Drawn:
        with mpl.rc_context(STYLE):
            return draw(*args, **kwargs)

    return drawn


def _figure(width: float = 6.4, height: float = 3.6) -> tuple[Figure, Axes]:
    """A figure without pyplot, so that a notebook keeps its backend and settings."""
    figure = Figure(figsize=(width, height), layout="constrained")
    return figure, figure.subplots()


def _svg(figure: Figure, title: str) -> str:
    """A figure as an element of a page, with a description for screen readers."""
    file = io.StringIO()
    figure.savefig(file, format="svg", metadata=dict.fromkeys(("Creator", "Date", "Format", "Type")))
    head, drawing = file.getvalue()[file.getvalue().index("<svg") :].split(">", 1)
    return f'{head} role="img" aria-label="{escape(title)}"><title>{escape(title)}</title>{drawing}'


def apart(svg: str, number: int) -> str:
    """A figure with ids that are unique on the page."""
    return re.sub(r'(\bid="|url\(#|href="#)', rf"\1f{number}-", svg)


def figure_of(stage: StageFacts, stages: list[StageFacts]) -> tuple[str, str] | None:
    """The figure that shows a stage best: SVG and a caption. None if nothing has ended.

    Args:
        stage: facts of the stage.
        stages: all stages of the search: stages that sweep the same single key share a figure.
    """
    keys = list(stage.axes)
    return _drawn(_Drawing.of(stage, [other for other in stages if list(other.axes) == keys]))


@dataclass(frozen=True)
class _Drawing:
    """The contents of a figure; drawings with equal contents are equal."""

    content: str
    stage: StageFacts = field(compare=False)
    stages: list[StageFacts] = field(compare=False)

    @classmethod
    def of(cls, stage: StageFacts, stages: list[StageFacts]) -> _Drawing:
        return cls(json.dumps([asdict(facts) for facts in (stage, *stages)]), stage, stages)


@lru_cache(maxsize=256)  # a search writes its report after every stage: unchanged figures are not drawn again
@_styled
def _drawn(drawing: _Drawing) -> tuple[str, str] | None:
    stage, stages = drawing.stage, drawing.stages
    measured = [point for point in stage.points if point.mean is not None]
    if not measured:
        return None
    axes = {key: values for key, values in stage.axes.items() if len(values) > 1}
    if len(axes) == 2 and all(map(is_ordered, axes.values())):
        return _heat_map(stage, list(axes))
    if len(axes) == 1 and all(map(is_ordered, axes.values())) and len(measured) > 2:
        (key,) = axes
        same = [other for other in stages if [k for k, v in other.axes.items() if len(v) > 1] == [key]]
        return _against(key, stage, same)
    if len(measured) <= len(COLOURS) and any(len(curve) > 1 for point in measured for curve in point.curves):
        return _curves(stage.name, measured)
    return _dots(stage.name, measured)


def _measured(points: list[PointFacts]) -> list[tuple[PointFacts, float]]:
    """The points that have a mean, with their mean."""
    return [(point, point.mean) for point in points if point.mean is not None]


def _bars(error: float | None) -> float:
    return error if error is not None else 0.0


def _ranking(name: str, points: list[PointFacts]) -> str:
    """A figure of losses in words, the best point first."""
    ranked = sorted(_measured(points), key=lambda pair: pair[1])[:5]
    return f"{name}: {', '.join(f'{point.label} {mean:.4f}' for point, mean in ranked)} nats per base"


def _learned(point: PointFacts, key: str) -> tuple[np.ndarray, np.ndarray]:
    """Samples of signal [n] and one of the curve's losses at them [seeds, n], up to the shortest curve of all seeds."""
    curves = [curve for curve in point.curves if curve]
    steps = list(zip(*curves, strict=False))
    samples = np.array([points[0]["samples"] for points in steps])
    return samples, np.array([[point[key] for point in points] for points in steps]).T


def _curves(name: str, points: list[PointFacts]) -> tuple[str, str]:
    figure, axes = _figure()
    for colour, point in zip(COLOURS, points, strict=False):
        samples, losses = _learned(point, "val_loss")
        axes.plot(samples / 1e3, losses.mean(0), color=colour, marker="o", markersize=4, label=point.label)
        axes.fill_between(samples / 1e3, losses.min(0), losses.max(0), color=colour, alpha=0.2, linewidth=0)
    axes.set_xlabel("signal seen (thousand samples)")
    axes.set_ylabel(LOSS)
    axes.legend(frameon=False)
    caption = "Learning curves: line, the mean over seeds; band, from the best seed to the worst."
    return _svg(figure, f"Learning curves. {_ranking(name, points)}"), caption


def _against(key: str, stage: StageFacts, stages: list[StageFacts]) -> tuple[str, str]:
    figure, axes = _figure()
    values: list[float] = []
    ordered = sorted(stages, key=lambda other: other.name == stage.name)  # this stage on top
    for other in ordered:
        colour = COLOURS[stages.index(other) % len(COLOURS)]
        points = sorted(_measured(other.points), key=lambda pair: pair[0].settings[key])
        x = [p.settings[key] for p, _ in points]
        values += x
        own = other.name == stage.name
        axes.errorbar(
            x,
            [mean for _, mean in points],
            yerr=[_bars(p.error) for p, _ in points],
            color=colour,
            marker="o",
            markersize=5,
            capsize=3,
            alpha=1 if own else 0.45,
            linewidth=2 if own else 1,
            label=other.name,
        )
        for p, mean in points:
            if p.state == "winner":
                axes.plot(p.settings[key], mean, marker="*", markersize=14, color=colour, alpha=1 if own else 0.45)
    if values and min(values) > 0 and max(values) / min(values) >= 8:
        axes.set_xscale("log")
    axes.set_xlabel("learning rate" if key == "optimizer.lr" else key)
    axes.set_ylabel(LOSS)
    axes.legend(frameon=False)
    caption = "Star: a stage's winner. Bars: one standard error of the mean, from the noise between seeds."
    return _svg(figure, f"Loss against {short(key)}. {_ranking(stage.name, stage.points)}"), caption


def _heat_map(stage: StageFacts, keys: list[str]) -> tuple[str, str]:
    rows, columns = (sorted(stage.axes[key]) for key in keys)
    table = np.full((len(rows), len(columns)), math.nan)
    marks: dict[tuple[int, int], PointFacts] = {}
    for point in stage.points:
        place = rows.index(point.settings[keys[0]]), columns.index(point.settings[keys[1]])
        marks[place] = point
        if point.mean is not None:
            table[place] = point.mean
    figure, axes = _figure(height=1.2 + 0.55 * len(rows))
    axes.grid(visible=False)
    best, worst = np.nanmin(table), np.nanmax(table)
    image = axes.imshow(table, cmap="cividis_r", aspect="auto", vmin=best, vmax=max(worst, best + 1e-9))
    for (i, j), point in marks.items():
        if point.mean is None:
            axes.text(j, i, point.state.partition(" ")[0], ha="center", va="center", fontsize=8)
            continue
        dark = (point.mean - best) / max(worst - best, 1e-9) > 0.5
        bold = "bold" if point.state == "winner" else "normal"
        text = f"{point.mean:.3f}" + (f"\n±{point.error:.3f}" if point.seeds > 1 and point.error else "")
        axes.text(j, i, text, ha="center", va="center", fontsize=8, color="white" if dark else "black", fontweight=bold)
        if point.state == "winner":
            axes.add_patch(_frame(i, j))
    axes.set_xticks(range(len(columns)), [f"{value:g}" for value in columns])
    axes.set_yticks(range(len(rows)), [f"{value:g}" for value in rows])
    names = {
        "stage.rate_factor": "factor of the learning rate",
        "data.batch_size": "batch size",
        "model.max_dilation": "largest dilation",
        "model.stacks": "stacks",
    }
    axes.set_xlabel(names.get(keys[1], keys[1]))
    axes.set_ylabel(names.get(keys[0], keys[0]))
    figure.colorbar(image, label=LOSS)
    caption = "Mean over seeds, ± one standard error if there are several. Framed: the winner."
    return _svg(figure, f"Loss by {short(keys[0])} and {short(keys[1])}. {_ranking(stage.name, stage.points)}"), caption


def _frame(i: int, j: int) -> Any:
    return Rectangle((j - 0.48, i - 0.48), 0.96, 0.96, fill=False, edgecolor="#D55E00", linewidth=2.5)


def _dots(name: str, points: list[PointFacts]) -> tuple[str, str]:
    ranked = sorted(_measured(points), key=lambda pair: pair[1], reverse=True)[-30:]
    names = [in_lines(point.label) for point, _ in ranked]
    figure, axes = _figure(height=1 + 0.28 * sum(name.count("\n") + 1 for name in names))
    for i, (point, mean) in enumerate(ranked):
        values = list(point.values.values())
        axes.plot(values, [i] * len(values), linestyle="", marker="o", markersize=4, color="#999999")
        axes.errorbar(
            mean,
            i,
            xerr=_bars(point.error),
            marker="D",
            markersize=5,
            capsize=3,
            color=COLOURS[1] if point.state == "winner" else COLOURS[0],
        )
    axes.set_yticks(range(len(ranked)), names)
    axes.set_ylim(-0.6, len(ranked) - 0.4)
    axes.set_xlabel(LOSS)
    several = any(point.seeds > 1 for point, _ in ranked)
    diamond = (
        "Grey: single seeds. Diamond: their mean, with one standard error" if several else "Diamond: the value at one seed"
    )
    caption = f"{diamond}; orange, the winner."
    return _svg(figure, f"Loss of every point. {_ranking(name, points)}"), caption


@_styled
def overview(stages: list[StageFacts]) -> str | None:
    """The search at a glance: the winner's loss after every stage; None if no stage has one."""
    won = [(s.name, s.value, next((p.error for p in s.points if p.state == "winner"), None)) for s in stages]
    shown = [(name, value, error) for name, value, error in won if value is not None]
    if len(shown) < 2:
        return None
    many = len(shown) > 10
    figure, axes = _figure(height=3.2 if many else 2.6)
    axes.errorbar(
        [name for name, _, _ in shown],
        [value for _, value, _ in shown],
        yerr=[_bars(error) for _, _, error in shown],
        marker="o",
        color=COLOURS[0],
        capsize=3,
        linestyle=":",
    )
    axes.set_ylabel(LOSS)
    axes.tick_params(axis="x", rotation=90 if many else 30)
    axes.margins(x=0.05, y=0.15)
    losses = ", ".join(f"{name} {value:.4f}" for name, value, _ in shown)
    return _svg(figure, f"The winner's loss after each stage, nats per base: {losses}")


# -- the questions side by side


@dataclass(frozen=True)
class Panel:
    """One asking of a question.

    Attributes:
        stage: facts of the stage.
        asking: number of the asking, from 1.
        figure: the choices compared with the winner.
    """

    stage: StageFacts
    asking: int
    figure: str


def questions(stages: list[StageFacts]) -> list[list[Panel]]:
    """Small multiples: a row for each question that had a choice, with a panel for each asking, on one scale."""
    rows: dict[str, list[StageFacts]] = {}
    for stage in stages:
        if stage.choice and stage.others:  # without a choice, its own figure shows all points
            rows.setdefault(asked(stage.name)[0], []).append(stage)
    return [[_panel(stage, _reach(row)) for stage in row] for row in rows.values()]


def _panel(stage: StageFacts, reach: tuple[float, float]) -> Panel:
    return Panel(stage, asked(stage.name)[1], _choices(tuple(stage.choices), stage.name, stage.verdict.kind, reach))


def _reach(stages: list[StageFacts]) -> tuple[float, float]:
    """The ends of an axis that covers all choices of some stages with their bars."""
    choices = [choice for stage in stages for choice in stage.choices]
    ends = [end for choice in choices for end in (choice.difference, choice.low, choice.high) if end is not None]
    low, high = min(ends), max(ends)
    margin = 0.06 * (high - low) or 1e-3
    return low - margin, high + margin


@lru_cache(maxsize=256)
@_styled
def _choices(choices: tuple[ChoiceFacts, ...], name: str, kind: str, reach: tuple[float, float]) -> str:
    names = [in_lines(choice.label) for choice in choices]
    figure, axes = _figure(3.3, 0.65 + 0.24 * sum(name.count("\n") + 1 for name in names))
    axes.axvline(0, color="#777777", linewidth=1)
    for place, choice in enumerate(choices):
        if choice.low is not None and choice.high is not None:
            axes.plot([choice.low, choice.high], [place, place], marker="|", markersize=6, color=COLOURS[0])
        axes.plot(
            choice.difference,
            place,
            marker="D" if choice.wins else "o",
            markersize=6 if choice.wins else 5,
            color=COLOURS[1] if choice.wins else COLOURS[0],
        )
    axes.set_yticks(range(len(choices)), names)
    axes.set_xlim(*reach)
    axes.set_ylim(len(choices) - 0.4, -0.6)  # the first on top
    axes.locator_params(axis="x", nbins=4 if max(map(len, names)) < 12 else 2)  # long names leave little room
    axes.grid(visible=False, axis="y")
    (winner,) = [choice.label for choice in choices if choice.wins]
    others = [choice for choice in choices if not choice.wins]
    gaps = [
        f"{choice.label} {choice.difference:+.4f}"
        + (f" ({interval(choice.low, choice.high)})" if choice.low is not None else "")
        for choice in others
    ]
    return _svg(figure, f"{name}, {kind}: the winner is {winner}; against it {', '.join(gaps)} nats per base")


def learning(stage: StageFacts) -> str | None:
    """How the winner and the untuned defaults learned, trained alike; None if no curve is known."""
    points = [point for point in stage.points if any(point.curves)]
    return _drawn_learning(_Drawing.of(replace(stage, points=points), [])) if points else None


@lru_cache(maxsize=4)
@_styled
def _drawn_learning(drawing: _Drawing) -> str:
    lines = []
    figure, axes = _figure()
    for colour, point in zip(COLOURS, drawing.stage.points, strict=False):
        name = "untuned defaults" if point.label.endswith("defaults") else "winner"
        for key, style, what in (("val_loss", "-", "validation"), ("train_loss", ":", "training")):
            samples, losses = _learned(point, key)
            mean = losses.mean(0)
            axes.plot(samples / 1e6, mean, style, color=colour, marker="o", markersize=3, label=f"{name}, {what}")
            lines.append(f"{name}, {what}: {mean[0]:.3f} to {mean[-1]:.3f}")
    axes.set_xlim(left=0)  # else the ticks of curves of one point each are so close that their labels overlap
    axes.set_xlabel("signal seen (million samples)")
    axes.set_ylabel("loss (nats per base)")
    axes.legend(frameon=False, fontsize=9)
    return _svg(figure, f"Learning curves of the winner and the untuned defaults, nats per base. {'; '.join(lines)}")
