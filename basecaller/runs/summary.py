"""The values that a training reports with its trial. Does not import torch."""

from __future__ import annotations

from dataclasses import dataclass, fields

from basecaller.hpo.records import TrialRecord

STEPS = 100
"""Optuna steps per unit of `training.fit.CurvePoint.progress`: Optuna's steps are whole numbers."""


@dataclass(frozen=True)
class TrainingSummary:
    """A training in numbers, named as in its metrics and in `folder.RunFacts`. A field is None if the trial has no such value:
    it has not finished, or it is from an earlier version.

    Attributes:
        identity_mean, identity_floor: of the basecalls of the validation split, see `scores.IdentitySummary`.
        loss_per_read: validation loss in nats per chunk.
        area_under_curve: mean loss along the learning curve, nats per base.
        parameters, receptive_field, updates, samples, validation_chunks, seconds, device, path, commit, data, versions: see
            `folder.RunFacts`.
    """

    identity_mean: float | None = None
    identity_floor: float | None = None
    loss_per_read: float | None = None
    area_under_curve: float | None = None
    parameters: int | None = None
    receptive_field: int | None = None
    updates: int | None = None
    samples: int | None = None
    validation_chunks: int | None = None
    seconds: float | None = None
    device: str | None = None
    path: str | None = None
    commit: str | None = None
    data: str | None = None
    versions: dict[str, str] | None = None


NAMES = frozenset(field.name for field in fields(TrainingSummary))


def summary_of(trial: TrialRecord) -> TrainingSummary:
    """The summary of a trial's training."""
    return TrainingSummary(**{name: value for name, value in trial.facts.items() if name in NAMES})
