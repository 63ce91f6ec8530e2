"""Hydra's and OmegaConf's errors in one line that says what to do."""

from __future__ import annotations

import pytest
from hydra.errors import HydraException, MissingConfigException

from basecaller.common.errors import DataError, SettingError
from basecaller.config.composition import compose_config, composed
from basecaller.config.messages import is_users, readable
from basecaller.config.schema import ReportOptions


@pytest.mark.parametrize(
    ("override", "words"),
    [
        ("train.epoch=1", "train.epoch: unknown key; did you mean train.epochs?"),
        ("exprimnt=x", "exprimnt: unknown key; did you mean experiment?"),
        ("train.colour=1", "train.colour: unknown key; known keys are budget, epochs"),
        ("nowhere.colour=1", "nowhere.colour: unknown key"),
        ("data.colour=1", "data.colour: unknown key; --help with your data=... lists the keys of the source"),
        ("data.validatoin=0.2", "data.validatoin: unknown key; did you mean data.validation?"),
        ("optimiser.lr=0.1", "optimiser.lr: unknown key; did you mean optimizer.lr?"),
        ("epochs=3", "epochs: unknown key; did you mean train.epochs?"),
        ("train.batch_size=4", "train.batch_size: unknown key; did you mean data.batch_size?"),
        ("optimizer=adm", "optimizer=adm: no such option; did you mean adam? Options are adagrad, adam, "),
        ("reads=300", "reads: unknown key; did you mean data.reads?"),
        (
            "plan=[padding,",
            "plan=[padding,: a bracket is not closed; a list or mapping with spaces needs quotes, as in 'plan=[a, b]'",
        ),
        ("data.pod5=x", "data.pod5: this source has no such key; it belongs to data=pod5"),
        ("hydra.sweeper.n_jobs=2", "hydra.sweeper.n_jobs: "),
        ("hydra.launcher.n_jobs=2", "this launcher has no such key; choose one first, as in hydra/launcher=joblib"),
        ("optimizer=nonesuch", "optimizer=nonesuch: no such option; options are adagrad, adam"),
        (
            "data.folder=my reads!(",
            "data.folder=my reads!(: cannot be read; text with spaces or special characters needs quotes",
        ),
        ("data.folder", "data.folder: must be key=value"),
        ("optimizer.lr=1,2", "optimizer.lr=1,2: several values are a sweep, which needs -m; a list is optimizer.lr=[1,2]"),
    ],
)
def test_errors_of_overrides_are_one_line(override, words):
    with pytest.raises(SettingError) as caught:
        composed([override])
    assert str(caught.value).startswith(words) or words in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_command_offers_its_own_keys_too():
    with pytest.raises(SettingError, match=r"wacth: unknown key; did you mean watch\?"):
        compose_config(["wacth=true"], ReportOptions)


def test_a_launcher_that_is_not_installed_is_answered_with_its_extra():
    error = MissingConfigException("", "hydra/launcher/submitit_slurm", ["basic", "joblib"])
    assert str(readable(error)) == "hydra/launcher=submitit_slurm: needs: python -m pip install 'basecaller[slurm]'"


def test_a_missing_config_is_named():
    with pytest.raises(SettingError, match="nonesuch: no such config"):
        composed([], "nonesuch")


def test_our_own_errors_stay_unchanged():
    inner = DataError("reads.pod5: is empty")
    outer = HydraException("full_key: x\nError in resolver")
    outer.__cause__ = inner
    assert readable(outer) is inner


def test_useless_lines_are_left_out():
    error = HydraException("Something is wrong\n    full_key: a.b\n    object_type=dict\n  with it")
    assert str(readable(error)) == "Something is wrong with it"


def test_bugs_are_not_user_errors():
    def broken() -> None:
        raise TypeError("a bug")

    assert is_users(SettingError("x"))
    assert is_users(HydraException("x"))
    for function in (broken, lambda: {}["x"]):
        with pytest.raises((TypeError, KeyError)) as caught:
            function()
        assert not is_users(caught.value)
