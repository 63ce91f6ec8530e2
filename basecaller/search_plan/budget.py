"""The lengths of the later trainings of a search, relative to a trial and to the winner."""

from __future__ import annotations

from typing import cast

from omegaconf import DictConfig, OmegaConf

from basecaller.data.dataset import Dataset


def longer(cfg: DictConfig, dataset: Dataset, factor: int) -> list[str]:
    """Overrides that make a training `factor` times as long as a trial: more chunks if there are enough, else more epochs, and
    a warm-up that is as much longer.

    The validation set grows with the square root of the length: its noise shrinks as the losses do.

    Args:
        cfg: the search's config; `train.budget` gives the unit of a trial's length.
        dataset: the data set that it trains on.
        factor: factor of the length.
    """
    if factor == 1:
        return []
    train, there = cfg.train, len(dataset.indices("train"))
    validation = train.validation_chunks
    lines = [] if validation is None else [f"train.validation_chunks={round(validation * factor**0.5)}"]
    chunks = min(train.chunks or there, there)
    more = min(chunks * factor, there)
    lines.append(f"train.chunks={'null' if more == there else more}")
    if train.warmup_updates:
        lines.append(f"train.warmup_updates={train.warmup_updates * factor}")
    if train.budget == "updates":
        lines.append(f"train.updates={train.updates * factor}")
    elif train.budget == "samples":
        lines.append(f"train.samples={train.samples * factor}")
    else:
        lines.append(f"train.epochs={max(1, round(train.epochs * chunks * factor / more))}")
    return lines


def winner_training(cfg: DictConfig) -> DictConfig:
    """The `train` section of the winner's training, by the search's config."""
    return cast(DictConfig, OmegaConf.merge(cfg.train, cfg.search.winner.get("train") or {}))


def shortened(cfg: DictConfig, dataset: Dataset, share: float) -> list[str]:
    """Overrides that make a training a share as long as the winner's: fewer epochs, updates or samples, and a warm-up that is
    as much shorter.

    Epochs stay whole. Less than one is one epoch over fewer chunks.

    Args:
        cfg: the search's config; `search.winner.train` gives the winner's training.
        dataset: the data set that it trains on.
        share: the share, above 0 and at most 1.
    """
    train = winner_training(cfg)
    lines = [f"train.warmup_updates={max(1, round(train.warmup_updates * share))}"] if train.warmup_updates else []
    if train.budget != "epochs":
        return [*lines, f"train.{train.budget}={max(1, round(train[train.budget] * share))}"]
    epochs = train.epochs * share
    if epochs >= 1:
        return [*lines, f"train.epochs={round(epochs)}"]
    there = len(dataset.indices("train"))
    return [*lines, "train.epochs=1", f"train.chunks={max(1, round(epochs * min(train.chunks or there, there)))}"]
