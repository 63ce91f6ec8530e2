"""What happens to processes, disks and servers: real processes, real signals, a real server."""

from __future__ import annotations

import contextlib
import math
import os
import sqlite3
import subprocess
import sys
import textwrap
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import optuna
import pytest
from optuna.trial import TrialState
from sqlalchemy.exc import OperationalError

from basecaller.common.errors import SettingError, StageError, StorageError
from basecaller.common.files import write_json
from basecaller.hpo import optuna_private, queue
from basecaller.hpo.optuna_private import Attributes
from basecaller.hpo.queue import trial_lock
from basecaller.hpo.records import Outcome, store_study, store_trial, trials_of
from basecaller.hpo.standing import standing
from basecaller.hpo.storage import current_study, open_storage, open_study
from basecaller.hpo.trial import JobTrial
from tests.conftest import ON_SERVER, TINY, Command
from tests.helpers.processes import SLOW, hooked, start, wait_until
from tests.helpers.sweeping import RATES, URL, points, sweep

pytestmark = pytest.mark.usefixtures("folder")


def test_a_job_waits_for_a_storage_that_is_lost_during_a_trial(folder, server):
    process = start(folder, *SLOW, "experiment=away", f"storage={server.url}", "optimizer.lr=0.01,0.001")
    wait_until(lambda: bool(list(folder.glob("outputs/away/runs/*/last.pt"))), process)
    server.stop()
    time.sleep(2)
    server.start()
    _, errors = process.communicate(timeout=120)
    assert process.returncode == 0, errors
    assert "is unreachable; waiting" in errors
    study = current_study(server.url, "away", "sweep")
    assert sorted(points(study)) == ["optimizer.lr=0.001", "optimizer.lr=0.01"]
    assert len(study.trials) == 2


def test_a_storage_that_stays_unreachable_loses_no_result(folder, server):
    command = [*SLOW, "experiment=gone", f"storage={server.url}", "optimizer.lr=0.01"]
    process = start(folder, *command, BASECALLER_STORAGE_WAIT="1")
    wait_until(lambda: bool(list(folder.glob("outputs/gone/runs/*/last.pt"))), process)
    server.stop()
    try:
        _, errors = process.communicate(timeout=120)
    finally:
        server.start()
    assert process.returncode == 2
    assert "the storage was lost, but the result is in outputs/gone/runs/" in errors
    assert "start the server, then run the same command" in errors
    (result,) = folder.glob("outputs/gone/runs/*/result.json")
    written = result.stat().st_mtime_ns
    again = start(folder, *command)
    _, errors = again.communicate(timeout=120)
    assert again.returncode == 0, errors
    assert result.stat().st_mtime_ns == written
    study = current_study(server.url, "gone", "sweep")
    assert [t.user_attrs["outcome"] for t in study.trials] == ["abandoned", "complete"]
    assert study.trials[1].user_attrs["taken_over"]


def test_processes_that_find_a_database_empty_make_its_tables_once(folder, server):
    url = server.database("empty")
    code = f"from basecaller.hpo.storage import open_study; open_study({url!r}, 'tiny/sweep/x')"
    processes = [subprocess.Popen([sys.executable, "-c", code], stderr=subprocess.PIPE, text=True) for _ in range(4)]
    for process in processes:
        _, errors = process.communicate(timeout=60)
        assert process.returncode == 0, errors
    assert len(optuna.get_all_study_names(url)) == 1


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["sqlite", "journal", ON_SERVER])
def test_the_same_command_started_twice_shares_the_grid(folder, request, kind):
    url = {"sqlite": URL, "journal": "journal:///journal.log"}.get(kind) or request.getfixturevalue("server").url
    rates = "optimizer.lr=" + ",".join(str(i / 1000) for i in range(1, 9))
    processes = [start(folder, "experiment=shared", f"storage={url}", "train.validations=1", rates) for _ in range(2)]
    for process in processes:
        _, errors = process.communicate(timeout=240)
        assert process.returncode == 0, errors
    trials = trials_of(current_study(url, "shared", "sweep"))
    assert Counter(t.point for t in trials if t.is_complete) == dict.fromkeys(
        (f"optimizer.lr={i / 1000}" for i in range(1, 9)), 1
    )
    assert len(trials) == 8


@pytest.mark.slow
def test_a_point_that_kills_its_processes_ends_as_killed_and_the_others_run(folder):
    hook = """
        import os
        from basecaller.training import fit as module

        real = module.fit

        def fit(network, dataset, job, *rest):
            if job.optimizer.lr == 0.5:
                os.kill(os.getpid(), 9)
            return real(network, dataset, job, *rest)

        module.fit = fit
    """
    process = start(
        folder,
        "optimizer.lr=0.5,0.01,0.001,0.002",
        "hydra/launcher=joblib",
        "hydra.launcher.n_jobs=2",
        PYTHONPATH=hooked(folder, textwrap.dedent(hook)),
    )
    _, errors = process.communicate(timeout=240)
    assert process.returncode == 0, errors
    study = current_study(URL, "tiny", "sweep")
    assert sorted(points(study)) == ["optimizer.lr=0.001", "optimizer.lr=0.002", "optimizer.lr=0.01"]
    assert standing(study).failed == {"optimizer.lr=0.5": "killed"}
    died = [t for t in trials_of(study) if t.point == "optimizer.lr=0.5"]
    assert len(died) == queue.ATTEMPTS
    assert "lack of memory" in died[-1].message
    assert not study.get_trials(states=(TrialState.RUNNING, TrialState.WAITING))


@pytest.mark.slow
def test_only_deaths_that_one_sweep_has_seen_count_against_a_point(folder):
    study = sweep(RATES)
    key = ("optimizer.lr=0.1", 1)
    for launches, expected in [({}, "abandoned")] * 4 + [({key: 2}, "abandoned"), ({key: 3}, "killed")]:
        left = study.ask()
        store_trial(study, optuna_private.trial_id(left), point=key[0], seed=key[1])
        Path(trial_lock(folder / "outputs/tiny", study.study_name, left.number).lock_file).touch()
        queue.release_abandoned(study, folder / "outputs/tiny", launches)
        assert study.trials[left.number].user_attrs["outcome"] == expected


@pytest.mark.slow
def test_the_next_sweep_retries_a_failure_at_a_later_seed(monkeypatch):
    from basecaller.runs import training

    real = training.fit

    def failing(network, dataset, recipe, *rest):
        return real(network, dataset, recipe, *rest) if recipe.seed == 1 else 1 / 0

    monkeypatch.setattr(training, "fit", failing)
    given = (RATES, "stage.replicates=2")
    with pytest.raises(StageError, match="failed at seed 2"):
        sweep(*given)
    monkeypatch.setattr(training, "fit", real)
    stand = standing(sweep(*given))
    assert stand.failed == {}
    assert stand.conclusion.seeds == 2


@pytest.mark.slow
def test_another_version_of_the_program_is_refused_and_nothing_changes(folder):
    study = sweep(RATES)
    store_study(study, format=99)
    before = (folder / "outputs/optuna.db").read_bytes()
    with pytest.raises(StorageError, match=r"written by another version of this program \(format 99"):
        sweep(RATES)
    assert (folder / "outputs/optuna.db").read_bytes() == before


def test_another_version_of_optuna_is_refused(folder, run: Command):
    sweep(RATES)
    with sqlite3.connect(folder / "outputs/optuna.db") as database:
        database.execute("UPDATE version_info SET schema_version = 999")
        database.execute("UPDATE alembic_version SET version_num = 'v999'")
    open_storage.cache_clear()
    done = run("train", "-m", *TINY, RATES, code=2)
    assert "storage=sqlite:///outputs/optuna.db: cannot be opened" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.fixture
def small_disk(tmp_path) -> Iterator[Path]:
    """A disk of one megabyte."""
    path = tmp_path / "disk"
    path.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(path)], capture_output=True, check=False)
    if mounted.returncode != 0:
        pytest.skip("mounting a small disk is not permitted here")
    yield path
    subprocess.run(["umount", str(path)], check=False)


def test_a_full_disk_gives_one_error_and_damages_nothing(small_disk, folder, run: Command):
    filler = small_disk / "filler"
    whole = [*TINY, f"output_dir={small_disk}/out", "data.folder=outputs/data"]
    run("train", *whole)
    (result,) = small_disk.glob("out/runs/*/result.json")
    before = {path: path.read_bytes() for path in result.parent.iterdir() if path.is_file()}
    with filler.open("wb", buffering=0) as file, contextlib.suppress(OSError):
        while True:
            file.write(b"x" * 4096)
    for arguments in ([*whole, "seed=2"], [*whole, "-m", "optimizer.lr=0.1,0.2"]):
        done = run("train", *arguments, code=2)
        assert "No space left on device; free some space" in done.stderr
        assert "Traceback" not in done.stderr
    assert {path: path.read_bytes() for path in before} == before
    assert not list(small_disk.rglob("*.partial"))
    with pytest.raises(OSError, match="No space"):
        write_json(result, {"much": "x" * 200_000})
    assert result.read_bytes() == before[result]
    data = run("prepare", "data.reads=3000", f"data.folder={small_disk}/data", code=2)
    assert f"{small_disk}/data" in data.stderr
    assert "No space left on device" in data.stderr
    assert "Traceback" not in data.stderr
    assert not list(small_disk.glob("data/*/meta.json"))


@pytest.mark.slow
def test_pruned_points_are_shown_and_never_win():
    rates = "optimizer.lr=0.02,0.01,0.005,0.00001"
    given = ("stage=lr_adam", "padding=on", "model.batch_norm=true", "stage.extend=0", "train.epochs=2")
    pruning = ("search.pruner=MedianPruner", "+search.pruner_args.n_startup_trials=2", "search.replicates=2")
    study = sweep(*given, *pruning, rates)
    assert all(len(t.intermediate_values) < 4 for t in study.get_trials(states=(TrialState.PRUNED,)))
    pruned = trials_of(study, TrialState.PRUNED)
    assert "optimizer.lr=1e-05" in [t.point for t in pruned]
    stand = standing(study)
    assert stand.failed == {t.point: "pruned at seed 1" for t in pruned}
    assert stand.conclusion.winner not in (None, *stand.failed)
    assert all(t.state == TrialState.COMPLETE for t in study.trials if t.user_attrs["seed"] == 2)


@pytest.mark.slow
def test_replicates_that_a_conclusion_needs_are_not_pruned():
    study = sweep("stage=padding", "search.pruner=ThresholdPruner", "+search.pruner_args.upper=0.0", "search.replicates=2")
    assert {t.state for t in study.trials} == {TrialState.COMPLETE}
    assert len(study.trials) >= 2 * 3


@pytest.mark.parametrize(
    ("overrides", "words"),
    [(["search.pruner=Nonesuch"], "MedianPruner"), (["search.pruner=ThresholdPruner"], "search.pruner_args")],
)
def test_an_unknown_pruner_is_refused_before_anything_is_stored(folder, overrides, words):
    with pytest.raises(SettingError, match=words):
        sweep(RATES, *overrides)
    assert not (folder / "outputs/optuna.db").exists()


@pytest.mark.slow
@pytest.mark.parametrize("launcher", ["submitit_local", "ray"])
def test_other_launchers_run_the_same_queue(folder, launcher):
    pytest.importorskip(f"hydra_plugins.hydra_{launcher.partition('_')[0]}_launcher")
    own = {
        "submitit_local": ["hydra.launcher.timeout_min=5", "hydra.launcher.cpus_per_task=1"],
        "ray": ["+hydra.launcher.ray.init.num_cpus=2", "+hydra.launcher.ray.remote.num_cpus=1"],
    }[launcher]
    process = start(folder, RATES, f"hydra/launcher={launcher}", *own, "threads=1")
    _, errors = process.communicate(timeout=300)
    assert process.returncode == 0, errors
    assert sorted(points(current_study(URL, "tiny", "sweep"))) == ["optimizer.lr=0.001", "optimizer.lr=0.01"]


@pytest.mark.parametrize("given", ["plain", "encoded", "parameter", "environment"])
def test_a_password_reaches_no_file_log_or_attribute(folder, server, call: Command, monkeypatch, given):
    if given == "parameter":
        url = f"{server.url}?sslmode=disable&password=sesame%40"
    else:
        url = server.url.replace("tester@", "tester:sesame%40@" if given == "encoded" else "tester:sesame@")
    asked = "'${oc.env:STORAGE}'" if given == "environment" else url
    experiment = f"secret-{given}"
    command = [*TINY, f"experiment={experiment}", f"storage={asked}", "plan=[padding]"]
    command += ["search.workers=2" if given == "plain" else "search.workers=1"]
    done = subprocess.run(
        [sys.executable, "-m", "basecaller.search", *command],
        cwd=folder,
        capture_output=True,
        text=True,
        env=os.environ | {"STORAGE": url},
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "sesame" not in done.stdout + done.stderr
    for path in folder.rglob("*"):
        if path.is_file():
            assert b"sesame" not in path.read_bytes(), path
    for study in optuna_private.storage_of(current_study(server.url, experiment, "padding")).get_all_studies():
        assert "sesame" not in repr((study.user_attrs, study.system_attrs))
    trials = current_study(server.url, experiment, "padding").trials
    assert len(trials) == 2
    assert "sesame" not in repr(trials)
    monkeypatch.setenv("BASECALLER_STORAGE_WAIT", "0.1")
    monkeypatch.setenv("STORAGE", url.replace(str(server.port), "1"))
    wrong = call("search", *TINY, f"storage={asked.replace(str(server.port), '1')}", code=2)
    assert "storage=" in wrong.stderr
    assert "sesame" not in wrong.stdout + wrong.stderr
    assert "Traceback" not in wrong.stderr


@pytest.mark.parametrize("kind", ["sqlite", "journal", ON_SERVER])
def test_attributes_are_written_together_and_never_to_a_finished_trial(folder, request, kind):
    urls = {"sqlite": lambda: URL, "journal": lambda: "journal:///outputs/journal.log"}
    url = urls[kind]() if kind in urls else request.getfixturevalue("server").url
    study = open_study(url, f"together/{kind}/x")
    key = optuna_private.trial_id(study.ask())
    both = {"a": 1, "b": [1.5, None, "x"]}
    optuna_private.write_trial(study, key, Attributes(both, both), {25: 2.0})
    changed = {"b": {"c": float("inf")}, "d": "'"}
    optuna_private.write_trial(study, key, Attributes(changed, changed), {25: 1.5, 50: math.inf})
    optuna_private.write_trial(study, key, Attributes(), {})
    assert study.trials[0].user_attrs == study.trials[0].system_attrs == {"a": 1} | changed
    assert study.trials[0].intermediate_values == {25: 1.5, 50: math.inf}
    trial = JobTrial(study, key)
    trial.end(Outcome.COMPLETE, 0.5, shown=["updates"], updates=3)
    assert study.trials[0].user_attrs["updates"] == 3
    assert study.trials[0].value == 0.5
    with pytest.raises(optuna.exceptions.UpdateFinishedTrialError):
        optuna_private.write_trial(study, key, Attributes({"a": 2}), {})
    assert study.trials[0].user_attrs["a"] == 1


@pytest.mark.parametrize("by", ["study", "job"])
def test_a_lost_answer_of_the_server_is_not_a_failure(folder, monkeypatch, by):
    """The server did its work, and was lost before it could answer."""
    monkeypatch.setattr("basecaller.hpo.retrying.FIRST_PAUSE", 0.01)
    study = open_study(URL, "tiny/sweep/x")
    dialect = open_storage(URL).database.engine.dialect
    trial, commit, lost = study.ask(), dialect.do_commit, []

    def without_answer(connection: sqlite3.Connection) -> None:
        writes = connection.in_transaction
        commit(connection)
        if writes and not lost:
            lost.append(connection)
            raise OperationalError("COMMIT", {}, Exception("server closed the connection unexpectedly"))

    monkeypatch.setattr(dialect, "do_commit", without_answer)
    if by == "study":
        study.tell(trial, 1.5)
    else:
        JobTrial(study, optuna_private.trial_id(trial)).end(Outcome.COMPLETE, 1.5)
    assert len(lost) == 1
    assert [(t.state.name, t.value) for t in study.trials] == [("COMPLETE", 1.5)]
    with pytest.raises(optuna.exceptions.UpdateFinishedTrialError):
        JobTrial(study, optuna_private.trial_id(trial)).end(Outcome.FAILED)


def test_a_study_that_nobody_finished_is_open(folder):
    study = open_study(URL, "tiny/sweep/x")
    store_study(study, points=["a"], seeds=[1])
    assert standing(study).open == [("a", 1)]
