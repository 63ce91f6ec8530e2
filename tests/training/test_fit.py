"""Training: deterministic, resumable after a kill, with clear errors."""

import csv
import dataclasses
import itertools

import numpy as np
import pytest
import torch

from basecaller.common.errors import DivergedError, InfeasibleError
from basecaller.data import Dataset
from basecaller.data.batches import collate
from basecaller.data.dataset import Chunk, DatasetWriter
from basecaller.networks.rawctcnet import RawCTCNet
from basecaller.training import checkpoint
from basecaller.training.engine import engine_of
from basecaller.training.evaluate import BATCH_SIZES, evaluate
from basecaller.training.optim import build_optimizer, build_schedule
from basecaller.training.settings import OPTIMIZERS, Optimizer
from tests.helpers.training import MODEL, TRAIN, job, losses, train


@pytest.mark.parametrize("padding", ["off", "on", "masked"])
def test_training_learns_and_is_deterministic(dataset, tmp_path, padding):
    first = train(dataset, job(tmp_path / "a", padding=padding, epochs=4))
    assert losses(first)[-1] < losses(first)[0]
    assert losses(train(dataset, job(tmp_path / "b", padding=padding, epochs=4))) == losses(first)
    assert losses(train(dataset, job(tmp_path / "c", padding=padding, epochs=4, seed=2))) != losses(first)


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_every_optimizer_lowers_the_training_loss(dataset, tmp_path, name):
    rate = {"sgd": 0.05, "adagrad": 0.02}.get(name, 5e-3)
    outcome = train(dataset, job(tmp_path, optimizer=name, lr=rate, epochs=3, schedule="constant"))
    assert outcome.curve[-1].train_loss < outcome.curve[0].train_loss


def steps(optimizer: torch.optim.Optimizer, parameter: torch.nn.Parameter) -> torch.Tensor:
    for scale in (1.0, -2.0, 0.5):
        parameter.grad = scale * torch.arange(6.0)
        optimizer.step()
    return parameter.detach().clone()


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_weight_decay_is_decoupled_from_the_gradient(name):
    parameter = torch.nn.Parameter(torch.ones(6))
    optimizer = build_optimizer(Optimizer(name, 0.1, 0.5, 0.0), [parameter])
    parameter.grad = torch.zeros(6)
    optimizer.step()
    assert torch.allclose(parameter, torch.full((6,), 0.95))


def test_adam_with_weight_decay_is_adamw():
    ours, theirs = torch.nn.Parameter(torch.ones(6)), torch.nn.Parameter(torch.ones(6))
    adam = build_optimizer(Optimizer("adam", 0.1, 0.5, 0.0), [ours])
    assert torch.allclose(steps(adam, ours), steps(torch.optim.AdamW([theirs], lr=0.1, weight_decay=0.5), theirs))


@pytest.mark.slow
@pytest.mark.parametrize("schedule", [None, (16, 4, 1)])
@pytest.mark.parametrize("stop_at", [1, 2, 3])
def test_a_killed_training_continues_as_if_it_had_not_been_killed(dataset, tmp_path, stop_at, schedule):
    whole = train(dataset, job(tmp_path / "whole", batch_schedule=schedule))

    def kill(point):
        if point.updates == whole.curve[stop_at - 1].updates:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train(dataset, job(tmp_path / "killed", batch_schedule=schedule), kill)
    seen = []
    resumed = train(dataset, job(tmp_path / "killed", batch_schedule=schedule), seen.append)
    assert losses(resumed) == losses(whole)
    assert resumed.metrics == whole.metrics
    assert [point.updates for point in seen] == [point.updates for point in whole.curve]
    rows = list(csv.DictReader((tmp_path / "killed" / "metrics.csv").open()))
    assert [float(row["val_loss"]) for row in rows] == losses(whole)


def test_a_training_that_is_killed_after_its_last_checkpoint_has_its_whole_curve(dataset, tmp_path, monkeypatch):
    save = checkpoint.save

    def killed(path, content):
        save(path, content)
        if path.name == "last.pt" and len(content["state"]["curve"]) == 2:
            raise KeyboardInterrupt

    monkeypatch.setattr(checkpoint, "save", killed)
    with pytest.raises(KeyboardInterrupt):
        train(dataset, job(tmp_path, epochs=2))
    monkeypatch.undo()
    outcome = train(dataset, job(tmp_path, epochs=2))
    with (tmp_path / "metrics.csv").open(newline="") as file:
        assert [float(row["val_loss"]) for row in csv.DictReader(file)] == [point.val_loss for point in outcome.curve]


def test_large_batches_first_and_small_ones_at_the_end(dataset, tmp_path):
    outcome = train(dataset, job(tmp_path, batch_schedule=(16, 8, 1), schedule="constant", warmup=0.0))
    chunks = len(dataset.indices("train"))
    assert outcome.facts.reads == 2 * chunks
    third = 2 * chunks / 3
    assert outcome.facts.updates == pytest.approx(third / 16 + third / 8 + third, abs=4)
    assert [point.progress for point in outcome.curve] == [0.5, 1.0, 1.5, 2.0]
    assert [point.lr for point in outcome.curve] == pytest.approx([5e-3, 5e-3, 5e-3 / 8**0.5, 5e-3 / 8**0.5])


def test_the_curve_counts_epochs_updates_and_samples(dataset, tmp_path):
    outcome = train(dataset, job(tmp_path, batch_size=8))
    chunks = len(dataset.indices("train"))
    assert [point.progress for point in outcome.curve] == [0.5, 1.0, 1.5, 2.0]
    assert [point.epoch for point in outcome.curve] == [4 / 7, 1, 1 + 4 / 7, 2]  # the first batch that reaches the half
    assert outcome.curve[-1].reads == 2 * chunks
    assert outcome.curve[-1].samples == 2 * dataset.lengths[dataset.indices("train")].sum()
    assert outcome.curve[-1].updates == 2 * -(-chunks // 8)
    assert outcome.curve[-1].lr < 1e-4


@pytest.mark.parametrize("batch_size", [1, 4, 16])
def test_a_budget_of_updates_or_samples_holds_for_any_batch_size(dataset, tmp_path, batch_size):
    updates = train(dataset, job(tmp_path / "u", batch_size=batch_size, budget="updates", validations=3))
    assert [point.updates for point in updates.curve] == [3, 6, 9]
    assert [point.progress for point in updates.curve] == pytest.approx([1 / 3, 2 / 3, 1])
    assert updates.curve[-1].lr < 1e-6  # the schedule ends with the budget
    longest = int(dataset.lengths.max())
    for samples in (2000, 20_000):  # within an epoch, and over several
        outcome = train(dataset, job(tmp_path / f"s{samples}", batch_size=batch_size, budget="samples", samples=samples))
        assert samples <= outcome.facts.samples < samples + batch_size * longest
        assert outcome.curve[-1].progress == 1


def test_the_area_under_the_curve_is_its_mean_over_samples(dataset, tmp_path):
    outcome = train(dataset, job(tmp_path))
    between = [(a.val_loss + b.val_loss) / 2 * (b.samples - a.samples) for a, b in itertools.pairwise(outcome.curve)]
    width = outcome.curve[-1].samples - outcome.curve[0].samples
    assert outcome.metrics["area_under_curve"] == pytest.approx(sum(between) / width)


def test_a_limit_takes_the_chunks_that_the_seed_draws(dataset, tmp_path):
    def samples(name: str, seed: int, lr: float) -> int:
        chosen = job(tmp_path / name, chunks=20, validation_chunks=5, epochs=1, seed=seed, lr=lr)
        return train(dataset, chosen).facts.samples

    assert samples("a", 1, 0.01) == samples("b", 1, 0.001) != samples("c", 2, 0.001)
    few, many = dataset.choice("validation", 5, 1), dataset.choice("validation", 9, 1)
    assert set(few) < set(many) <= set(dataset.indices("validation"))
    assert set(few) != set(dataset.choice("validation", 5, 2))
    assert np.array_equal(dataset.choice("validation", None, 1), dataset.choice("validation", None, 2))


@pytest.mark.parametrize(("lr", "improves"), [(0.05, False), (0.001, True)])
def test_the_best_checkpoint_gives_the_metrics(dataset, tmp_path, lr, improves):
    outcome = train(dataset, job(tmp_path, lr=lr, epochs=3, schedule="constant"))
    assert (losses(outcome)[-1] == min(losses(outcome))) is improves
    assert outcome.metrics["val_loss"] == pytest.approx(min(losses(outcome)), rel=1e-6)
    network = checkpoint.load_network(tmp_path / "best.pt")
    again = evaluate(engine_of(network), dataset, dataset.indices("validation"))
    fitting = np.setdiff1d(dataset.indices("validation"), dataset.infeasible(dataset.indices("validation"), 5))
    best = evaluate(engine_of(network), dataset, fitting)
    assert best.loss == pytest.approx(outcome.metrics["val_loss"], rel=1e-6)
    assert best.basecalls is not None
    assert vars(best.basecalls).items() <= outcome.metrics.items()
    assert again.loss_per_read > again.loss
    assert again.basecalls is not None


def test_a_loss_that_is_not_finite_ends_the_training_at_that_update(dataset, tmp_path):
    with pytest.raises(DivergedError, match="update") as caught:
        train(dataset, job(tmp_path, optimizer="sgd", lr=1e30, clip=None), model=dataclasses.replace(MODEL, batch_norm=False))
    assert caught.value.update == 2


def test_targets_longer_than_the_output_are_named_and_may_be_tolerated(dataset, tmp_path):
    model = dataclasses.replace(MODEL, stride=8)
    with pytest.raises(InfeasibleError, match=r"model\.stride=8: read sim-3-\d+ needs \d+ and gets \d+") as caught:
        train(dataset, job(tmp_path, infeasible=0.0), model=model)
    assert "train.infeasible=" in str(caught.value)
    outcome = train(dataset, job(tmp_path, infeasible=0.9), model=model)
    assert outcome.facts.chunks < len(dataset.indices("train"))
    assert np.isfinite(losses(outcome)).all()


def test_the_objective_does_not_depend_on_the_batch_it_is_computed_in(dataset, monkeypatch):
    network = RawCTCNet(MODEL, seed=2).double()
    indices = dataset.indices("train")[:20]
    indices = np.setdiff1d(indices, dataset.infeasible(indices, 5))
    monkeypatch.setattr(
        "basecaller.training.evaluate.collate",
        lambda *chosen: dataclasses.replace(made := collate(*chosen), signal=made.signal.astype(np.float64)),
    )
    whole = evaluate(engine_of(network), dataset, indices)
    monkeypatch.setitem(BATCH_SIZES, "cpu", 1)
    assert evaluate(engine_of(network), dataset, indices).loss == pytest.approx(whole.loss, rel=1e-5)


def test_the_objective_is_the_ctc_likelihood_over_all_bases(tmp_path):
    with DatasetWriter(tmp_path / "set", {}) as writer:
        for split in ("train", "validation", "test"):
            writer.add(Chunk("r", np.zeros(3), np.array([1, 2]), np.array([0, 1]), split))
    network = RawCTCNet(dataclasses.replace(MODEL, stride=1), seed=0)
    torch.nn.init.zeros_(network.scores.weight)  # uniform over five labels
    scored = evaluate(engine_of(network), Dataset(tmp_path / "set"), np.array([1]))
    paths = 5  # of three frames for "AC": AC- A-C -AC AAC ACC
    assert scored.loss == pytest.approx(-np.log(paths / 5**3) / 2, rel=1e-6)


def test_schedules_warm_up_and_end_where_they_should():
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=1.0)
    schedule = build_schedule(dataclasses.replace(TRAIN, warmup=0.1), optimizer, 100)
    rates = []
    for _ in range(100):
        rates.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        schedule.step()
    assert rates[0] < 0.1
    assert max(rates) == pytest.approx(1.0, abs=1e-3)
    assert rates[-1] < 1e-3
    assert rates.index(max(rates)) == pytest.approx(10, abs=1)


def test_bfloat16_stays_near_float32(dataset, tmp_path):
    exact = train(dataset, job(tmp_path / "a"))
    fast = train(dataset, job(tmp_path / "b", precision="bfloat16"))
    assert losses(fast)[-1] == pytest.approx(losses(exact)[-1], rel=0.05)
