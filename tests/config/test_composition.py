"""Every config composes to valid settings; errors name key and value."""

from pathlib import Path

import pytest
from omegaconf import OmegaConf

from basecaller.common.errors import DataError, SettingError
from basecaller.config.composition import compose_config, conf_dir, scaled_rate
from basecaller.config.settings import settings
from basecaller.runs.job import resolve_job

CHOICES = [
    (group, path.stem)
    for group in ("model", "optimizer", "padding", "stage")
    for path in sorted(Path(conf_dir(), group).glob("*.yaml"))
]
NETWORK_OF = {name: ["model=bonito_ctc_small"] for name in ("width", "kernel", "dropout")}
"""Stages over keys that RawCTCNet does not have."""


@pytest.mark.slow
@pytest.mark.parametrize(("group", "name"), CHOICES)
def test_every_choice_composes_to_what_it_is_called(group, name):
    config = compose_config([f"{group}={name}", *NETWORK_OF.get(name, [])])
    assert config[group]["mode" if group == "padding" else "name"] == name
    assert settings(config).seed == 1


def test_the_published_defaults():
    rates = {name: settings(compose_config([f"optimizer={name}"])).optimizer.lr for name in ("adam", "adamax", "adagrad")}
    assert rates == {"adam": 0.001, "adamax": 0.002, "adagrad": 0.01}
    model = settings(compose_config(["model=rawctcnet"])).model
    assert (model.channels, model.skip_channels, model.kernel, model.stride) == (256, 512, 3, 1)


def test_stage_grids_are_those_of_the_method():
    grids = {}
    for stage in ("padding", "batch_norm", "lr_adam", "lr_adamax", "lr_adagrad", "batch_size", "dilation", "stacks"):
        params = OmegaConf.to_container(OmegaConf.load(Path(conf_dir(), "stage", f"{stage}.yaml")), resolve=False)
        params = params["hydra"]["sweeper"]["params"]
        grids[stage] = {k: v for k, v in params.items() if isinstance(v, str) and "," in v and "${" not in v}
    halves = "1.0,0.5,0.25,0.125,0.0625"
    assert grids == {
        "padding": {"padding": "off,on"},
        "batch_norm": {"model.batch_norm": "false,true"},
        "lr_adam": {"optimizer.lr": "0.001,0.0005,0.0001,0.00005"},
        "lr_adamax": {"optimizer.lr": "0.002,0.001,0.0005,0.0001"},
        "lr_adagrad": {"optimizer.lr": "0.01,0.005,0.001,0.0005"},
        "batch_size": {"data.batch_size": "1,4,8,16,32", "stage.rate_factor": "2.0,1.0,0.5"},
        "dilation": {"model.max_dilation": "16,32,64,128", "stage.rate_factor": halves},
        "stacks": {"model.stacks": "3,6,9", "stage.rate_factor": halves},
    }


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("optimizer.lr=0", r"optimizer\.lr=0\.0: must be above 0"),
        ("optimizer.lr=fast", r"optimizer\.lr"),
        ("optimizer.lr=nan", r"optimizer\.lr=nan: must be a finite number"),
        ("data.batch_size=-8", r"data\.batch_size=-8: must be at least 1"),
        ("data.reads=0", r"data\.reads=0: must be at least 3"),
        ("data.max_bases=10", r"data\.max_bases=10: must be at least data\.min_bases"),
        ("data.test=0.95", r"data\.validation \+ data\.test"),
        ("train.epochs=0", r"train\.epochs=0: must be at least 1"),
        ("train.epochs=1.5", r"train\.epochs"),
        ("train.schedule=linear", r"train\.schedule=linear: must be one of constant, cosine"),
        ("model.kernel=4", r"model\.kernel=4: must be odd"),
        ("model.max_dilation=48", r"model\.max_dilation=48: must be a power of two"),
        ("model.stacks=-1", r"model\.stacks=-1: must be at least 1"),
        ("padding.mode=sometimes", r"padding\.mode=sometimes: must be one of off, on, masked"),
        ("seed=-1", r"seed=-1: must be at least 0"),
        ("threads=0", r"threads=0: must be at least 1"),
        ("+model.depth=3", r"model\.depth: unknown key"),
    ],
)
def test_bad_values_are_refused_by_key(override, message):
    with pytest.raises(SettingError, match=message):
        settings(compose_config([override]))


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("modle=small", "modle"),
        ("model=huge", r"(?s)huge.*rawctcnet_small"),
        ("optimizer.rate=1", r"optimizer\.rate"),
        ("seed", "seed"),
    ],
)
def test_unknown_groups_and_keys_are_named(override, message):
    with pytest.raises(SettingError, match=message):
        compose_config([override])


def test_missing_pod5_settings_are_asked_for():
    with pytest.raises(SettingError, match=r"data\.pod5: must be given"):
        settings(compose_config(["data=pod5"]))
    with pytest.raises(DataError, match=r"2 entries and data\.bam 1"):
        resolve_job(compose_config(["data=pod5", "data.pod5=[a,b]", "data.bam=c"]), Path())


def test_rates_scale_with_the_root_of_the_batch():
    assert scaled_rate(0.0005, 1.0, 32, 8) == 0.001
    assert scaled_rate(0.0005, 0.5, 4, 8) == pytest.approx(0.000176777)
    assert scaled_rate(0.0005, 0.0625) == 0.00003125
