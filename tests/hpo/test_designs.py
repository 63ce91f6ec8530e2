"""Halving and rounds in real sweeps: which point runs at which seed, also after a kill or a failure."""

from __future__ import annotations

import itertools

import optuna
import pytest
from optuna.trial import TrialState

from basecaller.common.errors import DivergedError
from basecaller.hpo.records import store_study, trials_of
from basecaller.hpo.standing import standing
from basecaller.hpo.storage import current_study
from basecaller.hpo.winners import setting_of, winner_of
from basecaller.reporting.stage_facts import stage_facts
from basecaller.runs import trial as life
from tests.helpers.sweeping import PLACE, RATES, URL, sweep

pytestmark = pytest.mark.usefixtures("folder")


def runs(study: optuna.Study) -> list[tuple[str, int]]:
    return [(t.point, t.seed) for t in trials_of(study, TrialState.COMPLETE)]


def interrupt(monkeypatch: pytest.MonkeyPatch, *trainings: int) -> None:
    """Interrupts trainings by their number, counted from 0 over all sweeps."""
    real, count = life.train, itertools.count()

    def train(*arguments):
        if next(count) in trainings:
            raise KeyboardInterrupt
        return real(*arguments)

    monkeypatch.setattr(life, "train", train)


FOUR = ("stage=lr_adam", "padding=on", "model.batch_norm=true", "stage.extend=0", "train.validations=1")


@pytest.mark.slow
def test_the_better_half_runs_at_the_second_seed_and_two_at_the_third():
    study = sweep(*FOUR, "search.replicates=3")
    first = {t.point: t.value for t in trials_of(study) if t.seed == 1}
    better = sorted(first, key=first.get)[:2]
    assert sorted(runs(study)) == sorted([(p, 1) for p in first] + [(p, s) for p in better for s in (2, 3)])
    stand = standing(study)
    assert stand.conclusion.seeds == 3
    assert stand.conclusion.mean == pytest.approx(sum(t.value for t in stand.trials_of(stand.conclusion.winner)) / 3)
    assert {setting_of(t, "seed") for t in trials_of(study)} == {1, 2, 3}
    assert len(sweep(*FOUR, "search.replicates=3").trials) == len(study.trials)  # finished: nothing runs


@pytest.mark.slow
def test_more_replicates_add_seeds_to_existing_ones():
    study = sweep(*FOUR)
    assert len(study.trials) == 4
    more = sweep(*FOUR, "search.replicates=2")
    assert more.study_name == study.study_name
    assert len(more.trials) == 6


@pytest.mark.slow
def test_a_sweep_killed_between_seeds_continues_with_the_promoted_points(monkeypatch):
    whole = runs(sweep(*FOUR, "search.replicates=3", "experiment=whole"))
    interrupt(monkeypatch, 5)
    with pytest.raises(KeyboardInterrupt):
        sweep(*FOUR, "search.replicates=3")
    assert sorted(runs(sweep(*FOUR, "search.replicates=3"))) == sorted(whole)


@pytest.mark.slow
def test_seeds_swept_by_the_user_replicate_every_point():
    study = sweep(RATES, "seed=1,2,3")
    assert sorted(runs(study)) == sorted((f"optimizer.lr={rate}", seed) for rate in (0.01, 0.001) for seed in (1, 2, 3))
    assert standing(study).conclusion.kind != "one seed"


@pytest.mark.slow
def test_a_point_that_diverges_at_a_later_seed_is_out(monkeypatch):
    real = life.train

    def train(job, *rest):
        if job.settings.seed == 2 and job.settings.optimizer.lr == 0.001:
            raise DivergedError(3, float("nan"))
        return real(job, *rest)

    monkeypatch.setattr(life, "train", train)
    stand = standing(sweep(*FOUR, "search.replicates=3"))
    assert stand.failed == {"optimizer.lr=0.001": "diverged at seed 2"}
    assert stand.conclusion.winner not in (None, "optimizer.lr=0.001")
    assert sorted(len(stand.trials_of(point)) for point in stand.points) == [1, 1, 3, 3]  # another took its place


SIZES = (
    "stage=dilation", "padding=on", "model.batch_norm=false", "optimizer=adam", "data.batch_size=4", "train.validations=1",
    "optimizer.lr='${rate:0.02,${stage.rate_factor}}'", "model.max_dilation=1,2", "stage.rate_factor=0.1,1.0,0.01,0.001,0.0001",
)  # fmt: skip


@pytest.mark.slow
def test_a_stage_with_rates_runs_them_downward_and_then_the_best_of_every_choice():
    study = sweep(*SIZES, "search.replicates=2")
    done, stand = runs(study), standing(study)
    assert stand.open == []
    for size in (1, 2):
        first = [point for point, seed in done if seed == 1 and point.startswith(f"model.max_dilation={size} ")]
        rates = [stand.settings[point]["stage.rate_factor"] for point in first]
        assert rates == sorted(rates, reverse=True)
        best = max(range(len(rates)), key=lambda i: -stand.complete[first[i], 1].value)
        assert len(first) == min(best + 3, 5)  # two more than the best
        leader = [point for point, seed in done if seed == 3 and point in first]
        assert len(leader) == 1
    assert len(done) <= 2 * (4 + 3)
    states = {p.point: p.state for p in stage_facts("dilation", study, stand).points}
    assert set(states) == set(stand.points)
    assert [states[p] for p in stand.points if not stand.trials_of(p)] == ["not needed"] * (10 - len({p for p, _ in done}))
    assert runs(sweep(*SIZES, "search.replicates=2")) == done  # finished
    assert runs(sweep(*SIZES, "search.replicates=3"))[: len(done)] == done
    assert len(runs(study)) > len(done)


@pytest.mark.slow
def test_killed_rounds_end_like_others(monkeypatch):
    whole = runs(sweep(*SIZES, "search.replicates=2", "experiment=whole"))
    interrupt(monkeypatch, 4, 9)
    for _ in range(2):
        with pytest.raises(KeyboardInterrupt):
            sweep(*SIZES, "search.replicates=2")
    assert sorted(runs(sweep(*SIZES, "search.replicates=2"))) == sorted(whole)


@pytest.mark.slow
def test_the_simpler_choice_is_injected_if_there_is_no_difference(monkeypatch):
    sweep("stage=padding", "stage.simple_first=true", "stage.design=halving", "search.replicates=3")
    study = current_study(URL, "tiny", "padding")
    store_study(study, concluded=None)  # the losses below differ from the measured ones
    stand = standing(study)
    assert stand.simple_first == ["off", "on"]
    values = {("padding=off", 1): 1.00, ("padding=off", 2): 1.10, ("padding=off", 3): 1.22,
              ("padding=on", 1): 0.99, ("padding=on", 2): 1.11, ("padding=on", 3): 1.20}  # fmt: skip
    monkeypatch.setattr(
        type(stand),
        "values",
        lambda self, seeds: {p: {s: values[p, s] for q, s in values if q == p and s in seeds} for p in self.points},
    )
    winner = winner_of(PLACE, ["padding"]).trial
    assert setting_of(winner, "padding") == "off"
