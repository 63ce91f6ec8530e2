"""Sampled spaces: the chosen sampler draws every point, with and without a seed, resumed and in parallel."""

from __future__ import annotations

import importlib.util
import subprocess
import sys
from pathlib import Path

import optuna
import pytest
from omegaconf import OmegaConf
from optuna.distributions import CategoricalDistribution, FloatDistribution

from basecaller.common.errors import SettingError
from basecaller.hpo.records import StudyRecord, trials_of
from basecaller.hpo.sampling import check_sampler, sampler_for
from basecaller.hpo.standing import standing
from basecaller.hpo.storage import current_study, open_study
from tests.conftest import TINY, Command
from tests.helpers.sweeping import URL, sweep, values

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("folder")]

RATE = "optimizer.lr=tag(log,interval(1e-4,1e-1))"
SAMPLERS = {
    "tpe": "TPESampler",
    "random": "RandomSampler",
    "nsgaii": "NSGAIISampler",
    "nsgaiii": "NSGAIIISampler",
    "cmaes": "CmaEsSampler",
    "gp": "GPSampler",
    "qmc": "QMCSampler",
}


def choose(sampler: str, seed: int | None = None) -> list[str]:
    return [f"hydra/sweeper/sampler={sampler}", *([f"hydra.sweeper.sampler.seed={seed}"] if seed is not None else [])]


@pytest.mark.parametrize("sampler", SAMPLERS)
def test_every_sampler_is_used_reproducible_and_resumable(untrained, sampler):
    given = [*choose(sampler, 7), RATE, "optimizer.weight_decay=interval(0,0.1)"]
    study = sweep(*given, "hydra.sweeper.n_trials=6")
    assert StudyRecord.of(study).sampler == SAMPLERS[sampler]
    rates = values(study, "optimizer.lr")
    assert len(set(rates)) == 6
    assert all(1e-4 <= rate <= 1e-1 for rate in rates)
    again = sweep(*given, "hydra.sweeper.n_trials=6", "experiment=again")
    assert values(again, "optimizer.lr") == rates
    sweep(*given, "hydra.sweeper.n_trials=3", "experiment=parts")
    parts = sweep(*given, "hydra.sweeper.n_trials=6", "experiment=parts")  # another process would do the same
    assert values(parts, "optimizer.lr") == rates
    other = sweep(*choose(sampler, 8), *given[2:], "hydra.sweeper.n_trials=6", "experiment=other")
    if sampler != "qmc":  # its sequence is the same for every seed unless it is scrambled
        assert not set(values(other, "optimizer.lr")) & set(rates)


@pytest.mark.parametrize("sampler", ["tpe", "random"])
def test_later_points_depend_on_earlier_values_if_the_sampler_learns(sampler):
    config = OmegaConf.create({"_target_": f"optuna.samplers.{SAMPLERS[sampler]}", "seed": 1})

    def drawn(sign: float) -> list[float]:
        study = optuna.create_study()
        for number in range(30):
            study.sampler = sampler_for(config, number)
            trial = study.ask({"x": FloatDistribution(0, 1)})
            study.tell(trial, sign * trial.params["x"])
        return [trial.params["x"] for trial in study.trials]

    up, down = drawn(1), drawn(-1)
    assert up[:10] == down[:10]  # TPE's first ten are random
    assert (up[10:] == down[10:]) == (sampler == "random")
    if sampler == "tpe":
        assert sum(up[10:]) < sum(down[10:]) / 2


def test_choices_and_config_groups_are_sampled_too(untrained):
    study = sweep(
        *choose("random", 1),
        "optimizer=adam,sgd",
        "model.batch_norm=true,false",
        "data.batch_size=4,8,16",
        RATE,
        "hydra.sweeper.n_trials=12",
    )
    for key, options in (("optimizer", {"adam", "sgd"}), ("model.batch_norm", {True, False}), ("data.batch_size", {4, 8, 16})):
        assert set(values(study, key)) == options
        assert isinstance(study.trials[0].distributions[key], CategoricalDistribution)
    assert {t.choices["optimizer"] for t in trials_of(study)} == {"adam", "sgd"}
    assert len(set(values(study, "optimizer.lr"))) == 12


def test_an_interval_without_a_sampler_is_sampled_by_tpe_up_to_its_total(untrained):
    study = sweep(RATE, "hydra.sweeper.n_trials=3")
    assert StudyRecord.of(study).sampler == "TPESampler"
    assert len(sweep(RATE, "hydra.sweeper.n_trials=3").trials) == 3
    assert len(sweep(RATE, "hydra.sweeper.n_trials=4").trials) == 4


def test_a_trial_whose_process_died_before_it_had_a_point_is_replaced(untrained, monkeypatch):
    study = sweep(RATE, "hydra.sweeper.n_trials=2")
    left = study.ask()
    monkeypatch.setattr("basecaller.hpo.sweep.time.sleep", lambda _: pytest.fail("waits for a process that is gone"))
    trials = sweep(RATE, "hydra.sweeper.n_trials=3").trials
    assert [trial.state.name for trial in trials] == ["COMPLETE", "COMPLETE", "FAIL", "COMPLETE"]
    assert trials[left.number].user_attrs["outcome"] == "abandoned"


@pytest.mark.parametrize(
    ("interval", "kind"),
    [
        ("data.batch_size=interval(1,8)", int),
        ("data.batch_size=interval(1.0,8.0)", int),
        ("train.clip=interval(1,8)", float),
        ("train.clip=int(interval(1,8))", float),
        ("data.batch_size=tag(log,interval(1,64))", int),
    ],
)
def test_an_interval_has_the_type_of_its_setting(untrained, interval, kind):
    study = sweep(interval, "hydra.sweeper.n_trials=2")
    assert {type(value) for value in values(study, interval.partition("=")[0])} == {kind}


def test_a_point_that_cannot_be_trained_ends_before_its_job(untrained):
    study = sweep("data.min_bases=interval(10,60)", *choose("random", 1), "data.max_bases=40", "hydra.sweeper.n_trials=8")
    outcomes = {t.user_attrs["outcome"] for t in study.trials}
    assert outcomes == {"complete", "failed"}
    failed = next(t for t in study.trials if t.user_attrs["outcome"] == "failed")
    assert "data.max_bases=40: must be at least data.min_bases" in failed.user_attrs["message"]


def test_a_sweep_that_breaks_leaves_no_trial_running(untrained, monkeypatch):
    def broken(*_, **__):
        raise RuntimeError("no launcher")

    monkeypatch.setattr("hydra._internal.core_plugins.basic_launcher.BasicLauncher.launch", broken)
    with pytest.raises(RuntimeError, match="no launcher"):
        sweep(RATE, "hydra.sweeper.n_trials=2")
    study = current_study(URL, "tiny", "sweep")
    assert [(t.state.name, t.user_attrs["outcome"]) for t in study.trials] == [("FAIL", "abandoned")]
    monkeypatch.undo()


@pytest.mark.parametrize(
    ("choice", "target", "words"),
    [
        ("grid", "optuna.samplers.GridSampler", "a grid needs no sampler"),
        ("motpe", "hydra_plugins.hydra_optuna_sweeper.config.raise_motpe_removed", "use hydra/sweeper/sampler=tpe"),
        ("cmaes", "optuna.samplers.CmaEsSampler", "python -m pip install cmaes"),
        ("qmc", "optuna.samplers.QMCSampler", "python -m pip install scipy"),
        ("gp", "optuna.samplers.GPSampler", "python -m pip install scipy"),
    ],
)
def test_a_sampler_that_cannot_be_used_says_what_to_do(monkeypatch, choice, target, words):
    monkeypatch.setattr("basecaller.hpo.sampling.find_spec", lambda name: None)
    with pytest.raises(SettingError, match=f"hydra/sweeper/sampler={choice}: .*{words}"):
        check_sampler(OmegaConf.create({"_target_": target}), choice)


def test_the_packages_that_samplers_need_exist():
    for package in ("cmaes", "scipy"):
        assert importlib.util.find_spec(package) is not None, "a test dependency"


def test_two_processes_with_one_seed_share_a_sampled_study(folder: Path):
    command = [sys.executable, "-m", "basecaller.train", "-m", *TINY, *choose("random", 3), RATE, "hydra.sweeper.n_trials=8"]
    processes = [subprocess.Popen(command, cwd=folder, stderr=subprocess.PIPE, text=True) for _ in range(2)]
    for process in processes:
        _, errors = process.communicate(timeout=300)
        assert process.returncode == 0, errors
    study = current_study(URL, "tiny", "sweep")
    assert len(study.trials) == len(set(values(study, "optimizer.lr"))) == 8
    assert standing(study).open == []
    alone = sweep(*choose("random", 3), RATE, "hydra.sweeper.n_trials=8", "experiment=alone")
    assert sorted(values(alone, "optimizer.lr")) == sorted(values(study, "optimizer.lr"))


def test_workers_sample_side_by_side(folder: Path, run: Command):
    run(
        "train",
        "-m",
        *TINY,
        *choose("tpe", 3),
        RATE,
        "hydra.sweeper.n_trials=5",
        "hydra/launcher=joblib",
        "hydra.launcher.n_jobs=2",
    )
    study = open_study(URL, current_study(URL, "tiny", "sweep").study_name)
    assert len(set(values(study, "optimizer.lr"))) == 5
    assert {t.user_attrs["outcome"] for t in study.trials} == {"complete"}
