"""Values are taken as typed, errors are one message, and the output may be cut off."""

from __future__ import annotations

import itertools
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from hydra.core.override_parser.overrides_parser import OverridesParser
from hypothesis import example, given
from hypothesis import strategies as st
from omegaconf import OmegaConf

import basecaller
from basecaller.cli.arguments import as_typed, options
from basecaller.cli.commands import COMMANDS
from basecaller.cli.help import EVERY_LOGGER, help_of
from basecaller.common.errors import SettingError
from basecaller.common.places import conf_dir
from basecaller.config.composition import compose_config, composed
from basecaller.config.schema import PATHS, BasecallOptions
from basecaller.config.settings import data_settings
from basecaller.reporting import pages
from tests.conftest import TINY, Command
from tests.helpers.models import network, save_model
from tests.helpers.reads import make_source

ODD = ["2024_11_25", "on", "012", "12:30:00", "a #1", "'", "it's", '"', "0x1F", "1e3", "true", "nan", "a=b", "run(1)", "a  b",
       "ü", "[x", "x]", "{a", "a&b;c", "100%", "-", "C:\\x", "a\\'b", "~x", "@x", "!x", "$x", "*", "x'", "~"]  # fmt: skip
"""Names of folders that a grammar may take for something else."""


def read(key: str, text: str) -> object:
    """The value that Hydra gives a key."""
    return OverridesParser.create().parse_override(as_typed([f"{key}={text}"])[0]).value()


@pytest.mark.parametrize("text", ODD)
def test_names_and_paths_stay_as_they_were_typed(text):
    for key in ("experiment", "data.folder", "+data.pod5"):
        home = text == "~" and key != "experiment"
        assert read(key, text) == (str(Path.home()) if home else text)
    assert options("basecall", [f"model={text}x", "reads=x"], BasecallOptions).model == f"{text}x"


@given(st.text(st.characters(exclude_characters=",\n\r", exclude_categories=("C",)), min_size=1))
@example("2_3")
@example("\\'")
@example("${")
def test_any_text_stays_as_it_was_typed(text):
    for key in ("experiment", "data.path"):
        found = read(key, text)
        if found is None:
            assert text.strip().lower() == "null"
        elif isinstance(found, str) and not text.startswith(("~", "[", "{")) and text[0] + text[-1] not in ("''", '""'):
            assert found == text.strip() or "(" in text or "${" in text


MEANT = {
    "[2024_11_25,012,a#1]": ["2024_11_25", "012", "a#1"],
    "[~/a,'b,c']": [str(Path.home() / "a"), "b,c"],
    "[]": [],
    "null": None,
    "~/a": str(Path.home() / "a"),
    "'~/a'": str(Path.home() / "a"),
    '"a,b"': "a,b",
}


@pytest.mark.parametrize("text", MEANT)
def test_lists_quotes_and_null_keep_their_meaning(text):
    assert read("data.pod5", text) == MEANT[text]


def test_values_that_mean_something_to_hydra_are_left_to_it():
    left = [
        "experiment=${oc.env:HOME}",
        "experiment=a,b",
        "data.path=choice(1,2)",
        "optimizer.lr=1_0",
        "seed=1,2",
        "train.epochs=~",
    ]
    assert as_typed(left) == left
    swept = OverridesParser.create().parse_override(as_typed(["experiment=2_3,4 #5"])[0])
    assert swept.is_sweep_override()
    assert [str(value.text) for value in swept.value().list] == ["2_3", "4 #5"]


def test_a_tilde_is_the_home_folder_in_every_path_of_every_command(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / "x").mkdir()
    for key in PATHS:
        assert read(key, "~/x") == str(tmp_path / "x")
    chosen = options("basecall", ["model=~/m", "reads=~/r", "output=~/o", "calibration=~/c"], BasecallOptions)
    assert [chosen.model, chosen.reads, chosen.output, chosen.calibration] == [str(tmp_path / name) for name in "mroc"]
    inside = "{name: bonito, path: '~/x'}"
    mixed = data_settings(compose_config(["data=mixed", f"data.sources={{a: {inside}}}", f"data.test={inside}"]))
    assert mixed.source.parts[0].source.path == mixed.test.source.path == (str(tmp_path / "x"),)


@pytest.mark.parametrize("name", ["2024_11_25", "on", "012", "12:30:00", "a #1", "~/calls", "'", "a,b", "[a]"])
def test_basecalls_go_to_the_folder_as_typed(tmp_path, call: Command, name, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    save_model(tmp_path / name.replace("~", "home"), network())
    make_source(tmp_path / "reads", count=2)
    call("basecall", f"model={name}", "reads=reads", f"output={name}/calls", "decoder=greedy")
    assert (tmp_path / name.replace("~", "home") / "calls/reads.fastq").is_file()


@pytest.mark.parametrize("name", ["2024_11_25", "012", "12:30:00", "a #1", "~/out", "it's"])
def test_a_training_goes_to_the_folder_as_typed(tmp_path, run: Command, name, monkeypatch):
    if name.startswith("~"):  # with another home folder, native code would be built again
        monkeypatch.setenv("HOME", str(tmp_path / "home"))
    run("train", *TINY, f"output_dir={name}", f"data.folder={name}/data")
    folder = tmp_path / name.replace("~", "home")
    assert len(list(folder.glob("runs/*/result.json"))) == len(list(folder.glob("data/*/meta.json"))) == 1


@pytest.mark.parametrize(
    ("given", "words"),
    [
        (["model=", "reads=y"], "model=: must not be empty"),
        (["model=x", "reads=y", "batch_size=on"], "batch_size=on: must be a whole number"),
        (["model=x", "reads=y", "threads=2,3"], "threads=2,3: several values are a sweep"),
        (["model=x", "reads=y", "device=abacus"], "device=abacus: must be auto, cpu, cuda or cuda:N"),
        (["model=x", "reads=y", "outputs=z"], "outputs: unknown key; did you mean output"),
        (["model=x", "reads=y", "+colour=red"], "colour: unknown key; known keys are model, reads"),
        (["model=x", "reads=y", "output=${nonesuch}"], "output: Interpolation key 'nonesuch' not found"),
        (["model=x", "reads=y", "batch_size=1.5"], "batch_size=1.5: must be a whole number"),
        (["model=x", "reads=y", "threads=0"], "threads=0: must be at least 1"),
        (["model=null"], "reads: must be given"),
    ],
)
def test_other_values_are_refused(given, words):
    with pytest.raises(SettingError, match=words):
        options("basecall", given, BasecallOptions)
    assert options("basecall", ["model=x", "reads=y", "threads=null"], BasecallOptions).threads is None


MESSAGES = {
    "unknown key": (["train.epoch=1"], "train.epoch: unknown key; did you mean train.epochs?"),
    "another type": (["train.epochs=abc"], "train.epochs=abc: must be a whole number"),
    "a list": (["train.epochs=[1,2]"], "train.epochs=[1, 2]: must be a whole number"),
    "no interpolation": (["optimizer.lr=${nonesuch}"], "optimizer.lr: Interpolation key 'nonesuch' not found"),
    "no variable": (["storage=${oc.env:NONESUCH}"], "Environment variable 'NONESUCH' not found"),
    "no group option": (
        ["model=nonesuch"],
        "model=nonesuch: no such option; options are bonito_ctc, bonito_ctc_small",
    ),
    "grammar": (["optimizer.lr={"], "optimizer.lr={: a bracket is not closed"),
    "no sweep": (["optimizer.lr=1,2"], "optimizer.lr=1,2: several values are a sweep, which needs -m"),
    "device": (["device=abacus", *TINY], "device=abacus"),
}
NOISE = ("full_key", "object_type", "Error executing", "search path", "parsing index", "hydra.cc", "Traceback", "HYDRA_FULL")


@pytest.mark.parametrize("kind", MESSAGES)
def test_a_message_is_one_line_of_plain_words(run: Command, kind):
    overrides, words = MESSAGES[kind]
    lines = run("train", *overrides, code=2).stderr.splitlines()
    (line,) = [line for line in lines if line.startswith("error: ")]
    assert line is lines[-1]
    assert words in line
    assert not any(noise in told for told in lines for noise in NOISE)


def test_a_sweeps_message_has_no_preamble(tmp_path, run: Command):
    (tmp_path / "outputs").mkdir()
    (tmp_path / "outputs/tiny").touch()
    told = run("train", "-m", *TINY, "optimizer.lr=0.1,0.2", code=2).stderr
    assert told.splitlines()[-1].startswith("error: ")
    assert not any(noise in told for noise in NOISE)


def test_options_are_composed_by_hydras_grammar(monkeypatch):
    monkeypatch.setenv("MODELS", "some where")
    given = [
        "model=x",
        "model=${oc.env:MODELS}/a",
        "reads=null",
        "reads='it''s'",
        'output="a,b"',
        "batch_size=${threads}",
        "threads=3",
    ]
    chosen = options("basecall", given, BasecallOptions)
    assert (chosen.model, chosen.output, chosen.batch_size) == ("some where/a", "a,b", 3)


def leaves(node: dict, where: str = "") -> set[str]:
    """Dotted keys of a config down to the keys of its sections."""
    sections = {f"{name}.{key}" for name, value in node.items() if isinstance(value, dict) for key in value}
    return sections | {name for name, value in node.items() if not isinstance(value, dict)}


COMPUTED = {"data.name", "data.fingerprint"}
"""Keys that nobody types."""


@pytest.mark.parametrize("source", ["simulated", "simulated_hard", "pod5", "bonito", "rawctcnet", "mixed"])
def test_the_help_of_a_command_lists_every_key_with_its_type_default_and_meaning(source):
    shown = help_of("train", [f"data={source}"])
    entries = dict(re.findall(r"^  ([\w.]+): (.*; (?:default .+|required)\n {6}\S.*)", shown, re.MULTILINE))
    config = OmegaConf.to_container(composed([f"data={source}", EVERY_LOGGER]), resolve=False)
    of_loggers = {f"logger.{name}.{key}" for name, node in config.pop("logger").items() for key in node}
    assert set(entries) == (leaves(config) | of_loggers) - COMPUTED


@pytest.mark.parametrize("name", ["basecall", "evaluate", "export"])
def test_the_help_of_a_command_with_options_lists_them(name):
    shown = help_of(name, ["model=somewhere"])
    listed = re.findall(r"^  (\w+): .*; (?:default .+|required)\n {6}\S", shown, re.MULTILINE)
    assert listed == list(OmegaConf.load(Path(conf_dir(), "commands", f"{name}.yaml")))
    assert "model: a path; default somewhere" in shown
    assert ("data.batch_size" in shown) == (name == "evaluate")


def test_help_lists_the_keys_of_each_command(run: Command):
    assert "experiment: letters" in run("report", "--help").stdout
    assert "search.rounds" not in run("report", "--help").stdout
    assert "data.reads: a whole number, at least 3; default 15000" in run("prepare", "-h").stdout
    assert "data.pod5: a path or a list of them; required" in run("search", "--help", "data=pod5").stdout
    assert "train.chunks: a whole number, at least 1, or null; default 7" in run("train", "-m", "train.chunks=7", "-h").stdout
    assert "-m: no such flag; a setting is key=value" in run("report", "-m", code=2).stderr


@pytest.mark.slow
@pytest.mark.parametrize("module", COMMANDS)
@pytest.mark.parametrize("unbuffered", ["", "1"])
def test_help_may_be_cut_off(module, unbuffered):
    shell = f"{sys.executable} -m basecaller.{module} --help | head -c 1"
    done = subprocess.run(
        shell,
        shell=True,
        env=os.environ | {"PYTHONUNBUFFERED": unbuffered},
        capture_output=True,
        text=True,
        encoding="utf-8",
        check=True,
    )
    assert len(done.stdout) == 1
    assert done.stderr == ""


SMALL = [line for line in TINY if line.startswith("data.")]


@pytest.mark.slow
@pytest.mark.parametrize("arguments", [["prepare", "--help"], ["prepare", *SMALL]])
def test_a_command_whose_output_is_closed_early_has_an_exit_code_of_its_own(tmp_path, arguments):
    """Rich, which prints the audit, would exit with 1."""
    reader, writer = os.pipe()
    os.close(reader)
    command = [sys.executable, "-m", "basecaller", *arguments]
    done = subprocess.run(command, cwd=tmp_path, stdout=writer, stderr=subprocess.PIPE, text=True)
    os.close(writer)
    assert done.returncode == 141
    assert "Traceback" not in done.stderr


CLOSED = {"output closed": ">&-", "both closed": ">&- 2>&-", "all closed": "<&- >&- 2>&-", "cut off": "2>&1 | head -c 1"}


@pytest.mark.slow
@pytest.mark.parametrize("kind", CLOSED)
def test_a_training_needs_no_terminal(tmp_path, kind):
    shell = " ".join([sys.executable, "-m", "basecaller.train", *TINY, CLOSED[kind]])
    subprocess.run(shell, shell=True, cwd=tmp_path, check=True, capture_output=True)
    assert list(tmp_path.glob("outputs/tiny/runs/*/result.json"))


@pytest.mark.slow
def test_a_full_disk_behind_the_output_gives_one_message(tmp_path):
    shell = f"{sys.executable} -m basecaller.train --cfg job > /dev/full"
    done = subprocess.run(shell, shell=True, cwd=tmp_path, capture_output=True, text=True, encoding="utf-8", check=False)
    assert done.returncode == 2
    assert done.stderr.splitlines()[0] == "error: No space left on device; free some space, or give a folder on another disk"


def test_headings_are_spelled_as_elsewhere():
    """A misspelled word occurs only once."""
    templates = Path(pages.__file__).parent / "templates"
    markdown = re.sub(r"{%.*?%}", "", (templates / "report.md.j2").read_text(encoding="utf-8"))
    others = [*Path(basecaller.__file__).parent.rglob("*.py"), templates / "report.html.j2"]
    known = set(re.findall(r"\w+", " ".join(path.read_text(encoding="utf-8") for path in others)))
    headings = [above for above, below in itertools.pairwise(markdown.splitlines()) if re.fullmatch("[|-]+", below)]
    assert len(headings) == 6
    assert {word for heading in headings for word in re.findall(r"\w+", heading)} - known == set()
