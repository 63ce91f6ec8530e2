"""What decided each setting of the winner, and what candidates changed."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from typing import Any

from basecaller.common.nested import value_at
from basecaller.hpo.records import TrialRecord
from basecaller.hpo.standing import Standing
from basecaller.hpo.task import CANDIDATE
from basecaller.hpo.verdicts import named
from basecaller.reporting.contents import Decision, OptimizerFacts, WinnerFacts
from basecaller.reporting.contests import RATE, asked

DEFAULTS = "defaults"
"""The name of the untuned defaults among the candidates, see `search_plan.candidates`."""


def decisions(
    winner: WinnerFacts, stands: dict[str, Standing], optimizer: OptimizerFacts, headline: Standing | None
) -> list[Decision]:
    """What decided each setting of the winner.

    A setting is decided by the last stage that asked for it, unless later candidates have changed it: the best of them has
    another value than the first, which has the best settings before. A setting that only candidates varied is decided by them.
    A learning rate that a later stage tuned along with its choice is that stage's, without a verdict of its own. The optimizer
    is decided by its own contest. No stage has decided what `search.winner` sets, or the untuned defaults.

    Args:
        winner: the winner.
        stands: the state of every stage of the search, in the order of their asking.
        optimizer: the verdict on the optimizer.
        headline: the stage that trained the winner and the untuned defaults alike.
    """
    untuned = _trial(headline, DEFAULTS) if headline else None
    facts = []
    for key, value in winner.settings.items():
        found, now = "", None
        kind: str | None = None
        for name, stand in stands.items():
            if asked(name)[0] == "headline" or stand.winner is None or not _comparable(stand.winner, key, winner):
                continue
            if _decides(stand, key) or (not found and _varies(stand, key)):
                found, kind, now = name, stand.conclusion.kind, _value(stand.winner, key)
            elif found and _same(_value(stand.winner, key), value) and not _same(now, value):
                found, kind, now = name, None, value
        decided_by = [found] if found else []
        if key == "optimizer" and optimizer.stages:
            decided_by, kind = optimizer.stages, optimizer.kind
        if key in winner.fixed or winner.fallback:
            decided_by, kind = [], None
        facts.append(Decision(key, value, _value(untuned, key) if untuned else None, decided_by, kind))
    return facts


def _comparable(trial: TrialRecord, key: str, winner: WinnerFacts) -> bool:
    """Whether a trial's value of a key says something about the winner's: a learning rate does for its own optimizer only."""
    optimizer = _value(trial, "optimizer")
    return not key.startswith("optimizer.") or optimizer == winner.settings.get("optimizer", optimizer)


def _decides(stand: Standing, key: str) -> bool:
    """Whether a stage asked for a key, or is one of candidates that changed it."""
    if stand.choice is None:
        return any(key in swept for swept in stand.settings.values())
    if stand.choice != CANDIDATE:
        return key == stand.choice
    before, after = _trial(stand, stand.choices[stand.points[0]]), stand.winner
    return before is not None and after is not None and not _same(_value(before, key), _value(after, key))


def _varies(stand: Standing, key: str) -> bool:
    """Whether a stage of candidates compared several values of a key."""
    values = [_value(trial, key) for point in stand.points for trial in stand.trials_of(point)]
    return stand.choice == CANDIDATE and any(not _same(value, values[0]) for value in values)


def changes(stand: Standing, point: str) -> str:
    """The settings in which a candidate differs from the first of its stage, besides the learning rate, in words."""
    if stand.choice != CANDIDATE or not stand.trials_of(point):
        return ""
    first, own = (_trial(stand, stand.choices[candidate]) for candidate in (stand.points[0], point))
    if first is None or own is None:
        return ""
    candidates = value_at(own.config, "stage.candidates") or {}
    keys = [key for key in _leaves(candidates.get(stand.choices[point], {})) if key != RATE]
    values = {key: value_at(own.config, key) for key in keys}
    return ", ".join(
        named(key.removesuffix(".mode").removesuffix(".name"), value)
        for key, value in values.items()
        if not _same(value, value_at(first.config, key))
    )


def _leaves(nested: Mapping[str, Any], prefix: str = "") -> Iterator[str]:
    """The dotted keys of a nested dict."""
    for key, value in nested.items():
        yield from _leaves(value, f"{prefix}{key}.") if isinstance(value, Mapping) else (prefix + key,)


def _same(one: Any, other: Any) -> bool:
    """Whether two values are the same setting; rates that were scaled in several steps differ in their last digits."""
    numbers = all(isinstance(value, float) for value in (one, other))
    return math.isclose(one, other, rel_tol=1e-4) if numbers else bool(one == other)


def _trial(stand: Standing, choice: object) -> TrialRecord | None:
    """A trial of a choice; None if none gave a value."""
    return next((trial for point in stand.points if stand.choices[point] == choice for trial in stand.trials_of(point)), None)


def _value(trial: TrialRecord, key: str) -> Any:
    """A setting of a trial; for a config group such as `padding`, its choice, which candidates set as a key of the group."""
    value = value_at(trial.config, key)
    return value.get("mode", value.get("name")) if isinstance(value, dict) else value
