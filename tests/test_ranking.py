"""Who runs at which seed, who wins, and what may be said about it."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from basecaller.hpo.ranking import conclude, halve, promoted, rung_size, threshold
from basecaller.hpo.verdicts import at_edges, guessing

SEEDS = [1, 2, 3]


def measured(**points: list[float]) -> dict[str, dict[int, float]]:
    """Values of points at the seeds 1, 2, ..."""
    return {name: dict(enumerate(values, 1)) for name, values in points.items()}


def each(*names: str) -> dict[str, str]:
    """Every point a choice of its own."""
    return {name: name for name in names}


@pytest.mark.parametrize(
    ("points", "sizes"), [(1, [1, 1, 1]), (2, [2, 2, 2]), (4, [4, 2, 2]), (15, [15, 8, 4]), (20, [20, 10, 5])]
)
def test_rungs_halve_down_to_two(points, sizes):
    assert [rung_size(points, rung) for rung in range(3)] == sizes


def test_the_better_half_is_promoted_by_its_mean_and_in_the_grids_order():
    values = measured(a=[4.0], b=[1.0], c=[3.0], d=[2.0])
    assert promoted(values, each(*"abcd"), SEEDS, 0) == list("abcd")
    assert promoted(values, each(*"abcd"), SEEDS, 1) == ["b", "d"]
    values = measured(a=[1.0, 9.0], b=[2.0, 1.0], c=[3.0, 1.0], d=[9.0])
    assert promoted(values, each(*"abcd"), SEEDS, 2) == ["b", "c"]  # the mean, not the last value
    assert promoted(values, each(*"abcd"), SEEDS, 1, halving=False) == list("abcd")


def test_a_point_that_failed_at_a_seed_is_not_promoted():
    values = measured(a=[1.0], b=[2.0], c=[3.0])
    values["a"] = {}
    assert promoted(values, each(*"abc"), SEEDS, 1) == ["b", "c"]


def test_the_best_choice_keeps_a_rival_at_every_seed():
    choices = {"a": 16, "b": 16, "c": 32, "d": 64, "e": 64}
    values = measured(a=[1.0], b=[2.0], c=[5.0], d=[4.0], e=[3.0])
    assert promoted(values, choices, SEEDS, 1) == ["a", "b", "e"]
    assert promoted(values, choices | {"e": 16}, SEEDS, 1) == ["a", "b", "d"]  # in place of e, the worst of three
    assert promoted(values, dict.fromkeys(choices, 16), SEEDS, 1) == ["a", "b", "e"]  # no other choice
    later = measured(a=[1.0, 1.0], b=[2.0, 1.0], e=[3.0, 9.0])
    assert promoted(later, choices, SEEDS, 2) == ["a", "e"]
    del values["c"], values["d"], values["e"]
    assert promoted(values, choices, SEEDS, 1) == ["a", "b"]


@pytest.mark.parametrize("groups", [(0, 1, 2, 3, 4, 5, 6), (0, 0, 0, 1, 1, 1, 2), (0, 0, 0, 0, 0, 0, 1), (0,) * 7])
def test_halving_many_tables_at_once_is_what_promotion_does_one_by_one(groups):
    tables = np.random.default_rng(3).standard_normal((50, 7, 3))
    choices = {str(i): group for i, group in enumerate(groups)}
    for table, halved in zip(tables, halve(tables, np.array(groups)), strict=True):
        values: dict[str, dict[int, float]] = {name: {} for name in choices}
        for rung in range(3):
            for name in promoted(values, choices, [0, 1, 2], rung):
                values[name][rung] = table[int(name), rung]
        ran = {(int(name), seed) for name, of in values.items() for seed in of}
        assert ran == {(i, s) for i, s in itertools.product(range(7), range(3)) if not np.isnan(halved[i, s])}


def test_a_seed_effect_cancels_since_points_are_compared_on_shared_seeds():
    noise = [0.000, 0.002, -0.001]
    effect = [0.0, 5.0, -3.0]  # of the seed, on every point
    a = [1.0 + e for e in effect]
    b = [1.1 + e + n for e, n in zip(effect, noise, strict=True)]
    found = conclude(measured(a=a, b=b), each("a", "b"))
    assert (found.kind, found.winner) == ("clear", "a")
    assert found.margin == pytest.approx(0.1 + np.mean(noise))
    # the paired standard error of a difference: sd of the differences over the root of their number
    assert found.error == pytest.approx(np.std(noise, ddof=1) / 3**0.5)
    assert found.freedom == 2


def test_the_best_single_value_does_not_win_over_the_best_mean():
    found = conclude(measured(a=[0.1, 1.4, 1.5], b=[0.8, 0.9, 1.0]), each("a", "b"))
    assert (found.winner, found.kind) == ("b", "undecided")


def test_the_simplest_within_one_standard_error_is_kept():
    values = measured(off=[1.00, 1.10, 1.22], on=[0.99, 1.11, 1.20])
    kept = conclude(values, each("off", "on"), ["off", "on"])
    assert (kept.kind, kept.winner, kept.best, kept.rival) == ("no difference", "off", "on", "on")
    assert kept.margin == pytest.approx(-0.0066666, rel=1e-3)
    assert conclude(values, each("off", "on"), ["on", "off"]).winner == "on"
    assert conclude(values, each("off", "on")).winner == "on"  # without an order of choices the best mean wins


def test_a_complex_choice_wins_where_it_is_better_by_more_than_noise():
    found = conclude(measured(off=[1.2, 1.31, 1.4], on=[1.0, 1.1, 1.2]), each("off", "on"), ["off", "on"])
    assert (found.kind, found.winner) == ("clear", "on")


def test_a_choice_stands_by_its_best_point():
    values = measured(small1=[2.0], small2=[1.51, 1.61, 1.7], large1=[1.5, 1.6, 1.71], large2=[1.8, 1.9])
    choices = {"small1": 3, "small2": 3, "large1": 9, "large2": 9}
    found = conclude(values, choices, [3, 9])
    assert (found.winner, found.rival) == ("small2", "large1")


def test_a_simple_choice_that_was_out_early_is_not_kept_for_want_of_seeds():
    values = measured(simple=[1.02], a=[1.0, 1.1, 1.0], b=[1.01, 1.08, 1.02])
    assert conclude(values, each("simple", "a", "b"), ["simple", "a", "b"]).winner != "simple"


def test_one_seed_says_so():
    found = conclude(measured(a=[1.0], b=[1.2]), each("a", "b"))
    assert (found.kind, found.winner, found.margin) == ("one seed", "a", pytest.approx(0.2))


def test_nothing_to_compare_with_and_nothing_at_all():
    assert conclude(measured(a=[1.0, 1.1]), each("a")).kind == "no contest"
    assert conclude({"a": {}}, each("a")).kind == "failed"


def test_points_without_any_noise_are_no_crash():
    found = conclude(measured(a=[1.0, 1.0, 1.0], b=[1.0, 1.0, 1.0]), each("a", "b"))
    assert found.kind in ("undecided", "no difference")


@pytest.mark.parametrize(
    ("groups", "simple"), [((0, 1), None), ((0, 1, 2, 3), None), (tuple(i // 5 for i in range(15)), [0, 1, 2])]
)
def test_points_of_equal_worth_are_called_different_in_at_most_five_of_a_hundred_stages(groups, simple):
    rng = np.random.default_rng(11)
    names = [f"p{i}" for i in range(len(groups))]
    tables = halve(rng.standard_normal((1500, len(groups), 3)) + 2 * rng.standard_normal((1500, 1, 3)), np.array(groups))
    clear = 0
    for table in tables:
        values = {n: {s: float(v) for s, v in enumerate(row) if v == v} for n, row in zip(names, table, strict=True)}
        clear += conclude(values, dict(zip(names, groups, strict=True)), simple).kind == "clear"
    assert clear / len(tables) <= 0.055  # 5 %, and the error of 1,500 stages


def test_the_threshold_of_two_points_is_students():
    # two-sided, two degrees of freedom, level 4 %: 4.85; simulated, so about
    assert threshold((0, 1), 3, True) == pytest.approx(4.85, rel=0.08)
    assert threshold((0, 1), 8, True) < threshold((0, 1), 3, True)


def test_edges_are_called_out_in_words():
    text = at_edges({"optimizer.lr": "lowest"}, {"optimizer.lr": 5e-05})
    assert text == "At the edge: lr 5e-05 is the lowest of its grid, a better value may lie beyond."
    assert at_edges({}, {}) == ""


@pytest.mark.parametrize(
    ("loss", "letters", "identity", "told"),
    [(1.39, 4, 0.5, True), (1.38, 4, 0.5, False), (1.38, 4, 0.02, True), (1.5, 5, 0.5, False), (1.61, 5, 0.5, True)],
)
def test_a_winner_that_guesses_is_called_out(loss, letters, identity, told):
    assert ("Too short to tell" in guessing(loss, letters, identity, 0.02)) == told
