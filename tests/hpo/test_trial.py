"""A trial between its claim and its end: when it is written, and that its config is resolved once."""

from __future__ import annotations

from pathlib import Path

import optuna
import pytest
from optuna.trial import TrialState
from sqlalchemy import event
from sqlalchemy.engine import Engine

from basecaller.hpo.records import TrialRecord, queued, trials_of
from basecaller.hpo.storage import open_study
from basecaller.hpo.trial import claim
from basecaller.runs import job as jobs
from tests.helpers.sweeping import URL, sweep

pytestmark = pytest.mark.usefixtures("folder")

CURVE = {25: 1.5, 50: 1.25, 100: 1.0}
JOURNAL = "journal:///outputs/journal.log"


def waiting(url: str) -> optuna.Study:
    """A study with one trial that waits."""
    study = open_study(url, "tiny/sweep/x")
    user, system = queued(("a", 1))
    study.add_trial(optuna.create_trial(state=TrialState.WAITING, user_attrs=user, system_attrs=system))
    return study


@pytest.mark.parametrize("url", [URL, JOURNAL])
def test_a_short_trials_curve_is_written_with_its_end(folder: Path, url):
    study = waiting(url)
    with claim(url, study.study_name, 0, folder, {"config": {"seed": 1}}) as trial:
        (claimed,) = study.trials
        for step, loss in CURVE.items():
            trial.report(loss, step)
        assert study.trials[0].intermediate_values == {}
        trial.end("complete", 1.0, shown=["updates"], updates=4, path="b")
    assert claimed.state == TrialState.RUNNING
    assert TrialRecord.of(claimed).config == {"seed": 1}
    assert TrialRecord.of(claimed).claimed
    (ended,) = study.trials
    assert (ended.state, ended.value, ended.intermediate_values) == (TrialState.COMPLETE, 1.0, CURVE)
    assert ended.user_attrs == {"seed": 1, "outcome": "complete", "updates": 4}
    assert TrialRecord.of(ended).facts == {"updates": 4, "path": "b"}
    assert ended.datetime_start <= ended.datetime_complete


def test_a_long_trials_curve_is_written_on_the_way(folder: Path, monkeypatch):
    monkeypatch.setattr("basecaller.hpo.trial.REPORTS_EVERY", 0.0)
    study = waiting(URL)
    with claim(URL, study.study_name, 0, folder, {}) as trial:
        for step, loss in CURVE.items():
            trial.report(loss, step)
            assert study.trials[0].intermediate_values[step] == loss
        trial.end("failed", message="x")
    assert study.trials[0].intermediate_values == CURVE
    assert study.trials[0].user_attrs["message"] == "x"


@pytest.mark.parametrize("url", [URL, JOURNAL])
def test_a_pruner_sees_every_point_at_once(folder: Path, url):
    study = waiting(url)
    pruner = optuna.pruners.ThresholdPruner(lower=1.3)
    with claim(url, study.study_name, 0, folder, {}, pruner) as trial:
        trial.report(1.5, 25)
        assert study.trials[0].intermediate_values == {25: 1.5}
        (record,) = trials_of(study)
        assert (record.step, record.started) == (25, study.trials[0].datetime_start)
        with pytest.raises(optuna.TrialPruned):
            trial.report(1.25, 50)
        trial.end("pruned")
    assert (study.trials[0].state, study.trials[0].value) == (TrialState.PRUNED, 1.25)


def test_a_trial_is_written_twice_and_a_claimed_one_is_not_claimed_again(folder: Path):
    study, writes = waiting(URL), list[bool]()

    def executed(connection, cursor, statement, *_):
        changes = not statement.startswith("SELECT") and cursor.rowcount > 0
        connection.info["wrote"] = connection.info.get("wrote") or changes

    def committed(connection):
        if connection.info.pop("wrote", False):
            writes.append(True)

    event.listen(Engine, "after_cursor_execute", executed)
    event.listen(Engine, "commit", committed)
    try:
        with claim(URL, study.study_name, 0, folder, {"folder": "a", "config": {}}) as trial:
            for step, loss in CURVE.items():
                trial.report(loss, step)
            trial.end("complete", 1.0, shown=["updates"], updates=3, path="b")
        with claim(URL, study.study_name, 0, folder, {"folder": "c"}) as again:
            assert again is None
    finally:
        event.remove(Engine, "after_cursor_execute", executed)
        event.remove(Engine, "commit", committed)
    assert len(writes) == 2
    assert study.trials[0].user_attrs["folder"] == "a"


@pytest.mark.slow
def test_a_job_is_resolved_once(monkeypatch):
    real, ids = jobs.run_id, list[str]()
    monkeypatch.setattr(jobs, "run_id", lambda config: ids.append(real(config)) or ids[-1])
    study = sweep("optimizer.lr=0.01,0.001")
    of_trials = [trial.facts["run_id"] for trial in trials_of(study)]
    assert ids == 2 * of_trials  # as the sweep is checked, and as its jobs run
    assert [Path(trial.user_attrs["folder"]).name for trial in study.trials] == of_trials
