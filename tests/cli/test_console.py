"""The command `basecaller`: its help, its commands, its errors, and its completion in bash."""

from __future__ import annotations

import os
import pty
import select
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

import basecaller
from basecaller.cli.commands import COMMANDS
from basecaller.cli.completion import candidates
from basecaller.cli.help import overview
from tests.conftest import TINY

PYPROJECT = Path(basecaller.__file__).parents[1] / "pyproject.toml"


@pytest.fixture
def console(tmp_path: Path) -> dict[str, str]:
    """An environment that has the console script as an installer writes it."""
    module, function = tomllib.loads(PYPROJECT.read_text(encoding="utf-8"))["project"]["scripts"]["basecaller"].split(":")
    script = tmp_path / "bin/basecaller"
    script.parent.mkdir()
    start = f"if __name__ == '__main__':\n    sys.exit({function}())\n"
    script.write_text(f"#!{sys.executable}\nimport sys\nfrom {module} import {function}\n{start}", encoding="utf-8")
    script.chmod(0o755)
    return os.environ | {"PATH": f"{script.parent}:{os.environ['PATH']}", "HOME": str(tmp_path), "COLUMNS": "160"}


def started(console: dict[str, str], *arguments: str, code: int = 0) -> subprocess.CompletedProcess[str]:
    done = subprocess.run(
        ["basecaller", *arguments], env=console, cwd=console["HOME"], capture_output=True, text=True, check=False
    )
    assert done.returncode == code, done.stdout + done.stderr
    return done


def test_it_lists_its_commands_and_starts_them(console):
    listed = started(console, "--help").stdout
    words = " ".join(listed.split())
    assert all(f"  {name} " in listed and command.summary in words for name, command in COMMANDS.items())
    assert started(console, code=2).stdout == listed
    assert started(console, "--version").stdout == f"basecaller {basecaller.__version__}\n"
    assert "val_loss" in started(console, "train", *TINY).stderr
    assert list(Path(console["HOME"]).glob("outputs/tiny/runs/*/result.json"))


def test_the_list_of_commands_is_as_wide_as_the_terminal(monkeypatch):
    monkeypatch.setenv("COLUMNS", "60")
    summaries = overview().partition("commands:\n")[2].partition("\n\n")[0].splitlines()
    assert max(map(len, summaries)) <= 60
    assert all(line.startswith("  ") for line in summaries)


@pytest.mark.parametrize("name", COMMANDS)
def test_the_help_of_a_command_is_the_same_either_way(console, name):
    module = subprocess.run(
        [sys.executable, "-m", f"basecaller.{name}", "--help"], env=console, capture_output=True, text=True, check=True
    )
    assert started(console, name, "--help").stdout == started(console, "help", name).stdout == module.stdout


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["serach"], "serach: no such command; did you mean search?"),
        (["x"], "x: no such command; basecaller --help lists them"),
        (["report", "experimant=x"], "experimant: unknown key; did you mean experiment?"),
        (["completion", "fish"], "only for bash"),
        (["help", "serach"], "serach: no such command; did you mean search?"),
        (["report", "--watch"], "--watch: no such flag; a setting is key=value without dashes, as in watch=true"),
        (["search", "--seed=2"], "as in seed=2"),
        (["search", "--data.batch_size"], "as in data.batch_size=VALUE"),
        (["search", "--sed"], "and python -m basecaller.search --help lists both"),
    ],
)
def test_wrong_command_lines_give_one_message(console, arguments, words):
    (line,) = started(console, *arguments, code=2).stderr.splitlines()
    assert line.startswith("error: ")
    assert words in line


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("basecaller se", ["search "]),
        ("basecaller train opt", ["optimizer=", "optimizer."]),
        ("basecaller train optimizer.l", ["optimizer.lr="]),
        ("basecaller train -m optimizer=adam,adag", ["adam,adagrad "]),
        ("basecaller train stage=lr_adam", ["lr_adam ", "lr_adamax ", "lr_adamw "]),
        ("basecaller train model.batch_norm=", ["true ", "false "]),
        ("basecaller train data=bonito data.pa", ["data.path="]),
        ("basecaller train data.pa", []),
        ("basecaller report p", ["plan="]),
        ("basecaller evaluate split=a", ["all "]),
        ("basecaller export format=", ["torchscript ", "onnx "]),
        ("basecaller train --m", ["--multirun "]),
        ("basecaller train --config", ["--config-dir "]),
        ("basecaller train --config-dir ", []),
        ("basecaller train 'plan=[a]' seed", ["seed="]),
        ("basecaller nonesuch x", []),
        ("basecaller basecall model=", []),
    ],
)
def test_completion_offers_the_words_that_may_follow(line, expected):
    assert candidates(line) == expected


@pytest.fixture
def own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """`own configs/`, a folder of configs outside the package, in the current directory."""
    monkeypatch.chdir(tmp_path)
    for name, text in {
        "model/wide": "defaults: [rawctcnet_small]\nname: wide\n",
        "stage/warmup": "# @package _global_\nstage:\n  name: warmup\n",
        "data/lab": "defaults: [pod5]\npod5: lab.pod5\nbam: lab.bam\n",
    }.items():
        file = tmp_path / "own configs" / f"{name}.yaml"
        file.parent.mkdir(parents=True)
        file.write_text(text, encoding="utf-8")


@pytest.mark.usefixtures("own")
@pytest.mark.parametrize("flag", ["--config-dir 'own configs'", "--config-dir='own configs'", "-cd own\\ configs"])
def test_completion_offers_your_configs_after_their_folder(flag):
    assert candidates(f"basecaller train {flag} model=w") == ["wide "]
    assert candidates(f"basecaller train {flag} data=lab stage=wa") == ["warmup "]
    assert candidates(f"basecaller prepare {flag} data=lab data.po") == ["data.pore_model=", "data.pod5="]
    assert candidates("basecaller train model=w") == []


@pytest.mark.usefixtures("own")
def test_completion_offers_configs_in_hydras_search_path(tmp_path):
    places = f"\"hydra.searchpath=['file://{tmp_path}/own configs']\""
    assert candidates(f"basecaller train {places} model=w") == ["wide "]
    assert candidates("basecaller train hydra.searchpath=[ model=raw") == []
    assert candidates("basecaller train --config-dir nonesuch model=raw") == []


@pytest.mark.usefixtures("own")
def test_the_help_lists_your_configs(console):
    shown = started(console, "train", "--config-dir", "own configs", "data=lab", "--help").stdout
    assert "  model=bonito_ctc | bonito_ctc_small | rawctcnet | rawctcnet_small | wide\n" in shown
    assert " | warmup | " in shown
    assert "  data=bonito | lab | mixed | pod5 |" in shown
    assert "default lab.pod5" in shown
    assert "wide" not in started(console, "train", "--help").stdout


def read_until(terminal: int, words: str) -> str:
    """Reads a terminal until it shows some words; fails if nothing more comes for long."""
    shown = ""
    while words not in shown:
        assert select.select([terminal], [], [], 60)[0], shown
        shown += os.read(terminal, 4096).decode(errors="replace")
    return shown


@pytest.mark.skipif(shutil.which("bash") is None, reason="no bash here")
@pytest.mark.usefixtures("own")
def test_bash_completes_commands_groups_keys_choices_and_files(console):
    (Path(console["HOME"]) / "my model").mkdir()
    (Path(console["HOME"]) / "reads.pod5").touch()
    process, terminal = pty.fork()
    if process == 0:
        os.chdir(console["HOME"])
        os.execvpe("bash", ["bash", "--norc", "--noprofile", "-i"], console | {"TERM": "dumb", "PS1": "$ ", "COLUMNS": "500"})
    read_until(terminal, "$ ")
    os.write(terminal, b'bind "set bell-style none"; eval "$(basecaller completion bash)"; echo read""y\n')
    read_until(terminal, "ready")
    typed = {
        "basecaller rep\t": "<basecaller><report>",
        "basecaller train optim\t=adag\t": "<basecaller><train><optimizer=adagrad>",
        "basecaller train train.bud\tup\t": "<basecaller><train><train.budget=updates>",
        "basecaller train -m padding=off,mas\tstage=stack\t": "<basecaller><train><-m><padding=off,masked><stage=stacks>",
        "basecaller basecall form\tba\treads=rea\t": "<basecaller><basecall><format=bam><reads=reads.pod5>",
        "basecaller train --config-d\town\\ con\t model=wi\t": "<basecaller><train><--config-dir><own configs/><model=wide>",
        "basecaller export model='my\t": "<basecaller><export><model=my model/>",
    }
    for keys, expected in typed.items():
        # what was completed is printed, word by word: to the line's beginning, printf, and return
        os.write(terminal, f"{keys}\x01printf '<%s>' \r".encode())
        read_until(terminal, expected)
    os.write(terminal, b"exit\n")
    assert os.waitstatus_to_exitcode(os.waitpid(process, 0)[1]) == 0
