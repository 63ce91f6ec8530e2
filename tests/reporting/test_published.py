"""The report's comparison with the published run."""

from __future__ import annotations

from collections.abc import Mapping

import optuna
import pytest

from basecaller.hpo.designs import Design
from basecaller.hpo.records import store_study
from basecaller.hpo.standing import standing
from basecaller.reporting.contests import asked
from basecaller.reporting.published import LOSSES, against_published, latest_asked
from basecaller.reporting.stage_facts import stage_facts
from basecaller.reporting.writing import write_report
from tests.helpers.stages import SIX, lr_stage, pair, study_of

pytestmark = pytest.mark.usefixtures("folder")


def claims(stages: Mapping[str, optuna.Study], why: bool = False) -> dict[str, str]:
    stands = {name: standing(study) for name, study in stages.items()}
    facts = [stage_facts(name, stages[name], stand) for name, stand in stands.items()]
    return {claim.text: claim.why if why else claim.answer for claim in against_published(stands, facts).claims}


def test_published_conclusions_are_answered_by_measurements():
    text = "Batch norm brings a huge gain in convergence speed: keep it."
    params = {"no": {"model.batch_norm": False}, "yes": {"model.batch_norm": True}}

    def answer(no: list[float], yes: list[float]) -> str:
        return claims({"batch_norm": study_of(f"bn{no}{yes}", {"no": no, "yes": yes}, params, "model.batch_norm")})[text]

    assert answer([1.2, 1.3, 1.25], [1.0, 1.1, 1.05]) == "supported"
    assert answer([1.2, 1.3, 1.25], [1.2, 1.301, 1.249]) == "contradicted"  # a huge gain would be visible
    assert answer([1.2, 1.3, 1.25], [1.0, 1.4, 1.1]) == "cannot tell"
    assert answer([1.2], [1.0]) == "cannot tell"
    assert set(claims({}).values()) == {"cannot tell"}


def test_a_small_benefit_of_padding_must_be_known_to_be_small():
    text = "Zero-padding brings little to no benefit: turn it off."
    params = {p: {"padding": p} for p in ("on", "off")}

    def answer(on: list[float], off: list[float]) -> str:
        return claims({"padding": study_of(f"padding{on}{off}", {"on": on, "off": off}, params, "padding")})[text]

    assert answer([1.0, 1.1, 1.05], [1.001, 1.099, 1.05]) == "supported"
    assert answer([1.0, 1.1, 1.05], [1.2, 1.299, 1.251]) == "contradicted"
    assert answer([1.0, 1.2, 1.05], [1.1, 1.0, 1.15]) == "cannot tell"  # no visible difference, but a large one is possible


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
    # one seed, behind by less than the noise of the other points
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


def test_the_published_table_has_our_numbers_beside_it():
    settings = {f"optimizer.lr={entry[0]['optimizer.lr']}": entry[0] for entry in LOSSES["lr_adam"]}
    study = study_of("lr_adam", {point: [1.0, 1.2] for point in settings}, settings, "optimizer.lr")
    rows = against_published({"lr_adam": standing(study)}, []).rows
    assert len(rows) == 17
    first = rows[0]
    assert (first.settings, first.published_per_read) == ("Adam lr 0.001", pytest.approx(5.211, abs=1e-3))
    assert (first.per_base, first.per_read, first.seeds) == (pytest.approx(1.1), pytest.approx(66.0), 2)
    assert rows[4].per_base is None


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
def test_larger_models_want_smaller_rates_if_the_data_say_so(small, large, answer):
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


def test_the_published_run_is_shown_only_for_its_pore_and_stages(folder):
    def applies(study: optuna.Study, name: str = "padding") -> bool:
        return against_published({name: standing(study)}, [stage_facts(name, study, standing(study))]).applies

    ours = pair("of its pore", 1.0, 1.0, config={"data": {"name": "simulated"}})
    assert applies(ours)
    assert not applies(ours, "schedule")  # it has no such stage
    assert not applies(pair("of another", 1.0, 1.0, config={"data": {"name": "pod5"}}))
    shown = against_published({"padding": standing(ours)}, [stage_facts("padding", ours, standing(ours))])
    assert [claim.text for claim in shown.known_claims] == ["Zero-padding brings little to no benefit: turn it off."]
    assert shown.known_rows == []


def test_a_table_without_rows_is_not_written(folder):
    pair("padding", 1.0, 1.0, config={"data": {"name": "simulated"}})
    write_report("sqlite:///:memory:", "made", folder / "outputs/tiny", ["padding"])
    text = (folder / "outputs/tiny/report.md").read_text()
    assert "| published conclusion |" in text
    assert "| stage | settings | published |" not in text
