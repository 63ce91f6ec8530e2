"""What tuning has gained over the untuned defaults."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from concurrent.futures import BrokenExecutor
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from basecaller.common.facts import to_json
from basecaller.common.workers import Workers
from basecaller.search_plan import held_out, winner
from basecaller.search_plan.candidates import Candidates
from basecaller.search_plan.winner import gain
from basecaller.training.scores import HeldOutReads, Homopolymers
from tests.helpers.searching import SETTINGS


def scores(loss: float, *identities: float) -> HeldOutReads:
    named = {f"read{i}": identity for i, identity in enumerate(identities)}
    return HeldOutReads(
        identity_mean=float(np.mean(identities)),
        identity_median=0.5,
        mismatch_rate=0.1,
        insertion_rate=0.05,
        deletion_rate=0.05,
        identity_floor=0.4,
        length_ratio=1.0,
        blank_fraction=0.5,
        chunks=len(named),
        bases=100,
        loss=loss,
        homopolymers=[Homopolymers(1, 10, 0.5)],
        reads=len(named),
        identities=named,
        chunks_of=dict.fromkeys(named, 1),
    )


TUNED = Candidates({"winner": SETTINGS, "defaults": SETTINGS | {"padding": "on"}}, ("data.reads=300",))


def test_the_gain_names_what_it_is_relative_to():
    ours, theirs = {1001: scores(0.5, 0.8, 0.9)}, {1001: scores(0.7, 0.7, 0.8)}
    assert "against the untuned defaults, trained alike" in gain(ours, theirs, TUNED).text  # data is not a setting
    given = ("experiment=x", "data.reads=300", "optimizer=sgd", "data.batch_size=2")
    text = gain(ours, theirs, dataclasses.replace(TUNED, given=given)).text
    assert "against the untuned defaults with your optimizer=sgd, data.batch_size=2, trained alike" in text
    many = ("optimizer=sgd", "model.stacks=4", "padding=on", "train.clip=1")
    shortened = gain(ours, theirs, dataclasses.replace(TUNED, given=("train.chunks=320",)), ["train.chunks=null"]).text
    assert "against the untuned defaults, trained alike" in shortened  # the long trainings take all chunks
    assert "the untuned defaults with what you set" in gain(ours, theirs, dataclasses.replace(TUNED, given=many)).text
    same = Candidates({"winner": SETTINGS, "defaults": SETTINGS}, ())
    text = gain(ours, ours, same).text
    assert text == "Tuning changed nothing: the untuned defaults are the best settings found, with an identity of 85.0%."
    assert (
        "the untuned defaults with your optimizer=sgd gave no model"
        in gain(ours, {}, dataclasses.replace(TUNED, given=("optimizer=sgd",))).text
    )


def test_a_training_that_both_share_is_tested_once(monkeypatch):
    given = list[Path]()

    def spread(workers: Workers, function: object, arguments: Sequence[tuple[Any, ...]]) -> list[str]:
        given.extend(folder for _, folder, _ in arguments)
        return [folder.name.upper() for _, folder, _ in arguments]

    monkeypatch.setattr(winner, "spread", spread)
    monkeypatch.setattr(winner, "settings", lambda cfg: cfg)
    monkeypatch.setattr(held_out, "largest_stride", lambda folders, networks: 4)
    trials: Any = {
        name: {seed: SimpleNamespace(folder=folder) for seed, folder in enumerate(folders)}
        for name, folders in (("winner", "ab"), ("defaults", "cb"))
    }
    cfg: Any = SimpleNamespace(networks=[])
    found = winner._scores(cfg, trials, Workers(2, 1))
    assert found == {"winner": {0: "A", 1: "B"}, "defaults": {0: "C", 1: "B"}}
    assert given == [Path("a"), Path("b"), Path("c")]


def test_a_worker_that_dies_during_a_test_does_not_end_the_search(monkeypatch):
    def spread(*arguments: object) -> list[str]:
        raise BrokenExecutor

    monkeypatch.setattr(winner, "spread", spread)
    monkeypatch.setattr(winner, "settings", lambda cfg: cfg)
    monkeypatch.setattr(held_out, "largest_stride", lambda folders, networks: 4)
    monkeypatch.setattr(held_out, "tested", lambda cfg, folder, stride: folder.name)
    cfg: Any = SimpleNamespace(networks=[])
    trials: Any = {"winner": {1: SimpleNamespace(folder="a")}, "defaults": {1: SimpleNamespace(folder="b")}}
    assert winner._scores(cfg, trials, Workers(2, 1)) == {"winner": {1: "a"}, "defaults": {1: "b"}}


def test_a_winner_that_gave_no_model_gains_nothing():
    found = gain({}, {1001: scores(0.7, 0.7, 0.8)}, TUNED)
    assert found.seeds == []
    assert found.text == ("Tuning gained nothing: no training of the winner gave a value, so the untuned defaults are kept.")


def test_the_gain_is_paired_by_seed_and_read():
    ours = [scores(0.5, 0.8, 0.9, 0.7), scores(0.6, 0.82, 0.88, 0.74)]
    theirs = [scores(0.7, 0.7, 0.8, 0.65), scores(0.9, 0.72, 0.82, 0.64)]
    ours, theirs = (dict(zip([1001, 1002], of, strict=True)) for of in (ours, theirs))
    found = gain(ours, theirs, TUNED)
    differences = np.array([[10, 10, 5], [10, 6, 10]])
    assert found.identity_points == pytest.approx(differences.mean())
    assert found.loss == pytest.approx(0.25)
    reads, seeds = differences.mean(0).var(ddof=1) / 3, differences.mean(1).var(ddof=1) / 2
    assert found.error == pytest.approx(math.sqrt(reads + seeds))
    assert found.text.startswith("Tuning gained 8.5 ± ")
    assert [each.loss for each in found.defaults] == [0.7, 0.9]
    assert gain(theirs, ours, TUNED).text.startswith("Tuning lost 8.5 ± ")
    one = gain(ours, {1002: theirs[1002]}, TUNED)  # at the other seed the defaults failed
    assert one.seeds == [1002]
    assert math.isfinite(one.error)
    assert "(3 reads that no stage has seen, 2 new seeds; " in found.text
    of_positions = gain(ours, theirs, TUNED, new_reads=False).text
    assert "(3 chunks that no stage has seen, of 3 reads, 2 new seeds; " in of_positions
    none = gain(ours, {}, TUNED)
    assert to_json(none).keys() == {"seeds", "text"}
    assert "not known" in none.text


def test_one_read_and_one_seed_show_no_noise_of_the_gain():
    ours, theirs = ({seed: scores(0.5, mean) for seed in (1001, 1002)} for mean in (0.8, 0.7))
    one = gain({1001: ours[1001]}, {1001: theirs[1001]}, TUNED)
    assert one.error is None
    assert one.text.startswith("Tuning gained 10.0 points of identity against ")
    assert "(1 read that no stage has seen, 1 new seed, which do not show the noise)." in one.text
    assert "2 new seeds; ± is one standard error, between seeds only)." in gain(ours, theirs, TUNED).text


def test_the_gain_is_the_difference_of_the_identities_beside_it_if_reads_have_unequal_numbers_of_chunks():
    chunks = {"read0": 1, "read1": 3}
    ours, theirs = (
        {1: dataclasses.replace(scores(0.5, *of), identity_mean=mean, chunks_of=chunks)}
        for of, mean in (((0.6, 0.9), 0.825), ((0.5, 0.7), 0.65))
    )
    found = gain(ours, theirs, TUNED)
    assert found.identity_points == pytest.approx(17.5)
    assert "17.5 ± " in found.text
    assert "65.0% to 82.5%" in found.text
    apart = np.array([1, 3]) / 4 * (np.array([10, 20]) - 17.5)
    assert found.error == pytest.approx(math.sqrt((apart**2).sum() * 2))
