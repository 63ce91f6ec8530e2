"""A job of Hydra as a training: its run id and its folder."""

from __future__ import annotations

from pathlib import Path

import pytest

from basecaller.runs import job as jobs
from tests.helpers.sweeping import sweep

pytestmark = pytest.mark.usefixtures("folder")


def test_a_job_is_resolved_once(monkeypatch):
    real, ids = jobs.run_id, list[str]()
    monkeypatch.setattr(jobs, "run_id", lambda config: ids.append(real(config)) or ids[-1])
    study = sweep("optimizer.lr=0.01,0.001")
    assert ids == [trial.user_attrs["run_id"] for trial in study.trials]
    assert [Path(trial.user_attrs["folder"]).name for trial in study.trials] == ids
