"""Native code computes what PyTorch computes in double precision."""

import copy
import dataclasses
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from basecaller.common.geometry import Model
from basecaller.data.batches import Batch
from basecaller.native import build
from basecaller.native.step import Library, Step, _Place, self_test
from basecaller.networks.rawctcnet import RawCTCNet
from basecaller.training.engine import NativeEngine, TorchEngine

pytestmark = pytest.mark.slow

SIZE = Model(
    "n", channels=32, skip_channels=64, kernel=3, max_dilation=64, stacks=1, batch_norm=False, stride=4, projection=False
)
CPU = torch.device("cpu")
TARGETS = {"native": "", "x86-64-v3": "avx2", "cooperlake": "avx512_bf16"}
"""Processors to compile for, and the instructions they need: this one, one with AVX2 and no more, and one that has bfloat16
vectors but no tiles."""


def _can(instructions: str) -> bool:
    flags = Path("/proc/cpuinfo")
    return flags.exists() and f" {instructions} " in flags.read_text()


@pytest.fixture(scope="session", params=TARGETS)
def library(request, compiler, cache) -> Library:
    needed = TARGETS[request.param]
    if needed and not _can(needed):
        pytest.skip(f"no {needed} here")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv(build.FOLDER, str(cache))
        patch.setenv(build.TARGET, request.param)
        return Library(str(build.build()))


def network_of(size: Model, alphabet: str = "ACGT") -> RawCTCNet:
    """A network with biases and scales other than the initial zeros and ones."""
    network, generator = RawCTCNet(size, alphabet, seed=3), torch.Generator().manual_seed(5)
    with torch.no_grad():
        for name, parameter in network.named_parameters():
            if "bias" in name:
                parameter.copy_(0.1 * torch.randn(parameter.shape, generator=generator))
            if name == "tower.norm":
                parameter.add_(0.2 * torch.randn(parameter.shape, generator=generator))
    return network


def batch_of(lengths: list[int], bases: list[int], letters: int = 4, seed: int = 0) -> Batch:
    rng = np.random.default_rng(seed)
    signal = rng.standard_normal((len(lengths), max(lengths))).astype(np.float32)
    for row, length in zip(signal, lengths, strict=True):
        row[length:] = 0
    return Batch(signal, np.array(lengths), rng.integers(1, letters + 1, sum(bases)), np.array(bases))


def exactly(network: RawCTCNet, batch: Batch, masked: bool) -> tuple[float, torch.Tensor, RawCTCNet]:
    """Loss in nats per base, scores, and a copy of the network with gradients: by PyTorch, in double precision."""
    network = copy.deepcopy(network).double().train()
    lengths = torch.from_numpy(batch.lengths)
    scores = network(torch.from_numpy(batch.signal).double(), lengths if masked else None)
    targets, counts = torch.from_numpy(batch.targets), torch.from_numpy(batch.target_lengths)
    log_probs = F.log_softmax(scores, 2).transpose(0, 1)
    loss = F.ctc_loss(log_probs, targets, network.frames(lengths), counts, reduction="sum") / len(batch.targets)
    loss.backward()
    return loss.item(), scores.detach(), network


def error(found: torch.Tensor, true: torch.Tensor) -> float:
    """The largest error, relative to the largest entry."""
    return float((found.double() - true).abs().max() / true.abs().max())


def compare(
    library: Library, network: RawCTCNet, batch: Batch, masked: bool, tolerance: float = 1e-5, half: bool = False
) -> None:
    loss, scores, exact = exactly(network, batch, masked)
    step = Step(library, network, half)
    found = np.zeros(scores.shape, np.float32)
    value = step.gradients(batch.signal, batch.lengths, batch.targets, batch.target_lengths, masked, found)
    assert value == pytest.approx(loss, rel=tolerance)
    frames = exact.frames(torch.from_numpy(batch.lengths))
    valid = torch.arange(scores.shape[1]) < (frames[:, None] if masked else torch.full((len(frames), 1), scores.shape[1]))
    assert error(torch.from_numpy(found)[valid], scores[valid]) < tolerance
    parts = step.gradient.split([p.numel() for p in network.parameters()])
    for (name, parameter), part in zip(exact.named_parameters(), parts, strict=True):
        true = parameter.grad.flatten()
        if (
            name == "tower.residual_bias" and network.settings.batch_norm
        ):  # zero but for rounding: the mean is subtracted after it
            assert part.abs().max() < 1e-4
        elif true.numel():
            assert error(part, true) < tolerance, name
    if network.settings.batch_norm:
        for name in ("mean", "variance"):
            assert error(network.tower.get_buffer(name), exact.tower.get_buffer(name)) < tolerance


RAGGED = ([640, 300, 555, 31, 612], [60, 20, 45, 2, 58])
CASES = {
    "one read": (SIZE, ([621], [55])),
    "alike": (SIZE, ([400] * 4, [40] * 4)),
    "ragged": (SIZE, RAGGED),
    "ragged, batch norm": (dataclasses.replace(SIZE, batch_norm=True), RAGGED),
    "ragged, projection": (dataclasses.replace(SIZE, projection=True), RAGGED),
    "ragged, batch norm, projection": (dataclasses.replace(SIZE, batch_norm=True, projection=True), RAGGED),
    "three stacks": (dataclasses.replace(SIZE, stacks=3), ([640, 600], [60, 50])),
    "very short": (SIZE, ([200, 4, 49, 1, 133, 24], [20, 1, 3, 1, 9, 2])),
    "very short, batch norm": (dataclasses.replace(SIZE, batch_norm=True), ([200, 4, 49, 1, 133, 24], [20, 1, 3, 1, 9, 2])),
    "one frame": (SIZE, ([3], [1])),
    "2,000 frames": (dataclasses.replace(SIZE, max_dilation=8), ([8000, 7400], [600, 500])),
    "kernel 1": (dataclasses.replace(SIZE, kernel=1, batch_norm=True), RAGGED),
    "kernel 5": (dataclasses.replace(SIZE, kernel=5, max_dilation=16, batch_norm=True), RAGGED),
    "kernel 7": (dataclasses.replace(SIZE, kernel=7, max_dilation=2), RAGGED),
    "one vector": (dataclasses.replace(SIZE, channels=16, skip_channels=16, max_dilation=4), RAGGED),
    "odd vectors": (dataclasses.replace(SIZE, channels=48, skip_channels=80, max_dilation=4, projection=True), RAGGED),
    "64 channels": (dataclasses.replace(SIZE, channels=64, skip_channels=32, max_dilation=4, stride=2), ([200, 90], [40, 20])),
    "128 channels": (
        dataclasses.replace(SIZE, channels=128, skip_channels=64, max_dilation=4, stride=3),
        ([200, 90], [30, 15]),
    ),
    "208 channels": (  # strips that are packed, the last of a few rows, over more than one chunk of frames
        dataclasses.replace(SIZE, channels=208, skip_channels=192, max_dilation=2, stride=1),
        ([220, 60], [60, 20]),
    ),
    "256 channels": (
        dataclasses.replace(SIZE, channels=256, skip_channels=512, max_dilation=2, stride=1, projection=True),
        ([90, 60], [30, 20]),
    ),
}


@pytest.mark.parametrize("masked", [True, False], ids=["masked", "padded"])
@pytest.mark.parametrize("case", CASES)
def test_loss_scores_gradients_and_statistics_are_those_of_double_precision(library, case, masked):
    size, reads = CASES[case]
    compare(library, network_of(size), batch_of(*reads), masked)


@pytest.mark.parametrize("alphabet", ["AC", "ACG", "ACGTM", "ACGTMNWX", "ACGTMNWXYZBDEFH"])
def test_every_alphabet(library, alphabet):
    network = network_of(dataclasses.replace(SIZE, max_dilation=2), alphabet)
    compare(library, network, batch_of(*RAGGED, letters=len(alphabet)), masked=True)


def test_an_alphabet_of_more_labels_than_a_row_of_scores_is_left_to_pytorch(library):
    assert library.fits(SIZE, 16)
    assert not library.fits(SIZE, 17)
    assert not library.fits(dataclasses.replace(SIZE, channels=33), 5)
    assert not library.fits(dataclasses.replace(SIZE, skip_channels=33), 5)


@pytest.mark.parametrize("norm", [True, False])
def test_forward_alone_is_the_network_in_evaluation(library, norm):
    network = network_of(dataclasses.replace(SIZE, batch_norm=norm, projection=True))
    batch = batch_of(*RAGGED)
    if norm:
        network.tower.mean.normal_()
        network.tower.variance.uniform_(0.5, 2)
    kept = copy.deepcopy(network.state_dict())
    native, exact = NativeEngine(library, network), TorchEngine(copy.deepcopy(network).double())
    nats, found = native.nats(batch)
    true_nats, scores = exact.nats(dataclasses.replace(batch, signal=batch.signal.astype(np.float64)))
    valid = torch.arange(scores.shape[1]) < network.frames(torch.from_numpy(batch.lengths))[:, None]
    assert error(found[valid], scores[valid]) < 1e-5
    assert nats == pytest.approx(true_nats, rel=1e-6)
    assert torch.equal(native.scores(batch)[valid], found[valid])
    assert all(torch.equal(value, kept[key]) for key, value in network.state_dict().items())


def test_bfloat16_products_are_near_those_of_float32(library):
    if not library.has_half:
        pytest.skip("this processor has none")
    for case, (size, reads) in CASES.items():
        if not library.fits_half(size):
            continue
        network, batch = network_of(size), batch_of(*reads)
        loss, _, exact = exactly(network, batch, True)
        step = Step(library, network, half=True)
        found = step.gradients(batch.signal, batch.lengths, batch.targets, batch.target_lengths, True)
        assert found == pytest.approx(loss, rel=5e-3), case
        true = torch.cat([p.grad.flatten() for p in exact.parameters()])
        assert (step.gradient - true).norm() < 0.06 * true.norm(), case
        assert (step.gradient - true).norm() > 0.001 * true.norm(), f"{case}: these are products in float32"


def spread(frames: int, ahead: float, label: int = 0, scale: float = 0.3) -> torch.Tensor:
    """Scores of one read that say little but that a label is likely."""
    scores = scale * torch.randn(frames, 5, generator=torch.Generator().manual_seed(0))
    scores[:, label] += ahead
    return scores


def labels(count: int) -> np.ndarray:
    return np.random.default_rng(0).integers(1, 5, count)


READS = {
    "random": (spread(160, 0, scale=1), labels(60)),
    "peaked": (spread(160, 0, scale=5), labels(60)),
    "very peaked": (spread(160, 0, scale=20), labels(60)),
    "one label repeated": (spread(160, 0), np.full(60, 2)),
    "as many frames as repeats need": (spread(119, 0), np.full(60, 1)),
    "as many frames as labels": (spread(60, 0), np.tile([1, 2, 3], 20)),
    "one frame": (spread(1, 0), np.array([3])),
    "16 states": (spread(40, 0), labels(15)),
    "17 states": (spread(40, 0), labels(16)),
    "no labels": (spread(40, 0), labels(0)),
    **{f"blank ahead by {n}": (spread(160, n), labels(60)) for n in (1, 4, 8, 12)},
    **{f"2,000 frames, blank ahead by {n}": (spread(2000, n), labels(600)) for n in (1, 3, 6)},
    **{f"2,000 frames, a label ahead by {n}": (spread(2000, n, 1), labels(600)) for n in (2, 8)},
}


@pytest.mark.parametrize("read", READS)
def test_ctc_is_that_of_double_precision_also_where_scores_say_little(library, read):
    scores, target = READS[read]
    exact = scores.double().requires_grad_()
    log_probs = exact.log_softmax(1)[:, None]
    counts = torch.tensor([len(scores)]), torch.tensor([len(target)])
    loss = F.ctc_loss(log_probs, torch.from_numpy(target), *counts, reduction="sum")
    loss.backward()
    nats, gradient = library.ctc(scores.numpy(), target)
    assert nats == pytest.approx(loss.item(), rel=1e-6)
    assert float((torch.from_numpy(gradient) - exact.grad).abs().max()) < 1e-5


def test_scaling_is_enough_wherever_a_training_comes_and_log_space_catches_the_rest(library):
    before = library.ctc_fallbacks()
    for read in READS:
        if read != "very peaked" and "a label ahead" not in read:
            library.ctc(READS[read][0].numpy(), READS[read][1])
    assert library.ctc_fallbacks() == before
    library.ctc(spread(2000, 0, scale=40).numpy(), labels(600))
    assert library.ctc_fallbacks() == before + 1


@pytest.mark.parametrize("label", [-1, 0, 5, 200, 2**40])
def test_a_label_outside_the_alphabet_has_no_loss_and_writes_nothing(library, label):
    nats, gradient = library.ctc(spread(40, 0).numpy(), np.array([1, label, 2]))
    assert np.isnan(nats)
    assert not gradient.any()


@pytest.mark.parametrize("target", [np.tile([1, 2, 3], 20), np.full(31, 1)])
def test_a_target_that_does_not_fit_has_an_infinite_loss(library, target):
    assert library.ctc(spread(59, 0).numpy(), target)[0] == np.inf
    network, batch = network_of(SIZE), batch_of([400, 236], [40, len(target)])
    batch.targets[40:] = target
    engine = NativeEngine(library, network)
    assert engine.gradients(batch, masked=True) == np.inf
    assert engine.nats(batch)[0] == np.inf
    fitting = batch_of([400], [40])
    assert engine.gradients(fitting, True) == NativeEngine(library, network_of(SIZE)).gradients(fitting, True)  # none the worse


@pytest.mark.parametrize("where", ["signal", "stem.weight", "tower.gate", "tower.residual", "head.bias", "scores.bias"])
@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_a_loss_that_is_no_number_is_not_taken_for_one(library, where, value):
    network, batch = network_of(SIZE), batch_of([400, 236], [40, 20])
    if where == "signal":
        batch.signal[0, 200] = value
    else:
        dict(network.named_parameters())[where].data.view(-1)[3] = value
    if where == "signal" and np.isinf(value):
        return  # elu of minus infinity is a number
    assert not np.isfinite(NativeEngine(library, network).gradients(batch, masked=True))


def test_the_same_batch_gives_the_same_bits(library):
    batch = batch_of(*RAGGED)
    for half in (False, True)[: 1 + library.has_half]:
        found = []
        for _ in range(3):
            step = NativeEngine(library, network_of(SIZE), half)
            found.append((step.gradients(batch, True), step.parameter.grad.clone(), step.nats(batch)))
            np.zeros(np.random.default_rng().integers(1, 10_000), np.float32)  # other addresses
        assert all(value == found[0][0] and torch.equal(gradient, found[0][1]) for value, gradient, _ in found)
        assert len({nats for _, _, (nats, _) in found}) == 1


class _Guarded(_Place):
    """A workspace that holds what is `left` in it before each call, and is looked at behind its end afterwards."""

    def __init__(self, floats: int, left: float) -> None:
        super().__init__()
        self.whole, self.left, self.end = np.full(floats + 100, 0.125, np.float32), left, 0

    def room(self, floats: int) -> int:
        self.check()
        first = -self.whole.ctypes.data % 64 // 4
        self.end = first + floats
        self.whole[: self.end], self.whole[self.end :] = self.left, 0.125
        return self.whole.ctypes.data + 4 * first

    def check(self) -> None:
        assert (self.whole[self.end :] == 0.125).all()


@pytest.mark.parametrize("case", CASES)
def test_a_workspace_is_written_before_it_is_read_and_never_overrun(library, case):
    size, reads = CASES[case]
    batch = batch_of(*reads)
    for half in (False, True)[: 1 + library.fits_half(size)]:
        found = []
        for left in (0, np.nan, 3e38):  # what the workspace holds beforehand
            engine = NativeEngine(library, network_of(size), half)
            engine.gradients(batch, masked=True), engine.nats(batch)
            (place,) = engine._step._places
            engine = NativeEngine(library, network_of(size), half)
            engine._step._places = [_Guarded(len(place.work), left)]
            found.append((engine.gradients(batch, True), engine.nats(batch)[0], engine.gradient.clone()))
            engine._step._places[0].check()
        assert all(one[:2] == found[0][:2] and torch.equal(one[2], found[0][2]) for one in found)


@pytest.mark.parametrize("threads", [2, 3, 8])
@pytest.mark.parametrize("norm", [True, False])
def test_the_number_of_threads_changes_no_bit(library, threads, norm):
    size = dataclasses.replace(SIZE, batch_norm=norm, max_dilation=8)
    batch = batch_of([1900, 300, 2400, 1000, 2000, 640, 31, 1999], [60, 20, 45, 30, 58, 60, 2, 70])
    found = []
    for count in (1, threads):
        torch.set_num_threads(count)
        engine = NativeEngine(library, network_of(size))
        found.append((engine.gradients(batch, True), engine.gradient.clone(), *engine.nats(batch)))
    valid = torch.arange(600) < torch.from_numpy(batch.lengths[:, None] + 3) // 4
    assert found[0][0] == found[1][0]
    assert torch.equal(found[0][1], found[1][1])
    assert found[0][2] == found[1][2]
    assert torch.equal(found[0][3][valid], found[1][3][valid])
    torch.set_num_threads(1)  # PyTorch's threads wait for each other
    exact = exactly(network_of(size), batch, True)[2]  # several parts are one batch
    assert error(found[0][1], torch.cat([p.grad.flatten() for p in exact.parameters()])) < 1e-5


def test_threads_do_not_disturb_each_other(library):
    batches = [batch_of(*RAGGED, seed=seed) for seed in range(4)]
    alone = [NativeEngine(library, network_of(SIZE)).gradients(batch, True) for batch in batches]
    engines = [NativeEngine(library, network_of(SIZE)) for _ in batches]
    with ThreadPoolExecutor(4) as pool:
        together = list(
            pool.map(lambda pair: [pair[0].gradients(pair[1], True) for _ in range(5)], zip(engines, batches, strict=True))
        )
    assert together == [[value] * 5 for value in alone]


def test_the_self_test_finds_a_wrong_gradient(library, monkeypatch):
    assert self_test(library) == ""
    right = library.step

    def wrong(*arguments):
        value = right(*arguments)
        gradient = (arguments[6] or 0) and np.ctypeslib.as_array((np.ctypeslib.ctypes.c_float * 8).from_address(arguments[6]))
        gradient[3] *= 1.01
        return value

    monkeypatch.setattr(library, "step", wrong)
    assert "self-test failed" in self_test(library)
