"""The records of studies and trials, written and read."""

from __future__ import annotations

import re
from dataclasses import asdict
from pathlib import Path

import optuna
import pytest
from optuna.trial import TrialState

import basecaller
from basecaller.hpo.designs import HALVING
from basecaller.hpo.records import (
    FORMAT,
    Concluded,
    Outcome,
    StudyRecord,
    TrialRecord,
    asked_at,
    queued,
    read_trial,
    store_study,
    store_trial,
    trials_of,
)
from basecaller.hpo.standing import standing
from basecaller.hpo.storage import made_study, open_study
from tests.conftest import ON_SERVER
from tests.helpers.sweeping import URL

URLS = {"sqlite": lambda request: URL, "journal": lambda request: "journal:///outputs/journal.log",
        "postgresql": lambda request: request.getfixturevalue("server").url}  # fmt: skip


@pytest.fixture(params=["sqlite", "journal", ON_SERVER])
def study(folder, request) -> optuna.Study:
    return open_study(URLS[request.param](request), f"tiny/records/{request.node.name}")


def test_a_study_returns_its_record(study):
    assert StudyRecord.of(study) == StudyRecord(format=FORMAT)
    kept = {"points": ["a", "b"], "seeds": [1, 2], "design": HALVING, "settings": {"a": {"x": 0.1}, "b": {"x": None}},
            "concluded": Concluded(7, 0.5, 2, "digest"), "note": "it's \"quoted\""}  # fmt: skip
    store_study(study, **kept)
    store_study(study, note="", seeds=[1, 2, 3])
    assert StudyRecord.of(study) == StudyRecord(format=FORMAT, **kept | {"note": "", "seeds": [1, 2, 3]})


def test_a_study_refuses_unknown_fields(study):
    with pytest.raises(TypeError, match="a study keeps no nonesuch"):
        store_study(study, nonesuch=1, note="more")
    assert StudyRecord.of(study).note == ""


def test_stored_values_are_not_written_again(folder, monkeypatch):
    study = open_study(URL, "tiny/records/x")
    store_study(study, points=["a"], measure="val_loss")
    written = []
    monkeypatch.setattr("basecaller.hpo.records.set_study_attributes", lambda study, changed: written.append(changed))
    store_study(study, points=["a"], measure="val_loss", seeds=[1], note="x")
    assert written == [({"note": "x"}, {"basecaller:seeds": [1]})]


def test_another_request_voids_a_conclusion():
    asked = StudyRecord(points=["a"], seeds=[1], design=HALVING)
    assert asked.asked_for == StudyRecord(points=["a"], seeds=[1], design=HALVING, note="more").asked_for
    others = (StudyRecord(points=["a"], seeds=[1, 2], design=HALVING), StudyRecord(points=["a"], seeds=[1]))
    assert asked.asked_for not in {other.asked_for for other in others}


def test_a_trial_returns_its_record(study):
    user, system = queued(("a", 1))
    study.add_trial(optuna.trial.create_trial(state=TrialState.WAITING, user_attrs=user, system_attrs=system))
    (waiting,) = trials_of(study)
    assert (waiting.entry, waiting.state, waiting.outcome, waiting.standing) == (("a", 1), "waiting", None, "waiting")
    trial = study.ask()
    kept = {"curve": [{"samples": 1, "val_loss": 2.0}], "folder": "outputs/x", "reused": False, "outcome": Outcome.PRUNED}
    store_trial(study, waiting.trial_id, **kept, greedy_identity_mean=0.5)
    study.tell(trial, state=TrialState.PRUNED)
    (record,) = trials_of(study, TrialState.PRUNED)
    assert trials_of(study, TrialState.WAITING) == []
    assert record == read_trial(study, waiting.trial_id) == TrialRecord.of(study.trials[0])
    assert {name: getattr(record, name) for name in kept} == kept
    assert (record.entry, record.standing, record.is_finished, record.is_complete) == (("a", 1), "pruned", True, False)
    assert record.facts == {"greedy_identity_mean": 0.5}
    assert study.trials[0].user_attrs == {"seed": 1, "folder": "outputs/x", "taken_over": False, "outcome": "pruned"}


def test_a_foreign_trial_belongs_to_no_sweep(study):
    study.add_trial(optuna.trial.create_trial(value=0.5, user_attrs={"theirs": 1}))
    (record,) = trials_of(study)
    assert (record.entry, record.standing, record.measured()) == (None, "complete", 0.5)


def test_a_study_of_the_first_format_is_read_and_continued(folder):
    """That format had only user attributes."""
    study = made_study(URL, "tiny/padding/x")
    old = {"format": 1, "asked": 5.0, "question": "Which?", "points": ["a"], "seeds": [1, 2], "design": asdict(HALVING)}
    for key, value in old.items():
        study.set_user_attr(key, value)
    trial = {"point": "a", "seed": 1, "outcome": "complete", "config": {"x": 1}, "blank_fraction": 0.5}
    study.add_trial(optuna.trial.create_trial(value=0.5, user_attrs=trial))
    assert StudyRecord.of(study) == StudyRecord(**old | {"design": HALVING})
    assert asked_at(study) == 5.0
    assert standing(open_study(URL, study.study_name)).open == [("a", 2)]
    store_study(study, asked=7.0, seeds=[1])
    assert StudyRecord.of(open_study(URL, study.study_name)) == StudyRecord(
        **old | {"design": HALVING, "format": FORMAT, "asked": 7.0, "seeds": [1]}
    )
    assert asked_at(study) == 7.0
    assert study.user_attrs["format"] == FORMAT  # where the earlier version looks, and refuses it
    (record,) = trials_of(study)
    assert (record.entry, record.outcome, record.config, record.measured()) == (("a", 1), "complete", {"x": 1}, 0.5)
    assert record.facts == {"blank_fraction": 0.5}


def test_no_other_file_names_an_attribute():
    package = Path(basecaller.__file__).parent
    naming = re.compile(r"(user|system)_attrs?\b(\[|\.get\(|\()")
    files = {path.name for path in package.rglob("*.py") if naming.search(path.read_text(encoding="utf-8"))}
    assert files == {"records.py", "optuna_private.py", "optuna_database.py"}  # these two write what the first names
