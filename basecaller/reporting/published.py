"""The method's published run of 2018 compared with ours: its table and its conclusions."""

from __future__ import annotations

import statistics
from collections.abc import Iterable
from dataclasses import dataclass, replace

from basecaller.hpo.standing import Standing
from basecaller.hpo.verdicts import short, shown
from basecaller.reporting.contests import NOT_ASKED, NOT_RUN, Contest, asked, contest_of, finished, optimizers
from basecaller.reporting.stage_contents import StageFacts

SOURCES = ("rawctcnet", "simulated", "simulated_hard")
"""Data sources with the published run's pore, by `data.name`."""

OPTIMIZERS = {"lr_adam": "Adam", "lr_adamax": "Adamax", "lr_adagrad": "Adagrad"}

LOSSES: dict[str, list[tuple[dict[str, float], float, int]]] = {
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
"""Validation losses of the published run by stage: settings, loss summed over a batch, batch size; one run each. The rates of
its batch sizes are scaled with the square root of the batch, which is our factor 1."""

HUGE, LITTLE = 0.05, 0.02
"""Shares of the loss: a gain below the first is not "huge", a difference below the second is "little"."""

LOW_RATE = 0.001
"""The upper of the two lower rates of Adagrad's published grid."""


@dataclass(frozen=True)
class Row:
    """A run of the published table next to ours.

    Attributes:
        stage, settings: stage and settings of both runs.
        published, published_per_read: the published loss, summed over a batch and per read, nats.
        per_base, per_read: our mean losses, nats; None if it was not run.
        seeds: number of our seeds.
    """

    stage: str
    settings: str
    published: float
    published_per_read: float
    per_base: float | None = None
    per_read: float | None = None
    seeds: int = 0


@dataclass(frozen=True)
class Claim:
    """A published conclusion and our run's answer to it.

    Attributes:
        text: the published conclusion.
        answer: `supported`, `contradicted`, or `cannot tell`.
        why: reason for the answer.
    """

    text: str
    answer: str
    why: str


@dataclass(frozen=True)
class Published:
    """The published table next to our numbers, and its conclusions with our answers.

    Attributes:
        rows, claims: all rows and conclusions of the published run.
        comparable: whether our reads are from the published run's pore.
    """

    rows: list[Row]
    claims: list[Claim]
    comparable: bool

    @property
    def known_rows(self) -> list[Row]:
        """The rows for which our run has a number."""
        return [row for row in self.rows if row.seeds]

    @property
    def known_claims(self) -> list[Claim]:
        """The claims whose stages our run has finished."""
        return [claim for claim in self.claims if claim.why not in NOT_ASKED]

    @property
    def applies(self) -> bool:
        """Whether the comparison is useful to a reader of our run."""
        return self.comparable and bool(self.known_rows or self.known_claims)


def against_published(stands: dict[str, Standing], stages: list[StageFacts]) -> Published:
    """The published table next to our numbers, and its conclusions with our answers.

    Args:
        stands: state of each stage that was run, by name.
        stages: facts of the stages, in the order of their asking; if a stage was asked again as `NAME.2`, the latest answer
            counts.
    """
    rows = []
    for stage, entries in LOSSES.items():
        for settings, loss, batch in entries:
            parts = [f"{short(key)} {shown(value)}" for key, value in settings.items() if key != "stage.rate_factor"]
            name = OPTIMIZERS.get(stage, "")
            row = Row(stage, " ".join(filter(None, [name, *parts])), loss, loss / batch)
            rows.append(_with_ours(row, stands.get(stage), settings))
    facts = {stage.name: stage for stage in stages}
    latest = {name: _Asked(stands[full], facts[full]) for name, full in latest_asked(facts).items() if full in stands}
    claims = [
        _padding(latest.get("padding")),
        _batch_norm(latest.get("batch_norm")),
        *_optimizers(stands, facts),
        _batch_size(latest.get("batch_size")),
        *(_rates(text, latest.get(stage)) for stage, text in LARGER.items()),
    ]
    return Published(rows, claims, any(map(_is_of_its_pore, stands.values())))


def _is_of_its_pore(stand: Standing) -> bool:
    """Whether a stage's reads are from R9.4, like the published run's: its own tensors, or simulated reads."""
    return stand.winner is not None and stand.winner.config.get("data", {}).get("name") in SOURCES


def latest_asked(stages: Iterable[str]) -> dict[str, str]:
    """The name of each stage's last asking: `padding` -> `padding.2`."""
    found: dict[str, str] = {}
    for name in sorted(stages, key=lambda each: asked(each)[1]):
        found[asked(name)[0]] = name
    return found


@dataclass(frozen=True)
class _Asked:
    """The last asking of a stage: its state and its facts."""

    stand: Standing
    facts: StageFacts

    @property
    def trouble(self) -> str:
        """Why the stage answers no question; empty if it does."""
        if not finished(self.stand):
            return NOT_RUN
        return doubt(self.facts)


def doubt(facts: StageFacts) -> str:
    """Why a stage's answer is no evidence; empty if it is evidence."""
    if facts.guessing:
        return f"{facts.name} compared networks that had hardly begun to learn"
    return facts.confounding


def _with_ours(row: Row, stand: Standing | None, settings: dict[str, float]) -> Row:
    """A row with our means at the same settings, if these were run."""
    for point, params in stand.settings.items() if stand else ():
        if stand and all(key in params and abs(params[key] - value) < 1e-12 for key, value in settings.items()):
            trials = stand.trials_of(point)
            if trials:
                per_base = statistics.fmean(trial.measured() for trial in trials)
                per_read = statistics.fmean(trial.measured("loss_per_read") for trial in trials)
                return replace(row, per_base=per_base, per_read=per_read, seeds=len(trials))
    return row


UNTOLD = "cannot tell"

LARGER = {
    "dilation": "Larger models want smaller rates: a larger dilation.",
    "stacks": "Larger models want smaller rates: more stacks.",
}
"""The method's assumptions about the learning rate, by the stage whose choices are sizes."""


def _contest(asked: _Asked | None, measure: str | None = None) -> Contest | str:
    """A finished stage's points by its choice, or the reason why there is no answer."""
    if asked is None or asked.trouble:
        return asked.trouble if asked else NOT_RUN
    contest = contest_of(asked.stand, measure)
    return contest.trouble or contest


def _padding(asked: _Asked | None) -> Claim:
    text = "Zero-padding brings little to no benefit: turn it off."
    contest = _contest(asked)
    if isinstance(contest, str):
        return Claim(text, UNTOLD, contest)
    off, on = contest.best(["off"]), contest.best(["on"])
    if off is None or on is None:
        return Claim(text, UNTOLD, "on and off were not both run")
    benefit, little = contest.gap(off, on), LITTLE * contest.found.mean
    answer = "supported" if benefit.high <= little else "contradicted" if benefit.low > little else UNTOLD
    return Claim(text, answer, f"the benefit of padding is {benefit}; {LITTLE:.0%} of the loss, {little:.4f}, would be little")


def _batch_norm(asked: _Asked | None) -> Claim:
    text = "Batch norm brings a huge gain in convergence speed: keep it."
    contest = _contest(asked, "area_under_curve")  # the claim is about speed, not the final loss
    if isinstance(contest, str):
        return Claim(text, UNTOLD, contest)
    without, with_norm = contest.best([False]), contest.best([True])
    if without is None or with_norm is None:
        return Claim(text, UNTOLD, "on and off were not both run")
    gain, huge = contest.gap(without, with_norm), HUGE * contest.found.mean
    answer = "supported" if gain.low >= huge else "contradicted" if gain.high < huge else UNTOLD
    why = f"in mean loss along the way, the gain of batch norm is {gain}; {HUGE:.0%} of it, {huge:.4f}, would be huge"
    return Claim(text, answer, why)


def _optimizers(stands: dict[str, Standing], facts: dict[str, StageFacts]) -> list[Claim]:
    texts = (
        "Adamax at 0.0005 is the best optimizer and rate.",
        "Adam is comparable to Adamax.",
        "Adagrad is not as good at low rates.",
    )
    found = optimizers({name: stand for name, stand in stands.items() if name in facts})
    if isinstance(found, str):
        return [Claim(text, UNTOLD, found) for text in texts]
    trouble = next(filter(None, (doubt(facts[name]) for name in found.stages)), "")
    if trouble or not {*OPTIMIZERS.values()} <= {optimizer for optimizer, _ in found.rates.values()}:
        return [Claim(text, UNTOLD, trouble or NOT_RUN) for text in texts]
    contest, values = found.contest, found.contest.values
    every = Contest(values, {point: point for point in values}, contest.found)

    claimed = "Adamax at 0.0005"
    rival = every.best(point for point in values if point != claimed)
    if claimed not in values or rival is None:
        first = Claim(texts[0], UNTOLD, "that rate gave no value here")
    else:
        lead = contest.gap(rival, claimed)
        answer = "supported" if lead.low > 0 else "contradicted" if lead.high < 0 else UNTOLD
        first = Claim(texts[0], answer, f"against {rival} its lead is {lead}")

    adam, adamax = contest.best(["Adam"]), contest.best(["Adamax"])
    assert adam is not None
    assert adamax is not None
    gap, little = contest.gap(adam, adamax), LITTLE * contest.found.mean
    apart = gap.low > little or gap.high < -little
    answer = "supported" if max(gap.high, -gap.low) <= little else "contradicted" if apart else UNTOLD
    second = Claim(texts[1], answer, f"{adam} minus {adamax} is {gap}; {LITTLE:.0%} of the loss is {little:.4f}")

    low = every.best(point for point, (name, rate) in found.rates.items() if name == "Adagrad" and rate <= LOW_RATE)
    rival = contest.best(["Adam", "Adamax"])
    if low is None or rival is None:
        third = Claim(texts[2], UNTOLD, "no low rate gave a value here")
    else:
        behind = contest.gap(low, rival)
        answer = "supported" if behind.low > 0 else "contradicted" if behind.high < 0 else UNTOLD
        third = Claim(texts[2], answer, f"{low}, its best rate up to {LOW_RATE:g}, minus {rival} is {behind}")
    return [first, second, third]


def _batch_size(asked: _Asked | None) -> Claim:
    text = "There is a trade-off between batch size and validation accuracy."
    contest = _contest(asked)
    if isinstance(contest, str):
        return Claim(text, UNTOLD, contest)
    sizes = sorted(set(contest.choices.values()))
    smallest, largest = contest.best(sizes[:1]), contest.best(sizes[-1:])
    assert smallest is not None
    assert largest is not None
    cost = contest.gap(largest, smallest)
    answer = "supported" if cost.low > 0 else "contradicted" if cost.high < 0 else UNTOLD
    why = (
        f"from batch {sizes[0]} to {sizes[-1]}, each at its best rate, the loss changes by {cost}. The published losses are "
        f"summed over the batch; per read they are 1.08 at batch 1 and 1.76 at batch 32."
    )
    return Claim(text, answer, why)


def _rates(text: str, asked: _Asked | None) -> Claim:
    """Whether the largest of a stage's sizes prefers a lower rate than the best rate of the smallest size."""
    contest = _contest(asked)
    if isinstance(contest, str):
        return Claim(text, UNTOLD, contest)
    assert asked is not None
    settings = asked.stand.settings
    keys = {key for swept in settings.values() for key in swept if key.rpartition(".")[2] in ("rate_factor", "lr")}
    sizes = sorted(set(contest.choices.values()))
    smallest = contest.best(sizes[:1])
    if len(keys) != 1 or len(sizes) < 2 or smallest is None:
        return Claim(text, UNTOLD, "sizes and rates were not swept together")
    (key,) = keys
    rate = settings[smallest][key]
    large = {settings[point][key]: point for point in contest.values if contest.choices[point] == sizes[-1]}
    every = Contest(contest.values, {point: point for point in contest.values}, contest.found)
    lower = every.best(point for other, point in large.items() if other < rate)
    if rate not in large or lower is None:
        return Claim(text, UNTOLD, f"the largest was not run at {short(key)} {shown(rate)} and lower")
    gain = contest.gap(large[rate], lower)
    at_edge = rate == max(swept[key] for swept in settings.values())
    answer = "supported" if gain.low > 0 else "contradicted" if gain.high < 0 and not at_edge else UNTOLD
    name = short(asked.stand.choice or "")
    why = (
        f"{name} {sizes[0]} is best at {short(key)} {shown(rate)}; from there to {shown(settings[lower][key])}, {name} "
        f"{sizes[-1]} gains {gain}"
    )
    if at_edge and gain.high < 0:
        why += ". That rate is the highest of the grid, so both sizes may prefer higher ones"
    return Claim(text, answer, why)
