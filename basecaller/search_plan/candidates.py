"""Candidates: whole configurations that a search compares after a longer training than a trial's."""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from types import MappingProxyType
from typing import Any

from omegaconf import DictConfig, OmegaConf

from basecaller.config.composition import compose_config
from basecaller.hpo.edges import is_ordered
from basecaller.hpo.grid import as_text
from basecaller.hpo.standing import Standing
from basecaller.hpo.verdicts import short, shown
from basecaller.hpo.winners import setting_of
from basecaller.reporting.search_state import Asked
from basecaller.search_plan.incumbent import BATCH, RATE, Incumbent, neighbours, scaled
from basecaller.search_plan.stages import StageFile, composed_settings

INCUMBENT, DEFAULTS, WINNER = "incumbent", "defaults", "winner"
"""Names of candidates; other candidates are named by the setting in which they differ from the incumbent."""

SCHEDULE = "train.batch_schedule"
LOWER_RATE, LARGER_BATCH = "rate_halved", "batch_times_4"

CanTrain = Callable[[str, dict[str, Any]], bool]
"""Whether a candidate can train, by its name and its settings; a candidate that cannot is left out."""


def _always(name: str, settings: dict[str, Any]) -> bool:
    return True


@dataclass(frozen=True)
class Candidates:
    """Whole configurations to compare.

    Attributes:
        settings: name -> the settings that the search decides, by override key, such as `optimizer` and `optimizer.lr`.
        given: the user's overrides, which all candidates share.
    """

    settings: dict[str, dict[str, Any]]
    given: tuple[str, ...]

    def lines(self, name: str) -> list[str]:
        """The overrides of a candidate, as a user would type them."""
        return [f"{key}={as_text(value)}" for key, value in self.settings[name].items()]

    def sweep(self) -> list[str]:
        """The overrides of a sweep over the candidates. Its axis is `stage.candidate`, which selects all settings in which they
        differ. The choice of a config group cannot be an interpolation, so the group's keys are set instead."""
        values = {name: leaves([*self.given, *self.lines(name)], list(self.settings[name])) for name in self.settings}
        keys = list(dict.fromkeys(key for of in values.values() for key in of))
        varied = [key for key in keys if len({as_text(of.get(key)) for of in values.values()}) > 1]
        first = next(iter(values.values()))
        nested = {name: OmegaConf.to_container(_nested({key: of[key] for key in varied})) for name, of in values.items()}
        return [
            f"stage.candidates={as_text(nested)}",
            f"stage.candidate={','.join(values)}",
            *(f"{key}={as_text(first[key])}" for key in keys if key not in varied),
            *(f"{key}='${{stage.candidates.${{stage.candidate}}.{key}}}'" for key in varied),
        ]

    def best(self, name: str) -> Candidates:
        """One candidate as the winner, and the untuned defaults."""
        return Candidates({WINNER: self.settings[name], DEFAULTS: self.settings[DEFAULTS]}, self.given)


def _nested(values: Mapping[str, Any]) -> DictConfig:
    nested = OmegaConf.create({})
    for key, value in values.items():
        OmegaConf.update(nested, key, value)
    return nested


def leaves(overrides: list[str], keys: list[str]) -> dict[str, Any]:
    """The values that some overrides compose to, by dotted key; a config group gives all its keys."""
    config, found = compose_config(overrides), dict[str, Any]()
    for key in keys:
        value = OmegaConf.select(config, key)
        if isinstance(value, DictConfig):
            found |= {f"{key}.{inner!s}": entry for inner, entry in value.items()}
        else:
            found[key] = value
    return found


def finalist_candidates(
    incumbent: Incumbent,
    stands: list[tuple[Asked, Standing]],
    files: Mapping[str, StageFile],
    axes: Mapping[str, list[Any]],
    given: list[str],
    count: int,
    batches: tuple[int, ...] | None = None,
    fixed: Mapping[str, Any] = MappingProxyType({}),
    can_train: CanTrain = _always,
    scheduled: bool = False,
) -> Candidates:
    """The incumbent; its variants with half the learning rate, with a batch four times as large, with large batches first and
    small ones last, and with the next larger network of each kind; the untuned defaults; and the nearest other choice of
    every question without a clear verdict.

    The rate is halved because the best rate falls as training gets longer (Bjorck et al., ICLR 2025). The larger batch takes
    the rate that grows with its square root, as in the batch-size stage (Malladi et al., NeurIPS 2022): it makes fewer updates,
    which matters less in long trainings. These also favour larger networks more than trials do, and a stage that sees no
    difference keeps the smallest. A larger network and a rival take the learning rate at which they were best, relative to the
    rate of their question's winner.

    Args:
        incumbent: the best settings so far.
        stands: the latest state of every question.
        files: the stages' files.
        axes: the values tried so far, by key.
        given: the user's overrides.
        count: largest number of candidates; larger networks come before rivals, and the nearest rivals before others. If less
            than two, the incumbent is the winner.
        batches: a batch schedule to try with the incumbent.
        fixed: the settings of the winner's training (`search.winner`) by key: all candidates have them, none changes them.
        can_train: leaves out variants.
        scheduled: whether all candidates train with a batch schedule, so that a larger batch changes nothing.
    """
    own = {key: value for key, value in fixed.items() if key in incumbent.settings}
    base, defaults = incumbent.settings | own, composed_settings(given, list(incumbent.settings)) | own
    if count < 2:
        return Candidates({WINNER: base, DEFAULTS: defaults}, tuple(given))
    variants = dict[str, dict[str, Any]]()
    if batches:
        base, defaults = base | {SCHEDULE: None}, defaults | {SCHEDULE: None}
        variants[f"batches_{'_'.join(map(str, batches))}"] = base | {SCHEDULE: list(batches)}
    if RATE in base:
        variants[LOWER_RATE] = base | {RATE: scaled(base[RATE], 0.5)}
    if BATCH in base and not scheduled:
        variants[LARGER_BATCH] = base | {BATCH: 4 * int(base[BATCH])}
        if RATE in base:
            variants[LARGER_BATCH][RATE] = scaled(base[RATE], 2)
    rivals = sorted(_rivals(base, stands, files, axes), key=lambda rival: rival.distance)
    names = Counter(short(choice) for choice in {rival.choice for rival in rivals})
    for rival in rivals:
        key = short(rival.choice) if names[short(rival.choice)] == 1 else rival.choice
        variants.setdefault(re.sub(r"\W", "_", f"{key}_{shown(rival.settings[rival.choice])}"), rival.settings)
    chosen = dict[str, dict[str, Any]]()
    for name, settings in variants.items():
        made = settings | own
        new = not _changes(base, settings) & fixed.keys() and made not in chosen.values()
        if len(chosen) < count - 2 and new and can_train(name, made):
            chosen[name] = made
    return Candidates({INCUMBENT: base} | chosen | {DEFAULTS: defaults}, tuple(given))


@dataclass(frozen=True)
class _Rival:
    """Another choice than the incumbent's.

    Attributes:
        choice: its key.
        settings: the incumbent's settings with it.
        distance: how far it was behind in short trials, in standard errors; larger networks come before all others.
    """

    choice: str
    settings: dict[str, Any]
    distance: float


def _rivals(
    base: dict[str, Any],
    stands: list[tuple[Asked, Standing]],
    files: Mapping[str, StageFile],
    axes: Mapping[str, list[Any]],
) -> Iterator[_Rival]:
    """For each question the next larger network or, if it has none, the nearest other choice, unless the verdict is clear."""
    for asked, stand in stands:
        conclusion, choice = stand.conclusion, files[asked.stage].choice
        if choice is None or choice not in base or choice == RATE:
            continue
        now = base[choice]
        larger = _larger(stand, axes.get(choice, []), now, partial(files[asked.stage].allows, choice))
        if larger != now:
            value, distance = larger, -math.inf
        elif conclusion.kind != "clear" and conclusion.rival is not None and stand.choices[conclusion.rival] != now:
            value = stand.choices[conclusion.rival]
            distance = conclusion.margin / conclusion.error if conclusion.error > 0 else conclusion.margin  # one seed: no error
        else:
            continue
        settings = base | {choice: value}
        if RATE in settings and (best := stand.best_of(value)) is not None:
            ratio = float(setting_of(stand.trials_of(best)[0], RATE)) / float(asked.answer[RATE])
            settings[RATE] = scaled(settings[RATE], ratio)
        yield _Rival(choice, settings, distance)


def _larger(stand: Standing, values: list[Any], now: Any, allows: Callable[[Any], bool]) -> Any:
    """The next more complex value of a stage's choice, if the stage orders them; `now` if there is none.

    Args:
        stand: state of the stage.
        values: the values tried so far.
        now: the incumbent's value.
        allows: whether the choice can have a value.
    """
    order = stand.simple_first or []
    if is_ordered(order):
        return neighbours(values, now, allows)[-1]
    return order[min(order.index(now) + 1, len(order) - 1)] if now in order else now


def combined_candidates(
    finalists: Candidates,
    ranked: list[str],
    axes: Mapping[str, list[Any]],
    count: int,
    allows: Callable[[str, Any], bool] = lambda key, value: True,
    can_train: CanTrain = _always,
) -> Candidates:
    """The best finalist, the changes that helped together, and its own change taken a step further.

    Args:
        finalists: all finalists.
        ranked: names of the finalists, the best first.
        axes: the values tried so far, by key.
        count: largest number of new settings.
        allows: whether a key can have a value.
        can_train: leaves out new settings.

    Returns:
        The best finalist first; alone if no change helped.
    """
    first, base = ranked[0], finalists.settings.get(INCUMBENT, {})
    helped = [name for name in ranked[: ranked.index(INCUMBENT)] if name != DEFAULTS] if INCUMBENT in ranked else []
    found = dict[str, dict[str, Any]]()
    if first in helped:
        together, names = finalists.settings[first], [first]
        for name in helped[1:]:
            both = _together(base, together, finalists.settings[name])
            if both and can_train(new := "_and_".join([*names, name]), both):
                together, names, found[new] = both, [*names, name], both
        further = _further(base, finalists.settings[first], axes, allows)
        if further and can_train(new := f"{first}_twice", further):
            found[new] = further
    ordered = sorted(found.items(), key=lambda item: item[0].count("_and_") > 1)  # three changes and more come last
    return Candidates({first: finalists.settings[first]} | dict(ordered[:count]), finalists.given)


def contender_candidates(finalists: Candidates, best: str) -> Candidates:
    """The best configuration, and the same with the larger batch of the finalists. Only the first if it already has another
    batch, or if no finalist has a larger one.

    A larger batch makes fewer updates, so what it gains shows only when training is long (Shallue et al., JMLR 2019).
    """
    own, base = finalists.settings[best], finalists.settings.get(INCUMBENT, {})
    larger = _together(base, own, finalists.settings[LARGER_BATCH]) if LARGER_BATCH in finalists.settings else {}
    if not larger or best == DEFAULTS:
        return Candidates({best: own}, finalists.given)
    return Candidates({best: own, f"{best}_and_{LARGER_BATCH}": larger}, finalists.given)


def _changes(base: Mapping[str, Any], variant: Mapping[str, Any]) -> set[str]:
    """The keys in which a variant differs, without the rate if it differs in others."""
    found = {key for key in base if variant[key] != base[key]}
    return found - {RATE} or found


def _together(base: Mapping[str, Any], one: dict[str, Any], other: Mapping[str, Any]) -> dict[str, Any]:
    """Two variants of some settings in one; their changes of the rate are multiplied. Empty if both change the same setting."""
    changes = [_changes(base, variant) for variant in (one, other)]
    if changes[0] & changes[1] or all(of & {BATCH, SCHEDULE} for of in changes):
        return {}
    both = one | {key: other[key] for key in changes[1]}
    if RATE in base:
        both[RATE] = scaled(one[RATE], float(other[RATE]) / float(base[RATE]))
    return both


def _further(
    base: Mapping[str, Any], variant: dict[str, Any], axes: Mapping[str, list[Any]], allows: Callable[[str, Any], bool]
) -> dict[str, Any]:
    """The change of a variant made twice, the rate by the same factor. Empty if it is no step along an axis."""
    further = dict(variant)
    for key in _changes(base, variant):
        before, after = base[key], variant[key]
        if not is_ordered([before, after]):
            return {}
        if key == RATE:
            continue
        values = [before, after] if key == BATCH else [*axes.get(key, []), before, after]
        step = neighbours(values, after, partial(allows, key))
        further[key] = step[-1] if after > before else step[0]
        if further[key] == after:
            return {}
    if RATE in base:
        further[RATE] = scaled(variant[RATE], float(variant[RATE]) / float(base[RATE]))
    return further
