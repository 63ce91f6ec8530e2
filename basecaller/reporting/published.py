"""The method's published run of 2018 beside ours: its table, and what became of its conclusions."""

from __future__ import annotations

import statistics
from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from basecaller.hpo.ranking import Conclusion, Values, against, conclude
from basecaller.hpo.verdicts import seeds, short, shown

if TYPE_CHECKING:
    from basecaller.hpo.best import Standing

OPTIMIZERS = {"lr_adam": "Adam", "lr_adamax": "Adamax", "lr_adagrad": "Adagrad"}

LOSSES: dict[str, list[tuple[dict[str, Any], float, int]]] = {
    "lr_adam": [
        ({"optimizer.lr": 0.001}, 41.688525286587804, 8),
        ({"optimizer.lr": 0.0005}, 34.19132614135742, 8),
        ({"optimizer.lr": 0.0001}, 11.2378380948847, 8),
        ({"optimizer.lr": 0.00005}, 10.11766067418185, 8),
    ],
    "lr_adamax": [
        ({"optimizer.lr": 0.002}, 155.1495721990412, 8),
        ({"optimizer.lr": 0.001}, 52.05568382956765, 8),
        ({"optimizer.lr": 0.0005}, 8.574921954761852, 8),
        ({"optimizer.lr": 0.0001}, 14.724966699426824, 8),
    ],
    "lr_adagrad": [
        ({"optimizer.lr": 0.01}, 26.675187717784535, 8),
        ({"optimizer.lr": 0.005}, 14.264448079195889, 8),
        ({"optimizer.lr": 0.001}, 11.691955696452748, 8),
        ({"optimizer.lr": 0.0005}, 16.059732740575615, 8),
    ],
    "batch_size": [
        ({"data.batch_size": 1, "stage.rate_factor": 1.0}, 1.0764162296598607, 1),
        ({"data.batch_size": 4, "stage.rate_factor": 1.0}, 4.33007783239538, 4),
        ({"data.batch_size": 8, "stage.rate_factor": 1.0}, 10.196995084935969, 8),
        ({"data.batch_size": 16, "stage.rate_factor": 1.0}, 15.626627011732621, 16),
        ({"data.batch_size": 32, "stage.rate_factor": 1.0}, 56.45656065507369, 32),
    ],
}
"""Validation losses of the published run by stage: settings, loss summed over a batch, batch size. One run each. Its batch
sizes were run at rates x 0.5, 0.7, 1, 1.4, 2: the square-root-scaled ones, our factor 1."""

HUGE, LITTLE = 0.05, 0.02
"""Shares of the loss: a gain below the one is not "huge", a difference below the other is "little"."""

LOW_RATE = 0.001
"""The upper of the two lower rates of Adagrad's published grid."""


@dataclass(frozen=True)
class Claim:
    """One published conclusion, and what our run says of it.

    Attributes:
        text: as published.
        answer: `supported`, `contradicted`, or `cannot tell`.
        why: the reason.
    """

    text: str
    answer: str
    why: str


def against_published(stands: dict[str, Standing]) -> dict[str, Any]:
    """The published table with our numbers beside it, and its conclusions with our answers.

    Args:
        stands: of the stages that were run, by name.
    """
    rows = []
    for stage, entries in LOSSES.items():
        for settings, loss, batch in entries:
            ours = _ours(stands.get(stage), settings)
            parts = [f"{short(key)} {shown(value)}" for key, value in settings.items() if key != "stage.rate_factor"]
            name = OPTIMIZERS.get(stage, "")
            rows.append(
                {"stage": stage, "settings": " ".join(filter(None, [name, *parts])), "published": loss,
                 "published_per_read": loss / batch, **ours}
            )  # fmt: skip
    claims = [_padding(stands), _batch_norm(stands), *_optimizers(stands), _batch_size(stands)]
    return {"rows": rows, "claims": [vars(claim) for claim in claims]}


def _ours(stand: Standing | None, settings: dict[str, Any]) -> dict[str, Any]:
    """Our means at the same settings; None where they were not run."""
    for point, params in stand.settings.items() if stand else ():
        if stand and all(key in params and abs(params[key] - value) < 1e-12 for key, value in settings.items()):
            trials = stand.trials_of(point)
            if trials:
                return {
                    "per_base": statistics.fmean(float(t.value or 0) for t in trials),
                    "per_read": statistics.fmean(t.user_attrs["loss_per_read"] for t in trials),
                    "seeds": len(trials),
                }
    return {"per_base": None, "per_read": None, "seeds": 0}


UNTOLD = "cannot tell"
NOT_RUN = "the stage was not run, or not to its end"


@dataclass(frozen=True)
class _Gap:
    """By how much one point's loss is above another's, over shared seeds, in nats per base; `band` on either side holds what
    points of equal worth would show in 95 of 100 contests, see `ranking.threshold`."""

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
class _Contest:
    """Points held against each other, with one estimate of the noise.

    Attributes:
        values: of the points that gave any.
        choices: what each stands for.
        found: the conclusion.
    """

    values: Values
    choices: dict[str, Any]
    found: Conclusion

    @classmethod
    def of(cls, values: Values, choices: dict[str, Any], halving: bool) -> _Contest:
        measured = {point: of for point, of in values.items() if of}
        return cls(measured, {point: choices[point] for point in measured}, conclude(measured, choices, halving=halving))

    @property
    def trouble(self) -> str:
        """Why nothing can be said; empty where something can."""
        if self.found.kind == "one seed":
            return "one seed says nothing of noise"
        return "there is nothing to compare with" if self.found.kind in ("failed", "no contest") else ""

    def best(self, choices: Iterable[Any]) -> str | None:
        """The best point of some choices, of those with the most seeds."""
        wanted = set(choices)
        points = [point for point in self.values if self.choices[point] in wanted]
        return min(points, key=lambda p: (-len(self.values[p]), statistics.fmean(self.values[p].values())), default=None)

    def gap(self, point: str, other: str) -> _Gap:
        """How much the first's loss is above the second's."""
        mean, error, shared = against(self.values, point, other, self.found.noise)
        return _Gap(mean, self.found.needed * error, shared)


def _finished(stands: dict[str, Standing], stage: str) -> bool:
    return stage in stands and not stands[stage].open and stands[stage].conclusion.winner is not None


def _contest(stands: dict[str, Standing], stage: str) -> _Contest | str:
    """A finished stage's points by its choice; or why nothing can be said."""
    if not _finished(stands, stage):
        return NOT_RUN
    stand = stands[stage]
    made = _Contest.of(stand.values(stand.seeds), _choices(stand), stand.halving)
    return made.trouble or made


def _choices(stand: Standing) -> dict[str, Any]:
    return {point: stand.settings.get(point, {}).get(stand.choice or "") for point in stand.points}


def _padding(stands: dict[str, Standing]) -> Claim:
    text = "Zero-padding brings little to no benefit: turn it off."
    contest = _contest(stands, "padding")
    if isinstance(contest, str):
        return Claim(text, UNTOLD, contest)
    off, on = contest.best(["off"]), contest.best(["on"])
    if off is None or on is None:
        return Claim(text, UNTOLD, "on and off were not both run")
    benefit, little = contest.gap(off, on), LITTLE * contest.found.mean
    answer = "supported" if benefit.high <= little else "contradicted" if benefit.low > little else UNTOLD
    return Claim(text, answer, f"the benefit of padding is {benefit}; {LITTLE:.0%} of the loss, {little:.4f}, would be little")


def _batch_norm(stands: dict[str, Standing]) -> Claim:
    text = "Batch norm brings a huge gain in convergence speed: keep it."
    contest = _contest(stands, "batch_norm")
    if isinstance(contest, str):
        return Claim(text, UNTOLD, contest)
    # of speed, not of the last value: the area under the curve
    stand = stands["batch_norm"]
    areas = {
        point: {t.user_attrs["seed"]: t.user_attrs["area_under_curve"] for t in stand.trials_of(point)}
        for point in contest.values
    }
    contest = _Contest.of(areas, contest.choices, stand.halving)
    without, with_norm = contest.best([False]), contest.best([True])
    if contest.trouble or without is None or with_norm is None:
        return Claim(text, UNTOLD, contest.trouble or "on and off were not both run")
    gain, huge = contest.gap(without, with_norm), HUGE * contest.found.mean
    answer = "supported" if gain.low >= huge else "contradicted" if gain.high < huge else UNTOLD
    why = f"in mean loss along the way, the gain of batch norm is {gain}; {HUGE:.0%} of it, {huge:.4f}, would be huge"
    return Claim(text, answer, why)


def _optimizers(stands: dict[str, Standing]) -> list[Claim]:
    texts = (
        "Adamax at 0.0005 is the best optimizer and rate.",
        "Adam is comparable to Adamax.",
        "Adagrad is not as good at low rates.",
    )
    if not all(_finished(stands, stage) for stage in OPTIMIZERS):
        return [Claim(text, UNTOLD, NOT_RUN) for text in texts]
    values: Values = {}
    rates: dict[str, tuple[str, float]] = {}
    for stage, name in OPTIMIZERS.items():
        stand = stands[stage]
        for point, of in stand.values(stand.seeds).items():
            if of:
                rate = stand.settings[point]["optimizer.lr"]
                values[f"{name} at {shown(rate)}"], rates[f"{name} at {shown(rate)}"] = of, (name, rate)
    contest = _Contest.of(values, {point: name for point, (name, _) in rates.items()}, stands["lr_adam"].halving)
    if contest.trouble:
        return [Claim(text, UNTOLD, contest.trouble) for text in texts]
    every = _Contest(values, {point: point for point in values}, contest.found)

    claimed = "Adamax at 0.0005"
    rival = every.best(point for point in values if point != claimed)
    if claimed not in values or rival is None:
        first = Claim(texts[0], UNTOLD, "that rate gave no value here")
    else:
        lead = contest.gap(rival, claimed)
        answer = "supported" if lead.low > 0 else "contradicted" if lead.high < 0 else UNTOLD
        first = Claim(texts[0], answer, f"against {rival} its lead is {lead}")

    adam, adamax = contest.best(["Adam"]), contest.best(["Adamax"])
    if adam is None or adamax is None:
        second = Claim(texts[1], UNTOLD, "one of them gave no value here")
    else:
        gap, little = contest.gap(adam, adamax), LITTLE * contest.found.mean
        apart = gap.low > little or gap.high < -little
        answer = "supported" if max(gap.high, -gap.low) <= little else "contradicted" if apart else UNTOLD
        second = Claim(texts[1], answer, f"{adam} less {adamax} is {gap}; {LITTLE:.0%} of the loss is {little:.4f}")

    low = every.best(point for point, (name, rate) in rates.items() if name == "Adagrad" and rate <= LOW_RATE)
    rival = contest.best(["Adam", "Adamax"])
    if low is None or rival is None:
        third = Claim(texts[2], UNTOLD, "no low rate gave a value here")
    else:
        behind = contest.gap(low, rival)
        answer = "supported" if behind.low > 0 else "contradicted" if behind.high < 0 else UNTOLD
        third = Claim(texts[2], answer, f"{low}, its best rate up to {LOW_RATE:g}, less {rival} is {behind}")
    return [first, second, third]


def _batch_size(stands: dict[str, Standing]) -> Claim:
    text = "There is a trade-off between batch size and validation accuracy."
    contest = _contest(stands, "batch_size")
    if isinstance(contest, str):
        return Claim(text, UNTOLD, contest)
    sizes = sorted(set(contest.choices.values()))
    smallest, largest = contest.best(sizes[:1]), contest.best(sizes[-1:])
    assert smallest is not None
    assert largest is not None
    cost = contest.gap(largest, smallest)
    answer = "supported" if cost.low > 0 else "contradicted" if cost.high < 0 else UNTOLD
    updates = {round(t.user_attrs["updates"]) for t in stands["batch_size"].complete.values() if "updates" in t.user_attrs}
    why = f"from batch {sizes[0]} to {sizes[-1]}, each at its best rate, the loss changes by {cost}. "
    if updates and max(updates) > 1.1 * min(updates):
        why += f"But the updates differ, {min(updates):,} to {max(updates):,}: this may be of updates, not of batches. "
    why += "The published one was of a loss summed over the batch; per read its batches 1 to 32 score 1.08 to 1.76."
    return Claim(text, answer, why)
