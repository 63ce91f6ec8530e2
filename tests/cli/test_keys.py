"""The keys and config groups of the commands."""

from __future__ import annotations

import pytest

from basecaller.cli.commands import COMMANDS
from basecaller.cli.keys import groups_of, keys_of
from basecaller.config.schema import OF_SEARCH
from basecaller.data.sources import SOURCES


def names(command: str, source: str = "simulated") -> set[str]:
    return {key.name for key in keys_of(COMMANDS[command], source)}


def test_each_command_has_the_keys_that_it_uses():
    assert names("report") == {"experiment", "storage", "output_dir", "plan", "watch", "every", "serve"}
    assert names("prepare") == {name for name in names("train") if name.startswith("data.")}
    assert names("train") - names("search") == set(OF_SEARCH) - {"stage"}
    assert {"model", "reads", "output"} <= names("basecall")
    assert not any("." in name for name in names("basecall"))
    assert {"model", "split", "data.batch_size"} <= names("evaluate")


def test_help_speaks_of_config_groups_where_there_are_some():
    for command in COMMANDS.values():
        assert bool(groups_of(command, [])) == any("config groups" in meaning for _, meaning in command.flags)


def test_each_source_has_its_own_keys():
    assert {"data.genome_bases"} <= names("train") - names("train", "pod5")
    assert {"data.pod5", "data.bam"} <= names("train", "pod5") - names("train")


@pytest.mark.parametrize("source", SOURCES)
@pytest.mark.parametrize("command", COMMANDS)
def test_every_key_has_a_meaning(command, source):
    for key in keys_of(COMMANDS[command], source):
        assert key.meaning.endswith((".", ")")), key.name
        assert key.values, key.name


def test_keys_with_few_values_list_them():
    keys = {key.name: key for key in keys_of(COMMANDS["train"], "simulated")}
    assert keys["train.schedule"].choices == ("constant", "cosine")
    assert keys["model.batch_norm"].choices == ("true", "false")
    assert keys["train.clip"].choices == ()
    assert keys["data.folder"].values == "a path"
    paths = {key.name: key for key in keys_of(COMMANDS["train"], "pod5")}
    assert paths["data.pod5"].values == "a path or a list of them"


def test_groups_have_the_options_of_their_folders():
    assert groups_of(COMMANDS["report"], []) == {}
    assert set(groups_of(COMMANDS["prepare"], [])) == {"data"}
    train = groups_of(COMMANDS["train"], [])
    assert train["optimizer"] == ["adagrad", "adam", "adamax", "adamw", "sgd"]
    assert "lr_adam" in train["stage"]
    assert set(train) - set(groups_of(COMMANDS["search"], [])) == {"stage"}
