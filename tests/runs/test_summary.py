"""The summary of a training: its names are those that a training reports."""

from __future__ import annotations

import pytest

from basecaller.hpo.records import TrialRecord
from basecaller.runs.summary import NAMES, TrainingSummary, summary_of
from tests.runs.test_folder import trained


@pytest.mark.usefixtures("folder")
def test_a_training_reports_everything_that_its_summary_names():
    result, _ = trained()
    reported = result.metrics | vars(result.facts)
    assert reported.keys() >= NAMES
    summary = summary_of(TrialRecord(0, 0, "complete", result.metrics["val_loss"], {}, None, facts=reported))
    assert vars(summary) == {name: reported[name] for name in NAMES}


def test_a_trial_without_a_result_has_an_empty_summary():
    trial = TrialRecord(0, 0, "running", None, {}, None, facts={"somebody's": "own attribute"})
    assert summary_of(trial) == TrainingSummary()
