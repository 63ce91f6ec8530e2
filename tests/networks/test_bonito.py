"""Bonito's network and recipe: training, sweeps, basecalls, export and search."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import optuna
import pytest
from hydra.errors import ConfigCompositionException
from rich.console import Console

from basecaller.calling.basecalling import basecall
from basecaller.calling.evaluation import evaluate
from basecaller.calling.exporting import export
from basecaller.cli.arguments import options
from basecaller.common.errors import SettingError
from basecaller.config.composition import compose_config
from basecaller.config.messages import readable
from basecaller.config.schema import EXPORTS, BasecallOptions, EvaluateOptions, ExportOptions
from basecaller.config.settings import settings
from basecaller.hpo.records import trials_of
from basecaller.hpo.storage import open_study
from basecaller.networks import named
from basecaller.runs.job import resolve_job
from basecaller.runs.training import train
from basecaller.search_plan.costs import estimate
from basecaller.search_plan.preview import preview
from basecaller.search_plan.request import Request
from basecaller.search_plan.stages import hydra_app
from basecaller.task import run_job
from tests.helpers import reads as files
from tests.helpers.networks import BONITO, DATA, bonito
from tests.helpers.sweeping import URL, values


def job(folder: Path, *overrides: str) -> Any:
    return resolve_job(compose_config([*BONITO, *DATA, "data.folder=data", *overrides]), folder)


def swept(*overrides: str) -> optuna.Study:
    """A sweep of a small network of Bonito's kind, with its recipe."""
    with hydra_app() as app:
        given = ["model=bonito_ctc_small", "recipe=bonito", "train.warmup_updates=3", *DATA, *overrides]
        return open_study(URL, app.multirun("config", run_job, given, with_log_configuration=False))


def test_the_published_size_of_bonitos_network():
    found = settings(compose_config(["model=bonito_ctc"])).model
    assert isinstance(found, named.Named)
    assert (found.stride, found.receptive_field) == (3, 3237)
    assert sum(p.numel() for p in found.module(5, 1).parameters()) == 6_649_613


@pytest.mark.slow
def test_a_training_is_the_same_however_often_it_is_interrupted(folder):
    given = ["train.epochs=2", "model.dropout=0.5", "train.clip_factor=1.0", "train.label_smoothing=1"]
    whole = train(job(folder / "whole", *given))
    assert whole.facts.path.startswith("torch")
    assert whole.facts.receptive_field == bonito().receptive_field

    class StopError(Exception):
        pass

    def stop(point: Any) -> None:
        if point.updates > 3:
            raise StopError

    with pytest.raises(StopError):
        train(job(folder / "parts", *given), stop)
    parts = train(job(folder / "parts", *given))
    assert [p.val_loss for p in parts.curve] == [p.val_loss for p in whole.curve]
    other = train(job(folder / "other", *given, "seed=2"))
    assert other.metrics["val_loss"] != whole.metrics["val_loss"]


@pytest.mark.slow
def test_bonitos_network_is_swept_calls_reads_and_is_exported(folder):
    rates = swept(*BONITO[1:], "stage=lr_adamw", "stage.extend=0", "optimizer.lr=0.01,0.005")
    assert values(rates, "optimizer.lr") == [0.01, 0.005]
    study = swept("stage=width", BONITO[2], "model.width=0.02,0.04", "stage.rate_factor=1.0")
    best = study.best_trial
    assert sorted(values(study, "model.width")) == [0.02, 0.04]
    config = trials_of(study)[best.number].config
    assert config["model"]["width"] == best.params["model.width"]
    assert config["optimizer"]["lr"] in (0.01, 0.005)
    model = str(trials_of(study)[best.number].folder)
    files.write_pod5(folder / "reads.pod5", files.make_reads(3, bases=100))
    chosen = options("basecall", [f"model={model}", "reads=reads.pod5", "decoder=greedy", "threads=1"], BasecallOptions)
    assert basecall(chosen, Console(quiet=True)).reads == 3
    told, _ = evaluate(options("evaluate", [f"model={model}", "decoder=greedy", "threads=1"], EvaluateOptions), [])
    assert told.scores.loss > 0
    for form in EXPORTS:
        if form == "onnx":
            pytest.importorskip("onnxruntime")
        done = export(options("export", [f"model={model}", f"format={form}", "reads=reads.pod5"], ExportOptions))
        assert (done.reads, done.same_calls) == (3, 3)
        assert json.loads(done.file.with_suffix(".json").read_text())["stride"] == 3


def test_a_plan_of_another_network_is_refused_before_anything_runs(folder):
    with pytest.raises(
        SettingError, match=r"stage dilation sets model.batch_norm, but the network of model.name=bonito_ctc_small"
    ):
        Request([*DATA, "model=bonito_ctc_small", "plan=[lr_adamw,dilation]"])
    with pytest.raises(ConfigCompositionException) as raised:
        swept("stage=padding")
    assert "model.batch_norm: this network has no such key, only RawCTCNet has" in str(readable(raised.value))
    assert not (folder / "outputs/optuna.db").exists()


@pytest.mark.slow
def test_a_preview_lists_the_stages_of_bonitos_network(folder):
    found, console = Request([*DATA, "recipe=bonito_ctc", "plan=[lr_adamw,width]"]), Console(file=io.StringIO(), width=160)
    preview(found, console)
    told = console.file.getvalue()
    assert "model.width=0.0625  stage.rate_factor=1.0" in told
    assert "optimizer.lr=<scaled best of lr_adamw>" in told
    assert "nan" not in told
    small, large = (estimate(found, {"model.width": width}) for width in ("0.0625", "1.0"))
    assert large > 2 * small > 0


def test_the_recipe_of_bonito():
    chosen = settings(compose_config(["recipe=bonito"]))
    assert (chosen.optimizer.name, chosen.optimizer.lr, chosen.optimizer.weight_decay) == ("adamw", 0.002, 0.01)
    train_ = chosen.train
    assert (train_.clip, train_.clip_factor, train_.label_smoothing) == (None, 2.0, 1.0)
    assert (train_.schedule, train_.warmup_updates) == ("cosine", 500)
    assert settings(compose_config(["recipe=bonito", "train.warmup_updates=9"])).train.warmup_updates == 9
