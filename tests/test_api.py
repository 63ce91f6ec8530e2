"""The Python API: the examples of docs/python.md work, and a call leaves the caller's program as it was."""

from __future__ import annotations

import gc
import logging
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import matplotlib as mpl
import numpy as np
import pytest
import torch
from hydra import compose, initialize_config_dir
from hydra.core.global_hydra import GlobalHydra
from hydra.core.hydra_config import HydraConfig
from joblib.externals.loky import get_reusable_executor

import basecaller
from basecaller import Basecaller, BasecallerError, api, run_search, run_sweep, run_training, task
from basecaller.calling.quality import MOST_QUALITY
from basecaller.common.files import read_json, write_json
from basecaller.common.places import conf_dir
from basecaller.networks.decode import DECODERS
from tests.conftest import TINY
from tests.helpers.reads import make_reads, write_pod5

PAGE = Path(basecaller.__file__).parents[1] / "docs/python.md"
SHORT = [*TINY, "plan=[padding]", "search.workers=1"]


def started(code: str, folder: Path) -> str:
    """Runs a script; returns what it prints."""
    (folder / "script.py").write_text(code, encoding="utf-8")
    done = subprocess.run(
        [sys.executable, "script.py"], cwd=folder, env=os.environ, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.mark.slow
def test_the_examples_of_the_page_work(folder, monkeypatch, capsys):
    """The settings make them short."""
    for name, small in (("run_search", SHORT), ("run_sweep", TINY), ("run_training", TINY)):
        real = getattr(api, name)
        monkeypatch.setattr(api, name, lambda overrides, real=real, small=small: real([*small, *overrides]))
    write_pod5(folder / "reads.pod5", make_reads(2, bases=100))
    examples = re.findall(r"^```python\n(.*?)^```", PAGE.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)
    assert len(examples) == 4
    printed = []
    for example in examples:
        exec(compile(example, str(PAGE), "exec"), {})
        printed.append(capsys.readouterr().out)
    search, sweep, training, calls = printed
    assert f"{folder}/outputs/mine/report.html\n" in search
    assert "points of identity against the untuned defaults" in search
    assert "lr 0.001 " in sweep
    assert f" {folder}/outputs/tiny/runs/" in training
    assert len(training.splitlines()) == 1 + 2 * 2  # two epochs, two points of the curve in each
    assert len(calls.splitlines()) == 2


@pytest.mark.slow
def test_the_result_of_a_search_equals_its_report_and_is_not_repeated(folder, capsys):
    found = run_search(SHORT)
    assert capsys.readouterr().out == ""
    facts = read_json(found.folder / "report.json")
    assert found.report.plain()["winner"] == facts["winner"]
    assert (found.settings, found.metrics["loss"]) == (facts["winner"]["settings"], facts["winner"]["test"]["loss"])
    assert found.model == folder / "outputs/tiny/winner"
    trained = {path: path.stat().st_mtime_ns for path in folder.glob("outputs/tiny/runs/*/result.json")}
    again = run_search(SHORT, verbose=True)
    assert "report: " in capsys.readouterr().out
    assert again.gain == found.gain
    assert {path: path.stat().st_mtime_ns for path in folder.glob("outputs/tiny/runs/*/result.json")} == trained
    assert "hydra/job_logging" not in (found.folder / "search.json").read_text() + (found.folder / "report.json").read_text()


@pytest.mark.slow
def test_a_training_is_reused_and_equals_that_of_the_command(folder):
    first = run_training(TINY)
    assert not first.reused
    assert first.folder.is_absolute()
    assert first.loss == read_json(first.folder / "result.json")["metrics"]["val_loss"]
    subprocess.run([sys.executable, "-m", "basecaller.train", *TINY], check=True, capture_output=True)
    assert [path.parent for path in Path("outputs").resolve().glob("*/runs/*/result.json")] == [first.folder]
    again = run_training(TINY)
    assert again.reused
    assert (again.loss, again.curve) == (first.loss, first.curve)


def test_a_sweep_has_its_winner(folder):
    stage = run_sweep([*TINY, "optimizer.lr=0.02,0.00001"])
    assert stage.winner == {"optimizer.lr": 0.02}
    assert stage.value == min(point.mean for point in stage.points)
    assert [trial.state for trial in stage.trials] == ["complete"] * 2


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: run_training(["train.epoch=1"]), "train.epoch: unknown key; did you mean train.epochs?"),
        (lambda: run_training(["optimizer.lr=0.1,0.2"]), "several values are a sweep"),
        (lambda: run_training(["stage=lr_adam"]), "stage=lr_adam: is a sweep; use run_sweep"),
        (lambda: run_training(["trial.study=x"]), "trial.study, trial.number: the sweeper sets the trial of a job"),
        (lambda: run_sweep(["seed=1,2", "trial.number=3"]), "trial.study, trial.number: the sweeper sets the trial of a job"),
        (lambda: run_training(["debug=overfit"]), "debug=overfit: use basecaller train"),
        (lambda: run_sweep([*TINY, "optimizer.lr=0.1,-1"]), "optimizer.lr=-1.0: must be above 0"),
        (lambda: run_sweep(["optimizer=adam,none"]), "none: no such option"),
        (lambda: run_search(["plan=[x]"]), "plan: there is no stage x"),
        (lambda: run_search(["search.preview=true"]), "search.preview=true: runs nothing"),
        (lambda: Basecaller.load("nowhere"), "model=nowhere: has no best.pt"),
    ],
)
def test_invalid_calls_give_one_message_and_store_nothing(folder, call, words):
    with pytest.raises(BasecallerError) as raised:
        call()
    assert words in str(raised.value)
    assert len(str(raised.value).splitlines()) == 1
    assert not list(folder.glob("outputs/*/runs/*"))


@pytest.mark.slow
def test_the_state_of_the_callers_program_is_restored(folder, monkeypatch):
    handlers, level = list(logging.root.handlers), logging.root.level
    settings, backend, threads = dict(mpl.rcParams), mpl.get_backend(), torch.get_num_threads()
    with initialize_config_dir(str(Path(conf_dir()) / "commands"), job_name="theirs"):
        app = GlobalHydra.instance().hydra
        HydraConfig.instance().set_config(compose("basecall", return_hydra_config=True))
        config = HydraConfig.instance().cfg
        run_search([*SHORT, "threads=3"])
        run_training([*TINY, "threads=3"])
        with pytest.raises(BasecallerError):
            run_training(["seed=x"])
        assert GlobalHydra.instance().hydra is app
        assert HydraConfig.instance().cfg is config
        assert HydraConfig.get().job.name == "theirs"
        assert compose("basecall").format == "fastq"
    monkeypatch.setattr(HydraConfig.instance(), "cfg", None)
    assert (logging.root.handlers, logging.root.level) == (handlers, level)
    assert (dict(mpl.rcParams), mpl.get_backend(), torch.get_num_threads()) == (settings, backend, threads)


@pytest.mark.slow
def test_objects_of_the_callers_program_are_collected_as_before():
    gc.unfreeze()
    task._freeze.cache_clear()
    try:
        with api._guest():
            task._freeze()
            assert gc.get_freeze_count()
        assert not gc.get_freeze_count()
    finally:
        gc.freeze()  # as for all tests


def test_a_training_leaves_the_callers_worker_processes():
    theirs = get_reusable_executor(max_workers=1)
    with api._guest():
        pass
    assert get_reusable_executor(reuse=True) is theirs


def test_paths_follow_the_current_directory(folder, monkeypatch):
    places = []
    for name in ("a", "b"):
        (folder / name).mkdir()
        monkeypatch.chdir(folder / name)
        run_sweep([*TINY, "seed=1,2"])
        places.append(sorted(path.name for path in Path("outputs").glob("optuna.db")))
    assert places == [["optuna.db"]] * 2


@pytest.mark.slow
def test_worker_processes_follow_the_current_directory(folder, monkeypatch):
    """joblib keeps its workers for five minutes, in the directory in which they started."""
    for name in ("here", "there"):
        (folder / name).mkdir()
        monkeypatch.chdir(folder / name)
        facts = run_sweep([*TINY, "optimizer.lr=0.001,0.002", "hydra/launcher=joblib", "hydra.launcher.n_jobs=2"])
        assert [trial.state for trial in facts.trials] == ["complete"] * 2
        assert len(list((folder / name).glob("outputs/*/runs/*/result.json"))) == 2


@pytest.mark.slow
def test_it_works_inside_a_hydra_application(tmp_path):
    (tmp_path / "app.yaml").write_text("lr: 0.1\nhydra: {run: {dir: theirs}, job: {chdir: true}}\n")
    code = f"""
import hydra
from hydra.core.hydra_config import HydraConfig
from basecaller import run_search, run_training

@hydra.main(config_path=".", config_name="app")
def main(cfg):
    assert run_training([*{TINY}, f"optimizer.lr={{cfg.lr}}"]).folder.is_relative_to(HydraConfig.get().runtime.output_dir)
    found = run_search({[*SHORT, "search.workers=2"]})
    print(HydraConfig.get().job.name, found.model.relative_to(HydraConfig.get().runtime.output_dir))

if __name__ == "__main__":
    main()
"""
    *logged, last = started(code, tmp_path).splitlines()
    assert last == "script outputs/tiny/winner"
    assert all(line.startswith("[") for line in logged)  # in the format of the application
    assert any("[basecaller.data.sources][INFO] - preparing" in line for line in logged)


@pytest.mark.slow
def test_importing_the_package_is_cheap(tmp_path):
    code = """
import sys
import basecaller
heavy = {"torch", "hydra", "optuna", "numpy", "omegaconf"}
assert not heavy & set(sys.modules)
assert set(basecaller.__all__) <= set(dir(basecaller))
from basecaller import run_training
assert heavy <= set(sys.modules)
try:
    basecaller.nonesuch
except AttributeError as error:
    print(error)
"""
    assert started(code, tmp_path) == "module 'basecaller' has no attribute 'nonesuch'\n"


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a model that calls bases."""
    place = tmp_path_factory.mktemp("trained")
    return run_training([*TINY, "data.reads=300", "train.epochs=4", "optimizer.lr=0.02", f"output_dir={place}"]).folder


@pytest.fixture
def model(folder: Path, trained: Path) -> Path:
    """A copy of `trained`, which a test may change."""
    return Path(shutil.copytree(trained, folder / "model"))


@pytest.mark.parametrize("decoder", DECODERS)
def test_signals_are_called_alike_alone_or_together_in_any_unit(model, decoder):
    signals = [read.adc for read in make_reads(3, bases=200)]
    loaded = Basecaller.load(model, decoder=decoder, device="cpu")
    alone = [loaded.call(signal) for signal in signals]
    together = list(loaded.calls(0.18 * signal.astype(float) + 20 for signal in signals))
    for one, other in zip(alone, together, strict=True):
        assert one.sequence == other.sequence
        assert set(one.sequence) <= set("ACGT")
        assert len(one.qualities) == len(one.sequence) > 0
        np.testing.assert_allclose(one.qualities, other.qualities, atol=0.05)
        assert one.qualities.min() <= one.mean_quality <= one.qualities.max()


def test_the_models_calibration_is_used(model):
    signal = make_reads(1, bases=200)[0].adc
    raw = Basecaller.load(model).call(signal)
    write_json(model / "calibration.json", {"slope": 0.5, "offset": 2.0})
    calibrated = Basecaller.load(str(model / "best.pt")).call(signal)
    assert calibrated.sequence == raw.sequence
    inside = raw.qualities < MOST_QUALITY
    np.testing.assert_allclose(calibrated.qualities[inside], 0.5 * raw.qualities[inside] + 2, atol=0.6)


@pytest.mark.parametrize("signal", [[], [[1.0, 2.0]], [1.0, float("nan")]])
def test_an_invalid_signal_is_refused(model, signal):
    with pytest.raises(BasecallerError, match="signal 0: shape"):
        Basecaller.load(model).call(signal)
