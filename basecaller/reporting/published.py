"""The method's published run of 2018 beside ours: its table, and what became of its conclusions."""

from __future__ import annotations

import math
import statistics
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from basecaller.hpo.ranking import Conclusion, conclude
from basecaller.hpo.verdicts import seeds

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

HUGE = 0.05
"""A gain in loss below this share is not "huge"."""


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
            shown = [f"{key.rpartition('.')[2]} {value:g}" for key, value in settings.items() if key != "stage.rate_factor"]
            name = OPTIMIZERS.get(stage, "")
            rows.append(
                {"stage": stage, "settings": " ".join(filter(None, [name, *shown])), "published": loss,
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


def _finished(stands: dict[str, Standing], *names: str) -> bool:
    return all(name in stands and not stands[name].open and stands[name].conclusion.winner is not None for name in names)


def _numbers(found: Conclusion) -> str:
    error = f" ± {found.error:.4f}" if math.isfinite(found.error) else ""
    return f"by {abs(found.margin):.4f}{error} nats per base over {seeds(found.shared)}"


def _too_few(found: Conclusion) -> str:
    return "one seed says nothing of noise" if found.kind == "one seed" else "there is nothing to compare with"


def _choice(stand: Standing, point: str | None) -> Any:
    return stand.settings[point or ""].get(stand.choice or "")


def _padding(stands: dict[str, Standing]) -> Claim:
    text = "Zero-padding brings little to no benefit: turn it off."
    if not _finished(stands, "padding"):
        return Claim(text, UNTOLD, NOT_RUN)
    stand = stands["padding"]
    found = stand.conclusion
    if found.kind in ("one seed", "no contest"):
        return Claim(text, UNTOLD, _too_few(found))
    best = _choice(stand, found.best)
    if found.kind == "clear":
        answer = "supported" if best == "off" else "contradicted"
        return Claim(text, answer, f"padding={best} is better {_numbers(found)}")
    if best == "off" or found.kind == "no difference":
        return Claim(text, "supported", f"no benefit shows: off and on differ {_numbers(found)}, within noise")
    return Claim(text, UNTOLD, f"on is ahead {_numbers(found)}, which noise may explain")


def _batch_norm(stands: dict[str, Standing]) -> Claim:
    text = "Batch norm brings a huge gain in convergence speed: keep it."
    if not _finished(stands, "batch_norm"):
        return Claim(text, UNTOLD, NOT_RUN)
    stand = stands["batch_norm"]
    # of speed, not of the last value: the area under the curve
    areas = {
        point: {t.user_attrs["seed"]: t.user_attrs["area_under_curve"] for t in stand.trials_of(point)}
        for point in stand.points
    }
    found = conclude(areas, {point: _choice(stand, point) for point in stand.points}, halving=stand.halving)
    if found.kind in ("one seed", "no contest") or found.best is None:
        return Claim(text, UNTOLD, _too_few(found))
    with_norm = bool(_choice(stand, found.best))
    most = found.margin + found.needed * found.error if with_norm else found.needed * found.error - found.margin
    which = "with" if with_norm else "without"
    why = f"the mean loss along the way is lower {which} batch norm, {_numbers(found)}"
    if found.kind == "clear" and with_norm and found.margin >= HUGE * found.mean:
        return Claim(text, "supported", why)
    if (found.kind == "clear" and not with_norm) or most < HUGE * found.mean:
        return Claim(text, "contradicted", f"{why}: a gain of {HUGE:.0%} of the loss would have shown")
    return Claim(text, UNTOLD, why)


def _optimizers(stands: dict[str, Standing]) -> list[Claim]:
    texts = (
        "Adamax at 0.0005 is the best optimizer and rate.",
        "Adam is comparable to Adamax.",
        "Adagrad is not as good at low rates.",
    )
    if not _finished(stands, *OPTIMIZERS):
        return [Claim(text, UNTOLD, NOT_RUN) for text in texts]
    values, choices, named = {}, {}, {}
    for stage, name in OPTIMIZERS.items():
        for point, of in stands[stage].values(stands[stage].seeds).items():
            if of:
                values[f"{stage} {point}"], choices[f"{stage} {point}"] = of, f"{stage} {point}"
                named[f"{stage} {point}"] = f"{name} at {stands[stage].settings[point].get('optimizer.lr'):g}"
    halving = stands["lr_adam"].halving

    def contest(points: list[str], by_optimizer: bool) -> Conclusion:
        of = {point: point.split()[0] if by_optimizer else point for point in points}
        return conclude({point: values[point] for point in points}, of, halving=halving)

    found = contest(list(values), by_optimizer=True)
    if found.kind in ("one seed", "no contest") or found.best is None:
        return [Claim(text, UNTOLD, _too_few(found)) for text in texts]
    claimed = next((p for p in values if p.startswith("lr_adamax") and named[p] == "Adamax at 0.0005"), None)
    if claimed is None:
        first = Claim(texts[0], UNTOLD, "that rate gave no value here")
    elif claimed == found.best:
        kind = "supported" if found.kind == "clear" else UNTOLD
        first = Claim(texts[0], kind, f"it is the best here, ahead of {named[found.rival or '']} {_numbers(found)}")
    else:
        pair = contest([found.best, claimed], by_optimizer=False)
        answer = "contradicted" if pair.margin > found.needed * pair.error or pair.shared < found.seeds else UNTOLD
        first = Claim(texts[0], answer, f"{named[found.best]} is better {_numbers(pair)}")
    adam = contest([p for p in values if p.startswith(("lr_adam ", "lr_adamax "))], by_optimizer=True)
    ahead = f"{named[adam.best or '']} is ahead of {named[adam.rival or '']} {_numbers(adam)}"
    second = Claim(texts[1], "contradicted" if adam.kind == "clear" else "supported", ahead)
    low = [p for p in values if p.startswith("lr_adagrad") and float(named[p].rpartition(" ")[2]) <= 0.001]
    if not low:
        return [first, second, Claim(texts[2], UNTOLD, "no low rate gave a value here")]
    nearest = min(low, key=lambda p: sum(values[p].values()) / len(values[p]))
    pair = contest([found.best, nearest], by_optimizer=False)
    behind = pair.best == found.best and (pair.shared < found.seeds or pair.margin > found.needed * found.error)
    by = f"by {abs(pair.margin):.4f} over {seeds(pair.shared)}"
    why = f"{named[nearest]}, the best low rate, is behind {named[found.best]} {by}"
    return [first, second, Claim(texts[2], "supported" if behind else UNTOLD, why)]


def _batch_size(stands: dict[str, Standing]) -> Claim:
    text = "There is a trade-off between batch size and validation accuracy."
    if not _finished(stands, "batch_size"):
        return Claim(text, UNTOLD, NOT_RUN)
    stand = stands["batch_size"]
    found = stand.conclusion
    if found.kind in ("one seed", "no contest"):
        return Claim(text, UNTOLD, _too_few(found))
    best = _choice(stand, found.best)
    artefact = "The published one was of a loss summed over the batch; per read its batches 1 to 32 score 1.08 to 1.76."
    updates = {round(t.user_attrs["updates"]) for t in stand.complete.values() if "updates" in t.user_attrs}
    ends = f"{min(updates):,} to {max(updates):,}"
    if found.kind == "clear":
        return Claim(
            text, "supported",
            f"batch {best} is better {_numbers(found)}, in nats per base. But at equal epochs the updates differ, {ends}: this "
            f"may be of updates, not of batches. {artefact}",
        )  # fmt: skip
    return Claim(text, UNTOLD, f"batch {best} is ahead {_numbers(found)}, which noise may explain. {artefact}")
