"""Optimizers and learning-rate schedules, built from settings."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from functools import partial

import torch
from torch import nn
from torch.optim.lr_scheduler import LambdaLR

from basecaller.training.batch_plan import BatchPlan
from basecaller.training.settings import Optimizer, Train


def build_optimizer(settings: Optimizer, parameters: Iterable[nn.Parameter]) -> torch.optim.Optimizer:
    """The optimizer over the given parameters.

    Weight decay is decoupled from the gradient for every optimizer: before each update the parameters shrink by the learning
    rate times the decay (Loshchilov & Hutter, ICLR 2019). So `adam` with a decay is AdamW, and `adamw` has another default.
    """
    # A small network has hundreds of tiny parameters: use PyTorch's fused operations over all of them, if available.
    adam = partial(torch.optim.Adam, fused=True)
    kinds: dict[str, Callable[..., torch.optim.Optimizer]] = {
        "adam": adam,
        "adamax": partial(torch.optim.Adamax, foreach=True),
        "adagrad": partial(torch.optim.Adagrad, fused=True),
        "adamw": adam,
        "sgd": partial(torch.optim.SGD, fused=True, momentum=settings.momentum),
    }
    optimizer = kinds[settings.name](parameters, lr=settings.lr)
    if settings.weight_decay:
        optimizer.register_step_pre_hook(partial(_shrink, settings.weight_decay))
    return optimizer


@torch.no_grad()
def _shrink(decay: float, optimizer: torch.optim.Optimizer, *_: object) -> None:
    for group in optimizer.param_groups:
        for parameter in group["params"]:
            parameter.mul_(1 - group["lr"] * decay)


def build_schedule(settings: Train, optimizer: torch.optim.Optimizer, updates: int, plan: BatchPlan | None = None) -> LambdaLR:
    """Linear warm-up, then constant or half a cosine down to zero.

    Args:
        settings: kind of schedule and length of the warm-up.
        optimizer: optimizer with the base rate.
        updates: number of updates of the whole training.
        plan: batch sizes; with a schedule, the rate also grows with the square root of the batch size.
    """
    warm = settings.warmup * updates if settings.warmup_updates is None else settings.warmup_updates

    def factor(step: int) -> float:
        at = plan.position(step) if plan else step
        scale = plan.rate_factor(step) if plan else 1.0
        if at < warm:
            return scale * (at + 1) / (warm + 1)
        if settings.schedule == "constant":
            return scale
        return scale * 0.5 * (1 + math.cos(math.pi * (at - warm) / max(1.0, updates - warm)))

    return LambdaLR(optimizer, factor)
