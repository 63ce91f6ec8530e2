"""The finalists: whole configurations, compared after a longer training than a trial's."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from omegaconf import DictConfig, OmegaConf

from basecaller.config import compose_config
from basecaller.hpo.best import Standing, setting_of
from basecaller.hpo.grid import as_text
from basecaller.hpo.verdicts import short, shown
from basecaller.schema import SearchOptions
from basecaller.search_plan.incumbent import BATCH, RATE, Asked, Incumbent
from basecaller.search_plan.stages import StageFile, composed_settings

INCUMBENT, DEFAULTS, WINNER = "incumbent", "defaults", "winner"
"""Names of candidates; other candidates are named by the setting in which they differ from the incumbent."""

SCHEDULE = "train.batch_schedule"
LOWER_RATE, LARGER_BATCH = "rate_halved", "batch_times_4"


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


def contenders(options: SearchOptions) -> int:
    """Number of finalists that train as long as the winner; 1: none does before the headline."""
    return min(options.contenders, options.finalists)


def finalist_candidates(
    incumbent: Incumbent,
    stands: list[tuple[Asked, Standing]],
    files: Mapping[str, StageFile],
    given: list[str],
    count: int,
    batches: tuple[int, ...] | None = None,
) -> Candidates:
    """The incumbent; its variants with half the learning rate, with a batch four times as large, and with large batches first
    and small ones last; the untuned defaults; and the nearest other choice of every question without a clear verdict.

    The rate is halved because the best rate falls as training gets longer (Bjorck et al., ICLR 2025). The larger batch takes
    the rate that grows with its square root, as in the batch-size stage (Malladi et al., NeurIPS 2022): it makes fewer updates,
    which matters less in long trainings. A rival takes the learning rate at which it was best, relative to the rate of its
    question's winner.

    Args:
        incumbent: the best settings so far.
        stands: the latest state of every question.
        files: the stages' files.
        given: the user's overrides.
        count: largest number of candidates; the nearest rivals come first. If less than two, the incumbent is the winner.
        batches: a batch schedule to try with the incumbent.
    """
    defaults = composed_settings(given, list(incumbent.settings))
    if count < 2:
        return Candidates({WINNER: incumbent.settings, DEFAULTS: defaults}, tuple(given))
    found = {INCUMBENT: incumbent.settings}
    if batches and not any(line.startswith("train.batch_schedule=") for line in given):
        found[f"batches_{'_'.join(map(str, batches))}"] = incumbent.settings | {SCHEDULE: list(batches)}
        found[INCUMBENT] = incumbent.settings | {SCHEDULE: None}
        defaults = defaults | {SCHEDULE: None}
    if RATE in incumbent.settings:
        found[LOWER_RATE] = found[INCUMBENT] | {RATE: float(f"{float(incumbent.settings[RATE]) / 2:.6g}")}
    if BATCH in incumbent.settings:
        found[LARGER_BATCH] = found[INCUMBENT] | {BATCH: 4 * int(incumbent.settings[BATCH])}
        if RATE in incumbent.settings:
            found[LARGER_BATCH][RATE] = 2 * float(incumbent.settings[RATE])
    rivals: list[tuple[float, str, dict[str, Any]]] = []
    for asked, stand in stands:
        conclusion, choice = stand.conclusion, files[asked.stage].choice
        if conclusion.kind == "clear" or conclusion.rival is None or choice not in incumbent.settings or choice == RATE:
            continue
        value = stand.choices[conclusion.rival]
        if value == incumbent.settings[choice]:
            continue
        settings = found[INCUMBENT] | {choice: value}
        if RATE in settings:
            ratio = float(setting_of(stand.trials_of(conclusion.rival)[0], RATE)) / float(asked.answer[RATE])
            settings[RATE] = float(f"{float(settings[RATE]) * ratio:.6g}")
        distance = conclusion.margin / conclusion.error if conclusion.error else 0.0
        rivals.append((distance, re.sub(r"\W", "_", f"{short(choice)}_{shown(value)}"), settings))
    for _, name, settings in sorted(rivals, key=lambda rival: rival[0])[: max(0, count - 1 - len(found))]:
        found[name] = settings
    return Candidates(found | {DEFAULTS: defaults}, tuple(given))


def contender_candidates(finalists: Candidates, ranked: list[str], count: int) -> Candidates:
    """The best finalists, and the best two of their changes combined.

    Long trainings favour larger batches and larger networks more than short ones do. So the larger batch comes second, whatever
    its rank, and the third contender combines the first two changes of the incumbent: often the larger batch and more stacks.

    Args:
        finalists: all finalists.
        ranked: names of the finalists, the best first, without those that are the same training as a better one.
        count: largest number of contenders.

    Returns:
        The contenders, the best finalist first. The untuned defaults are among them only if they are that.
    """
    first, *others = ranked
    names = [first, *sorted((name for name in others if name != DEFAULTS), key=lambda name: name != LARGER_BATCH)]
    found = {name: finalists.settings[name] for name in names}
    changed = [name for name in names if name not in (INCUMBENT, DEFAULTS)][:2]
    if len(changed) == 2 and (both := _combined(finalists.settings[INCUMBENT], *(found[name] for name in changed))):
        found["_and_".join(changed)] = both
        names.insert(2, "_and_".join(changed))
    return Candidates({name: found[name] for name in names[:count]}, finalists.given)


def _combined(base: dict[str, Any], one: dict[str, Any], other: dict[str, Any]) -> dict[str, Any]:
    """Two variants of some settings in one; their changes of the rate are multiplied. Empty if both change the same setting."""
    changes = [{key for key in base if variant[key] != base[key]} for variant in (one, other)]
    batches = [key in (BATCH, SCHEDULE) for of in changes for key in of]
    if changes[0] & changes[1] - {RATE} or sum(batches) > 1:
        return {}
    both = one | {key: other[key] for key in changes[1]}
    if RATE in base:
        both[RATE] = float(f"{float(one[RATE]) * float(other[RATE]) / float(base[RATE]):.6g}")
    return both
