"""The folder of a run: which trainings are reused, continued or started again."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from basecaller.common.files import write_json
from basecaller.config.composition import compose_config
from basecaller.runs.folder import LEFT, Result, RunFolder
from basecaller.runs.job import Job, resolve_job
from basecaller.runs.training import train
from tests.conftest import TINY

pytestmark = pytest.mark.usefixtures("folder")

WHERE = Path("run")


def job(*overrides: str) -> Job:
    return resolve_job(compose_config([*TINY, "train.epochs=1", "train.native=off", *overrides]), WHERE)


def trained(*overrides: str) -> tuple[Result, list[int]]:
    """The result of a training, and the updates of all points that it reported."""
    told = []
    return train(job(*overrides), lambda point: told.append(point.updates)), told


def test_a_finished_run_is_read_and_not_trained_again():
    first, told = trained()
    assert not first.reused
    assert {path.name for path in WHERE.iterdir()} >= {
        "run.json", "config.yaml", "last.pt", "best.pt", "metrics.csv", "result.json",
    }  # fmt: skip
    again, told_again = trained()
    assert again.reused
    assert (again.metrics, again.facts) == (first.metrics, first.facts)
    assert told_again == told
    assert json.loads((WHERE / "run.json").read_text()) == {"run_id": job().run_id}


def test_another_training_empties_the_folder():
    trained()
    best = (WHERE / "best.pt").stat().st_mtime_ns
    other, _ = trained("seed=2")
    assert not other.reused
    assert (WHERE / "best.pt").stat().st_mtime_ns > best
    assert json.loads((WHERE / "run.json").read_text()) == {"run_id": job("seed=2").run_id}


def test_a_run_without_resume_starts_again():
    trained()
    folder = RunFolder(job("train.resume=false"))
    assert folder.finished() is None
    folder.take()
    assert not [name for name in LEFT if (WHERE / name).exists()]


@pytest.mark.slow
@pytest.mark.parametrize("change", ["no finite loss", "another path", "damaged", "of somebody else"])
def test_a_result_that_cannot_be_reused_is_not(change, caplog):
    trained()
    found = json.loads((WHERE / "result.json").read_text())
    if change == "no finite loss":
        write_json(WHERE / "result.json", found | {"metrics": found["metrics"] | {"val_loss": float("nan")}})
    elif change == "another path":
        write_json(WHERE / "result.json", found | {"facts": found["facts"] | {"path": "native float32"}})
    elif change == "damaged":
        (WHERE / "result.json").write_text('{"metrics": ')
    else:
        write_json(WHERE / "run.json", {"run_id": "0" * 10})
    folder = RunFolder(job())
    assert folder.finished() is None
    folder.take()
    told = "run: computed by native float32, here it would be torch float32, so it is trained again"
    assert (told in caplog.messages) == (change == "another path")
    assert (WHERE / "last.pt").exists() == (change != "of somebody else")  # it can be resumed
    assert RunFolder(job()).finished() is None
