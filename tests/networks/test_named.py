"""Classes that `model._target_` names: what may be imported, how settings are checked, and what a checkpoint keeps of them."""

from __future__ import annotations

import sys

import pytest
import torch

from basecaller.api import Basecaller
from basecaller.common.errors import DataError, SettingError
from basecaller.config.composition import compose_config
from basecaller.config.settings import settings
from basecaller.networks import named
from basecaller.networks.adapted import build
from basecaller.runs.job import resolve_job
from basecaller.training.checkpoint import load_network, start_from
from basecaller.training.fit import Recipe, fit
from tests.helpers.networks import DATA, SMALLEST, section
from tests.test_contributing import follow, project, works  # noqa: F401 - a fixture


def test_the_page_on_networks_does_what_it_says(project):  # noqa: F811
    follow("Your network in thirty lines", project, "docs/networks.md")
    given = ["model=mynet", "networks=[mynet]"]
    told = works(project, "train", *given, "--help")
    assert "model.layers: a whole number, at least 1; default 3" in told
    assert "Convolutions after the first one." in told
    swept = works(project, "train", "-m", *given, "model.layers=1,2", *DATA)
    assert "model.layers=2 seed=1: val_loss" in swept
    again = works(project, "train", *given, "model.layers=2", *DATA)
    assert "finished before" in again
    model = next((project / "outputs/tiny/runs").glob("*/best.pt")).parent
    assert "identity, mean" in works(project, "evaluate", f"model={model}", "networks=[mynet]", "decoder=greedy")
    told = works(project, "export", f"model={model}", "networks=[mynet]", "limit=4")
    assert "the same calls for 4 of 4 reads" in told
    text = (project / "mynet.py").read_text()
    (project / "mynet.py").write_text(text.replace(".relu()\n        valid", ".tanh()\n        valid"))
    assert "finished before" not in works(project, "train", *given, "model.layers=2", *DATA)


def test_a_class_that_is_not_allowed_is_never_imported(module):
    target = module("raise SystemExit('imported')")
    with pytest.raises(SettingError, match=r"may not be imported; if you trust its code, allow it with 'networks=\[net_"):
        named.model_settings(section(target), [])
    with pytest.raises(SettingError, match="may not be imported"):
        named.model_settings(section(target), [target[:3], target.partition(".")[0] + "x"])  # a list of modules, not a text
    for wrong in (target.partition(".")[0], None):
        with pytest.raises(SettingError, match="must be a list, as in"):
            named.model_settings(section(target), wrong)
    assert target.partition(".")[0] not in sys.modules


BROKEN = {
    "no class": (SMALLEST, "Other", "cannot be imported"),
    "no module": ("Net = print", "Net", "must be a class of torch.nn.Module"),
    "an error": ("1 / 0", "Net", "division by zero"),
    "no labels": (SMALLEST.replace("labels: int, ", "").replace("labels", "5"), "Net", "an argument `labels`"),
    "no type": (SMALLEST.replace("width: int", "width"), "Net", "argument width must be named and have a type annotation"),
    "no stride": (SMALLEST.replace("self.stride,", "self.step,"), "Net", "must have the attributes stride"),
    "refused": (SMALLEST.replace("self.stride,", "raise ValueError('too narrow')\n        self.stride,"), "Net", "too narrow"),
}


@pytest.mark.parametrize("kind", BROKEN)
def test_a_wrong_class_is_refused_before_any_training(module, kind):
    body, name, words = BROKEN[kind]
    target = f"{module(body).partition('.')[0]}.{name}"
    with pytest.raises(SettingError, match=words):
        named.model_settings(section(target), [target.partition(".")[0]])


def test_settings_are_checked_by_the_types_and_rules_of_the_class(module):
    body = SMALLEST.replace("from torch", "from typing import Annotated, Literal\nfrom torch").replace(
        "width: int", "width: Annotated[int, {'odd': True}], kind: Literal['a', 'b']"
    )
    target = module(body)
    allowed = [target.partition(".")[0]]
    found = named.model_settings(section(target, width="5", kind="a"), allowed)
    assert isinstance(found, named.Named)
    assert found.arguments == {"width": 5, "kind": "a"}
    assert (found.stride, found.receptive_field) == (2, 5)
    for wrong, words in (
        ({"width": 4, "kind": "a"}, "model.width=4: must be odd"),
        ({"width": 5, "kind": "c"}, "model.kind=c: must be one of a, b"),
        ({"width": 5}, "model.kind: must be given"),
        ({"width": 5, "kind": "a", "depth": 1}, "model.depth: unknown key; known keys are _target_, name, width, kind"),
    ):
        node = {key: value for key, value in section(target, **wrong).items() if key != "width" or "width" in wrong}
        with pytest.raises(SettingError, match=words):
            named.model_settings(node, allowed)


def test_the_code_of_a_network_is_part_of_the_run_id(module, tmp_path):
    def run_id(body: str) -> str:
        target = module(body, "net_of_run_id")
        lines = ["+model._target_=" + target, "networks=[net_of_run_id]", "+model.width=4"]
        keys = ("channels", "skip_channels", "kernel", "max_dilation", "stacks", "batch_norm", "stride", "projection")
        return resolve_job(compose_config([*lines, *(f"~model.{key}" for key in keys), *DATA]), tmp_path).run_id

    first = run_id(SMALLEST)
    assert run_id(SMALLEST + "\n# a comment\n") == first
    assert run_id(SMALLEST.replace("relu", "tanh")) != first


def test_a_checkpoint_contains_no_code(folder, module, dataset):
    target = module(SMALLEST)
    allowed = [target.partition(".")[0]]
    made = build(named.model_settings(section(target), allowed), dataset.alphabet, 3)
    chosen = settings(compose_config([*DATA, "train.validations=1"]))
    fit(made, dataset, Recipe(chosen.optimizer, chosen.train, "masked", 4, 3, folder))
    with pytest.raises(SettingError, match=r"best.pt: model._target_=net_.*may not be imported"):
        load_network(folder / "best.pt")
    found = load_network(folder / "best.pt", allowed)
    assert found.settings == made.settings
    with pytest.raises(SettingError, match="may not be imported"):
        Basecaller.load(folder)
    assert Basecaller.load(folder, networks=allowed).model.network.settings == made.settings
    signal = torch.randn(1, 50)
    assert torch.equal(found.eval()(signal), made.eval()(signal))
    fresh = build(made.settings, dataset.alphabet, 4)
    assert not torch.equal(fresh.eval()(signal), made(signal))
    start_from(fresh, folder / "best.pt", allowed)
    assert torch.equal(fresh(signal), made(signal))
    with pytest.raises(DataError, match="its letters are ACGT, those of the data ACGM"):
        start_from(build(made.settings, "ACGM"), folder / "best.pt", allowed)
    wider = build(named.model_settings(section(target, width=6), allowed), dataset.alphabet)
    with pytest.raises(DataError, match=r"trained with model.width=4; use the same"):
        start_from(wider, folder / "best.pt", allowed)
