"""`.hydra/`, what a sweep writes beside its jobs, debug runs, and the printed config."""

from __future__ import annotations

import json
import pstats
import re
from pathlib import Path

import pytest
from omegaconf import OmegaConf

from basecaller.common.errors import BasecallerError, SettingError
from basecaller.config.composition import compose_config
from basecaller.hpo.urls import shown
from basecaller.runs.debugging import overfit, profiled
from basecaller.runs.job import Job, resolve_job
from tests.conftest import TINY, Command
from tests.helpers.sweeping import sweep

SECRET = "storage=postgresql://me:secret@host/db?sslpassword=secret"
SMALL = [line for line in TINY if not line.startswith("train.")]


def job_of(*overrides: str) -> Job:
    job = resolve_job(compose_config([*SMALL, *overrides]), Path())
    return Job(job.settings, job.config, job.run_id, Path("outputs/debug/runs") / job.run_id)


def test_a_run_keeps_what_hydra_composed_prints_it_and_can_be_run_again(run: Command, tmp_path: Path):
    done = run("train", *TINY, SECRET, "+hydra.job.env_set.API_KEY=secret", "print_config=true", "seed=7")
    assert OmegaConf.create(done.stdout).seed == 7
    assert "storage: postgresql://me:***@host/db?sslpassword=***" in done.stdout
    (folder,) = (tmp_path / "outputs/tiny/runs").iterdir()
    kept = {file.stem: OmegaConf.load(file) for file in (folder / ".hydra").iterdir()}
    assert set(kept) == {"config", "hydra", "overrides"}
    assert kept["config"].seed == 7
    assert kept["config"].output_dir == "outputs/tiny"
    assert kept["hydra"].hydra.job.env_set.API_KEY == "***"
    assert "seed=7" in kept["overrides"]
    assert not [file for file in folder.rglob("*") if file.is_file() and b"secret" in file.read_bytes()]
    (folder / "result.json").unlink()
    run("train", f"--experimental-rerun={folder}")
    assert (folder / "result.json").exists()
    assert list((tmp_path / "outputs/tiny/runs").iterdir()) == [folder]


@pytest.mark.slow
def test_a_sweep_keeps_its_command_and_its_best_point(folder: Path, capsys):
    study = sweep("optimizer.lr=0.01,0.001", "print_config=true")
    (place,) = (folder / "outputs/tiny/sweeps/sweep").iterdir()
    assert study.study_name.endswith(f"sweep/{place.name}")
    asked = OmegaConf.load(place / "multirun.yaml")
    assert "optimizer.lr=0.01,0.001" in asked.hydra.overrides.task
    best = OmegaConf.load(place / "optimization_results.yaml")
    assert (best.name, dict(best.best_params), best.best_value) == ("optuna", study.best_params, study.best_value)
    overrides = {OmegaConf.load(file)[-4] for file in folder.glob("outputs/tiny/runs/*/.hydra/overrides.yaml")}
    assert overrides == {"optimizer.lr=0.01", "optimizer.lr=0.001"}
    assert capsys.readouterr().out.count("experiment: tiny") == 1  # by the sweep, not by its jobs


HIDDEN = {
    "postgresql://me:secret@host/db": "postgresql://me:***@host/db",
    "storage='postgresql://me:secret@host/db'": "storage='postgresql://me:***@host/db'",
    "${oc.env:PGPASSWORD}": "${oc.env:PGPASSWORD}",
    "sqlite:///outputs/optuna.db": "sqlite:///outputs/optuna.db",
    "hydra.job.env_set.WANDB_API_KEY=secret": "hydra.job.env_set.WANDB_API_KEY=***",
    "hydra.job.env_set={PGPASSWORD:secret}": "hydra.job.env_set={PGPASSWORD:***",
    "hydra.job.env_set.OMP_NUM_THREADS=1": "hydra.job.env_set.OMP_NUM_THREADS=1",
}


@pytest.mark.parametrize("text", HIDDEN)
def test_shown_configs_have_no_secrets(text):
    assert shown([{"key": text}]) == [{"key": HIDDEN[text]}]


@pytest.mark.usefixtures("folder")
def test_overfit_stops_once_a_batch_is_memorised_and_fails_if_it_never_is():
    job = job_of("debug=overfit", "model.channels=16", "model.skip_channels=16", "optimizer.lr=0.01", "padding=masked")
    assert job.settings.experiment == "debug"
    assert overfit(job, 0.5) < 0.5
    assert not (job.folder / "result.json").exists()
    updates = json.loads("[" + ",".join(line.split(",")[1] for line in _lines(job)) + "]")
    assert updates[-1] < job.settings.train.updates
    hopeless = job_of("debug=overfit", "optimizer.lr=1e-6", "train.updates=20", "train.validations=2")
    with pytest.raises(BasecallerError, match=r"not memorised: the lowest training loss in 20 updates is \d"):
        overfit(hopeless, 0.1)


def _lines(job: Job) -> list[str]:
    return (job.folder / "metrics.csv").read_text(encoding="utf-8").splitlines()[1:]


@pytest.mark.slow
@pytest.mark.usefixtures("folder")
@pytest.mark.parametrize("kind", ["python", "torch"])
def test_profile_prints_a_table_and_writes_a_file(capsys, kind):
    job = job_of("debug=profile", "train.updates=10")
    profiled(job, kind)
    table = capsys.readouterr().out
    if kind == "python":
        assert "tottime" in table
        assert "step" in {name for _, _, name in pstats.Stats(str(job.folder / "profile.prof")).stats}
    else:
        assert "Self CPU" in table
        assert json.loads((job.folder / "trace.json").read_text())["traceEvents"]
    profiled(job, kind)  # a result does not keep it from running again


@pytest.mark.parametrize("name", ["overfit", "limit", "profile"])
def test_a_debug_run_is_kept_apart_from_results(name):
    config = compose_config([f"debug={name}"])
    assert (config.experiment, config.output_dir) == ("debug", "outputs/debug")
    compose_config([f"debug={name}", "experiment=debug-phage"])
    with pytest.raises(SettingError, match=r"experiment=phage: a debug run .* experiment=debug-phage"):
        compose_config([f"debug={name}", "experiment=phage"])


@pytest.mark.usefixtures("folder")
@pytest.mark.parametrize("name", ["overfit", "profile"])
def test_debug_runs_of_one_training_cannot_be_swept(name):
    with pytest.raises(SettingError, match=f"debug={name} is for one training"):
        sweep(f"debug={name}", "optimizer.lr=0.01,0.001")


def test_limit_makes_a_whole_search_short(run: Command, tmp_path: Path):
    small = [line for line in SMALL if not line.startswith("search.")]
    shown = run("search", *small, "debug=limit", "plan=[padding]", "search.workers=1").stdout
    assert "test identity" in shown
    assert "model: outputs/debug/winner" in shown
    pages = [(tmp_path / "outputs/debug" / name).read_text() for name in ("report.html", "report.md")]
    assert all("A debug run (debug=limit): it shows that everything runs" in " ".join(text.split()) for text in (*pages, shown))
    assert not any(re.search(r"\w\| ", line) for line in pages[1].splitlines() if line.startswith("| "))
    assert not (tmp_path / "outputs/tiny").exists()
    for result in tmp_path.glob("outputs/debug/runs/*/result.json"):
        assert json.loads(result.read_text())["facts"]["chunks"] <= 32


STAGE = """# @package _global_
stage:
  name: size
  question: Does a wider kernel help?
  choice: model
  simple_first: true
hydra:
  sweeper:
    params:
      model: "little,wide"
"""
MODEL = "defaults: [rawctcnet_small]\nname: {}\nkernel: {}\nchannels: 4\nskip_channels: 4\n"
DATA = "defaults: [simulated]\nreads: 60\nmin_bases: 20\nmax_bases: 40\ngenome_bases: 50000\nvalidation: 0.2\ntest: 0.2\n"


@pytest.fixture
def own(tmp_path: Path) -> Path:
    """A folder of configs outside the package."""
    place = tmp_path / "my configs"
    files = {
        "stage/size": STAGE,
        "model/little": MODEL.format("little", 3),
        "model/wide": MODEL.format("wide", 5),
        "data/few": DATA,
    }
    for name, text in files.items():
        (place / name).parent.mkdir(parents=True, exist_ok=True)
        (place / name).with_suffix(".yaml").write_text(text, encoding="utf-8")
    return place


def test_your_own_configs_work_with_every_command(run: Command, tmp_path: Path, own: Path):
    given = [f"--config-dir={own}", "data=few", *(line for line in TINY if not line.startswith(("data.", "model.")))]
    run("train", *given, "model=wide")
    run("train", "-m", *given, "stage=size")
    for job in tmp_path.glob("outputs/tiny/runs/*"):
        assert "it had finished before" in run("train", f"--experimental-rerun={job}").stderr
    assert "wide" in run("search", *given, "plan=[size]", "search.winner.model=wide", "search.workers=1").stdout
    assert OmegaConf.load(tmp_path / "outputs/tiny/winner/config.yaml").model.name == "wide"
    assert {study.parent.name for study in tmp_path.glob("outputs/tiny/sweeps/*/*")} == {"size", "headline"}
    assert "reads kept" in run("prepare", f"hydra.searchpath=['file://{own}']", "data=few").stdout
    assert "data.reads: a whole number, at least 3; default 60" in run("search", *given[:2], "--help").stdout
    assert "nonesuch: no such folder" in run("search", "--config-dir", "nonesuch", code=2).stderr


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            ["plan=[size]", "search.winner.model=nonesuch"],
            "search.winner: model=nonesuch: no such option; options are",
        ),
        (
            ["plan=[padding,batch_norm]", "search.winner.model=bonito_ctc"],
            "model=bonito_ctc: this network has no model.batch_norm",
        ),
        (["plan=[size]", "search.winner.model=wide", "search.winner.train.epoch=3"], "search.winner.train.epoch: unknown key"),
    ],
)
def test_an_impossible_network_of_the_winner_is_refused_before_anything_runs(run: Command, tmp_path, own, arguments, message):
    refused = run("search", f"--config-dir={own}", "data=few", *arguments, code=2)
    assert message in refused.stderr
    assert not (tmp_path / "outputs").exists()
