"""What this program needs of Optuna and Hydra beyond their public interfaces: each test says why, and names the installed
version if it lacks the name. Only `hpo/optuna_private.py`, `hpo/optuna_database.py` and `hpo/hydra_private.py` may use such
names, and for OmegaConf `omegaconf_private.py`, which `tests/common/test_omegaconf_private.py` compares with OmegaConf.
"""

from __future__ import annotations

import ast
import re
from importlib.metadata import version
from pathlib import Path

import hydra
import optuna
import pytest
from hydra import compose, initialize_config_dir
from hydra.core.global_hydra import GlobalHydra
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import QuotedString
from hydra.core.plugins import Plugins
from hydra.core.utils import JobReturn, JobStatus
from hydra.errors import ConfigCompositionException, MissingConfigException
from omegaconf import DictConfig, OmegaConf
from optuna.storages import BaseStorage, RDBStorage
from optuna.trial import TrialState
from sqlalchemy import text

import basecaller
from basecaller.common.places import conf_dir
from basecaller.hpo import hydra_private, optuna_private
from basecaller.hpo.optuna_database import DatabaseStorage
from basecaller.hpo.optuna_private import Attributes, storage_of, study_attributes
from basecaller.hpo.storage import open_study
from tests.helpers.sweeping import URL

OPTUNA, HYDRA = f"optuna {optuna.__version__}", f"hydra-core {version('hydra-core')}"


@pytest.fixture
def study(folder) -> optuna.Study:
    return open_study(URL, "tiny/sweep/x")


@pytest.fixture
def beating(tmp_path) -> optuna.Study:
    """A study in a database that keeps heartbeats, as a server does."""
    storage = DatabaseStorage(RDBStorage(f"sqlite:///{tmp_path}/x.db", heartbeat_interval=60, grace_period=120))
    return optuna.create_study(storage=storage)


def test_a_study_and_a_trial_know_their_places_in_the_storage(study):
    """A trial is claimed, ended for a dead process, and written to, without an `optuna.Trial`, which only `ask` makes."""
    for of, name in ((study, "_storage"), (study, "_study_id"), (study.ask(), "_trial_id"), (study.trials[0], "_trial_id")):
        assert hasattr(of, name), f"{OPTUNA}: {type(of).__name__} has no {name}"
    assert isinstance(storage_of(study), BaseStorage)
    key = optuna_private.trial_id_of(study, 0)
    assert key == optuna_private.trial_id(study.trials[0])
    assert storage_of(study).get_trial(key) == study.trials[0]
    assert storage_of(study).get_study_name_from_id(optuna_private.study_id(study)) == "tiny/sweep/x"


def test_a_trial_is_claimed_by_one_process_only(study):
    """The change from waiting to running is one atomic update, which says whether this process made it."""
    study.add_trial(optuna.create_trial(state=TrialState.WAITING, system_attrs={"queue": "x"}))
    key = optuna_private.trial_id_of(study, 0)
    claims = [optuna_private.claim_trial(study, key, Attributes({"by": number})) for number in range(2)]
    assert claims == [{"queue": "x"}, None], OPTUNA
    assert (study.trials[0].state, study.trials[0].user_attrs) == (TrialState.RUNNING, {"by": 0}), OPTUNA


def test_attributes_lie_in_tables_with_one_row_for_each_key(study):
    """All attributes of a table are written in one statement, which overwrites the rows that are there."""
    study.ask()
    of_study, of_trial = Attributes({"a": 1, "b": [1.5, None]}, {"c": "x"}), Attributes({"a": {"c": 2}}, {"d": None})
    for _ in range(2):
        optuna_private.set_study_attributes(study, of_study)
        optuna_private.write_trial(study, optuna_private.trial_id_of(study, 0), of_trial, {25: 1.5})
    assert study_attributes(study).user == of_study.user, OPTUNA
    assert study_attributes(study).system.items() >= of_study.system.items(), OPTUNA
    assert Attributes(study.trials[0].user_attrs, study.trials[0].system_attrs) == of_trial, OPTUNA
    assert study.trials[0].intermediate_values == {25: 1.5}, OPTUNA
    storage = storage_of(study)
    assert isinstance(storage, DatabaseStorage)
    with storage.database.engine.connect() as connection:
        tables = ("trial_user_attributes", "trial_system_attributes")
        counts = [connection.execute(text(f"SELECT count(*) FROM {table}")).scalar() for table in tables]
    assert counts == [1, 1], OPTUNA


def test_attributes_of_missing_studies_and_trials_are_refused(study):
    storage = storage_of(study)
    assert isinstance(storage, DatabaseStorage)
    with pytest.raises(KeyError):
        storage.set_study_attributes(99, Attributes({"a": 1}))
    with pytest.raises(KeyError):
        storage.write_trial(99, Attributes({"a": 1}), {})


def test_a_trial_without_heartbeats_is_silent(beating):
    """A host with another file system has no lock to look at: it hears of dead processes by their trials' heartbeats."""
    beating.ask()
    beating.ask()
    first, second = (optuna_private.trial_id_of(beating, number) for number in (0, 1))
    optuna_private.beat(beating, first)
    with optuna_private.heartbeat(beating, second):
        pass
    assert optuna_private.silent(beating) == set(), OPTUNA
    with storage_of(beating).database.engine.begin() as connection:
        changed = connection.execute(text("UPDATE trial_heartbeats SET heartbeat = '2000-01-01 00:00:00'"))
    assert changed.rowcount == 2, OPTUNA
    assert optuna_private.silent(beating) == {first, second}, OPTUNA


def test_a_storage_without_heartbeats_is_never_silent(study):
    study.ask()
    optuna_private.beat(study, optuna_private.trial_id_of(study, 0))
    assert optuna_private.silent(study) == set(), OPTUNA


def test_hydra_puts_plain_values_into_a_composed_config():
    """A sweep's jobs differ in plain values: composing each from its files takes longer than a short trial's own work."""
    config = OmegaConf.create({"train": {"clip": 1.0}})
    OmegaConf.set_struct(config, True)
    parse = OverridesParser.create().parse_overrides
    hydra_private.apply_overrides(parse(["train.clip=2"]), config)
    assert config == {"train": {"clip": 2}}, HYDRA
    with pytest.raises(ConfigCompositionException):
        hydra_private.apply_overrides(parse(["train.nonesuch=2"]), config)


def test_hydra_parses_a_config_file_once_until_its_text_changes(tmp_path, monkeypatch):
    """A search composes dozens of configs from the same files, and Hydra parses each file again for each."""
    assert Plugins.instance()
    hydra_private.parse_files_once()
    monkeypatch.setattr(hydra_private, "conf_dir", lambda: str(tmp_path))
    parsed = []
    load = OmegaConf.load
    monkeypatch.setattr(OmegaConf, "load", lambda file: (parsed.append(Path(file.name)), load(file))[1])

    def composed(name: str) -> DictConfig:
        with initialize_config_dir(str(tmp_path)):
            return compose(name)

    (file := tmp_path / "mine.yaml").write_text("defaults: [_self_, size: big]\na: [1, {b: 2}]\n")
    (tmp_path / "size").mkdir()
    (tmp_path / "size/big.yaml").write_text("# @package _global_\nwidth: 5\n")
    first = composed("mine")
    first.a[1].b = 3  # a caller's own copy
    assert composed("mine") == {"a": [1, {"b": 2}], "width": 5}, HYDRA
    assert sorted(path for path in parsed if path.is_relative_to(tmp_path)) == [file, tmp_path / "size/big.yaml"], HYDRA
    file.write_text("defaults: [_self_, size: big]\na: [1, {b: 4}]\n")
    assert composed("mine").a[1].b == 4, HYDRA
    file.unlink()
    with pytest.raises(MissingConfigException):
        composed("mine")
    (tmp_path / "list.yaml").write_text("[1, 2]\n")
    for _ in range(2):
        with pytest.raises(ConfigCompositionException, match="must be a DictConfig, got ListConfig"):
            composed("list")


def test_flags_that_hydra_does_not_know_are_found_before_it_prints_its_usage():
    known = ["-m", "a=1", "--config-dir", "mine", "b=-2", "--cfg=job", "--experimental-rerun=x", "c=3"]
    assert hydra_private.unknown_flags(known) == [], HYDRA
    assert hydra_private.unknown_flags([*known, "--nonesuch", "-x"]) == ["--nonesuch", "-x"], HYDRA


def test_the_error_of_a_failed_job_is_available():
    """`return_value` raises it too, and writes all overrides to the screen first."""
    error = ValueError("no")
    assert hydra_private.error_of(JobReturn(status=JobStatus.FAILED, _return_value=error)) is error, HYDRA


def test_a_parsed_value_tells_whether_text_is_quoted():
    """Names and paths are taken as typed, but quotes around them are the user's own."""
    parse = OverridesParser.create().parse_override
    assert hydra_private.parsed_value(parse("experiment=a")) == "a", HYDRA
    assert isinstance(hydra_private.parsed_value(parse("experiment='a'")), QuotedString), HYDRA


def test_hydra_runs_a_multirun_inside_this_process():
    """A search is a sequence of multiruns; `hydra.main` runs one and ends."""
    GlobalHydra.instance().clear()
    with initialize_config_dir(conf_dir(), job_name="train"):
        app = GlobalHydra.instance().hydra
        assert isinstance(app, hydra_private.Hydra), HYDRA
        assert callable(app.multirun), f"{HYDRA}: {hydra.__name__} has no multirun"


def private_names(source: str) -> set[str]:
    """Private modules that source code imports, and private attributes that it neither defines nor has itself."""
    nodes = list(ast.walk(ast.parse(source)))
    modules = [alias.name for node in nodes if isinstance(node, ast.Import) for alias in node.names]
    modules += [node.module for node in nodes if isinstance(node, ast.ImportFrom) and node.module]
    found = {module for module in modules if re.search(r"\._(?!_)", module)}
    private = [node for node in nodes if isinstance(node, ast.Attribute) and re.match(r"_(?!_)", node.attr)]
    public = {"_fields", "_replace", "_exit"}  # of named tuples and os
    own = {node.name for node in nodes if isinstance(node, ast.FunctionDef)} | public
    own |= {node.attr for node in private if isinstance(node.value, ast.Name) and node.value.id in ("self", "cls")}
    return found | {node.attr for node in private} - own


def test_no_other_file_uses_private_names():
    package = Path(basecaller.__file__).parent
    files = {path.name for path in package.rglob("*.py") if private_names(path.read_text(encoding="utf-8"))}
    assert files == {"hydra_private.py", "omegaconf_private.py", "optuna_private.py", "optuna_database.py"}
