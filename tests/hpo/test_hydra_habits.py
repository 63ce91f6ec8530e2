"""What users of Hydra type: every form of a sweep, their own stages, changed folders, names, and invalid lines."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from pathlib import Path

import optuna
import pytest
from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.trial import TrialState

from basecaller.common.errors import BasecallerError
from basecaller.hpo.records import StudyRecord
from basecaller.hpo.standing import standing
from basecaller.runs import trial as life
from basecaller.runs.folder import Result
from tests.conftest import TINY, Command
from tests.helpers.sweeping import RATES, points, sweep
from tests.helpers.training import FACTS

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("folder")]

FORMS = {
    "glob": (["optimizer=glob(ada*,exclude=*w)"], ["optimizer=adagrad", "optimizer=adam", "optimizer=adamax"]),
    "quoted options": (["optimizer='adam','sgd'"], ["optimizer=adam", "optimizer=sgd"]),
    "choice": (["optimizer=choice(adam,sgd)"], ["optimizer=adam", "optimizer=sgd"]),
    "choice of one": (["optimizer=choice(sgd)"], ["optimizer=sgd"]),
    "range": (["data.batch_size=range(1,4)"], ["data.batch_size=1", "data.batch_size=2", "data.batch_size=3"]),
    "range of floats": (["train.clip=range(1,2,0.5)"], ["train.clip=1.0", "train.clip=1.5"]),
    "range down": (["data.batch_size=range(4,1,step=-2)"], ["data.batch_size=4", "data.batch_size=2"]),
    "sort": (["data.batch_size=sort(4,1,2)"], ["data.batch_size=1", "data.batch_size=2", "data.batch_size=4"]),
    "tag": (["data.batch_size=tag(mine,choice(4,8))"], ["data.batch_size=4", "data.batch_size=8"]),
    "cast": (["train.clip=float(1,2)"], ["train.clip=1.0", "train.clip=2.0"]),
    "null": (["train.clip=null,2"], ["train.clip=null", "train.clip=2.0"]),
    "truth": (["model.batch_norm=yes,off,true"], ["model.batch_norm=true", "model.batch_norm=false"]),
    "the same number twice": (["train.clip=2,2.0,1"], ["train.clip=2.0", "train.clip=1.0"]),
    "++": (["++optimizer.lr=0.1"], [""]),
    "++ swept": (["++train.clip=1,2"], ["train.clip=1.0", "train.clip=2.0"]),
    "a key twice": (["train.clip=1,2", "train.clip=3"], [""]),
    "group with an override below": (["optimizer=adam,sgd", "optimizer.lr=0.1"], ["optimizer=adam", "optimizer=sgd"]),
    "two groups": (
        ["optimizer=adam,sgd", "padding=off,on"],
        [f"optimizer={name} padding={mode}" for name in ("adam", "sgd") for mode in ("off", "on")],
    ),
    "options of a setting": (["train.schedule=cosine,constant"], ["train.schedule=cosine", "train.schedule=constant"]),
    "quoted numbers": (["data.batch_size='4','8'"], ["data.batch_size=4", "data.batch_size=8"]),
}


@pytest.mark.parametrize("form", FORMS)
def test_every_form_of_a_sweep_gives_its_points(untrained, form):
    overrides, expected = FORMS[form]
    assert points(sweep(*overrides)) == expected


def test_shuffled_points_all_run(untrained):
    study = sweep("data.batch_size=shuffle(range(1,5))")
    assert sorted(points(study)) == [f"data.batch_size={n}" for n in range(1, 5)]


REFUSED = {
    "unknown option": (["optimizer=adam,nonesuch"], r"optimizer=nonesuch: no such option; options are adagrad"),
    "glob of nothing": (["optimizer=glob(zz*)"], r"optimizer=glob\(zz\*\): gives no values"),
    "empty range": (["data.batch_size=range(1,1)"], "gives no values"),
    "text for a number": (["optimizer.lr=0.1,fast"], r"optimizer\.lr=fast: must be a number"),
    "a list for a number": (["train.clip=[1,2],[3]"], r"train\.clip=\[1,2\]: must be a number or null"),
    "fractions of a whole number": (["data.batch_size=1.5,2"], r"data\.batch_size=1\.5: must be a whole number"),
    "a fraction bounds an interval": (["data.batch_size=interval(0.5,8)"], "must be whole numbers"),
    "bound of an interval": (["optimizer.lr=interval(0,1)"], r"optimizer\.lr=0\.0: must be above 0"),
    "interval upside down": (["train.clip=interval(8,1)"], r"train\.clip=interval\(8,1\)"),
    "interval of odd numbers": (["model.kernel=interval(1,9)"], r"model\.kernel=interval\(1,9\): must be odd"),
    "interval of options": (["optimizer=interval(1,9)"], "only numbers have an interval"),
    "interval of truth": (["model.batch_norm=interval(0,1)"], "only numbers have an interval"),
    "sampled seeds": (["seed=1,2", "optimizer.lr=interval(0.1,0.2)"], "sampled points run at one seed"),
    "no trials": (["hydra.sweeper.n_trials=-1", RATES], r"hydra\.sweeper\.n_trials=-1: must be at least 1"),
    "several stages": (["stage=lr_adam,lr_adamax"], "one stage at a time"),
    "experiments": (["experiment=a,b"], "experiment=a,b: cannot be swept"),
    "replicates": (["stage.replicates=1,2"], "cannot be swept"),
    "devices": (["device=cpu,auto"], "cannot be swept"),
    "a key of nobody": (["+key=1,2"], "key: unknown key"),
    "a key of nobody in a section": (["+model.depth=1,2"], r"model\.depth: unknown key"),
    "points that cannot be, together": (["data.min_bases=20,50", "data.max_bases=60,40"], "max_bases=40: must be at least"),
    "a GPU that is not there": (["device=cuda:99", RATES], r"device=cuda:99: this machine has \d+ GPUs"),
    "a name with a slash": (["experiment=a/b", RATES], "experiment=a/b: must be letters"),
    "threads": (["threads=0", RATES], "threads=0: must be at least 1"),
    "choice": (["stage.choice=optmizer.lr", RATES], r"stage\.choice=optmizer\.lr: no such setting"),
    "extend": (["stage.extend=x", RATES], r"stage\.extend=x: must be a whole number"),
    "the winner's settings": (["search.winner.train.epochs=0", RATES], r"search\.winner\.train\.epochs=0: must be at least 1"),
}  # fmt: skip


@pytest.mark.parametrize("kind", REFUSED)
def test_what_cannot_be_swept_is_refused_before_anything_is_stored(folder: Path, kind):
    overrides, message = REFUSED[kind]
    with pytest.raises(BasecallerError, match=message):
        sweep(*overrides)
    assert not (folder / "outputs/optuna.db").exists()
    assert not list(folder.glob("outputs/*/runs"))


STOCK = {
    "hydra.sweeper.direction=minimize": "always minimised",
    "hydra.sweeper.n_jobs=2": "hydra.launcher.n_jobs=N",
    "hydra.sweeper.max_batch_size=2": "hydra.launcher.n_jobs=N",
    "hydra.sweeper.study_name=x": "use experiment=NAME",
    "hydra.sweeper.storage=sqlite:///x.db": "use storage=URL",
    "hydra.sweeper.custom_search_space=a.b": "hydra.sweeper.params",
    "+hydra.sweeper.direction=minimize": "always minimised",
    "hydra.sweeper.sampler.seed=1": "choose one first, as in hydra/sweeper/sampler=tpe",
    "hydra.launcher.n_jobs=2": "choose one first, as in hydra/launcher=joblib",
    "hydra.sweeper.n_trials=x": "could not be converted to Integer",
    "hydra/sweeper/sampler=nonesuch": "no such option; options are cmaes",
    "optimizer.rate=1": "optimizer.rate: unknown key; known keys are name, lr, weight_decay, momentum",
    "trian.epochs=1": "trian.epochs: unknown key",
    "train.epoch=1": "did you mean train.epochs?",
    "data.pod5=x": "it belongs to data=pod5",
    "optimizer=a b'": "needs quotes",
    "optimizer.lr": "optimizer.lr: must be key=value",
    "model=null": "must be a string or a list",
    "train=3": "train=3: must be a section of keys",
    "~stage": "stage.name: must be given",
    "~model": "model: missing",
    "model.channels=${nope}": "model.channels: Interpolation key 'nope' not found",
}


@pytest.mark.parametrize("line", STOCK)
def test_an_invalid_sweep_gives_one_plain_message(run: Command, tmp_path: Path, line):
    done = run("train", "-m", line, code=2)
    assert STOCK[line] in done.stderr
    (message,) = done.stderr.splitlines()
    assert message.startswith("error: ")
    assert not any(noise in message for noise in ("full_key", "object_type", "Search path", "In 'config'", "Traceback"))
    assert not (tmp_path / "outputs/optuna.db").exists()


@pytest.mark.parametrize(
    ("line", "words"),
    [
        (RATES, "needs -m"),
        ("stage=lr_adam", "add -m"),
        ("model.stride=20", "lower model.stride"),
        ("--config-name=nonesuch", "nonesuch: no such config"),
        ("--config-dir=nonesuch", "no such folder"),
        ("--config-dri=mine", "--config-dri=mine: no such flag"),
    ],
)
def test_an_invalid_training_gives_one_plain_message(run: Command, line, words):
    (message,) = [line for line in run("train", line, code=2).stderr.splitlines() if " preparing " not in line]
    assert message.startswith("error: ")
    assert words in message


def test_a_grid_of_whole_numbers_grows_by_fractions_in_its_study(untrained):
    first = sweep("train.clip=1,2")
    larger = sweep("train.clip=0.5,1,2.0")
    assert larger.study_name == first.study_name
    assert sorted(points(larger)) == ["train.clip=0.5", "train.clip=1.0", "train.clip=2.0"]
    assert isinstance(larger.trials[0].distributions["train.clip"], FloatDistribution)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (["train.clip=2", RATES], ["train.clip=2.0", RATES]),
        (["model.batch_norm=yes", RATES], ["model.batch_norm=true", RATES]),
        (["optimizer=adam,sgd", "optimizer.weight_decay=0"], ["optimizer=adam,sgd", "optimizer.weight_decay=0.0"]),
        (["train.schedule=cosine,constant"], ["train.schedule=constant,cosine"]),
        (["data.batch_size=4,8"], ["data.batch_size='8','4'"]),
        (["threads=1", RATES], ["threads=2", RATES]),
    ],
)
def test_a_study_is_the_same_however_its_settings_are_written(untrained, one, other):
    first, again = sweep(*one), sweep(*other)
    assert again.study_name == first.study_name
    assert len(again.trials) == len(first.trials)


def test_a_distribution_has_the_type_of_its_setting(untrained):
    kinds = {"optimizer.lr": FloatDistribution, "data.batch_size": IntDistribution, "model.batch_norm": CategoricalDistribution,
             "optimizer": CategoricalDistribution, "train.schedule": CategoricalDistribution}  # fmt: skip
    study = sweep(
        "optimizer=sgd,adam",
        "optimizer.lr=1,2",
        "data.batch_size=2,4",
        "model.batch_norm=true,false",
        "train.schedule=cosine,constant",
    )
    assert {key: type(d) for key, d in study.trials[0].distributions.items()} == kinds
    assert study.trials[0].distributions["train.schedule"].choices == ("constant", "cosine")


@pytest.mark.parametrize(
    ("params", "expected"),
    [
        ("{train.clip: null, optimizer.lr: '0.1,0.2'}", ["optimizer.lr=0.1", "optimizer.lr=0.2"]),
        ("{optimizer.lr: [0.1, 0.2]}", ["optimizer.lr=0.1", "optimizer.lr=0.2"]),
        ("{optimizer: [adam, sgd]}", ["optimizer=adam", "optimizer=sgd"]),
        ("{train.clip: [null, 1]}", ["train.clip=null", "train.clip=1.0"]),
        ("{model.batch_norm: [true, false]}", ["model.batch_norm=true", "model.batch_norm=false"]),
        ("{model.batch_norm: true, padding: 'on'}", [""]),
        ("{data.folder: 'a folder, with commas'}", None),
        ("{data.folder: \"'a folder, with commas'\"}", [""]),
        ("{optimizer.lr: '${train.infeasible}'}", [""]),
        (
            "{optimizer: glob(ada*), ++optimizer.lr: 0.1}",
            [f"optimizer={name}" for name in ("adagrad", "adam", "adamax", "adamw")],
        ),
    ],
)
def test_your_own_stage_may_give_its_params_in_yaml(untrained, folder: Path, params, expected):
    (folder / "mine/stage").mkdir(parents=True)
    stage = "{name: own, question: What?, choice: null, simple_first: false, replicates: 1, rate_factor: 1.0, extend: 0}"
    text = f"# @package _global_\nstage: {stage}\nhydra:\n  sweeper:\n    params: {params}\n"
    (folder / "mine/stage/own.yaml").write_text(text)
    own = ("stage=own", f"hydra.searchpath=[file://{folder}/mine]")
    if expected is None:
        with pytest.raises(BasecallerError, match="cannot be swept"):
            sweep(*own)
    else:
        assert points(sweep(*own)) == expected


def test_jobs_that_change_their_folder_share_one_storage(folder: Path):
    study = sweep("hydra.job.chdir=true", RATES)
    assert points(study) == ["optimizer.lr=0.01", "optimizer.lr=0.001"]
    assert [str(path.relative_to(folder)) for path in folder.rglob("*.db")] == ["outputs/optuna.db"]
    assert {(folder / t.user_attrs["folder"] / "result.json").exists() for t in study.trials} == {True}


def test_numbered_folders_take_no_run_from_another_sweep(folder: Path):
    numbered = "hydra.sweep.subdir=${hydra:job.num}"
    trials = [*sweep(numbered, RATES).trials, *sweep(numbered, RATES, "data.batch_size=4").trials]
    folders = {t.user_attrs["folder"] for t in trials}
    assert len(folders) == 4
    for trial in trials:
        kept = json.loads((folder / trial.user_attrs["folder"] / "result.json").read_text())
        assert kept["metrics"]["val_loss"] == trial.value


PRUNING = ("search.pruner=ThresholdPruner", "search.pruner_args={upper: 0.001}")


def test_points_that_were_pruned_are_trained_once_the_pruner_is_off():
    with pytest.raises(BasecallerError, match="pruned"):
        sweep(*PRUNING, RATES)
    study = sweep(RATES)
    assert points(study) == ["optimizer.lr=0.01", "optimizer.lr=0.001"]
    assert standing(study).open == []
    assert not study.get_trials(states=(TrialState.PRUNED, TrialState.WAITING))


def test_a_validation_loss_of_nan_is_a_divergence(monkeypatch, folder: Path):
    from basecaller.training import fit

    real = fit.evaluate
    monkeypatch.setattr(fit, "evaluate", lambda *given, **kwargs: replace(real(*given, **kwargs), loss=math.nan))
    for _ in range(2):  # and is not tried again
        with pytest.raises(BasecallerError, match="diverged"):
            sweep("optimizer.lr=0.01,0.1")
    (summary,) = optuna.get_all_study_summaries("sqlite:///outputs/optuna.db")
    trials = optuna.load_study(study_name=summary.study_name, storage="sqlite:///outputs/optuna.db").trials
    assert [(t.state, t.user_attrs["outcome"]) for t in trials] == [(TrialState.FAIL, "diverged")] * 2
    assert "the validation loss is nan at update" in trials[0].user_attrs["message"]
    assert not list(folder.glob("outputs/tiny/runs/*/result.json"))


def test_a_finished_run_without_a_finite_loss_is_not_reused(folder: Path):
    study = sweep("optimizer.lr=0.01")
    file = folder / study.trials[0].user_attrs["folder"] / "result.json"
    content = json.loads(file.read_text())
    file.write_text(json.dumps(content | {"metrics": content["metrics"] | {"val_loss": float("nan")}}))
    again = sweep("optimizer.lr=0.01,0.1")  # another study
    assert again.trials[0].value == study.trials[0].value
    assert not again.trials[0].user_attrs["taken_over"]


@pytest.mark.parametrize("broken", ["train", "asdict"])
def test_a_trial_ends_whatever_fails_between_its_claim_and_its_end(monkeypatch, broken):
    monkeypatch.setattr(life, broken, lambda *_, **__: 1 / 0)
    with pytest.raises(BasecallerError, match="failed"):
        sweep("optimizer.lr=0.01")
    (summary,) = optuna.get_all_study_summaries("sqlite:///outputs/optuna.db")
    (trial,) = optuna.load_study(study_name=summary.study_name, storage="sqlite:///outputs/optuna.db").trials
    assert (trial.state, trial.user_attrs["outcome"]) == (TrialState.FAIL, "failed")
    assert "division by zero" in trial.user_attrs["message"]


@pytest.mark.parametrize(
    ("axis", "edge"),
    [
        ("data.batch_size=1,4", {}),
        ("optimizer.weight_decay=0,0.1", {}),
        ("train.warmup=0,0.5", {}),
        ("data.batch_size=2,4", {"data.batch_size": "lowest"}),
    ],
)
def test_a_bound_of_a_setting_is_not_an_edge(monkeypatch, axis, edge):
    key = axis.partition("=")[0]

    def train(job, on_point):
        section, _, name = key.partition(".")
        loss = 1.0 + float(job.config[section][name])  # the lowest value wins
        return Result({"val_loss": loss}, [], FACTS)

    monkeypatch.setattr(life, "train", train)
    assert StudyRecord.of(sweep(axis)).edges == edge


@pytest.mark.parametrize("name", ["ünïcode", "2024-11-25_run.1", "x" * 100, "実験"])
def test_names_of_experiments_work_everywhere(run: Command, tmp_path: Path, name):
    given = [*TINY, f"experiment='{name}'"]
    run("train", "-m", *given, RATES)
    assert (tmp_path / "outputs" / name / "runs").is_dir()
    run("report", *given[-1:])
    assert name in (tmp_path / "outputs" / name / "report.html").read_text(encoding="utf-8")


NAMES = {
    "slash": "a/b",
    "quote": '"a\'b"',
    "blank": "'a b'",
    "300 letters": "x" * 300,
    "now": "${now:%H-%M}",
    "leading dot": ".hidden",
    "parent": "..",
    "null": "null",
    "list": "[a]",
    "nothing": "''",
}


@pytest.mark.parametrize(
    ("command", "kind"),
    [(["train", "-m", RATES], kind) for kind in NAMES]
    + [([name], kind) for name in ("search", "report") for kind in ("slash", "now")],
)
def test_other_names_are_refused_before_anything_is_stored(run: Command, tmp_path: Path, command, kind):
    done = run(*command, f"experiment={NAMES[kind]}", code=2)
    (message,) = done.stderr.splitlines()
    assert message.startswith("error: experiment=")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    "line", ["plan=padding,lr_adam", "search.replicates=1,2", "experiment=a,b", "stage=padding,lr_adam", "stage"]
)
def test_a_search_sweeps_settings_of_trainings_only(run: Command, tmp_path: Path, line):
    (message,) = run("search", line if "=" in line else f"{line}=lr_adam", code=2).stderr.splitlines()
    assert line in message
    assert not list(tmp_path.iterdir())


def test_interpolations_of_hydra_reach_every_command(run: Command, tmp_path: Path):
    here = "data.folder=${hydra:runtime.cwd}/elsewhere"
    small = [line for line in TINY if not line.startswith("data.folder")]
    run("prepare", *small, here)
    assert (prepared := list((tmp_path / "elsewhere").glob("simulated-*")))
    run("search", *small, here, "search.preview=true")
    run("train", "-m", *small, here, RATES)
    assert list((tmp_path / "elsewhere").glob("simulated-*")) == prepared
    assert not (tmp_path / "outputs/data").exists()
