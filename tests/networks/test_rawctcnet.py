"""The network equals the published one, and masking hides the padding."""

import dataclasses

import pytest
import torch

from basecaller.common.geometry import Model
from basecaller.networks.rawctcnet import RawCTCNet
from basecaller.networks.tower import Tower
from tests.helpers.reference import PlainRawCTCNet, gate_weight, map_weights

TINY = Model(
    "tiny", channels=6, skip_channels=10, kernel=3, max_dilation=8, stacks=2, batch_norm=True, stride=5, projection=True
)
SHAPES = [
    TINY,
    dataclasses.replace(TINY, batch_norm=False),
    dataclasses.replace(TINY, stride=1),
    dataclasses.replace(TINY, kernel=5, max_dilation=1, stacks=1, stride=3),
]


@pytest.mark.parametrize("size", SHAPES, ids=str)
@pytest.mark.parametrize("training", [True, False])
def test_the_shipped_network_equals_the_published_one_with_mapped_weights(size, training):
    torch.manual_seed(0)
    plain, shipped = PlainRawCTCNet(size).double(), RawCTCNet(size).double()
    for module in plain.modules():
        if isinstance(module, torch.nn.BatchNorm1d):
            torch.nn.init.uniform_(module.weight)
            torch.nn.init.uniform_(module.running_mean)
    map_weights(plain, shipped)
    plain.train(training)
    shipped.train(training)
    signal = torch.randn(3, 203, dtype=torch.double)
    torch.testing.assert_close(shipped(signal), plain(signal))


@pytest.mark.parametrize("size", SHAPES, ids=str)
@pytest.mark.parametrize("training", [True, False])
def test_gradients_equal_those_of_the_published_network(size, training):
    torch.manual_seed(0)
    plain, shipped = PlainRawCTCNet(size).double().train(training), RawCTCNet(size).double().train(training)
    map_weights(plain, shipped)
    signal = torch.randn(2, 100, dtype=torch.double)
    for network in (plain, shipped):
        network(signal).square().sum().backward()
    tower = shipped.tower
    for i, block in enumerate(plain.blocks):
        torch.testing.assert_close(tower.gate.grad[i], gate_weight(block, size.kernel, gradient=True))
        torch.testing.assert_close(tower.gate_bias.grad[i], torch.cat([block.tanh.bias.grad, block.sigmoid.bias.grad]))
        if size.batch_norm:
            torch.testing.assert_close(tower.norm.grad[i], block.norm.weight.grad)
            torch.testing.assert_close(tower.norm_bias.grad[i], block.norm.bias.grad)
            torch.testing.assert_close(tower.mean[i], block.norm.running_mean)
            torch.testing.assert_close(tower.variance[i], block.norm.running_var)
    for i, block in enumerate(plain.blocks[:-1]):
        torch.testing.assert_close(tower.residual.grad[i], block.residual.weight.grad[:, :, 0])
        torch.testing.assert_close(tower.residual_bias.grad[i], block.residual.bias.grad)
        torch.testing.assert_close(tower.projection.grad[i], block.projection.weight.grad[:, :, 0])
    torch.testing.assert_close(shipped.stem.weight.grad, plain.first.weight.grad)


@pytest.mark.parametrize("batch_norm", [True, False])
@pytest.mark.parametrize("projection", [True, False])
def test_the_towers_gradient_by_hand_is_the_numerical_one_also_under_a_mask(batch_norm, projection):
    torch.manual_seed(0)
    tower = Tower(2, 3, [1, 2, 4], batch_norm, projection).double()
    for parameter in tower.parameters():
        torch.nn.init.uniform_(parameter, -1, 1)
    valid = torch.arange(7) < torch.tensor([7, 4])[:, None]
    names = list(dict(tower.named_parameters()))

    def units(x, *parameters):
        given = dict(zip(names, parameters, strict=True))
        return torch.func.functional_call(tower, given, (x, valid)) * valid[..., None]

    inputs = (torch.randn(2, 7, 2, dtype=torch.double, requires_grad=True), *tower.parameters())
    assert torch.autograd.gradcheck(units, inputs)


def test_the_tower_refuses_second_derivatives_and_changed_weights():
    tower = Tower(2, 3, [1, 2], batch_norm=True, projection=False).double()
    torch.nn.init.normal_(tower.gate)
    x = torch.randn(1, 5, 2, dtype=torch.double, requires_grad=True)
    (gradient,) = torch.autograd.grad(tower(x).square().sum(), x, create_graph=True)
    with pytest.raises(RuntimeError, match="once_differentiable"):
        gradient.sum().backward()
    units = tower(x)
    with torch.no_grad():
        tower.gate.mul_(2)
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        units.sum().backward()
    tower(x)  # changes the statistics, which a gradient in training does not need
    first, _ = tower(x), tower(x)
    first.sum().backward()


@pytest.mark.parametrize("batch_norm", [True, False])
@pytest.mark.parametrize("training", [True, False])
def test_masked_scores_do_not_change_with_the_amount_of_padding(batch_norm, training):
    network = RawCTCNet(dataclasses.replace(TINY, batch_norm=batch_norm)).double().train(training)
    lengths = torch.tensor([203, 77, 150])
    signal = torch.randn(3, 203, dtype=torch.double)
    for row, length in zip(signal, lengths, strict=True):
        row[length:] = 0
    state = {k: v.clone() for k, v in network.state_dict().items()}
    narrow = network(signal, lengths)
    first = {k: v.clone() for k, v in network.state_dict().items()}
    network.load_state_dict(state)
    wide = network(torch.nn.functional.pad(signal, (0, 300)), lengths)
    for row, length in enumerate(network.frames(lengths)):
        torch.testing.assert_close(wide[row, :length], narrow[row, :length])
    for key, value in network.state_dict().items():
        torch.testing.assert_close(value, first[key])


def test_masked_scores_are_those_of_the_read_alone():
    network = RawCTCNet(TINY).double().eval()
    lengths = torch.tensor([203, 78])
    signal = torch.randn(2, 203, dtype=torch.double)
    signal[1, 78:] = 0
    together, alone = network(signal, lengths), network(signal[1:, :78])
    torch.testing.assert_close(together[1, : alone.shape[1]], alone[0])
    unmasked = network(signal)
    assert not torch.allclose(unmasked[1, : alone.shape[1]], alone[0])  # without the mask, padding does reach the read


def test_masked_batch_norm_takes_its_statistics_from_valid_frames_only():
    tower = Tower(4, 3, [1], batch_norm=True, projection=False)
    torch.nn.init.normal_(tower.gate)
    plain = torch.nn.BatchNorm1d(4)
    x = torch.randn(3, 9, 4)
    valid = torch.arange(9) < torch.tensor([9, 4, 1])[:, None]
    x[~valid] = 1e6
    tower(x, valid)
    plain(x[valid])
    torch.testing.assert_close(tower.mean[0], plain.running_mean)
    torch.testing.assert_close(tower.variance[0], plain.running_var)


def test_weights_of_a_seed_agree_for_equal_shapes():
    small, large = RawCTCNet(TINY, seed=7), RawCTCNet(dataclasses.replace(TINY, stacks=3, batch_norm=False), seed=7)
    torch.testing.assert_close(small.tower.gate, large.tower.gate[: len(small.tower.gate)])
    assert not torch.equal(small.head.weight, RawCTCNet(TINY, seed=8).head.weight)


def test_parameters_become_views_of_one_vector_and_checkpoints_stay_as_they_are():
    network = RawCTCNet(TINY, seed=7)
    before = {key: value.clone() for key, value in network.state_dict().items()}
    flat = network.flatten()
    assert network.flatten() is flat
    assert flat.numel() == sum(p.numel() for p in network.parameters())
    for key, value in network.state_dict().items():
        assert torch.equal(value, before[key])
    flat.zero_()
    assert not network.tower.gate.any()
    network.load_state_dict(before)
    assert flat.any()
    wide = network.double().flatten()  # moved: views of another vector
    assert wide.dtype == torch.float64
    assert network.stem.weight.data_ptr() == wide.data_ptr()
