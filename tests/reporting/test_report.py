"""The report: of a finished search, a running one, and one with failed stages; what it says of the published run."""

from __future__ import annotations

import dataclasses
import itertools
import json
import math
import re
import socket
import urllib.error
import urllib.request
from collections.abc import Mapping
from html import unescape
from html.parser import HTMLParser
from pathlib import Path
from types import MappingProxyType
from xml.etree import ElementTree

import optuna
import pytest
from rich.console import Console

import basecaller.report
from basecaller.config import compose_config
from basecaller.errors import SettingError
from basecaller.hpo.best import standing
from basecaller.hpo.designs import HALVING, Design, rounds
from basecaller.hpo.records import StudyRecord, store_study, trial_attributes, trials_of
from basecaller.hpo.storage import current_study, open_study
from basecaller.report import watch, write_report
from basecaller.reporting.contents import ChoiceFacts
from basecaller.reporting.contests import Optimizers, asked, optimizers
from basecaller.reporting.convergence import convergence, loss_at, reached
from basecaller.reporting.facts import choice_facts, optimizer_facts, stage_facts
from basecaller.reporting.published import LOSSES, against_published, latest_asked
from basecaller.reporting.serving import serving
from basecaller.runs.task import run_job
from basecaller.search_plan.search import Search
from basecaller.search_plan.stages import hydra_app
from tests.conftest import TINY, Command

URL = "sqlite:///outputs/optuna.db"
PLAN = ["padding", "batch_norm", "lr_adam"]
GIVEN = [*(line for line in TINY if not line.startswith("search.replicates")), "search.replicates=2"]


pytestmark = pytest.mark.usefixtures("folder")


def search(*overrides: str) -> Search:
    asked = [*GIVEN, f"plan=[{','.join(PLAN)}]", "search.workers=1", *overrides]
    return Search(
        compose_config([line for line in asked if "," not in line or line.startswith("plan=")]), asked, Console(quiet=True)
    )


def report(folder: Path) -> tuple[dict, str, str]:
    write_report(URL, "tiny", folder / "outputs/tiny", PLAN)
    where = folder / "outputs/tiny"
    return (
        json.loads((where / "report.json").read_text()),
        (where / "report.html").read_text(),
        (where / "report.md").read_text(),
    )


def figures(html: str) -> list[ElementTree.Element]:
    return [ElementTree.fromstring(svg) for svg in re.findall(r"<svg.*?</svg>", html, re.DOTALL)]


def test_a_finished_search_is_told_whole(folder, run: Command):
    search().run()
    facts, html, markdown = report(folder)
    assert [stage["name"] for stage in facts["stages"]] == [*PLAN, "headline"]
    for stage in facts["stages"]:
        assert stage["state"] == "complete"
        assert stage["verdict"]["text"] in unescape(html)
        assert stage["verdict"]["text"] in markdown
        assert stage["guessing"] or stage["value"] < math.log(4)
        assert stage["guessing"] in html
        assert stage["guessing"] in markdown
        complete = [p for p in stage["points"] if p["seeds"] == stage["verdict"]["seeds"]]
        for point in complete:
            assert point["mean"] == pytest.approx(sum(point["values"].values()) / len(point["values"]))
        assert len(complete) > 1
        assert {"updates", "samples", "seconds"} <= stage["points"][0].keys()
    winner = facts["winner"]
    assert winner["command"] in markdown
    assert f"{winner['test']['identity_mean']:.1%}" in html
    assert winner["gain"]["text"] in html
    assert winner["gain"]["text"] in markdown
    taken = [t for stage in facts["stages"] for t in stage["trials"] if t["taken_over"]]
    assert len(facts["taken_over"]) == len(taken) >= 2  # padding's winner is half of the batch-norm stage
    asked_of_choices = [stage for stage in facts["stages"] if len(stage["choices"]) > 1]
    assert len(figures(html)) == len(asked_of_choices) + 2 + len(PLAN)  # how the winner learned, and the chain
    assert "http://" not in html.replace("http://www.w3.org", "").replace("http://purl.org", "").replace(
        "http://creativecommons.org", ""
    )
    assert "src=" not in html  # one file, nothing fetched
    assert any(stage["guessing"] for stage in facts["stages"])  # so few chunks teach nothing
    (line,) = facts["data"]
    assert "chunks to train on: a network learns so few by heart" in line
    assert line in html
    assert line in markdown
    shown = run("report").stdout
    assert f"data: {line}" in " ".join(shown.split())
    assert "padding" in shown
    assert "no better than guessing" in " ".join(re.sub("[│┃]", " ", shown).split())
    assert "report.html" in shown
    trials = trials_of(current_study(URL, "tiny", "padding"))
    samples = facts["stages"][0]["convergence"]["samples"]
    assert samples.keys() == {str(trial.number) for trial in trials}
    assert all(trial.facts["area_under_curve"] for trial in trials)


@pytest.mark.slow
def test_a_running_search_says_what_is_open(folder):
    made = search()
    made.run_stage("padding")
    study = current_study(URL, "tiny", "padding")
    design = dataclasses.replace(StudyRecord.of(study).design, budget=10, look=0)
    store_study(study, seeds=[1, 2, 3, 4, 5], design=design)
    facts, html, markdown = report(folder)
    assert facts["stages"][0]["state"] == "running"
    assert facts["stages"][0]["open"] == 4
    assert facts["stages"][0]["verdict"]["text"].startswith("So far: ")
    assert facts["not_run"] == ["batch_norm", "lr_adam"]
    assert facts["winner"] == {}
    assert "No winner yet" in html
    assert ", 4 trials open |" in markdown
    assert '<span class="edge">4 trials open</span>' in html


@pytest.mark.slow
def test_failures_are_shown_with_their_reason(folder):
    with hydra_app() as app:
        given = [
            *GIVEN,
            "stage=lr_adam",
            "padding=on",
            "model.batch_norm=true",
            "optimizer=sgd",
            "train.clip=null",
            "threads=1",
        ]
        app.multirun("config", run_job, [*given, "optimizer.lr=1e30,0.001", "stage.extend=0"], with_log_configuration=False)
    facts, html, _ = report(folder)
    states = {p["point"]: p["state"] for p in facts["stages"][0]["points"]}
    assert states["optimizer.lr=1e+30"].startswith("diverged")
    assert "the loss is" in html
    assert "lower optimizer.lr" in html


def test_nothing_run_is_one_message_and_makes_no_file(tmp_path, run: Command):
    done = run("report", "experiment=nonesuch", code=2)
    assert "experiment=nonesuch" in done.stderr
    assert not (tmp_path / "outputs").exists()


def test_samples_to_a_level_are_linear_between_points():
    curve = [{"samples": 100, "val_loss": 2.0}, {"samples": 200, "val_loss": 1.0}, {"samples": 300, "val_loss": 1.2}]
    assert reached(curve, 1.5) == 150
    assert reached(curve, 1.0) == 200
    assert reached(curve, 2.5) == 100
    assert math.isinf(reached(curve, 0.5))


def study_of(
    name: str, values: dict[str, list[float]], params: dict[str, dict], choice: str | None, optimizer: str = "adam",
    updates: Mapping[str, int] = MappingProxyType({}), config: Mapping = MappingProxyType({"data": {}}),
) -> optuna.Study:  # fmt: skip
    """A finished stage with given losses at the seeds 1, 2, ..."""
    study = open_study("sqlite:///:memory:", f"made/{name}/x")
    seeds = list(range(1, 1 + max(map(len, values.values()))))
    design = rounds([params[p].get(choice, p) for p in values], 3, stops=False) if choice != "optimizer.lr" else HALVING
    store_study(study, points=list(values), seeds=seeds, design=design, settings=params, choice=choice)
    for point, losses in values.items():
        for seed, loss in zip(seeds, losses, strict=False):
            distributions = {
                key: optuna.distributions.FloatDistribution(1e-9, 1e3)
                if type(value) is float
                else optuna.distributions.CategoricalDistribution([False, True] if type(value) is bool else ["off", "on"])
                for key, value in params[point].items()
            }
            fields = {"point": point, "seed": seed, "outcome": "complete", "loss_per_read": 60 * loss,
                     "updates": updates.get(point, 64),
                     "area_under_curve": loss + 0.1, "identity_mean": 0.5, "identity_floor": 0.3,
                     "config": {**config, "optimizer": {"lr": 0.001}},
                     "choices": {"optimizer": optimizer}}  # fmt: skip
            user, system = trial_attributes(fields)
            given = {"params": params[point], "distributions": distributions, "user_attrs": user, "system_attrs": system}
            study.add_trial(optuna.trial.create_trial(value=loss, **given))
    return study


def claims(stages: Mapping[str, optuna.Study], why: bool = False) -> dict[str, str]:
    stands = {name: standing(study) for name, study in stages.items()}
    facts = [stage_facts(name, stages[name], stand) for name, stand in stands.items()]
    return {claim.text: claim.why if why else claim.answer for claim in against_published(stands, facts).claims}


def test_published_conclusions_are_answered_by_what_was_measured():
    text = "Batch norm brings a huge gain in convergence speed: keep it."
    params = {"no": {"model.batch_norm": False}, "yes": {"model.batch_norm": True}}

    def answer(no: list[float], yes: list[float]) -> str:
        return claims({"batch_norm": study_of(f"bn{no}{yes}", {"no": no, "yes": yes}, params, "model.batch_norm")})[text]

    assert answer([1.2, 1.3, 1.25], [1.0, 1.1, 1.05]) == "supported"
    assert answer([1.2, 1.3, 1.25], [1.2, 1.301, 1.249]) == "contradicted"  # a huge gain would have shown
    assert answer([1.2, 1.3, 1.25], [1.0, 1.4, 1.1]) == "cannot tell"
    assert answer([1.2], [1.0]) == "cannot tell"
    assert set(claims({}).values()) == {"cannot tell"}


def lr_stage(name: str, losses: dict[float, list[float]], config: Mapping = MappingProxyType({"data": {}})) -> optuna.Study:
    points = {f"optimizer.lr={rate}": of for rate, of in losses.items()}
    params = {f"optimizer.lr={rate}": {"optimizer.lr": rate} for rate in losses}
    return study_of(name, points, params, "optimizer.lr", name.partition("{")[0].removeprefix("lr_"), config=config)


def test_a_small_benefit_of_padding_must_be_known_to_be_small():
    text = "Zero-padding brings little to no benefit: turn it off."
    params = {p: {"padding": p} for p in ("on", "off")}

    def answer(on: list[float], off: list[float]) -> str:
        return claims({"padding": study_of(f"padding{on}{off}", {"on": on, "off": off}, params, "padding")})[text]

    assert answer([1.0, 1.1, 1.05], [1.001, 1.099, 1.05]) == "supported"
    assert answer([1.0, 1.1, 1.05], [1.2, 1.299, 1.251]) == "contradicted"
    assert answer([1.0, 1.2, 1.05], [1.1, 1.0, 1.15]) == "cannot tell"  # no difference shows, and a large one may be there


@pytest.mark.slow
def test_optimizers_are_compared_with_the_noise_of_all_their_stages():
    adam = {0.001: [1.00, 1.10, 1.05], 0.0005: [1.10, 1.21, 1.14]}
    adagrad = {0.01: [1.02, 1.11, 1.06], 0.005: [1.12, 1.21, 1.16], 0.001: [1.50]}

    def told(adamax: dict[float, list[float]]) -> list[str]:
        name = str(adamax)
        stages = {"lr_adam": adam, "lr_adamax": adamax, "lr_adagrad": adagrad}
        answers = claims({stage: lr_stage(stage + name, of) for stage, of in stages.items()})
        first = "Adamax at 0.0005 is the best optimizer and rate.", "Adam is comparable to Adamax."
        return [answers[text] for text in (*first, "Adagrad is not as good at low rates.")]

    assert told({0.0005: [1.40], 0.001: [1.10, 1.20, 1.15], 0.002: [1.00, 1.10, 1.05]}) == [
        "contradicted",
        "supported",
        "supported",
    ]
    # one seed, less behind than the noise that the other points show
    assert told({0.0005: [1.01], 0.001: [1.005, 1.20, 1.15], 0.002: [1.00, 1.16, 1.02]}) == [
        "cannot tell",
        "cannot tell",
        "supported",
    ]
    assert told({0.0005: [0.70, 0.80, 0.75], 0.001: [1.20], 0.002: [1.00, 1.11, 1.05]}) == [
        "supported",
        "contradicted",
        "supported",
    ]


def test_the_published_table_has_ours_beside_it():
    settings = {f"optimizer.lr={entry[0]['optimizer.lr']}": entry[0] for entry in LOSSES["lr_adam"]}
    study = study_of("lr_adam", {point: [1.0, 1.2] for point in settings}, settings, "optimizer.lr")
    rows = against_published({"lr_adam": standing(study)}, []).rows
    assert len(rows) == 17
    first = rows[0]
    assert (first.settings, first.published_per_read) == ("Adam lr 0.001", pytest.approx(5.211, abs=1e-3))
    assert (first.per_base, first.per_read, first.seeds) == (pytest.approx(1.1), pytest.approx(66.0), 2)
    assert rows[4].per_base is None


SIX = [0.00, 0.10, 0.05, -0.02, 0.07, 0.03]
"""What six seeds add to every point."""


def pair(name: str, off: float, on: float, **more) -> optuna.Study:
    """A finished padding stage: two points, six seeds, a little noise."""
    noise = [0.000, 0.001, -0.001, 0.002, -0.002, 0.001]
    values = {"off": [off + s for s in SIX], "on": [on + s + n for s, n in zip(SIX, noise, strict=True)]}
    return study_of(name, values, {"off": {"padding": "off"}, "on": {"padding": "on"}}, "padding", **more)


def test_claims_refuse_networks_that_guess_and_take_the_latest_asking():
    text = "Zero-padding brings little to no benefit: turn it off."
    guesses, learned = pair("p1", 1.50, 1.10 + 0.4), pair("p2", 1.20, 1.00)
    assert claims({"padding": guesses})[text] == "cannot tell"
    assert "padding compared networks that had hardly begun to learn" in claims({"padding": guesses}, why=True)[text]
    assert claims({"padding.2": learned, "padding": guesses})[text] == "contradicted"
    assert claims({"padding": learned, "padding.2": pair("p3", 1.5, 1.5)})[text] == "cannot tell"
    assert latest_asked(["lr_adam", "padding.10", "padding", "padding.2"]) == {"lr_adam": "lr_adam", "padding": "padding.10"}
    assert asked("a.b") == ("a.b", 1)


def test_claims_refuse_stages_in_which_something_else_differed():
    text = "There is a trade-off between batch size and validation accuracy."
    values = {"1": [1.0 + s for s in SIX], "32": [1.2 + s + 0.001 * i for i, s in enumerate(SIX)]}
    params = {size: {"data.batch_size": float(size)} for size in values}
    equal = study_of("b1", values, params, "data.batch_size")
    unequal = study_of("b2", values, params, "data.batch_size", updates={"1": 512, "32": 16})
    assert claims({"batch_size": equal})[text] == "supported"
    assert claims({"batch_size": unequal})[text] == "cannot tell"
    assert "16 to 512 updates" in claims({"batch_size": unequal}, why=True)[text]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("small", "large", "answer"),
    [
        ({1.0: 1.10, 0.5: 1.0, 0.25: 1.1}, {1.0: 1.2, 0.5: 1.1, 0.25: 0.9}, "supported"),
        ({1.0: 1.10, 0.5: 1.0, 0.25: 1.1}, {1.0: 1.2, 0.5: 0.9, 0.25: 1.1}, "contradicted"),
        ({1.0: 1.00, 0.5: 1.1, 0.25: 1.2}, {1.0: 0.9, 0.5: 1.1, 0.25: 1.2}, "cannot tell"),  # the best rates lie beyond
        ({1.0: 1.10, 0.5: 1.1, 0.25: 1.0}, {1.0: 0.9, 0.5: 1.1, 0.25: 1.2}, "cannot tell"),  # nothing lower was run
    ],
)
def test_larger_models_want_smaller_rates_where_the_data_say_so(small, large, answer):
    values, params = {}, {}
    for size, of in ((16.0, small), (128.0, large)):
        for rate, loss in of.items():
            best = loss == min(of.values())
            key = f"{size}/{rate}"
            values[key] = [loss + s + 0.001 * (i % 3) * (size > 20) for i, s in enumerate(SIX[: 6 if best else 2])]
            params[key] = {"model.max_dilation": size, "stage.rate_factor": rate}
    study = study_of(f"dilation{small}{large}", values, params, "model.max_dilation")
    store_study(study, design=Design("rounds", budget=20, stops=False))
    assert claims({"dilation": study})["Larger models want smaller rates: a larger dilation."] == answer


@pytest.mark.slow
def test_the_optimizer_has_a_verdict_of_its_own():
    adam = {0.004: [1.00, 1.10, 1.05], 0.002: [1.10, 1.21, 1.14], 0.001: [1.3]}
    adamax = {0.008: [1.20, 1.31, 1.25], 0.004: [1.30, 1.41, 1.35], 0.001: [1.4]}
    made = {"lr_adam": lr_stage("lr_adam{o}", adam), "lr_adamax": lr_stage("lr_adamax{o}", adamax)}
    stands = {name: standing(study) for name, study in made.items()}
    found = optimizers(stands)
    assert isinstance(found, Optimizers)
    assert (found.contest.found.kind, found.contest.found.winner, found.contest.found.rival) == (
        "clear", "Adam at 0.004", "Adamax at 0.008",
    )  # fmt: skip
    facts = [stage_facts(name, made[name], stand) for name, stand in stands.items()]
    assert optimizer_facts(stands, facts).text.startswith("A clear winner: Adam at 0.004 is better than Adamax at 0.008")
    assert "fewer than two optimizers" in optimizers({"lr_adam": stands["lr_adam"]})
    # asked again for the best alone: the first asking still compares them
    again = stands | {"lr_adam.2": standing(lr_stage("lr_adam{2}", {0.004: [0.9, 0.8, 0.7], 0.002: [1.0, 0.9, 0.8]}))}
    assert optimizers(again).stages == ("lr_adam", "lr_adamax")
    other = lr_stage("lr_adagrad{o}", adamax, config={"data": {"batch_size": 4}})
    assert optimizers(stands | {"lr_adagrad": standing(other)}) == "the optimizers were tried under different settings"


@pytest.mark.slow
def test_a_stage_that_asks_about_speed_compares_areas_and_hands_losses_on(folder):
    given = ("stage=batch_norm", "padding=on", "search.replicates=2", "threads=1")
    with hydra_app() as app:
        name = app.multirun("config", run_job, [*GIVEN, *given], with_log_configuration=False)
    study = open_study(URL, name)
    stand = standing(study)
    areas = {p: [t.facts["area_under_curve"] for t in stand.trials_of(p)] for p in stand.points}
    means = {p: sum(of) / len(of) for p, of in areas.items()}
    assert stand.conclusion.winner == min(means, key=means.get)
    assert stand.conclusion.mean == pytest.approx(min(means.values()))
    facts = stage_facts("batch_norm", study, stand)
    losses = [t.value for t in stand.trials_of(stand.conclusion.winner)]
    assert facts.value == StudyRecord.of(study).concluded.mean == pytest.approx(sum(losses) / len(losses))
    assert "nats per base of mean loss along the way (area under the curve)" in facts.verdict.text
    assert "may go unseen" in facts.verdict.text or facts.verdict.kind == "clear"


def test_a_curve_tells_what_was_reached_at_equal_cost():
    losses = [1.4, 1.0, 0.9]
    curve = [{"samples": 10 * i, "updates": i, "seconds": 2.0 * i, "val_loss": loss} for i, loss in enumerate(losses, 1)]
    assert reached(curve, 1.2, "seconds") == pytest.approx(3.0)
    assert reached(curve, 1.2) == pytest.approx(15)
    assert reached(curve, 0.8, "seconds") == math.inf
    assert loss_at(curve, "updates", 2.5) == pytest.approx(0.95)
    assert math.isnan(loss_at(curve, "updates", 0.5))  # before its first point nothing is known
    assert math.isnan(loss_at([], "updates", 1))


def test_a_point_that_never_learns_does_not_set_the_level_of_convergence():
    values = {"off": [1.0, 1.1, 1.0, 1.1], "on": [1.2, 1.3, 1.2, 1.3], "masked": [1.6]}
    study = study_of("convergence", values, {name: {"padding": 1.0 + i} for i, name in enumerate(values)}, "padding")
    stand = standing(study)
    for entry, trial in stand.complete.items():
        curve = [{"samples": 100, "val_loss": 1.7}, {"samples": 300, "val_loss": trial.value}]
        stand.complete[entry] = dataclasses.replace(trial, curve=curve)
    found = convergence(stand)
    assert found.level == 1.3
    assert list(found.samples.values()).count(None) == 1
    assert "to a loss of 1.3000 224 against 280 samples (difference 56" in found.text


def test_every_choice_is_held_against_the_winner_over_the_seeds_that_both_have():
    values = {"off": [1.0, 1.1, 1.2], "on": [1.1, 1.3, 1.2], "masked": [1.5]}
    params = {name: {"padding": 1.0 + place} for place, name in enumerate(values)}
    study = study_of("choices", values, params, "padding")
    stand = standing(study)
    off, on, masked = choice_facts(stand)
    assert off == ChoiceFacts("1", wins=True, nearest=False, difference=0.0, low=None, high=None, seeds=3)
    assert (on.difference, on.nearest, on.seeds) == (pytest.approx(0.1), True, 3)
    assert (on.difference, on.low, on.high) == (stand.conclusion.margin, *stand.conclusion.interval)  # as the verdict says
    assert (masked.difference, masked.nearest, masked.seeds) == (pytest.approx(0.5), False, 1)
    assert masked.high - masked.low > on.high - on.low  # at one seed less is known
    alone = study_of("choices at one seed", {"off": [1.0], "on": [1.1]}, {"off": params["off"], "on": params["on"]}, "padding")
    assert [(choice.low, choice.high) for choice in choice_facts(standing(alone))] == [(None, None)] * 2


def test_choices_are_compared_by_what_the_stage_measures(folder):
    values, params = {"off": [1.0, 1.1], "on": [1.2, 1.3]}, {name: {"padding": name} for name in ("off", "on")}
    stand = dataclasses.replace(standing(study_of("speed", values, params, "padding")), measure="area_under_curve")
    for entry, trial in stand.complete.items():
        area = 3.0 - trial.value  # the slower one ends lower
        stand.complete[entry] = dataclasses.replace(trial, facts=trial.facts | {"area_under_curve": area})
    off, on = choice_facts(stand)
    assert (on.wins, off.nearest, off.difference) == (True, True, pytest.approx(0.2))


def test_without_a_choice_every_point_is_one(folder):
    params = {"a": {"x": 1.0, "y": 2.0}, "b": {"x": 3.0, "y": 2.0}}
    stand = standing(study_of("points", {"a": [1.0, 1.1], "b": [1.2, 1.3]}, params, None))
    assert [choice.label for choice in choice_facts(stand)] == ["x 1 y 2", "x 3 y 2"]


class Page(HTMLParser):
    """What a page is made of: its elements in order with their attributes, those of each one's own, and what is wrong."""

    VOID = frozenset({"meta", "br", "link", "input", "img", "hr"})
    OPTIONAL = frozenset({"tr", "td", "th", "p"})

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.elements: list[tuple[str, dict[str, str | None], tuple[str, ...]]] = []
        self.text: list[tuple[str, str]] = []
        self.feed(text)
        assert not [tag for tag in self.open if tag not in self.OPTIONAL]

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        closes = {"td": ("td", "th"), "th": ("td", "th"), "tr": ("td", "th", "tr")}.get(tag, ())
        while self.open and self.open[-1] in closes:
            self.open.pop()
        self.elements.append((tag, dict(attrs), tuple(self.open)))
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs), tuple(self.open)))

    def handle_endtag(self, tag: str) -> None:
        while self.open[-1] != tag:
            assert self.open[-1] in self.OPTIONAL, (tag, self.open)
            self.open.pop()
        self.open.pop()

    def handle_data(self, data: str) -> None:
        if self.open and data.strip():
            self.text.append((self.open[-1], data.strip()))

    def all(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes, _ in self.elements if name == tag]


def contrast(a: str, b: str) -> float:
    """Of two colours, by the Web Content Accessibility Guidelines 2.2."""

    def luminance(colour: str) -> float:
        digits = colour[1:] if len(colour) == 7 else "".join(2 * digit for digit in colour[1:])
        parts = [int(digits[i : i + 2], 16) / 255 for i in (0, 2, 4)]
        red, green, blue = (p / 12.92 if p <= 0.04045 else ((p + 0.055) / 1.055) ** 2.4 for p in parts)
        return 0.2126 * red + 0.7152 * green + 0.0722 * blue

    light, dark = sorted((luminance(a), luminance(b)), reverse=True)
    return (light + 0.05) / (dark + 0.05)


def test_the_page_reads_on_a_phone_on_paper_and_aloud(folder):
    search("search.finalists=3", "search.finalist_budget=2").run()
    facts, html, markdown = report(folder)
    page = Page(html)
    assert page.all("html") == [{"lang": "en"}]
    assert {"name": "viewport", "content": "width=device-width, initial-scale=1"} in page.all("meta")
    assert not any(meta.get("http-equiv") == "refresh" for meta in page.all("meta"))  # it has ended
    headings = [int(tag[1]) for tag, _, _ in page.elements if tag in ("h1", "h2", "h3", "h4")]
    assert headings[0] == 1
    assert headings.count(1) == 1
    assert all(after <= before + 1 for before, after in itertools.pairwise(headings))
    ids = [attributes["id"] for _, attributes, _ in page.elements if attributes.get("id")]
    assert len(ids) == len(set(ids))
    assert {link["href"][1:] for link in page.all("a")} <= set(ids)
    tables = [(number, around) for number, (tag, _, around) in enumerate(page.elements) if tag == "table"]
    assert len(tables) >= len(facts["stages"]) + 1
    for number, around in tables:
        assert around[-1] == "div"
        box = page.elements[number - 1][1]
        assert (box["class"], box["tabindex"], box["role"]) == ("wide", "0", "region")  # scrolls by itself, with keys too
        assert box["aria-label"]
        assert page.elements[number + 1][0] == "caption"
    assert all(th.get("scope") in ("col", "row") for th in page.all("th"))
    drawings = page.all("svg")
    assert len(drawings) == len(re.findall("<svg", html))
    assert all(svg["role"] == "img" and svg["aria-label"] for svg in drawings)
    assert len([1 for tag, _, around in page.elements if tag == "title" and around[-1] == "svg"]) == len(drawings)
    assert "@media print" in html
    colours = dict(re.findall(r"--(\w+): (#\w+)", html))
    for ink, paper in itertools.product(("ink", "soft", "blue", "orange"), ("paper", "tint")):
        assert contrast(colours[ink], colours[paper]) >= 4.5
    assert all(contrast(colours["ink"], colours[paper]) >= 7 for paper in ("good", "bad"))
    assert ("h2", "What each question was worth") in page.text
    assert ("h2", "How the winner learned") in page.text
    labels = [svg["aria-label"] for svg in drawings]
    told = next(label for label in labels if label.startswith("padding, "))
    (loser,) = [choice for choice in facts["stages"][0]["choices"] if not choice["wins"]]
    assert f"{loser['label']} {loser['difference']:+.4f}" in told
    assert f"| {loser['label']} | {loser['difference']:+.4f} |" in markdown.partition("## The chain")[0]
    assert any("untuned defaults, validation" in label for label in labels)


def test_the_published_run_is_shown_only_where_ours_is_of_its_pore_and_stages(folder):
    def applies(study: optuna.Study, name: str = "padding") -> bool:
        return against_published({name: standing(study)}, [stage_facts(name, study, standing(study))]).applies

    ours = pair("of its pore", 1.0, 1.0, config={"data": {"name": "simulated"}})
    assert applies(ours)
    assert not applies(ours, "schedule")  # it has no such stage
    assert not applies(pair("of another", 1.0, 1.0, config={"data": {"name": "pod5"}}))
    shown = against_published({"padding": standing(ours)}, [stage_facts("padding", ours, standing(ours))])
    assert [claim.text for claim in shown.known_claims] == ["Zero-padding brings little to no benefit: turn it off."]
    assert shown.known_rows == []


def test_a_watched_report_follows_the_search_and_ends_with_it(folder, monkeypatch):
    made = search()
    made._save(report=False)
    made.run_stage("padding")
    where, seen = folder / "outputs/tiny", []

    def slept(seconds: float) -> None:
        seen.append(seconds)
        page = (where / "report.html").read_text()
        assert '<meta http-equiv="refresh" content="10">' in page
        assert "The search runs: 2 of about" in page or len(seen) > 1
        assert 'id="padding"' in page
        if len(seen) == 2:
            made._save(report=False, state="finished")

    (where / "progress.json").write_text('{"text": "2 of about 30 trials, 0 running"}')
    monkeypatch.setattr(basecaller.report.time, "sleep", slept)
    facts = watch(URL, "tiny", where, PLAN, 3.0)
    assert seen == [3.0, 3.0]
    assert facts.state == "finished"
    assert 'http-equiv="refresh"' not in (where / "report.html").read_text()


def test_a_served_report_stays_after_the_search_has_ended(call: Command, monkeypatch):
    """A page that is open loads itself once more, up to ten seconds later."""
    made = search()
    made.run_stage("padding")
    made._save(report=False, state="finished")
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    pages = []

    class Event:
        def wait(self) -> None:
            with urllib.request.urlopen(f"http://127.0.0.1:{port}/") as answer:
                pages.append(answer.read().decode())
            raise KeyboardInterrupt

    monkeypatch.setattr(basecaller.report, "Event", Event)
    assert "the search has ended; Ctrl-C ends this" in call("report", f"serve={port}").stdout
    assert 'id="padding"' in pages[0]
    assert 'http-equiv="refresh"' not in pages[0]


def test_a_search_that_fails_ends_the_watching(folder, monkeypatch):
    made = search()
    monkeypatch.setattr(made, "first_round", lambda: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        made.run()
    assert json.loads((folder / "outputs/tiny/search.json").read_text())["state"] == "stopped"


def test_a_report_is_served_on_loopback_and_nothing_else(tmp_path):
    (tmp_path / "report.html").write_text("the page ü", encoding="utf-8")
    (tmp_path / "search.json").write_text("{}")
    with serving(tmp_path, 0) as address:
        assert re.fullmatch(r"http://127\.0\.0\.1:\d+/", address)
        with urllib.request.urlopen(address) as answer:
            assert answer.read().decode() == "the page ü"
            assert answer.headers["Content-Type"] == "text/html; charset=utf-8"
        for path, headers, code in (
            ("search.json", {}, 404),
            ("../report.html", {}, 404),
            ("report.md", {}, 404),  # not there
            ("", {"Host": "evil.example"}, 403),
        ):
            with pytest.raises(urllib.error.HTTPError) as refused:
                urllib.request.urlopen(urllib.request.Request(address + path, headers=headers))
            assert refused.value.code == code
        port = int(address.rstrip("/").rpartition(":")[2])
        with pytest.raises(SettingError, match=f"serve={port}"), serving(tmp_path, port):
            pass
