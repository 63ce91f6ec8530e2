"""The sweeper knows nothing of basecalling: it sweeps any `Task`, here a noisy quadratic with its own config."""

from __future__ import annotations

import pkgutil
import random
import re
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import optuna
import pytest
from hydra import initialize_config_dir
from hydra.core.global_hydra import GlobalHydra
from omegaconf import DictConfig, OmegaConf

import basecaller.hpo
from basecaller.common.errors import SettingError, StageError
from basecaller.hpo.records import Outcome, trials_of
from basecaller.hpo.standing import standing
from basecaller.hpo.storage import open_study
from basecaller.hpo.task import Objective, Place, Stage, Task
from basecaller.hpo.trial import claim
from basecaller.hpo.winners import setting_of

# -- the task


class Toy(Task):
    seed = "dice"
    ignored = ("db", "ask", "works_for")
    objective = Objective("height", "m")

    def place(self, config: DictConfig) -> Place:
        return Place(url=config.db, experiment="toy", folder=Path("locks"), command="python toy.py -m ask={stage}")

    def stage(self, config: DictConfig) -> Stage:
        asked: Any = OmegaConf.to_container(config.ask)
        return Stage(**asked)

    def trial_overrides(self, study: str, number: int) -> list[str]:
        return [f"works_for=['{study}',{number}]"]

    def why_unswept(self, key: str) -> str:
        return "is not a setting of the quadratic" if key in self.ignored else ""


TASK = Toy()


def run(config: DictConfig) -> None:
    """A job: the quadratic at x, y and rate, lowest at 2, 0.25 and 1, with noise from the seed `dice`."""
    study, number = config.works_for
    with claim(config.db, study, number, Path("locks"), {"config": OmegaConf.to_container(config)}) as trial:
        assert trial is not None
        noise = random.Random(f"{config.dice} {config.x} {config.y} {config.rate}").gauss(0, 0.003)
        height = (config.x - 2) ** 2 + (config.y - 0.25) ** 2 + (config.rate - 1) ** 2 + noise
        trial.end(Outcome.COMPLETE, height, steepness=-height)


# -- its config

CONFIG = """
defaults:
  [ask: nothing, override hydra/sweeper: stages, override hydra/job_logging: none, override hydra/hydra_logging: none]
db: sqlite:///toy.db
dice: 1
x: 0
y: 5
rate: 1.0
works_for: null
hydra: {sweeper: {task: tests.hpo.test_toy_task.TASK}, output_subdir: null}
"""
ASK = {
    "nothing": "{name: nothing}",
    "first": "{name: first, question: Which x?, choice: x, design: rounds, replicates: 2}",
    "second": "{name: second, question: Which y?, choice: y, replicates: 3, extend: 1}",
}
PARAMS = {
    "nothing": "{}",
    "first": "{x: '0,2,4', rate: '2.0,1.0,0.5,0.25,0.125'}",
    "second": "{x: '${best:first,x}', rate: '${best:first,rate}', y: '0.5,1.0,2.0'}",
}


@pytest.fixture(autouse=True)
def conf(folder: Path) -> Path:
    (folder / "conf/ask").mkdir(parents=True)
    (folder / "conf/toy.yaml").write_text(CONFIG)
    for name, asked in ASK.items():
        text = f"# @package _global_\nask: {asked}\nhydra: {{sweeper: {{params: {PARAMS[name]}}}}}\n"
        (folder / f"conf/ask/{name}.yaml").write_text(text)
    return folder / "conf"


def sweep(*overrides: str) -> optuna.Study:
    GlobalHydra.instance().clear()
    with initialize_config_dir(str(Path("conf").resolve()), job_name="toy"):
        app = GlobalHydra.instance().hydra
        assert app is not None
        return open_study("sqlite:///toy.db", app.multirun("toy", run, list(overrides), with_log_configuration=False))


# -- what the sweeper makes of it


def entries(study: optuna.Study) -> Counter[tuple[str, int | None]]:
    return Counter((str(trial.point), trial.seed) for trial in trials_of(study))


@pytest.mark.slow
def test_a_stage_runs_once_by_its_design_and_the_next_uses_its_winner(caplog):
    caplog.set_level("INFO", logger="basecaller")
    first = sweep("ask=first")
    won = standing(first).winner
    assert won is not None
    assert won.params == {"x": 2, "rate": 1.0}
    # each x goes down with its rate until two in a row are no better, and its best two run at a second seed; then the best of
    # each x at one seed more, until the budget is spent
    assert Counter(seed for _, seed in entries(first)) == {1: 12, 2: 6, 3: 3, 4: 3, 5: 3}
    assert "x=4 rate=0.125" not in {point for point, _ in entries(first)}
    assert first.study_name.startswith("toy/first/")
    assert first.metric_names == ["height (m)"]
    assert "A clear winner: x 2 is better than x " in caplog.text
    assert " m (between " in caplog.text

    caplog.clear()
    second = sweep("ask=second")
    trial = standing(second).winner
    assert trial is not None
    assert trial.params == {"y": 0.25}  # beyond the end of the grid, which grew by its own ratio
    assert setting_of(trial, "x") == 2
    assert setting_of(trial, "rate") == 1.0
    assert Counter(seed for _, seed in entries(second)) == {1: 4, 2: 2, 3: 2}
    assert f"x=2 from trial {won.number} of {first.study_name}, height " in caplog.text
    assert "A clear winner: y 0.25 is better than y 0.5" in caplog.text

    for stage, study in (("first", first), ("second", second)):  # nothing is left to run
        before = entries(study)
        assert sweep(f"ask={stage}").study_name == study.study_name
        assert entries(study) == before


@pytest.mark.slow
def test_its_own_seed_key_makes_replicates():
    study = sweep("x=1,2", "dice=3,4")
    assert entries(study) == {("x=1", 3): 1, ("x=2", 3): 1, ("x=1", 4): 1, ("x=2", 4): 1}
    assert study.study_name == sweep("x=1,2", "dice=5").study_name
    assert study.study_name != sweep("x=1,2", "y=1").study_name


def test_a_space_is_sampled():
    study = sweep("x=interval(0.0,4.0)", "hydra.sweeper.n_trials=3", "hydra/sweeper/sampler=random")
    assert [trial.standing for trial in trials_of(study)] == ["complete"] * 3


def test_points_are_compared_by_another_measure():
    study = sweep("x=1,2", "dice=1,2", "+ask.measure=steepness")
    winner = standing(study).winner
    assert winner is not None
    assert winner.params == {"x": 1}


def test_messages_are_in_the_words_of_the_task():
    with pytest.raises(StageError, match=r"stage first .* has not run yet; run it, .*: python toy\.py -m ask=first"):
        sweep("ask=second")
    with pytest.raises(SettingError, match=r"db=a,b: is not a setting of the quadratic"):
        sweep("db=a,b")


# -- what the sweeper needs

COMMON = ("checking", "errors", "files", "nested", "omegaconf_private", "places", "resolving", "workers")
GENERAL = {"basecaller", "common", *(f"common.{name}" for name in COMMON)}
"""Modules of this package that know nothing of basecalling either."""


def test_the_sweeper_names_no_key_of_a_training():
    key = re.compile(r"\b(data|model|optimizer|padding|search|train)\.[a-z]\w*")
    (folder,) = basecaller.hpo.__path__
    named = {path.name: key.findall(path.read_text(encoding="utf-8")) for path in Path(folder).glob("*.py")}
    assert not {name: found for name, found in named.items() if found}


def test_the_sweeper_imports_nothing_of_the_application():
    package = [f"basecaller.hpo.{module.name}" for module in pkgutil.iter_modules(basecaller.hpo.__path__)]
    code = f"import sys, {', '.join(package)}\nprint(*sys.modules)"
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    ours = {name.removeprefix("basecaller.") for name in loaded if name.partition(".")[0] == "basecaller"}
    assert {name for name in ours if name.partition(".")[0] != "hpo"} <= GENERAL
    assert not {"torch", "pod5", "pysam"} & set(loaded)
