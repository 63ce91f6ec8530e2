"""Optimizers: the rate warms up, and gradients are clipped."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from basecaller.config.composition import compose_config
from basecaller.config.settings import settings
from basecaller.networks.adapted import build
from basecaller.training.fit import Recipe, Trainer
from basecaller.training.optim import build_optimizer, build_schedule
from tests.helpers.networks import DATA


def test_warm_up_takes_a_number_of_updates():
    chosen = settings(compose_config(["recipe=bonito", "train.warmup_updates=4"]))
    parameter = nn.Parameter(torch.zeros(1))
    optimizer = build_optimizer(chosen.optimizer, [parameter])
    schedule = build_schedule(chosen.train, optimizer, 20)
    rates = []
    for _ in range(20):
        rates.append(schedule.get_last_lr()[0] / 0.002)
        optimizer.step()
        schedule.step()
    assert rates[:5] == pytest.approx([0.2, 0.4, 0.6, 0.8, 1.0])
    assert rates[12] == pytest.approx(0.5)
    assert rates == sorted(rates[:5]) + sorted(rates[5:], reverse=True)


def test_gradients_are_clipped_at_a_factor_of_the_median_of_the_last_norms(dataset, folder):
    chosen = settings(
        compose_config([*DATA, "model.channels=4", "model.skip_channels=4", "train.clip=null", "train.clip_factor=2"])
    )
    run = Trainer(build(chosen.model, "ACGT"), dataset, Recipe(chosen.optimizer, chosen.train, "off", 4, 1, folder))

    def clipped(norm: float) -> float:
        run.engine.gradient.zero_()
        run.engine.gradient[0] = norm
        run._clip()
        return float(torch.linalg.vector_norm(run.engine.gradient))

    assert [clipped(norm) for norm in [1.0] * 40 + [9.0] * 10] == [1.0] * 40 + [9.0] * 10
    assert clipped(9.0) == pytest.approx(2.0)
    for _ in range(100):
        clipped(3.0)
    assert run.state.norms == [3.0] * 100  # as they were before clipping
    assert clipped(5.9) == pytest.approx(5.9)
    assert clipped(60.0) == pytest.approx(6.0)
