"""A model gets signals that are normalised, and run, like those that it was trained on."""

from __future__ import annotations

import re

import numpy as np
import pysam
import pytest
import torch
from omegaconf import OmegaConf, open_dict

from basecaller import Basecaller
from basecaller.calling.model import Trained, load_model
from basecaller.common.errors import DataError, SettingError
from basecaller.config.composition import compose_config
from basecaller.config.settings import data_settings
from basecaller.data.signal import normalisation_of, normalise
from basecaller.networks.decode import greedy
from basecaller.runs.job import resolve_job
from basecaller.runs.signals import Signals, stored_config
from basecaller.runs.training import train
from tests.conftest import TINY, Command
from tests.helpers import reads as files
from tests.helpers.reads import CONTIG, aligned_read


def test_sources_of_one_model_are_normalised_alike():
    mine = "name: pod5, pod5: reads.pod5, bam: calls.bam"
    quantile = f"{{{mine}, normalisation: quantile}}"
    with pytest.raises(
        SettingError, match=r"a\.normalisation=quantile and data\.sources\.b\.normalisation=median_mad: a model"
    ):
        data_settings(compose_config(["data=mixed", f"data.sources={{a: {quantile}, b: {{{mine}}}}}"]))
    with pytest.raises(
        SettingError, match=r"a\.normalisation=quantile and data\.sources\.b\.normalisation=median_mad: a model"
    ):
        data_settings(compose_config(["data=mixed", f"data.sources={{a: {quantile}, b: {{name: simulated}}}}"]))
    pod5_data = ["data=pod5", "data.pod5=reads.pod5", "data.bam=calls.bam", "data.normalisation=quantile"]
    with pytest.raises(SettingError, match=r"data\.test\.normalisation=median_mad: a model"):
        data_settings(compose_config([*pod5_data, f"data.test={{{mine}}}"]))
    assert data_settings(compose_config([*pod5_data, f"data.test={quantile}"])).test.source.normalisation == "quantile"


@pytest.mark.parametrize(
    ("config", "normalisation"),
    [
        ("data: {name: pod5, normalisation: quantile}", "quantile"),
        ("data: {name: pod5}", "median_mad"),
        ("data: {name: bonito, normalisation: quantile}", "quantile"),
        ("data: {sources: {a: {name: bonito}, b: {name: pod5, normalisation: quantile}}}", "quantile"),
    ],
)
def test_the_normalisation_of_a_model_comes_from_its_config(tmp_path, config, normalisation):
    assert Trained(tmp_path, None, OmegaConf.create(config), None).signals.normalisation == normalisation  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("config", "rna"),
    [
        ("data: {rna: true}", True),
        ("data: {rna: 'no'}", False),
        ("data: {sources: {a: {name: simulated}, b: {name: pod5, rna: 'yes'}}}", True),
        ("data: {sources: {a: {name: pod5, rna: false}}}", False),
        ("data: {name: simulated}", False),
    ],
)
def test_the_direction_of_a_model_comes_from_its_config(tmp_path, config, rna):
    assert Trained(tmp_path, None, OmegaConf.create(config), None).rna is rna  # type: ignore[arg-type]


def test_configs_of_earlier_versions_use_median_and_mad():
    config = compose_config(["data=pod5", "data.pod5=reads.pod5", "data.bam=calls.bam"])
    with open_dict(config):
        del config.data["normalisation"]
    assert data_settings(config).source.normalisation == "median_mad"


def test_data_for_a_model_of_rna_is_read_in_its_direction(tmp_path):
    mine = "name: pod5, pod5: reads.pod5, bam: calls.bam"
    pod5_data = ["data=pod5", "data.pod5=reads.pod5", "data.bam=calls.bam"]
    rna, dna = (Trained(tmp_path, None, OmegaConf.create({"data": {"rna": told}}), None) for told in (True, False))  # type: ignore[arg-type]
    assert rna.data(pod5_data).source.rna
    assert rna.data([*pod5_data, f"data.test={{{mine}}}"]).test.source.rna
    assert not dna.data(pod5_data).source.rna
    for config in (None, OmegaConf.create({"data": {"name": "bonito"}})):  # in an unknown direction
        unknown = Trained(tmp_path, None, config, None)  # type: ignore[arg-type]
        assert unknown.data([*pod5_data, "data.rna=true"]).source.rna
    with pytest.raises(SettingError, match=r"data\.rna=true: .* was not trained on direct RNA"):
        dna.data([*pod5_data, "data.rna=true"])
    with pytest.raises(SettingError, match=r"data is direct RNA \(rna: true\) and data\.test is not"):
        data_settings(compose_config([*pod5_data, "data.rna=true", f"data.test={{{mine}}}"]))


POD5 = ["data=pod5", "data.pod5=reads.pod5", "data.bam=calls.bam"]


@pytest.mark.parametrize(
    ("model", "data", "told"),
    [
        (
            "{normalisation: quantile}",
            POD5,
            "data have data.normalisation=median_mad; give data.normalisation=quantile or another model",
        ),
        ("{name: pod5}", [*POD5, "data.normalisation=quantile"], "give data.normalisation=median_mad"),
        ("{normalisation: quantile}", [], "data have data.normalisation=median_mad; give other data or another model"),
        (
            "{normalisation: standardise, mean: 90, stdev: 20}",
            [*POD5, "data.normalisation=standardise", "data.mean=90", "data.stdev=25"],
            "give data.normalisation=standardise data.mean=90 data.stdev=20 or another model",
        ),
        ("{rna: true}", POD5, "data.rna=true, and these reads have data.rna=false"),
        ("{rna: 'no'}", [*POD5, "data.rna=true"], "data.rna=false, and these reads have data.rna=true"),
        ("{sources: {a: {name: pod5}}}", [*POD5, "data.rna=true"], "data.rna=false, and these reads have data.rna=true"),
        (
            "{rna: true}",
            ["data=mixed", "data.sources={a: {name: pod5, pod5: reads.pod5, bam: calls.bam}}"],
            "these reads have data.sources.a.rna=false",
        ),
    ],
)
def test_a_model_continues_only_on_signals_like_its_own(model, data, told):
    source = data_settings(compose_config(data)).source
    with pytest.raises(SettingError, match=re.escape(told)):
        Signals.of(OmegaConf.create(f"data: {model}")).check(source, "train.init=best.pt: it")


def test_fine_tuning_checks_the_signals_of_the_model_before_it_begins(tmp_path):
    (tmp_path / "best.pt").write_bytes(b"")
    given = compose_config([f"train.init={tmp_path}/best.pt"])
    resolve_job(given, tmp_path)  # a checkpoint alone tells nothing
    (tmp_path / "config.yaml").write_text("data: {normalisation: quantile}")
    with pytest.raises(SettingError, match=r"best\.pt: it was trained with data\.normalisation=quantile, and "):
        resolve_job(given, tmp_path)
    with pytest.raises(SettingError, match="give other data or another model"):
        Trained(tmp_path, None, OmegaConf.load(tmp_path / "config.yaml"), None).data(["data=simulated"])  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "config",
    [
        'storage: "sqlite:///evil.db"\nexperiment: x\ndata: {normalisation: "${best:a,b}"}',
        "data: {normalisation: '${oc.env:HOME}'}",
        'data: {normalisation: "\\x24{oc.env:HOME}"}',
        "data: {name: pod5, rna: maybe}",
        "data: {a: [1,",
        "- data",
        "5",
        "a: 1\na: 2",
        "\x00",
        "a: " + 2000 * "[" + 2000 * "]",
    ],
)
def test_the_config_of_an_untrusted_model_looks_nothing_up(tmp_path, monkeypatch, config):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "config.yaml").write_text(config)
    with pytest.raises(DataError, match=re.escape(f"{tmp_path / 'config.yaml'}: ")):
        stored_config(tmp_path)
    assert [file.name for file in tmp_path.iterdir()] == ["config.yaml"]


@pytest.mark.parametrize("config", ["", "data: 5", "data: {sources: 3}", "data: {sources: {a: 3}}", "data: {sources: [1, 2]}"])
def test_a_config_that_tells_nothing_of_signals_stands_for_the_defaults(tmp_path, config):
    (tmp_path / "config.yaml").write_text(config)
    assert Signals.of(stored_config(tmp_path)) == Signals()


@pytest.mark.parametrize(
    "keys", [["data.normalisation=quantile"], ["data.normalisation=standardise", "data.mean=90", "data.stdev=15"]]
)
def test_a_model_calls_and_evaluates_reads_that_are_normalised_as_it_was_trained(tmp_path, run: Command, monkeypatch, keys):
    monkeypatch.chdir(tmp_path)
    path, bam, reads = files.make_source(tmp_path, count=12)
    reads_of = ["data=pod5", f"data.pod5={path}", f"data.bam={bam}"]
    given = [line for line in TINY if not line.startswith(("data.", "search."))] + ["data.validation=0.2", "data.test=0.2"]
    train(resolve_job(compose_config([*reads_of, *keys, *given]), tmp_path / "model"))
    model = load_model("model", "cpu")
    chunks = files.bonito_directory(tmp_path / "bonito")
    for data in (reads_of, ["data=bonito", f"data.path={chunks}"]):
        assert normalisation_of(model.data(data).source).told("data") == " ".join(keys)
    with pytest.raises(
        SettingError, match=r"data\.folder=other: is read with the default data=simulated, but model was trained"
    ):
        model.data(["data.folder=other"])
    run("basecall", "model=model", f"reads={path}", "decoder=greedy", "output=calls")
    with pysam.FastxFile(str(tmp_path / f"calls/{path.stem}.fastq")) as entries:
        called = {entry.name: entry.sequence for entry in entries}
    alone = Basecaller(model, decoder="greedy")
    for read in reads:
        picoampere = read.adc.astype(np.float32) * files.ADC_STEP
        with torch.inference_mode():
            scores = model.network(torch.from_numpy(normalise(picoampere, model.signals))[None])[0]
        expected = greedy(scores.argmax(1).numpy())
        assert (called.get(read.read_id) or "") == alone.call(picoampere).sequence == expected
    told = run("evaluate", "model=model", *reads_of, "data.normalisation=median_mad", code=2).stderr
    assert f"model was trained with {' '.join(keys)}; leave it out" in told
    assert (
        "identity" in run("evaluate", "model=model", *reads_of, "decoder=greedy", "data.validation=0.2", "data.test=0.2").stdout
    )


def test_a_mixture_of_rna_calls_reads_from_the_other_end(tmp_path, run: Command, monkeypatch):
    monkeypatch.chdir(tmp_path)
    made = [aligned_read([("M", 120)], rna=True, seed=seed) for seed in range(12)]
    path = files.write_pod5(tmp_path / "reads.pod5", [each.read for each in made])
    bam = files.write_bam(tmp_path / "calls.bam", [each.record for each in made], {CONTIG: 140})
    given = [line for line in TINY if not line.startswith(("data.", "search."))] + ["data.validation=0.2", "data.test=0.2"]
    mine = f"name: pod5, pod5: {path}, bam: {bam}, labels: moves, chunk_samples: 600"
    simulated = "{name: simulated, reads: 60, min_bases: 20, max_bases: 40, genome_bases: 50000}"
    cfg = compose_config(["data=mixed", f"data.sources={{rna: {{{mine}, rna: true}}, more: {simulated}}}", *given])
    train(resolve_job(cfg, tmp_path / "model"))
    model = load_model("model", "cpu")
    assert model.rna
    told = run("basecall", "model=model", "reads=reads.pod5", "decoder=greedy", "output=calls")
    assert "12 reads" in told.stderr
    with pysam.FastxFile(str(tmp_path / "calls/reads.fastq")) as entries:
        called = {entry.name: entry.sequence for entry in entries}
    for each in made:
        with torch.inference_mode():
            scores = model.network(torch.from_numpy(normalise(each.read.adc)[::-1].copy())[None])[0]
        assert (called.get(each.read.read_id) or "") == greedy(
            scores.argmax(1).numpy()
        )  # may be empty after so little training
    assert any(called.values())
    with pytest.raises(SettingError, match=r"data\.sources\.a is direct RNA \(rna: true\) and data\.sources\.b is not"):
        data_settings(compose_config(["data=mixed", f"data.sources={{a: {{{mine}, rna: true}}, b: {{{mine}}}}}", *given]))
