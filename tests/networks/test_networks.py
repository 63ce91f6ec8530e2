"""Networks by name: the protocol, what may be imported, checkpoints, and Bonito's network and recipe."""

from __future__ import annotations

import io
import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import optuna
import pytest
import torch
from hydra.errors import ConfigCompositionException
from rich.console import Console
from torch import nn

from basecaller.api import Basecaller
from basecaller.basecall import basecall
from basecaller.calling.caller import Caller, margin
from basecaller.commandline import options
from basecaller.config import compose_config
from basecaller.data.batches import Batch
from basecaller.errors import DataError, SettingError
from basecaller.evaluate import evaluate
from basecaller.export import export
from basecaller.geometry import output_length
from basecaller.hpo.records import trials_of
from basecaller.hpo.storage import open_study
from basecaller.messages import readable
from basecaller.networks import named
from basecaller.networks.adapted import Adapted, build, check_protocol
from basecaller.networks.masking import MaskedBatchNorm
from basecaller.runs.job import resolve_job
from basecaller.runs.task import run_job
from basecaller.runs.training import train
from basecaller.schema import EXPORTS, BasecallOptions, EvaluateOptions, ExportOptions
from basecaller.search_plan.preview import estimate, preview
from basecaller.search_plan.search import Search
from basecaller.search_plan.stages import hydra_app, unswept
from basecaller.settings import settings
from basecaller.training.checkpoint import load_network, start_from
from basecaller.training.engine import TorchEngine, choose_path, smoothing_nats
from basecaller.training.fit import Recipe, _Run, fit
from basecaller.training.optim import build_optimizer, build_schedule
from tests.conftest import TINY
from tests.helpers import reads as files
from tests.helpers.sweeping import URL, values
from tests.test_contributing import follow, project, works  # noqa: F401 - a fixture

BONITO = ["model=bonito_ctc_small", "model.width=0.02", "model.repeats=[1,1,1,1,1,1,1,1]"]
DATA = [line for line in TINY if not line.startswith("model.")]


def network(*overrides: str, seed: int = 1) -> Adapted:
    built = build(settings(compose_config([*BONITO, *overrides])).model, "ACGT", seed)
    assert isinstance(built, Adapted)
    return built


@pytest.fixture
def module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], str]:
    """Writes the module of a network into the working folder; returns the name of its class."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [*sys.path])
    written = []

    def write(body: str, name: str = "") -> str:
        name = name or f"net_{tmp_path.name}_{len(written)}".replace("-", "_")
        written.append(name)
        (tmp_path / f"{name}.py").write_text(body)
        for cached in (named._class, named._described, named._geometry):
            cached.cache_clear()
        sys.modules.pop(name, None)
        return f"{name}.Net"

    return write


SMALLEST = """
from torch import nn

class Net(nn.Module):
    def __init__(self, labels: int, width: int):
        super().__init__()
        self.stride, self.receptive_field = 2, 5
        self.first, self.scores = nn.Conv1d(1, width, 5, 2, 2), nn.Conv1d(width, labels, 1)

    def forward(self, signal, lengths=None):
        return self.scores(self.first(signal[:, None]).relu()).transpose(1, 2)
"""


def section(target: str, **keys: Any) -> dict[str, Any]:
    return {"_target_": target, "name": "mine", "width": 4, **keys}


# -- the page


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


# -- what may be imported


def test_a_class_that_is_not_allowed_is_never_imported(module):
    target = module("raise SystemExit('imported')")
    with pytest.raises(SettingError, match=r"may not be imported; if you trust its code, allow it with 'networks=\[net_"):
        named.model_settings(section(target), [])
    with pytest.raises(SettingError, match="may not be imported"):
        named.model_settings(section(target), [target[:3], target.partition(".")[0] + "x"])  # names of modules, not of letters
    for wrong in (target.partition(".")[0], None):
        with pytest.raises(SettingError, match="must be a list, as in"):
            named.model_settings(section(target), wrong)
    assert target.partition(".")[0] not in sys.modules


BROKEN = {
    "no class": (SMALLEST, "Other", "cannot be imported"),
    "no module": ("Net = print", "Net", "must be a class of torch.nn.Module"),
    "an error": ("1 / 0", "Net", "division by zero"),
    "no labels": (SMALLEST.replace("labels: int, ", "").replace("labels", "5"), "Net", "an argument `labels`"),
    "no type": (SMALLEST.replace("width: int", "width"), "Net", "its argument width must have a name and a type"),
    "no stride": (SMALLEST.replace("self.stride,", "self.step,"), "Net", "must have the attributes stride"),
    "refused": (SMALLEST.replace("self.stride,", "raise ValueError('too narrow')\n        self.stride,"), "Net", "too narrow"),
}


@pytest.mark.parametrize("kind", BROKEN)
def test_what_is_wrong_with_a_class_is_said_before_any_training(module, kind):
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
        ({"width": 5, "kind": "a", "depth": 1}, "model.depth: unknown key; known are _target_, name, width, kind"),
    ):
        node = {key: value for key, value in section(target, **wrong).items() if key != "width" or "width" in wrong}
        with pytest.raises(SettingError, match=words):
            named.model_settings(node, allowed)


# -- the protocol

UNSOUND = {
    "too few frames": ("5, 2, 2)", "5, 2, 0)", r"and must give \(2, 61, 5\)"),
    "labels first": (".transpose(1, 2)", "", r"gives \(2, 5, 61\)"),
    "padding seen": (
        "self.first, self",
        "self.second = nn.Conv1d(width, width, 3, padding=1)\n        self.first, self",
        "padding changes",
    ),
    "not a number": (".relu()", ".relu() * float('nan')", "padding changes"),
}


@pytest.mark.parametrize("kind", UNSOUND)
def test_a_network_that_breaks_the_protocol_is_refused(module, kind):
    old, new, words = UNSOUND[kind]
    assert old in SMALLEST
    body = SMALLEST.replace(old, new)
    if kind == "padding seen":
        body = body.replace("self.first(signal[:, None])", "self.second(self.first(signal[:, None]))")
    for text, fails in ((SMALLEST, False), (body, True)):
        target = module(text)
        made = build(named.model_settings(section(target), [target.partition(".")[0]]), "ACGT")
        if fails:
            with pytest.raises(SettingError, match=words):
                check_protocol(made)
        else:
            check_protocol(made)
            assert made.training


@pytest.mark.parametrize(
    "changed",
    [
        (),
        ("model.stride=1",),
        ("model.stride=5", "model.kernel=0.5"),
        ("model.repeats=[2,1,2,1,1,1,1,2]",),
    ],
)
def test_bonitos_network_keeps_the_protocol_and_sees_as_far_as_it_says(changed):
    made = network(*changed)
    check_protocol(made)
    made.eval()
    samples = 3 * made.receptive_field + 7
    signal = torch.randn(1, samples, generator=torch.Generator().manual_seed(1), requires_grad=True)
    frame = output_length(samples, made.stride) // 2
    made.double()(signal.double())[0, frame].sum().backward()
    (seen,) = np.nonzero(signal.grad[0].numpy())
    assert seen[-1] - seen[0] + 1 == made.receptive_field
    assert abs((seen[0] + seen[-1]) / 2 - frame * made.stride) <= 0.5


def test_the_published_size_of_bonitos_network():
    found = settings(compose_config(["model=bonito_ctc"])).model
    assert isinstance(found, named.Named)
    assert (found.stride, found.receptive_field) == (3, 3237)
    assert sum(p.numel() for p in found.module(5, 1).parameters()) == 6_649_613


def test_hidden_frames_stay_out_of_the_statistics_of_batch_normalisation():
    torch.manual_seed(0)
    x, valid = torch.randn(2, 3, 9), torch.ones(2, 9, dtype=torch.bool)
    valid[1, 5:] = False
    masked, plain = MaskedBatchNorm(3), nn.BatchNorm1d(3)
    found = masked(x, valid).transpose(1, 2)[valid]
    expected = plain(x.transpose(1, 2)[valid])
    torch.testing.assert_close(found, expected)
    torch.testing.assert_close(masked.running_var, plain.running_var)
    torch.testing.assert_close(masked.eval()(x), plain.eval()(x))


def test_a_read_called_in_chunks_is_called_as_a_whole():
    made = network()
    signal = np.random.default_rng(0).standard_normal(20 * margin(made)).astype(np.float32)
    whole = Caller(made, len(signal) * 2, 1, "greedy")
    parts = Caller(made, 5 * margin(made), 3, "greedy")
    (_, one), (_, other) = (next(iter(caller.probabilities([("read", signal)]))) for caller in (whole, parts))
    np.testing.assert_allclose(one, other, atol=1e-5)


# -- training


def job(folder: Path, *overrides: str) -> Any:
    return resolve_job(compose_config([*BONITO, *DATA, "data.folder=data", *overrides]), folder)


def test_a_training_is_the_same_however_often_it_is_interrupted(folder):
    given = ["train.epochs=2", "model.dropout=0.5", "train.clip_factor=1.0", "train.label_smoothing=1"]
    whole = train(job(folder / "whole", *given))
    assert whole.facts["path"].startswith("torch")
    assert whole.facts["receptive_field"] == network().receptive_field

    class StopError(Exception):
        pass

    def stop(point: Any) -> None:
        if point.updates > 3:
            raise StopError

    with pytest.raises(StopError):
        train(job(folder / "parts", *given), stop)
    parts = train(job(folder / "parts", *given))
    assert [p.val_loss for p in parts.curve] == [p.val_loss for p in whole.curve]
    other = train(job(folder / "other", *given, "seed=2"))
    assert other.metrics["val_loss"] != whole.metrics["val_loss"]


def test_the_code_of_a_network_is_part_of_a_runs_identity(module, tmp_path):
    def run_id(body: str) -> str:
        target = module(body, "net_of_identity")
        lines = ["+model._target_=" + target, "networks=[net_of_identity]", "+model.width=4"]
        keys = ("channels", "skip_channels", "kernel", "max_dilation", "stacks", "batch_norm", "stride", "projection")
        return resolve_job(compose_config([*lines, *(f"~model.{key}" for key in keys), *DATA]), tmp_path).run_id

    first = run_id(SMALLEST)
    assert run_id(SMALLEST + "\n# a comment\n") == first
    assert run_id(SMALLEST.replace("relu", "tanh")) != first


def test_native_code_is_rawctcnets_and_the_others_take_pytorch():
    size = settings(compose_config(BONITO)).model
    assert str(choose_path(size, torch.device("cpu"))) == "torch float32"
    with pytest.raises(SettingError, match=r"native=on: it computes RawCTCNet, not basecaller.networks.bonito.BonitoCTC"):
        choose_path(size, torch.device("cpu"), "on")
    own = settings(compose_config([])).model
    assert str(choose_path(own, torch.device("cpu"), label_smoothing=0.5)).startswith("torch")
    with pytest.raises(SettingError, match="native=on: it has no label smoothing"):
        choose_path(own, torch.device("cpu"), "on", label_smoothing=0.5)


def test_a_checkpoint_brings_no_code_along(folder, module, dataset):
    target = module(SMALLEST)
    allowed = [target.partition(".")[0]]
    made = build(named.model_settings(section(target), allowed), dataset.alphabet, 3)
    chosen = settings(compose_config([*DATA, "train.validations=1"]))
    fit(made, dataset, Recipe(chosen.optimizer, chosen.train, "masked", 4, 3, folder))
    with pytest.raises(SettingError, match=r"best.pt: its network=net_.*may not be imported"):
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


def swept(*overrides: str) -> optuna.Study:
    """A sweep of a small network of Bonito's kind, with its recipe."""
    with hydra_app() as app:
        given = ["model=bonito_ctc_small", "recipe=bonito", "train.warmup_updates=3", *DATA, *overrides]
        return open_study(URL, app.multirun("config", run_job, given, with_log_configuration=False))


def test_bonitos_network_is_swept_calls_reads_and_is_exported(folder):
    rates = swept(*BONITO[1:], "stage=lr_adamw", "stage.extend=0", "optimizer.lr=0.01,0.005")
    assert values(rates, "optimizer.lr") == [0.01, 0.005]
    study = swept("stage=width", BONITO[2], "model.width=0.02,0.04", "stage.rate_factor=1.0")
    best = study.best_trial
    assert sorted(values(study, "model.width")) == [0.02, 0.04]
    config = trials_of(study)[best.number].config
    assert config["model"]["width"] == best.params["model.width"]
    assert config["optimizer"]["lr"] in (0.01, 0.005)
    model = str(trials_of(study)[best.number].folder)
    files.write_pod5(folder / "reads.pod5", files.make_reads(3, bases=100))
    chosen = options("basecall", [f"model={model}", "reads=reads.pod5", "decoder=greedy", "threads=1"], BasecallOptions)
    assert basecall(chosen, Console(quiet=True))["reads"] == 3
    told, _ = evaluate(options("evaluate", [f"model={model}", "decoder=greedy", "threads=1"], EvaluateOptions), [])
    assert told.scores.loss > 0
    for form in EXPORTS:
        if form == "onnx":
            pytest.importorskip("onnxruntime")
        done = export(options("export", [f"model={model}", f"format={form}", "reads=reads.pod5"], ExportOptions))
        assert (done["reads"], done["calls"]) == (3, 3)
        assert json.loads(Path(done["file"]).with_suffix(".json").read_text())["stride"] == 3


def search(*overrides: str) -> tuple[Search, Console]:
    given, console = [*DATA, *overrides], Console(record=True, width=160, quiet=False, file=io.StringIO())
    return Search(compose_config(unswept(given)), given, console), console


def test_a_plan_of_another_network_is_refused_before_anything_runs(folder):
    with pytest.raises(
        SettingError, match=r"stage dilation sets model.batch_norm, but the network of model.name=bonito_ctc_small"
    ):
        search("model=bonito_ctc_small", "plan=[lr_adamw,dilation]")
    with pytest.raises(ConfigCompositionException) as raised:
        swept("stage=padding")
    assert "model.batch_norm: this network has no such key; it is RawCTCNet's" in str(readable(raised.value))
    assert not (folder / "outputs/optuna.db").exists()


def test_a_preview_lists_the_stages_of_bonitos_network(folder):
    found, console = search("recipe=bonito_ctc", "plan=[lr_adamw,width]")
    preview(found, console)
    told = console.export_text()
    assert "model.width=0.0625  stage.rate_factor=1.0" in told
    assert "optimizer.lr=<scaled best of lr_adamw>" in told
    assert "nan" not in told
    small, large = (estimate(found, {"model.width": width}) for width in ("0.0625", "1.0"))
    assert large > 2 * small > 0


# -- Bonito's recipe


def test_the_recipe_of_bonito():
    chosen = settings(compose_config(["recipe=bonito"]))
    assert (chosen.optimizer.name, chosen.optimizer.lr, chosen.optimizer.weight_decay) == ("adamw", 0.002, 0.01)
    train_ = chosen.train
    assert (train_.clip, train_.clip_factor, train_.label_smoothing) == (None, 2.0, 1.0)
    assert (train_.schedule, train_.warmup_updates) == ("cosine", 500)
    assert settings(compose_config(["recipe=bonito", "train.warmup_updates=9"])).train.warmup_updates == 9


def test_warm_up_takes_a_number_of_updates():
    chosen = settings(compose_config(["recipe=bonito", "train.warmup_updates=4"]))
    parameter = nn.Parameter(torch.zeros(1))
    optimizer = build_optimizer(chosen.optimizer, [parameter])
    schedule = build_schedule(chosen.train, optimizer, 20)
    rates = []
    for _ in range(20):
        rates.append(schedule.get_last_lr()[0] / 0.002)
        optimizer.step()
        schedule.step()
    assert rates[:5] == pytest.approx([0.2, 0.4, 0.6, 0.8, 1.0])
    assert rates[12] == pytest.approx(0.5)
    assert rates == sorted(rates[:5]) + sorted(rates[5:], reverse=True)


def test_gradients_are_clipped_at_a_factor_of_the_median_of_the_last_norms(dataset, folder):
    chosen = settings(
        compose_config([*DATA, "model.channels=4", "model.skip_channels=4", "train.clip=null", "train.clip_factor=2"])
    )
    run = _Run(build(chosen.model, "ACGT"), dataset, Recipe(chosen.optimizer, chosen.train, "off", 4, 1, folder))

    def clipped(norm: float) -> float:
        run.engine.gradient.zero_()
        run.engine.gradient[0] = norm
        run._clip()
        return float(torch.linalg.vector_norm(run.engine.gradient))

    assert [clipped(norm) for norm in [1.0] * 40 + [9.0] * 10] == [1.0] * 40 + [9.0] * 10
    assert clipped(9.0) == pytest.approx(2.0)
    for _ in range(100):
        clipped(3.0)
    assert run.state.norms == [3.0] * 100  # as they were before clipping
    assert clipped(5.9) == pytest.approx(5.9)
    assert clipped(60.0) == pytest.approx(6.0)


def smoothed_by_hand(scores: torch.Tensor) -> float:
    """Bonito's formula, of one read: all its frames count."""
    weights = torch.tensor([0.4, *[0.1 / 4] * 4])
    return float(-(scores.log_softmax(2) * weights).mean())


def test_label_smoothing_is_added_to_the_gradient_and_not_to_the_loss():
    made = network("model.dropout=0.0")
    signal = np.random.default_rng(0).standard_normal((1, 90)).astype(np.float32)
    batch = Batch(signal, np.array([90]), np.array([1, 2, 3]), np.array([3]))
    plain = TorchEngine(made)
    value, gradient = plain.gradients(batch, False), plain.gradient.clone()
    smooth = TorchEngine(made, label_smoothing=1.0)
    assert smooth.gradients(batch, False) == pytest.approx(value, rel=1e-6)
    made.zero_grad()
    scores = made(torch.from_numpy(signal))
    term = smoothing_nats(scores, batch, made)
    assert term.item() == pytest.approx(smoothed_by_hand(scores.detach()), rel=1e-6)
    expected = torch.cat([g.flatten() for g in torch.autograd.grad(term, list(made.parameters()))])
    torch.testing.assert_close(smooth.gradient - gradient, expected, atol=1e-6, rtol=1e-4)
    padded = Batch(np.pad(signal, ((0, 0), (0, 30))), batch.lengths, batch.targets, batch.target_lengths)
    longer = torch.cat([scores, torch.randn(1, 10, 5)], 1)
    assert smoothing_nats(longer, padded, made).item() == pytest.approx(term.item(), rel=1e-6)
