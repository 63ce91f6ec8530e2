"""Comparisons of points beyond a stage's own verdict: other pairs, other measures, and several stages at once."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from statistics import fmean
from typing import Any

from basecaller.common.nested import digest, without
from basecaller.config.schema import OBJECTIVE
from basecaller.hpo.designs import HALVING, SEPARATE, Design, Values
from basecaller.hpo.ranking import Conclusion, against, conclude
from basecaller.hpo.standing import Standing
from basecaller.hpo.verdicts import compared, seeds, shown
from basecaller.hpo.winners import setting_of
from basecaller.runs.run_id import IGNORED

RATE = "optimizer.lr"

NAMES = {"adamw": "AdamW", "sgd": "SGD"}
"""Names of optimizers for a reader that are not the setting with a capital letter."""

TOO_FEW = "fewer than two optimizers were tried to the end"
NOT_RUN = "the stage was not run, or not to its end"
NOT_ASKED = (NOT_RUN, TOO_FEW)
"""Reasons why a run of ours says nothing about a question."""


@dataclass(frozen=True)
class Gap:
    """One point's loss minus another's over shared seeds, in nats per base. A `band` on either side covers the difference
    between points of equal worth in 95 of 100 contests, see `ranking.threshold`."""

    mean: float
    band: float
    seeds: int

    @property
    def low(self) -> float:
        return self.mean - self.band

    @property
    def high(self) -> float:
        return self.mean + self.band

    def __str__(self) -> str:
        return f"{self.mean:+.4f} (between {self.low:+.4f} and {self.high:+.4f}) nats per base over {seeds(self.seeds)}"


@dataclass(frozen=True)
class Contest:
    """A comparison of points with one estimate of the noise.

    Attributes:
        values: values of the points that have any.
        choices: the choice of each point.
        found: the conclusion.
    """

    values: Values
    choices: dict[str, Any]
    found: Conclusion

    @classmethod
    def of(cls, values: Values, choices: Mapping[str, Any], design: Design, seeds: int = 0) -> Contest:
        found = conclude(values, choices, design=design, seeds=seeds)
        measured = {point: by_seed for point, by_seed in values.items() if by_seed}
        return cls(measured, {point: choices[point] for point in measured}, found)

    @property
    def trouble(self) -> str:
        """Why there is no conclusion; empty if there is one."""
        if self.found.kind == "one seed":
            return "one seed does not show the noise"
        return "there is nothing to compare with" if self.found.kind in ("failed", "no contest") else ""

    def best(self, choices: Iterable[Any]) -> str | None:
        """The best point of some choices among those with the most seeds."""
        wanted = set(choices)
        points = [point for point in self.values if self.choices[point] in wanted]
        return min(points, key=lambda p: (-len(self.values[p]), fmean(self.values[p].values())), default=None)

    def gap(self, point: str, other: str) -> Gap:
        """The first point's loss minus the second's."""
        mean, error, shared = against(self.values, point, other, self.found.noise)
        return Gap(mean, self.found.needed * error, shared)


def contest_of(stand: Standing, measure: str | None = None) -> Contest:
    """A stage's points by choice, compared by a measure, see `TrialRecord.measured`."""
    stand = dataclasses.replace(stand, measure=measure)
    return Contest.of(stand.values(stand.seeds), stand.choices, stand.design, len(stand.seeds))


# -- a stage that was asked several times


def asked(name: str) -> tuple[str, int]:
    """A stage's name and the number of its asking: `padding.2` is the second asking of `padding`."""
    stage, _, number = name.rpartition(".")
    return (stage, int(number)) if stage and re.fullmatch(r"\d+", number) else (name, 1)


def finished(stand: Standing) -> bool:
    """Whether all requested entries have ended and a point has won."""
    return not stand.open and stand.conclusion.winner is not None


# -- the optimizer


@dataclass(frozen=True)
class Optimizers:
    """The stages that each tune one optimizer's learning rate, as one contest whose choices are the optimizers.

    Attributes:
        contest: the contest of all their points.
        rates: optimizer and learning rate of each point.
        stages: names of the stages.
    """

    contest: Contest
    rates: dict[str, tuple[str, float]]
    stages: tuple[str, ...]

    @property
    def text(self) -> str:
        """The conclusion about the optimizers."""
        return compared(self.contest.found, {point: point for point in self.rates}, OBJECTIVE)


def optimizers(stands: Mapping[str, Standing]) -> Optimizers | str:
    """The optimizers of the stages that ask for a learning rate, from the latest asking with several optimizers.

    Each stage has tuned its own rate, so the threshold of separate searches applies.

    Returns:
        The contest, or the reason why there is none.
    """
    askings: dict[int, dict[str, tuple[str, Standing]]] = {}
    for name, stand in stands.items():
        if stand.choice == RATE and finished(stand):
            assert stand.winner is not None
            setting = str(setting_of(stand.winner, "optimizer"))
            optimizer = NAMES.get(setting, setting.capitalize())
            askings.setdefault(asked(name)[1], {})[optimizer] = name, stand
    several = [number for number, stages in askings.items() if len(stages) > 1]
    if not several:
        return TOO_FEW
    found = askings[max(several)]
    if len({_setting(stand) for _, stand in found.values()}) > 1:
        return "the optimizers were tried under different settings"
    values: Values = {}
    rates: dict[str, tuple[str, float]] = {}
    for optimizer, (_, stand) in found.items():
        for point, by_seed in stand.values(stand.seeds).items():
            if by_seed:
                rate = float(stand.settings[point][RATE])
                name = f"{optimizer} at {shown(rate)}"
                values[name], rates[name] = by_seed, (optimizer, rate)
    halved = all(stand.design == HALVING for _, stand in found.values())
    contest = Contest.of(values, {p: optimizer for p, (optimizer, _) in rates.items()}, SEPARATE if halved else Design("every"))
    return contest.trouble or Optimizers(contest, rates, tuple(name for name, _ in found.values()))


def _setting(stand: Standing) -> str:
    """Digest of everything that a stage of one optimizer shares with the stages of others."""
    assert stand.winner is not None
    return digest(without(stand.winner.config, (*IGNORED, "seed", "optimizer")))
