"""Batch sizes that follow each other: the chunks of an epoch, and the learning rate."""

from __future__ import annotations

import dataclasses
import math

import numpy as np
import pytest
import torch

from basecaller.data.batches import training_batches
from basecaller.training.batch_plan import BatchPlan, check_schedule
from basecaller.training.optim import build_schedule
from tests.helpers.training import TRAIN


@pytest.mark.parametrize("epochs", [1, 2, 3, 5])
@pytest.mark.parametrize("schedule", [None, (8,), (32, 8, 1), (16, 4)])
def test_every_chunk_of_every_epoch_is_dealt_once(schedule, epochs):
    plan = BatchPlan(100, 8, schedule, epochs)
    sizes = [size for epoch in range(epochs) for _, size in plan.parts(epoch)]
    assert list(dict.fromkeys(sizes)) == list(schedule or (8,))
    for epoch in range(epochs):
        assert sum(chunks for chunks, _ in plan.parts(epoch)) == 100
        assert plan.share(epoch, 0) == 0
        assert plan.share(epoch, plan.batches(epoch)) == 1
        shares = [plan.share(epoch, n) for n in range(plan.batches(epoch) + 1)]
        assert shares == sorted(set(shares))
    assert plan.updates == sum(plan.batches(epoch) for epoch in range(epochs))
    seen = {size: 0 for size in sizes}
    for epoch in range(epochs):
        for chunks, size in plan.parts(epoch):
            seen[size] += chunks
    assert max(seen.values()) - min(seen.values()) <= epochs  # equal shares but for rounding


def test_the_rate_follows_the_batch_and_its_schedule_the_chunks():
    plan = BatchPlan(96, 8, (32, 8, 2), 3)
    assert plan.updates == 3 + 12 + 48
    assert [plan.rate_factor(step) for step in (0, 2, 3, 14, 15, 62)] == pytest.approx([2, 2, 1, 1, 0.5, 0.5])
    assert [plan.position(step) / 63 for step in (0, 3, 15, 63)] == pytest.approx([0, 1 / 3, 2 / 3, 1])
    positions = [plan.position(step) for step in range(64)]
    assert positions == sorted(positions)
    settings = dataclasses.replace(TRAIN, schedule="cosine", warmup=0.0, epochs=3)
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=0.1)
    schedule = build_schedule(settings, optimizer, plan.updates, plan)
    rates = []
    for _ in range(plan.updates):
        rates.append(schedule.get_last_lr()[0])
        optimizer.step()
        schedule.step()
    assert rates[0] == pytest.approx(0.2)
    assert rates[3] == pytest.approx(0.1 * 0.5 * (1 + math.cos(math.pi / 3)))
    assert rates[15] == pytest.approx(0.05 * 0.5 * (1 + math.cos(2 * math.pi / 3)))


def test_a_schedule_of_one_size_equals_no_schedule(dataset):
    indices = dataset.indices("train")
    plain, scheduled = BatchPlan(len(indices), 4, None, 2), BatchPlan(len(indices), 4, (4,), 2)
    for epoch in range(2):
        a, b = (list(training_batches(dataset, indices, plan.parts(epoch), "off", 4, 1, epoch)) for plan in (plain, scheduled))
        assert all(np.array_equal(x.signal, y.signal) for x, y in zip(a, b, strict=True))
    assert [plain.rate_factor(n) for n in range(9)] == [scheduled.rate_factor(n) for n in range(9)]


@pytest.mark.parametrize(("schedule", "budget", "words"), [
    (None, "updates", ""), ((32, 8, 1), "epochs", ""), ((), "epochs", "at least 1"), ((8, 0), "epochs", "at least 1"),
    ((8, 1), "updates", "train.budget=epochs"),
])  # fmt: skip
def test_a_wrong_schedule_is_described(schedule, budget, words):
    assert words in check_schedule(schedule, budget)
    assert bool(words) == bool(check_schedule(schedule, budget))
