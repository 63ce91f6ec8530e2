"""Checkpoints: what is refused, and a training that starts from another one's."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest
import torch

from basecaller.common.errors import DataError, SettingError
from basecaller.config.composition import compose_config
from basecaller.networks.rawctcnet import RawCTCNet
from basecaller.runs.job import resolve_job
from basecaller.runs.training import train
from basecaller.training import checkpoint
from tests.conftest import TINY
from tests.helpers.models import SIZE, network, save_model


def test_training_starts_from_a_checkpoint_and_maps_its_letters(tmp_path):
    old = network("ACGT")
    save_model(tmp_path, old)
    new = RawCTCNet(SIZE, "GATmC", seed=5)
    fresh = new.scores.weight[4].clone()
    checkpoint.start_from(new, tmp_path / "best.pt")
    assert torch.equal(new.stem.weight, old.stem.weight)
    assert torch.equal(new.tower.gate, old.tower.gate)
    for label, letter in ((0, "-"), (1, "G"), (2, "A"), (3, "T"), (5, "C")):
        assert torch.equal(new.scores.weight[label], old.scores.weight[("-ACGT").index(letter)])
    assert torch.equal(new.scores.weight[4], fresh)
    with pytest.raises(DataError, match=r"was trained with model\.stride=4"):
        checkpoint.start_from(RawCTCNet(dataclasses.replace(SIZE, stride=2)), tmp_path / "best.pt")


@pytest.mark.slow
def test_fine_tuning_is_a_separate_run(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    small = [line for line in TINY if not line.startswith("search.")]
    first = train(resolve_job(compose_config(small), tmp_path / "first"))
    tuned = compose_config([*small, "train.init=first/best.pt"])
    result = train(resolve_job(tuned, tmp_path / "tuned"))
    assert result.curve[0].train_loss < first.curve[0].train_loss
    ids = {resolve_job(cfg, Path()).run_id for cfg in (compose_config(small), tuned)}
    (tmp_path / "first/best.pt").rename(tmp_path / "moved.pt")
    ids.add(resolve_job(compose_config([*small, "train.init=moved.pt"]), Path()).run_id)
    assert len(ids) == 2
    with pytest.raises((DataError, SettingError), match=r"train\.init=gone\.pt: cannot be read"):
        train(resolve_job(compose_config([*small, "train.init=gone.pt"]), tmp_path / "x"))


@pytest.mark.parametrize("content", [b"", b"not a checkpoint", "pickle"])
def test_a_foreign_checkpoint_is_refused(tmp_path, content):
    path = tmp_path / "best.pt"
    if content == "pickle":
        torch.save({"format": 1, "model": Path("/tmp")}, path)  # an object that only unpickling could build
    else:
        path.write_bytes(content)
    with pytest.raises(DataError, match="cannot be read as a checkpoint"):
        checkpoint.load(path)


def test_a_full_disk_leaves_the_old_checkpoint_whole(tmp_path, monkeypatch):
    path = tmp_path / "last.pt"
    checkpoint.save(path, {"value": 1})

    def full(target, content):
        target.write_text("half", encoding="utf-8")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "write_bytes", full)
    with pytest.raises(OSError, match="No space"):
        checkpoint.save(path, {"value": 2})
    assert checkpoint.load(path)["value"] == 1
    assert [p.name for p in tmp_path.iterdir()] == ["last.pt"]
