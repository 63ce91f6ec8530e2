"""The figure of a stage suits its grid, and shows the measured values."""

from __future__ import annotations

import dataclasses
import itertools
from typing import Any
from xml.etree import ElementTree

from matplotlib.figure import Figure

from basecaller.reporting import figures
from basecaller.reporting.figures import figure_of, overview
from basecaller.reporting.stage_contents import PointFacts, StageFacts, VerdictFacts

CURVE = [{"samples": 1000 * i, "val_loss": 2.0 / i} for i in (1, 2, 3)]
VERDICT = VerdictFacts("clear", "", None, None, None, 2, 2, None, 0, None, None, [])


def point(settings: dict[str, Any], mean: float | None, state: str = "", curves: list | None = None) -> PointFacts:
    name = " ".join(f"{key}={value}" for key, value in settings.items())
    values = {} if mean is None else {1: mean - 0.1, 2: mean + 0.1}
    return PointFacts(
        point=name,
        label=name,
        settings=settings,
        mean=mean,
        error=None if mean is None else 0.05,
        seeds=len(values),
        values=values,
        measured=values,
        identity_mean=None,
        loss_per_read=None,
        updates=None,
        samples=None,
        seconds=None,
        area_under_curve=None,
        seconds_to_level=None,
        parameters=None,
        state=state,
        reused=0,
        curves=curves or [],
    )


def stage(name: str, points: list[PointFacts]) -> StageFacts:
    axes = {key: list(dict.fromkeys(p.settings[key] for p in points)) for key in points[0].settings}
    best = min((p.mean for p in points if p.mean is not None), default=None)
    made = {f.name: None for f in dataclasses.fields(StageFacts)}
    return StageFacts(**made | {"name": name, "points": points, "axes": axes, "value": best, "verdict": VERDICT})


def texts(svg: str) -> list[str]:
    """The texts of a figure: Matplotlib draws letters as paths, below a comment with the text."""
    parser = ElementTree.XMLParser(target=ElementTree.TreeBuilder(insert_comments=True))
    found = ElementTree.fromstring(svg, parser).iter(ElementTree.Comment)
    return [" ".join(comment.text.split()) for comment in found]


def test_two_ordered_axes_make_a_heat_map():
    grid = {(16, 3): 1.5, (16, 6): 1.25, (32, 3): 1.0, (32, 6): None}
    points = [
        point({"model.max_dilation": d, "model.stacks": s}, mean, "winner" if mean == 1.0 else "failed at seed 1")
        for (d, s), mean in grid.items()
    ]
    svg, caption = figure_of(stage("dilation", points), [])
    written = texts(svg)
    for text in ("1.500", "1.250", "1.000", "±0.050", "failed", "largest dilation", "stacks", "16", "32"):
        assert text in written
    assert "Framed: the winner" in caption
    assert svg.count("stroke: #d55e00; stroke-width: 2.5") == 1


def test_points_of_one_ordered_axis_share_a_figure_with_the_other_stages_of_that_axis():
    rates = [point({"optimizer.lr": rate}, 1 + rate, "winner" if rate == 0.001 else "") for rate in (0.1, 0.01, 0.001)]
    adam, sgd = stage("lr_adam", rates), stage("lr_sgd", rates)
    other = stage("padding", [point({"padding": "on"}, 1.0), point({"padding": "off"}, 1.1)])
    written = texts(figure_of(adam, [adam, sgd, other])[0])
    assert {"learning rate", "lr_adam", "lr_sgd"} <= set(written)
    assert "padding" not in written


def test_a_few_choices_show_their_learning_curves_and_many_their_spread():
    few = [point({"padding": mode}, 1.0, curves=[CURVE, CURVE[:2]]) for mode in ("on", "off")]
    svg, caption = figure_of(stage("padding", few), [])
    assert {"padding=on", "padding=off"} <= set(texts(svg))
    assert caption.startswith("Learning curves")
    many = [point({"a": f"x{i}", "b": "y"}, 1 + i / 10) for i in range(9)]
    svg, caption = figure_of(stage("many", many), [])
    assert "a=x8 b=y" in texts(svg)
    assert caption.startswith("Grey: single seeds")


def test_a_stage_without_values_has_no_figure():
    assert figure_of(stage("padding", [point({"padding": "on"}, None, "open")]), []) is None
    assert overview([stage("padding", [point({"padding": "on"}, None)])]) is None
    assert overview([stage("padding", [point({"padding": "on"}, 1.0)])]) is None


def test_the_ticks_of_curves_with_one_point_are_apart(monkeypatch):
    """Winner and defaults may differ by a few samples, after which an axis from one to the other has long tick labels."""
    drawn: list[Figure] = []
    monkeypatch.setattr(figures, "_svg", lambda figure, title: drawn.append(figure) or title)
    points = [
        point({"stage.candidate": name}, 1.0, curves=[[{"samples": samples, "val_loss": loss, "train_loss": loss + 0.01}]])
        for name, samples, loss in (("winner", 311_748, 1.0), ("defaults", 311_852, 1.1))
    ]
    assert figures.learning(stage("headline", points))
    (figure,) = drawn
    figure.draw_without_rendering()
    (axes,) = figure.axes
    low, high = axes.get_xlim()
    boxes = [of.label1.get_window_extent() for of in axes.xaxis.get_major_ticks() if low <= of.get_loc() <= high]
    assert len(boxes) > 2
    assert all(right.x0 - left.x1 > 5 for left, right in itertools.pairwise(boxes))


def test_the_overview_has_every_stage_with_a_winner():
    stages = [stage(name, [point({"padding": "on"}, mean)]) for name, mean in (("one", 1.5), ("two", None), ("three", 1.2))]
    written = texts(overview(stages))
    assert {"one", "three"} <= set(written)
    assert "two" not in written


def test_a_figure_is_drawn_reproducibly():
    grid = [point({"a": a, "b": b}, a + b) for a in (1.0, 2.0) for b in (1.0, 2.0)]
    first, again = (figure_of(dataclasses.replace(stage("x", grid), note=note), [])[0] for note in ("", "drawn anew"))
    assert first == again


def test_curves_of_one_point_are_shown_as_dots():
    points = [
        point({"stage.candidate": name}, mean, curves=[CURVE[-1:]]) for name, mean in (("a_and_b", 1.0), ("defaults", 1.1))
    ]
    written = texts(figure_of(stage("finalists", points), [])[0])
    assert "signal seen (thousand samples)" not in written
    assert {"stage.candidate=a_and_", "b", "stage.candidate=defaults"} <= set(written)  # a long name in two lines
