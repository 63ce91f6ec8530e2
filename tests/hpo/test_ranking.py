"""Which points run at which seed, which one wins, and the verdict."""

from __future__ import annotations

import numpy as np
import pytest

from basecaller.hpo import designs, ranking
from basecaller.hpo.designs import EVERY, HALVING, SEPARATE, Design, most_runs, planned, promoted, rung_size, simulate, wanted
from basecaller.hpo.ranking import against, conclude, threshold

SEEDS = [1, 2, 3]


def measured(**points: list[float]) -> dict[str, dict[int, float]]:
    """Values of points at the seeds 1, 2, ..."""
    return {name: dict(enumerate(values, 1)) for name, values in points.items()}


def each(*names: str) -> dict[str, str]:
    """Every point is a separate choice."""
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


def test_a_point_that_failed_at_a_seed_is_not_promoted():
    values = measured(a=[1.0], b=[2.0], c=[3.0])
    values["a"] = {}
    assert promoted(values, each(*"abc"), SEEDS, 1) == ["b", "c"]


def test_the_best_choice_keeps_a_rival_at_every_seed():
    choices = {"a": 16, "b": 16, "c": 32, "d": 64, "e": 64}
    values = measured(a=[1.0], b=[2.0], c=[5.0], d=[4.0], e=[3.0])
    assert promoted(values, choices, SEEDS, 1) == ["a", "b", "e"]
    assert promoted(values, choices | {"e": 16}, SEEDS, 1) == ["a", "b", "d"]  # d in place of e, the worst of three
    assert promoted(values, dict.fromkeys(choices, 16), SEEDS, 1) == ["a", "b", "e"]  # no other choice
    later = measured(a=[1.0, 1.0], b=[2.0, 1.0], e=[3.0, 9.0])
    assert promoted(later, choices, SEEDS, 2) == ["a", "e"]
    del values["c"], values["d"], values["e"]
    assert promoted(values, choices, SEEDS, 1) == ["a", "b"]


def played(table: np.ndarray, groups: tuple[int, ...], design: Design) -> dict[str, dict[int, float]]:
    """The runs of a design, step by step, on a complete table of values."""
    choices = {str(i): group for i, group in enumerate(groups)}
    values: dict[str, dict[int, float]] = {name: {} for name in choices}
    seeds = list(range(table.shape[1]))
    while missing := wanted(design, values, choices, seeds):
        assert len(set(missing)) == len(missing)
        for name, seed in missing:
            values[name][seed] = table[int(name), seed]
    return values


GROUPS = [(0, 1, 2, 3, 4, 5, 6), (0, 0, 0, 1, 1, 1, 2), (0, 0, 0, 0, 0, 0, 1), (0,) * 7, (0, 1), (0, 0, 0, 0, 0, 1, 1, 1, 1, 1)]


@pytest.mark.parametrize("groups", GROUPS)
@pytest.mark.parametrize(
    "design",
    [
        EVERY,
        HALVING,
        SEPARATE,
        *(Design("rounds", budget) for budget in (14, 19, 25)),
        Design("rounds", 19, stops=False),
        Design("rounds", 22, look=3),
    ],
)
def test_many_simulated_stages_run_what_a_single_one_does(groups, design):
    for table in np.random.default_rng(3).standard_normal((40, len(groups), 5)):
        simulated = simulate(table[None], np.array(groups), design)[0]
        expected = {(int(name), seed) for name, of in played(table, groups, design).items() for seed in of}
        if design is SEPARATE:  # `wanted` handles it as several stages
            members = [np.flatnonzero(np.array(groups) == group) for group in set(groups)]
            alone = [(of, played(table[of], tuple(range(len(of))), HALVING)) for of in members]
            expected = {(int(of[int(name)]), seed) for of, values in alone for name in values for seed in values[name]}
        assert {(i, s) for i, s in np.argwhere(~np.isnan(simulated)).tolist()} == expected


def dilation(*curves: list[float]) -> tuple[dict[str, int], dict[str, list[float]]]:
    """Points of a stage with rates: their choices, and their losses at any seed."""
    choices, losses = {}, {}
    for choice, curve in enumerate(curves):
        for rate, loss in enumerate(curve):
            choices[f"{choice}/{rate}"], losses[f"{choice}/{rate}"] = choice, loss
    return choices, losses


def run_all(design: Design, choices: dict[str, int], losses: dict[str, list[float]], seeds: int, dies=()) -> list[list]:
    """The steps of a stage; `dies` are entries that end without a value."""
    values: dict[str, dict[int, float]] = {point: {} for point in choices}
    dead, steps = set(), []
    while missing := wanted(design, values, choices, range(seeds), dead):
        steps.append(missing)
        for entry in missing:
            if entry in dies:
                dead.add(entry)
            else:
                values[entry[0]][entry[1]] = losses[entry[0]]
    return steps


def test_rates_go_downward_until_two_in_a_row_no_longer_help():
    choices, losses = dilation([1, 2, 3, 0, 0], [3, 2, 1, 2, 3], [2, 3, 1, 3, 2])
    steps = run_all(Design("rounds", 30), choices, losses, 6)
    first = [point for step in steps for point, seed in step if seed == 0]
    assert sorted(first) == sorted(["0/0", "0/1", "0/2", *(f"{c}/{r}" for c in (1, 2) for r in range(5))])
    assert len(steps[0]) == 9  # entries that are needed in any case run at once
    every = run_all(Design("rounds", 30, stops=False), choices, losses, 6)
    assert len(every[0]) == 15  # without rates, all points of a choice run


def test_the_best_two_of_each_choice_run_twice_and_then_the_best_of_every_choice():
    choices, losses = dilation([1, 2, 3], [4, 3, 5], [9, 8, 7])
    steps = run_all(Design("rounds", 20), choices, losses, 6)
    assert sorted(steps[1]) == [("0/0", 1), ("0/1", 1), ("1/0", 1), ("1/1", 1), ("2/1", 1), ("2/2", 1)]
    assert sorted(steps[2]) == [("0/0", 2), ("1/1", 2), ("2/2", 2)]
    assert sorted(steps[3]) == [("0/0", 3), ("1/1", 3)]  # 18 are spent; the rest goes to the best two
    assert len(steps) == 4
    assert sum(map(len, run_all(Design("rounds", 19), choices, losses, 6))) == 18  # one choice alone has no rival


@pytest.mark.parametrize(("apart", "seeds"), [(0.1, 4), (2.0, 8)])
def test_two_choices_that_look_alike_after_half_of_the_seeds_end_there(apart, seeds):
    noise = [0.0, 1.0, -1.0, 0.5, 0.2, -0.4, 0.3, 0.0]
    design = designs.rounds((0, 1), 3)
    table = np.array([noise, [apart] * 8])
    assert max(len(of) for of in played(table, (0, 1), design).values()) == seeds
    steps = run_all(designs.rounds((0, 1), 4), *dilation([1.0], [1.0]), 10)
    assert max(seed for step in steps for _, seed in step) == 9  # no noise, no standard error
    assert [len(step) for step in steps] == [2, 8, 10]  # entries that run in any case run side by side


def test_more_replicates_continue_where_fewer_stopped():
    choices, losses = dilation([1, 2, 3], [4, 3, 5])
    few, many = (run_all(Design("rounds", budget), choices, losses, 9) for budget in (12, 20))
    assert {entry for step in few for entry in step} < {entry for step in many for entry in step}


@pytest.mark.parametrize(
    ("dies", "instead"),
    [
        ([("0/0", 1)], [("0/2", 1)]),  # at the second seed the next best
        ([("0/0", 2)], [("0/1", 2)]),  # later the other contender, which catches up with the seeds of the others
        ([("0/0", 3)], [("0/1", 2), ("0/1", 3)]),
        ([("0/0", 0)], []),  # at the first seed it counts as a rate without improvement
    ],
)
def test_a_point_that_dies_is_replaced_by_the_next_of_its_choice(dies, instead):
    choices, losses = dilation([1, 2, 3], [4, 3, 5])
    steps = run_all(Design("rounds", 24), choices, losses, 6, dies)
    entries = [entry for step in steps for entry in step]
    assert set(instead) <= set(entries)
    of_its_death = next(number for number, step in enumerate(steps) if dies[0] in step)
    assert not [entry for step in steps[of_its_death + 1 :] for entry in step if entry[0] == "0/0"]


def test_a_point_that_dies_under_halving_is_replaced_by_the_next():
    values = measured(a=[1.0], b=[2.0], c=[3.0], d=[4.0])
    assert wanted(HALVING, values, each(*"abcd"), SEEDS) == [("a", 2), ("b", 2)]
    assert wanted(HALVING, values, each(*"abcd"), SEEDS, {("b", 2)}) == [("a", 2), ("c", 2)]
    values["a"][2] = values["c"][2] = 1.0
    assert wanted(HALVING, values, each(*"abcd"), SEEDS, {("b", 2)}) == [("a", 3), ("c", 3)]


@pytest.mark.parametrize(
    ("axes", "choice", "kind", "runs", "seeds"),
    [
        ({"padding": ["off", "on"]}, "padding", "rounds", 16, 8),
        ({"d": [16, 32, 64, 128], "f": [1.0, 0.5, 0.25, 0.125, 0.0625]}, "d", "rounds", 42, 10),
        ({"s": [3, 6, 9], "f": [1.0, 0.5, 0.25, 0.125, 0.0625]}, "s", "rounds", 33, 11),
        ({"f": [1.0, 0.5, 0.25, 0.125, 0.0625]}, "d", "rounds", 10, 3),  # the choice is not swept: every point is one
        ({"lr": [1.0, 0.5, 0.25, 0.125]}, "lr", "halving", 8, 3),
    ],
)
def test_the_largest_cost_of_a_stage_is_known_before_it_runs(axes, choice, kind, runs, seeds):
    design, choices, count = planned(kind, axes, choice, 3)
    assert (most_runs(design, choices, count), count) == (runs, seeds)
    assert design.stops == (len(axes) == 2 or design == HALVING)
    assert planned(kind, axes, choice, 1)[2] == 1
    tables = np.random.default_rng(0).standard_normal((20, len(choices), count))
    groups = tuple(list(dict.fromkeys(choices)).index(c) for c in choices)
    assert max(sum(map(len, played(table, groups, design).values())) for table in tables) <= runs


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


def test_a_complex_choice_wins_if_it_is_better_by_more_than_noise():
    found = conclude(measured(off=[1.2, 1.31, 1.4], on=[1.0, 1.1, 1.2]), each("off", "on"), ["off", "on"])
    assert (found.kind, found.winner) == ("clear", "on")


def test_a_choice_is_judged_by_its_best_point():
    values = measured(small1=[2.0], small2=[1.51, 1.61, 1.7], large1=[1.5, 1.6, 1.71], large2=[1.8, 1.9])
    choices = {"small1": 3, "small2": 3, "large1": 9, "large2": 9}
    found = conclude(values, choices, [3, 9])
    assert (found.winner, found.rival) == ("small2", "large1")


def test_a_simple_choice_that_was_dropped_early_is_not_kept():
    values = measured(simple=[1.02], a=[1.0, 1.1, 1.0], b=[1.01, 1.08, 1.02])
    assert conclude(values, each("simple", "a", "b"), ["simple", "a", "b"]).winner != "simple"


def test_one_seed_gives_no_verdict():
    found = conclude(measured(a=[1.0], b=[1.2]), each("a", "b"))
    assert (found.kind, found.winner, found.margin) == ("one seed", "a", pytest.approx(0.2))


def test_a_single_point_and_no_value_at_all():
    assert conclude(measured(a=[1.0, 1.1]), each("a")).kind == "no contest"
    assert conclude({"a": {}}, each("a")).kind == "failed"


def test_points_without_noise_do_not_fail():
    found = conclude(measured(a=[1.0, 1.0, 1.0], b=[1.0, 1.0, 1.0]), each("a", "b"))
    assert found.kind in ("undecided", "no difference")


DILATION, STACKS = tuple(i // 5 for i in range(20)), tuple(i // 5 for i in range(15))
CURVE = np.array([0.0, 1.3, 5.0, 13.0, 21.0])


def false_differences(groups: tuple[int, ...], design: Design, seeds: int, mean: np.ndarray, noise: np.ndarray) -> float:
    """Share of stages, seed effects included, that are called clear."""
    rng, repetitions = np.random.default_rng(11), 1200
    tables = mean[:, None] + noise[:, None] * rng.standard_normal((repetitions, len(groups), seeds))
    tables += 2 * rng.standard_normal((repetitions, 1, seeds))
    choices = {str(i): group for i, group in enumerate(groups)}
    clear = 0
    for table in simulate(tables, np.array(groups), design):
        values = {str(i): {s: float(v) for s, v in enumerate(row) if v == v} for i, row in enumerate(table)}
        clear += conclude(values, choices, None, design, seeds).kind == "clear"
    return clear / repetitions


@pytest.mark.slow
@pytest.mark.parametrize(
    ("groups", "design", "seeds"),
    [
        ((0, 1), designs.rounds((0, 1), 3), 8),
        ((0, 1, 2, 3), HALVING, 3),
        (STACKS, SEPARATE, 3),
        (STACKS, designs.rounds(STACKS, 3), 9),
    ],
)
def test_points_of_equal_worth_are_called_different_in_at_most_five_of_a_hundred_stages(groups, design, seeds):
    equal = np.zeros(len(groups)), np.ones(len(groups))
    assert false_differences(groups, design, seeds, *equal) <= 0.065  # 5 %, and the error of 1,200 stages


@pytest.mark.slow
@pytest.mark.parametrize(("best", "second"), [(1.0, 1.0), (1.0, 0.8), (1.0, 0.5), (1.0, 0.2)])
@pytest.mark.parametrize("groups", [STACKS, DILATION])
def test_two_choices_in_the_lead_are_called_different_in_at_most_five_of_a_hundred_stages(groups, best, second):
    noise = np.tile([best, second, 0.2, 0.2, 0.2], len(set(groups))) if second < 1 else np.ones(len(groups))
    mean = np.tile(CURVE, len(set(groups))) + 4.0 * (np.array(groups) > 1)
    design = designs.rounds(groups, 3)
    seeds = designs.seed_count(design, groups, 3)
    assert false_differences(groups, design, seeds, mean, noise) <= 0.065


def test_the_noise_is_that_of_the_best_points_or_of_the_pair_if_larger():
    rng = np.random.default_rng(5)
    groups = np.array([0, 0, 1, 1, 2, 2])
    tables = rng.standard_normal((4000, 6, 5)) * np.array([1.0, 0.1, 1.0, 0.1, 1.0, 0.1])[:, None]
    tables += np.array([0.0, 9.0, 0.0, 9.0, 0.0, 9.0])[:, None] + 3 * rng.standard_normal((4000, 1, 5))
    tables[:, 1::2, 2:] = np.nan
    found = ranking._statistics(tables, groups)
    assert np.sqrt((found.noise**2).mean()) == pytest.approx(1.0, abs=0.02)
    assert set(found.freedom.tolist()) == {8}
    values = measured(a=[1.0, 2.0, 3.0], b=[1.1, 2.1, 3.7])
    mean, error, shared = against(values, "a", "b", noise=0.01)
    differences = np.array([-0.1, -0.1, -0.7])
    assert (mean, shared) == (pytest.approx(-0.3), 3)
    assert error == pytest.approx(differences.std(ddof=1) / 3**0.5)
    assert against(values, "a", "b", noise=9.0)[1] == pytest.approx(9.0 * (2 / 3) ** 0.5)


def test_the_noise_of_unequal_seeds_uses_all_of_them():
    rng = np.random.default_rng(6)
    table = rng.standard_normal((3000, 4, 6)) + 5 * rng.standard_normal((3000, 1, 6)) + np.arange(4)[:, None]
    balanced, freedom = ranking._noise(table)
    residual = table - table.mean(1, keepdims=True) - table.mean(2, keepdims=True) + table.mean((1, 2), keepdims=True)
    assert balanced == pytest.approx(np.sqrt((residual**2).sum((1, 2)) / 15))  # the two-way table's
    assert set(freedom.tolist()) == {15}
    table[:, 2:, 5] = np.nan
    noise, freedom = ranking._noise(table)
    assert set(freedom.tolist()) == {13}
    assert np.sqrt((noise**2).mean()) == pytest.approx(1.0, abs=0.02)


def test_the_interval_of_a_verdict_holds_the_true_difference():
    rng, held = np.random.default_rng(8), []
    for table in rng.standard_normal((1500, 2, 6)) + np.array([[0.0], [1.5]]):
        values = {name: dict(enumerate(row.tolist())) for name, row in zip("ab", table, strict=True)}
        found = conclude(values, each("a", "b"), design=Design("rounds", 12), seeds=6)
        low, high = found.interval
        held.append(low <= (1.5 if found.winner == "a" else -1.5) <= high)
    assert np.mean(held) >= 0.94


def test_the_threshold_of_two_points_is_students():
    # two-sided, two degrees of freedom, level 4 %: 4.85; simulated, so about
    assert threshold((0, 1), 3, EVERY) == pytest.approx(4.85, rel=0.08)
    assert threshold((0, 1), 6, Design("rounds", 12)) == pytest.approx(2.757, rel=0.04)


def test_an_incumbent_is_kept_unless_another_is_better_by_more_than_its_error():
    values = measured(old=[1.00, 1.10, 1.20], new=[0.99, 1.11, 1.19], bad=[1.5, 1.6, 1.7])
    choices = each("old", "new", "bad")
    assert conclude(values, choices).winner == "new"
    kept = conclude(values, choices, incumbent="old")
    assert (kept.winner, kept.kind, kept.rival) == ("old", "no difference", "new")
    clearly = measured(old=[1.00, 1.10, 1.20], new=[0.90, 1.01, 1.10], bad=[1.5, 1.6, 1.7])
    assert conclude(clearly, choices, incumbent="old").winner == "new"
    assert conclude(values, choices, incumbent="gone").winner == "new"  # all its points failed
