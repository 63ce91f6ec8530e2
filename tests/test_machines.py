"""Other machines: without git, in other locales, shared with other users and other programs."""

from __future__ import annotations

import ast
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import optuna
import pytest

import basecaller
from basecaller.common.files import shared_lock
from basecaller.common.provenance import commit
from basecaller.training import progress
from tests.conftest import TINY, Command
from tests.helpers.models import network, save_model
from tests.helpers.processes import hooked, start
from tests.helpers.reads import make_source

PACKAGE = Path(basecaller.__file__).parent


def git(folder: Path, *arguments: str) -> None:
    own = ["-c", "user.name=x", "-c", "user.email=x@example.org"]
    subprocess.run(["git", "-C", str(folder), *own, *arguments], check=True, capture_output=True)


@pytest.mark.skipif(not shutil.which("git"), reason="git is not installed")
@pytest.mark.parametrize(
    ("kind", "known"),
    [
        ("a checkout", True),
        ("no repository", False),
        ("inside another's", False),
        ("beside tracked files", False),
    ],
)
def test_the_commit_is_that_of_the_programs_own_checkout(tmp_path, kind, known, monkeypatch):
    commit.cache_clear()
    package = tmp_path / {"inside another's": ".venv/site-packages/basecaller"}.get(kind, "basecaller")
    package.mkdir(parents=True)
    (package / "__init__.py").touch()
    if kind != "no repository":
        git(tmp_path, "init")
        (tmp_path / "theirs.txt").touch()
        git(tmp_path, "add", "." if kind == "a checkout" else "theirs.txt")
        git(tmp_path, "commit", "-m", "x")
    assert (commit(package) is not None) == known
    commit.cache_clear()
    monkeypatch.setenv("GIT_DIR", str(PACKAGE.parent / ".git"))  # as inside a hook
    assert (commit(package) is not None) == known


def test_without_git_a_training_ends_and_its_commit_is_unknown(tmp_path, run: Command, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    run("train", *TINY)
    (result,) = tmp_path.glob("outputs/tiny/runs/*/result.json")
    assert '"commit": null' in result.read_text(encoding="utf-8")


def test_configs_are_the_programs_own_whatever_is_installed_beside_it(tmp_path):
    site = tmp_path / "site-packages"
    (site / "basecaller/conf").mkdir(parents=True)
    shutil.copy(PACKAGE / "__init__.py", site / "basecaller")
    shutil.copytree(PACKAGE / "common", site / "basecaller/common")
    (site / "conf").mkdir()
    (site / "conf/config.yaml").touch()
    code = "from basecaller.common.places import conf_dir; print(conf_dir())"
    found = subprocess.run(
        [sys.executable, "-c", code],
        cwd=site,
        env=os.environ | {"PYTHONPATH": str(site)},
        capture_output=True,
        text=True,
        encoding="utf-8",
        check=True,
    )
    assert Path(found.stdout.strip()) == site / "basecaller/conf"


HOOK = """
import os, sys

class Noting:
    def find_spec(self, name, path=None, target=None):
        if name == "torch":
            with open(os.environ["SEEN"], "a", encoding="utf-8") as file:
                print(os.getpid(), os.environ.get("GOMP_SPINCOUNT"), file=file)
            sys.meta_path.remove(self)

sys.meta_path.insert(0, Noting())
"""
"""What a process's environment says at the moment it begins to import torch."""

LAUNCHERS = {
    "joblib": ["hydra/launcher=joblib", "hydra.launcher.n_jobs=2"],
    "submitit": ["hydra/launcher=submitit_local", "hydra.launcher.timeout_min=5", "hydra.launcher.cpus_per_task=1"],
    "ray": ["hydra/launcher=ray", "+hydra.launcher.ray.init.num_cpus=1", "+hydra.launcher.ray.remote.num_cpus=1"],
}


def spin_counts(folder: Path, *overrides: str, **environment: str) -> set[str]:
    """The values that processes saw when they loaded torch, including the sweep's own."""
    path = hooked(folder, HOOK)
    process = start(folder, "seed=1,2", *overrides, PYTHONPATH=path, SEEN=str(folder / "seen"), **environment)
    _, errors = process.communicate(timeout=300)
    assert process.returncode == 0, errors
    seen = dict(line.split() for line in (folder / "seen").read_text(encoding="utf-8").splitlines())
    return set(seen.values())


@pytest.mark.slow
@pytest.mark.parametrize("launcher", LAUNCHERS)
def test_threads_of_every_worker_stop_spinning(tmp_path, launcher, monkeypatch):
    monkeypatch.delenv("GOMP_SPINCOUNT", raising=False)
    monkeypatch.delenv("OMP_WAIT_POLICY", raising=False)
    if launcher != "joblib":
        pytest.importorskip(f"hydra_plugins.hydra_{launcher}_launcher")
    assert spin_counts(tmp_path, *LAUNCHERS[launcher]) == {"10000"}


@pytest.mark.parametrize(("given", "expected"), [({"GOMP_SPINCOUNT": "7"}, "7"), ({"OMP_WAIT_POLICY": "active"}, "None")])
def test_the_users_setting_for_waiting_threads_is_kept(tmp_path, given, expected, monkeypatch):
    monkeypatch.delenv("GOMP_SPINCOUNT", raising=False)
    monkeypatch.delenv("OMP_WAIT_POLICY", raising=False)
    code = "import basecaller, os; print(os.environ.get('GOMP_SPINCOUNT'))"
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=tmp_path,
        env=os.environ | given,
        capture_output=True,
        text=True,
        check=True,
        encoding="utf-8",
    )
    assert done.stdout.strip() == expected


PLAIN_ASCII = {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
"""A locale that is not UTF-8, and a Python that does not help itself."""


def text_without_encoding(tree: ast.AST) -> list[int]:
    """Lines of calls that read or write text in the encoding of the locale."""
    found = []
    for node in ast.walk(tree):
        if not isinstance(node, ast.Call):
            continue
        name = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
        named = {keyword.arg: keyword.value for keyword in node.keywords}
        modes = [value.value for value in (*node.args, *named.values()) if isinstance(value, ast.Constant)]
        opens = name in ("open", "fdopen") and not any(isinstance(mode, str) and "b" in mode for mode in modes)
        opens &= ast.unparse(node.func) not in ("os.open", "webbrowser.open")
        piped = isinstance(named.get("text"), ast.Constant)
        if (opens or piped or name in ("read_text", "write_text")) and "encoding" not in named:
            found.append(node.lineno)
    return found


def test_the_search_for_text_in_the_locales_encoding_finds_it():
    wrong = ["open(p)", "f.read_text()", "run(a, text=True)", "f.open('w')"]
    right = ["open(p, 'rb')", "f.write_text(t, encoding='utf-8')", "os.open(p, 1)"]
    assert [line for line in wrong + right if text_without_encoding(ast.parse(line))] == wrong


def test_all_text_is_utf_8():
    found = {path: text_without_encoding(ast.parse(path.read_text(encoding="utf-8"))) for path in PACKAGE.rglob("*.py")}
    assert {path: lines for path, lines in found.items() if lines} == {}


def test_a_search_in_another_locale_writes_and_prints_everything(tmp_path, run: Command, monkeypatch):
    for key, value in PLAIN_ASCII.items():
        monkeypatch.setenv(key, value)
    told = run("search", *TINY, "plan=[padding]", "search.workers=1", "search.replicates=2")
    assert "nats/base" in told.stdout
    for name in ("report.md", "report.html"):
        assert "±" in (tmp_path / "outputs/tiny" / name).read_text(encoding="utf-8")
    assert "outputs/tiny/report.html" in run("report").stdout
    refused = run("train", "experiment=Zürich", code=2)
    assert "not text in this locale (ascii); set PYTHONUTF8=1" in refused.stderr


@pytest.mark.slow
@pytest.mark.parametrize(("encoding", "shown"), [("ascii", b"0.1 ? x\xff"), ("utf-8", "0.1 ± x".encode() + b"\xff")])
def test_a_terminal_shows_the_characters_that_it_has(encoding, shown):
    code = "from basecaller.cli.entry import as_message; as_message(lambda: print('0.1 \\xb1 x\\udcff', end=''))()"
    environment = os.environ | {"PYTHONIOENCODING": encoding}
    assert subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, check=True).stdout == shown


ANOTHER = "setpriv --reuid=65534 --regid=65534 --clear-groups --inh-caps=+dac_read_search --ambient-caps=+dac_read_search"
"""Runs a command as another user, who may read everything, as far as this machine's Python needs it, and write what is his."""


@pytest.fixture
def another(tmp_path) -> Callable[..., subprocess.CompletedProcess[str]]:
    """Runs a command of this program as a second user of the machine, who owns the folder `mine`."""
    if os.geteuid() != 0 or subprocess.run([*ANOTHER.split(), "true"], capture_output=True, check=False).returncode != 0:
        pytest.skip("being another user needs root and util-linux")
    reach = f"import os, sys; sys.exit(not os.access({optuna.__file__!r}, os.R_OK))"
    if subprocess.run([*ANOTHER.split(), sys.executable, "-c", reach], capture_output=True, check=False).returncode != 0:
        pytest.skip("another user cannot read this Python environment")
    (tmp_path / "mine").mkdir(mode=0o777)
    (tmp_path / "mine").chmod(0o777)

    def command(module: str, *arguments: str) -> subprocess.CompletedProcess[str]:
        done = subprocess.run(
            [*ANOTHER.split(), sys.executable, "-B", "-m", f"basecaller.{module}", *arguments],
            cwd=tmp_path,
            env=os.environ | {"HOME": str(tmp_path / "mine"), "COLUMNS": "300"},
            capture_output=True,
            text=True,
            encoding="utf-8",
            check=False,
        )
        assert "Traceback" not in done.stderr, done.stderr
        return done

    return command


def test_files_of_another_user_are_read_and_left_alone(tmp_path, run: Command, another):
    run("train", *TINY, "output_dir=outputs/tiny")
    (model,) = (tmp_path / "outputs/tiny/runs").iterdir()
    model.rename(tmp_path / "model")
    make_source(tmp_path / "reads", count=3)
    before = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*") if "mine" not in path.parts}
    small = [line for line in TINY if line.startswith("data.")]
    for module, *arguments in (
        ("prepare", *small),
        ("evaluate", "model=model", "output=mine/evaluation", "limit=5"),
        ("basecall", "model=model", "reads=reads", "output=~/calls", "calibration=mine/evaluation"),
        ("export", "model=model", "output=~/model.pt"),
        ("train", *TINY, "seed=2", "output_dir=~/runs"),
    ):
        done = another(module, *arguments)
        assert done.returncode == 0, done.stderr
    mine = {path.name for path in (tmp_path / "mine").rglob("*") if path.is_file()}
    assert {"evaluation.json", "calibration.json", "reads.fastq", "model.pt", "result.json"} <= mine
    assert {path: path.stat().st_mtime_ns for path in before} == before


REFUSED = {
    "evaluate": (["model=model"], "model=model: its folder cannot be written to (Permission denied); give output=FOLDER"),
    "evaluate, output": (["model=model", "output=theirs/x"], "theirs/x: Permission denied"),
    "basecall": (["model=model", "reads=reads", "output=theirs"], "theirs: Permission denied"),
    "export": (["model=model", "reads=reads"], "model: Permission denied"),
    "prepare": (["data.simulator_seed=9", "data.folder=theirs"], "theirs/.simulated-"),
    "train": ([*TINY, "output_dir=theirs"], "theirs/runs"),
    "train -m": ([*TINY, "-m", "output_dir=mine/x", "optimizer.lr=0.1,0.2", "storage=sqlite:///theirs/x.db"], "storage=sqlite"),
    "search": ([*TINY, "output_dir=theirs", "storage=sqlite:///mine/search.db"], "theirs: Permission denied"),
    "search, storage": ([*TINY, "output_dir=mine/x"], "storage=sqlite:///outputs/optuna.db: outputs: Permission denied"),
    "report": (["output_dir=theirs"], "theirs/report.json: Permission denied"),
}


def test_a_folder_that_the_user_may_not_write_to_gives_one_message(tmp_path, run: Command, another):
    run("train", "-m", *TINY, "seed=1")
    (model,) = (tmp_path / "outputs/tiny/runs").iterdir()
    model.rename(tmp_path / "model")
    make_source(tmp_path / "reads", count=3)
    (tmp_path / "theirs").mkdir()
    for kind, (arguments, words) in REFUSED.items():
        done = another(kind.partition(",")[0].partition(" ")[0], *arguments)
        assert done.returncode == 2, (kind, done.stderr)
        assert len([line for line in done.stderr.splitlines() if line.startswith("error: ")]) == 1, (kind, done.stderr)
        assert words in done.stderr, (kind, done.stderr)
    assert not list((tmp_path / "theirs").iterdir())


def test_users_who_share_a_folder_share_its_locks(tmp_path, run: Command, another):
    """All of them may write to every folder, as with a common group; each user owns their files."""
    umask = os.umask(0o022)
    try:
        run("train", "-m", *TINY, "seed=1")
    finally:
        os.umask(umask)
    for path in (tmp_path, *tmp_path.rglob("*")):
        if path.is_dir():
            path.chmod(0o777)
    (tmp_path / "outputs/optuna.db").chmod(0o666)
    assert {oct(path.stat().st_mode & 0o777) for path in tmp_path.rglob("*.lock")} == {"0o666"}
    done = another("train", "-m", *TINY, "seed=1,2")
    assert done.returncode == 0, done.stderr
    assert len(list(tmp_path.glob("outputs/tiny/runs/*/result.json"))) == 2


PLACES = {
    "a file": (lambda place: place.write_text("x", encoding="utf-8"), "place"),
    "below a file": (lambda place: place.parent.joinpath("file").write_text("x", encoding="utf-8"), "Not a directory"),
    "a link to nothing": (lambda place: place.symlink_to("gone"), "is a link to"),
    "a link to itself": (lambda place: place.symlink_to(place), "link"),
    "too long a name": (lambda place: None, "File name too long"),
}


@pytest.mark.parametrize("kind", PLACES)
def test_an_impossible_output_folder_gives_one_message(tmp_path, run: Command, kind):
    make, words = PLACES[kind]
    make(tmp_path / "place")
    place = {"below a file": "file/place", "too long a name": "x" * 300}.get(kind, "place")
    save_model(tmp_path / "model", network())
    make_source(tmp_path / "reads", count=2)
    small = [line for line in TINY if line.startswith("data.")]
    for module, *arguments in (
        ("train", *TINY, f"output_dir={place}"),
        ("prepare", *small, f"data.folder={place}"),
        ("basecall", "model=model", "reads=reads", f"output={place}"),
        ("evaluate", "model=model", f"output={place}"),
        ("export", "model=model", "reads=reads", f"output={place}/model.pt"),
        ("search", *TINY, f"output_dir={place}"),
    ):
        done = run(module, *arguments, code=2)
        assert "Traceback" not in done.stderr, done.stderr
        assert len([line for line in done.stderr.splitlines() if line.startswith("error: ")]) == 1
        assert words in done.stderr, (module, done.stderr)


def test_a_training_without_a_terminal_logs_each_point_of_its_curve(run: Command):
    told = run("train", *TINY, "train.epochs=3").stderr
    lines = [line for line in told.splitlines() if " left" in line]
    assert len(lines) == 6
    assert all("validation" in line and "samples/s" in line for line in lines)
    sweep = run("train", "-m", *TINY, "train.epochs=3", "optimizer.lr=0.1,0.2").stderr
    assert " left" not in sweep


def test_a_long_trial_among_others_logs_its_progress(monkeypatch, caplog):
    monkeypatch.setattr(progress, "SILENCE", 0.0)
    with caplog.at_level("INFO", "basecaller"), progress.Meter(10, 4, alone=False, name="ab12") as meter:
        meter.advance(1.5, 100)
        meter.point(1.5, 1.4)
    (line,) = caplog.messages
    assert line.startswith("run ab12: 5 of 10 updates, loss 1.5000, validation 1.4000 nats/base")


def test_a_process_that_waits_for_another_logs_it_once(tmp_path, run: Command):
    run("prepare", *(line for line in TINY if line.startswith("data.")))
    (prepared,) = (tmp_path / "outputs/data").glob("simulated-*")
    prepared.rename(tmp_path / "hidden")
    with shared_lock(tmp_path / f"outputs/data/.{prepared.name}.lock"):
        process = subprocess.Popen(
            [sys.executable, "-m", "basecaller.train", *TINY], cwd=tmp_path, stderr=subprocess.PIPE, text=True, encoding="utf-8"
        )
        assert process.stderr is not None
        line = process.stderr.readline()
        assert "waiting for another process that prepares outputs/data/simulated-" in line
        (tmp_path / "hidden").rename(prepared)
    _, rest = process.communicate(timeout=120)
    assert process.returncode == 0, rest
    assert "waiting" not in rest


INTERRUPT = """
import signal, sys

class Interrupting:
    def find_spec(self, name, path=None, target=None):
        if name == MODULE:
            sys.meta_path.remove(self)
            signal.raise_signal(signal.SIGINT)  # to this thread, so at once

sys.meta_path.insert(0, Interrupting())
"""


@pytest.mark.slow
@pytest.mark.parametrize(
    ("module", "status", "told"),
    [("hydra", -signal.SIGINT, ""), ("basecaller.training.fit", 130, "interrupted; the same command continues from here\n")],
    ids=["while it starts", "while it works"],
)
def test_control_c_ends_a_command_without_a_traceback(tmp_path, module, status, told):
    path = hooked(tmp_path, INTERRUPT.replace("MODULE", repr(module)))
    done = subprocess.run(
        [sys.executable, "-m", "basecaller.train", *TINY],
        cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": path},
        capture_output=True,
        text=True,
        encoding="utf-8",
        check=False,
    )
    assert (done.returncode, done.stderr) == (status, told)
