"""The folder of a run: what is taken over from it, and what is not."""

from __future__ import annotations

import json
from pathlib import Path

from tests.helpers.sweeping import sweep


def test_a_finished_run_without_a_finite_loss_is_not_taken_over(folder: Path):
    study = sweep("optimizer.lr=0.01")
    file = folder / study.trials[0].user_attrs["folder"] / "result.json"
    content = json.loads(file.read_text())
    file.write_text(json.dumps(content | {"metrics": content["metrics"] | {"val_loss": float("nan")}}))
    again = sweep("optimizer.lr=0.01,0.1")  # another study
    assert again.trials[0].value == study.trials[0].value
    assert not again.trials[0].user_attrs["taken_over"]
