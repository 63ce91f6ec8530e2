"""The grid as a queue: missing points run once; the command line wins; winners are injected; failures have outcomes."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import optuna
import pytest
from optuna.trial import TrialState

from basecaller.common.errors import DataError, SettingError, StageError, StorageError
from basecaller.hpo.optuna_private import trial_id
from basecaller.hpo.queue import trial_lock
from basecaller.hpo.records import StudyRecord, store_study, store_trial, trials_of
from basecaller.hpo.standing import standing
from basecaller.hpo.storage import current_study, open_storage, open_study, without_password
from basecaller.hpo.winners import setting_of, winner_of
from basecaller.search_plan.stages import hydra_app
from basecaller.task import run_job
from tests.conftest import TINY
from tests.helpers.processes import wait_until
from tests.helpers.sweeping import PLACE, RATES, URL, points, sweep

pytestmark = pytest.mark.usefixtures("folder")


@pytest.mark.slow
def test_a_free_hand_grid_runs_every_point_once(folder):
    study = sweep("optimizer=adam,adagrad", RATES)
    assert points(study) == [f"optimizer={name} optimizer.lr={rate}" for name in ("adam", "adagrad") for rate in (0.01, 0.001)]
    trial = study.trials[0]
    assert trial.params == {"optimizer": "adam", "optimizer.lr": 0.01}
    assert trial.user_attrs["outcome"] == "complete"
    (record, *_) = trials_of(study)
    assert trial.value == record.facts["val_loss"] == min(trial.intermediate_values.values())
    assert sorted(trial.intermediate_values) == [50, 100]  # hundredths of an epoch
    kept = {"identity_mean", "identity_floor", "blank_fraction", "loss_per_read", "updates", "samples", "parameters",
            "receptive_field", "seconds", "device", "versions", "data"}  # fmt: skip
    assert kept <= record.facts.keys()
    assert record.curve
    assert record.config
    assert record.overrides
    assert trial.user_attrs.keys() == {
        "seed", "outcome", "folder", "taken_over", "identity_mean", "updates", "samples", "seconds", "parameters",
    }  # fmt: skip
    assert (folder / trial.user_attrs["folder"] / "best.pt").exists()


@pytest.mark.slow
def test_a_finished_grid_runs_nothing_and_a_larger_one_only_what_is_new():
    first = sweep(RATES)
    again = sweep(RATES)
    assert len(again.trials) == len(first.trials) == 2
    larger = sweep("optimizer.lr=0.01,0.001,0.1")
    assert larger.study_name == first.study_name
    assert points(larger) == ["optimizer.lr=0.01", "optimizer.lr=0.001", "optimizer.lr=0.1"]


@pytest.mark.slow
def test_another_setting_is_another_study():
    names = {sweep("optimizer.lr=0.01", *more).study_name for more in ((), ("data.batch_size=4",), ("seed=2",))}
    assert len(names) == 2  # the batch size does change the question, the seed does not


@pytest.mark.slow
def test_the_command_line_wins_over_the_stage():
    study = sweep("stage=lr_adam", "padding=on", "model.batch_norm=false", RATES)
    assert points(study) == ["optimizer.lr=0.01", "optimizer.lr=0.001"]
    single = sweep("stage=lr_adam", "padding=on", "model.batch_norm=false", "optimizer.lr=0.02")
    assert [setting_of(t, "optimizer.lr") for t in trials_of(single)] == [0.02]


@pytest.mark.slow
def test_winners_are_injected_into_later_stages():
    sweep("stage=padding")
    study = sweep("stage=batch_norm")
    padding = winner_of(PLACE, ["padding"]).trial
    chosen = setting_of(padding, "padding")
    assert StudyRecord.of(study).fixed["padding"] == f"padding={chosen}"
    assert {setting_of(t, "padding") for t in trials_of(study)} == {chosen}
    source = f"padding={chosen} from trial {padding.number} of {current_study(URL, 'tiny', 'padding').study_name}"
    assert StudyRecord.of(study).injected["padding"][0].startswith(source)
    assert {setting_of(t, "optimizer") for t in trials_of(study)} == {"adam"}


@pytest.mark.slow
def test_rates_follow_the_winner_and_the_batch_size():
    given = ("padding=on", "model.batch_norm=true")
    for stage, rate in (("lr_adam", 0.01), ("lr_adamax", 0.004), ("lr_adagrad", 1e-6)):
        sweep(f"stage={stage}", *given, f"optimizer.lr={rate}")
    best = winner_of(PLACE, ["lr_adam", "lr_adamax", "lr_adagrad"]).trial
    base = setting_of(best, "optimizer.lr")
    study = sweep("stage=batch_size", *given, "data.batch_size=2,8")
    assert {setting_of(t, "optimizer") for t in trials_of(study)} == {setting_of(best, "optimizer")}
    for trial in trials_of(study):
        batch, factor = trial.params["data.batch_size"], trial.params["stage.rate_factor"]
        assert setting_of(trial, "optimizer.lr") == pytest.approx(base * factor * (batch / 8) ** 0.5, rel=1e-5)


@pytest.mark.slow
def test_the_same_configuration_is_not_trained_twice():
    sweep("stage=padding", "padding=on")
    study = sweep("stage=batch_norm")
    taken = {t.params["model.batch_norm"]: t.user_attrs["taken_over"] for t in study.trials}
    assert taken == {False: True, True: False}
    (first,) = current_study(URL, "tiny", "padding").trials
    assert study.trials[0].value == first.value
    assert study.trials[0].intermediate_values == first.intermediate_values


@pytest.mark.slow
def test_a_rerun_with_overrides_disturbs_nothing():
    canonical = sweep("stage=padding")
    before = [(t.number, t.value) for t in canonical.trials]
    other = sweep("stage=padding", "train.epochs=2")
    assert other.study_name != canonical.study_name
    assert [(t.number, t.value) for t in open_study(URL, canonical.study_name).trials] == before
    assert current_study(URL, "tiny", "padding").study_name == other.study_name
    sweep("stage=padding")
    assert current_study(URL, "tiny", "padding").study_name == canonical.study_name


@pytest.mark.slow
def test_the_message_about_a_missing_stage_has_the_command_that_runs_it(folder):
    with pytest.raises(
        StageError, match=r"stage padding .* has not run yet; run it, .*: python -m basecaller.train -m stage=padding"
    ):
        sweep("stage=batch_norm")
    study = sweep("stage=padding")
    assert winner_of(PLACE, ["padding"]).trial.number == standing(study).winner.number
    store_study(study, points=[*StudyRecord.of(study).points, "padding=masked"])
    with pytest.raises(StageError, match=r"stage padding .*: 1 of its trials are unfinished; finish them with"):
        sweep("stage=batch_norm")


@pytest.mark.slow
def test_a_bad_trial_has_a_named_end_and_never_wins():
    study = sweep("optimizer=sgd", "train.clip=null", "optimizer.lr=1e30,0.001")
    bad, good = study.trials
    assert (bad.state, bad.user_attrs["outcome"]) == (TrialState.FAIL, "diverged")
    assert "update 2" in bad.user_attrs["message"]
    assert standing(study).winner.number == good.number
    assert len(sweep("optimizer=sgd", "train.clip=null", "optimizer.lr=1e30,0.001").trials) == 2  # it would diverge again


@pytest.mark.slow
def test_infeasible_targets_end_the_trial_as_infeasible():
    with pytest.raises(StageError, match="infeasible"):
        sweep("model.stride=12", "optimizer.lr=0.01,0.001")
    (study,) = optuna.get_all_study_summaries(URL)
    assert study.n_trials == 2


@pytest.mark.slow
def test_a_failed_point_is_tried_again_by_the_next_sweep(monkeypatch):
    from basecaller.runs import training

    real = training.fit
    monkeypatch.setattr(training, "fit", lambda *_: 1 / 0)
    with pytest.raises(StageError, match="failed"):
        sweep("optimizer.lr=0.01")
    monkeypatch.setattr(training, "fit", real)
    study = sweep("optimizer.lr=0.01")
    assert [t.user_attrs["outcome"] for t in study.trials] == ["failed", "complete"]
    assert "division by zero" in study.trials[0].user_attrs["message"]


@pytest.mark.slow
def test_the_trial_of_a_dead_process_goes_back_into_the_queue(folder):
    study = sweep(RATES)
    left = study.ask()  # a running trial whose job is gone: its lock file exists and is free
    store_trial(study, trial_id(left), point="optimizer.lr=0.1", seed=1)
    Path(trial_lock(folder / "outputs/tiny", study.study_name, left.number).lock_file).touch()
    study = sweep("optimizer.lr=0.01,0.001,0.1")
    assert [t.user_attrs["outcome"] for t in study.trials] == ["complete", "complete", "abandoned", "complete"]
    assert not study.get_trials(states=(TrialState.RUNNING, TrialState.WAITING))


@pytest.mark.slow
def test_a_sweep_waits_for_a_trial_of_another_process(folder):
    study = sweep(RATES)
    other = study.ask()
    store_trial(study, trial_id(other), point="optimizer.lr=0.1", seed=1, config={"optimizer": {"lr": 0.1}})
    lock = trial_lock(folder / "outputs/tiny", study.study_name, other.number)

    def finish() -> None:
        with lock:
            held.set()
            time.sleep(1)
            curve = [{"updates": 1, "samples": 1, "seconds": 1.0, "val_loss": 0.5}]
            store_trial(study, trial_id(other), outcome="complete", curve=curve, area_under_curve=0.5)
            study.tell(other, 0.5)

    held = threading.Event()
    thread = threading.Thread(target=finish)
    thread.start()
    held.wait()
    again = sweep("optimizer.lr=0.01,0.001,0.1")
    thread.join()
    assert len(again.trials) == 3
    assert standing(again).open == []


@pytest.mark.parametrize(
    ("overrides", "error", "message"),
    [
        (("optimizer.lr=0.01,-1",), SettingError, r"optimizer\.lr=-1.*above 0"),
        (("optimizer=adam,nonesuch",), SettingError, r"optimizer=nonesuch: no such option"),
        (("data.batch_size=0,1",), SettingError, r"data\.batch_size=0: must be at least 1"),
        (("model.channels=4,many",), SettingError, r"model\.channels"),
        (("data=pod5", "data.pod5=no.pod5", "data.bam=no.bam", RATES), DataError, r"no\.pod5 does not exist"),
    ],
)
def test_bad_points_are_refused_before_anything_is_stored(folder, overrides, error, message):
    with pytest.raises(error, match=message):
        sweep(*overrides)
    assert not (folder / "outputs" / "optuna.db").exists()


def test_a_storage_that_cannot_be_opened_is_named_without_its_password(folder):
    (folder / "text.db").write_text("this is no database, and long enough that SQLite looks at its header")
    with pytest.raises(StorageError, match=r"storage=sqlite:///text\.db"):
        sweep("storage=sqlite:///text.db", RATES)
    assert without_password("postgresql://me:secret@host/db") == "postgresql://me:***@host/db"
    with pytest.raises(StorageError) as caught:
        open_storage("nonesuch://me:secret@host/db")
    assert "secret" not in str(caught.value)


@pytest.mark.slow
def test_a_journal_file_works_as_storage(folder):
    with hydra_app() as app:
        name = app.multirun(
            "config", run_job, [*TINY, "storage=journal:///log/journal.log", RATES], with_log_configuration=False
        )
    assert points(open_study("journal:///log/journal.log", name)) == ["optimizer.lr=0.01", "optimizer.lr=0.001"]


@pytest.mark.parametrize("workers", [1, 2])
def test_a_sweep_killed_during_a_trial_runs_only_what_is_missing(folder, run, workers):
    command = ["-m", *TINY, "train.epochs=8", "model.channels=16", "optimizer.lr=0.01,0.005,0.001,0.0005"]
    if workers == 2:
        command += ["hydra/launcher=joblib", "hydra.launcher.n_jobs=2"]
    process = subprocess.Popen(
        [sys.executable, "-m", "basecaller.train", *command], cwd=folder, start_new_session=True, stderr=subprocess.DEVNULL
    )

    def under_way() -> bool:
        """One trial has ended, and another one has a checkpoint."""
        runs = list(folder.glob("outputs/tiny/runs/*"))
        done = [r for r in runs if (r / "result.json").exists()]
        return bool(done) and any((r / "last.pt").exists() for r in runs if r not in done)

    wait_until(under_way, process)
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    run("train", *command)
    study = current_study(URL, "tiny", "sweep")
    assert sorted(points(study)) == sorted(f"optimizer.lr={rate}" for rate in ("0.01", "0.005", "0.001", "0.0005"))
    abandoned = [t for t in study.trials if t.user_attrs["outcome"] == "abandoned"]
    assert len(abandoned) <= workers
    assert len(study.trials) == 4 + len(abandoned)


@pytest.mark.slow
def test_a_winner_at_the_edge_makes_the_grid_grow_and_is_reported(capsys):
    given = ("padding=on", "model.batch_norm=true", "train.validations=1", "stage.extend=1")
    study = sweep("stage=lr_adam", *given)
    # on so few updates the highest rate is best: one step outward by the grid's own ratio, once
    assert points(study)[:4] == [f"optimizer.lr={rate}" for rate in ("0.001", "0.0005", "0.0001", "5e-05")]
    assert points(study)[4:] == ["optimizer.lr=0.002"]
    assert standing(study).open == []
    assert StudyRecord.of(study).edges == {"optimizer.lr": "highest"}
    assert "a better value may lie beyond" in capsys.readouterr().err
    assert len(sweep("stage=lr_adam", *given).trials) == 5
    assert len(sweep("stage=lr_adam", *given, "optimizer.lr=0.1,0.2").trials) == 7  # the user's own axis is left alone
