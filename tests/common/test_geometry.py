"""The network's output length, its receptive field, and what CTC needs."""

import dataclasses

import numpy as np
import pytest
import torch

from basecaller.common.geometry import dilations, frames_needed, output_length, receptive_field
from basecaller.networks.rawctcnet import RawCTCNet
from tests.helpers.models import SIZE


@pytest.mark.parametrize("stride", [1, 2, 3, 5, 8])
def test_output_length_is_the_networks(stride):
    network = RawCTCNet(dataclasses.replace(SIZE, stride=stride)).eval()
    for samples in (1, 2, stride, stride + 1, 97, 100):
        assert network(torch.zeros(1, samples)).shape[1] == output_length(samples, stride)


def test_receptive_field_is_what_a_frame_sees():
    size = dataclasses.replace(SIZE, batch_norm=False, max_dilation=4, stacks=1)
    network = RawCTCNet(size, seed=3)
    signal = torch.randn(1, 601, requires_grad=True)
    frames = network(signal)
    frames[0, frames.shape[1] // 2].sum().backward()
    seen = signal.grad[0].nonzero().flatten()
    assert len(seen) > 0
    assert seen[-1] - seen[0] + 1 == receptive_field(size.kernel, size.max_dilation, size.stacks, size.stride)


def test_dilations_run_up_to_the_maximum_in_every_stack():
    assert dilations(8, 2) == [1, 1, 2, 4, 8, 1, 2, 4, 8]


def test_frames_needed_counts_a_blank_between_equal_neighbours():
    targets = [[1, 2, 3], [1, 1, 1], [2], [4, 4, 1, 1]]
    offsets = np.cumsum([0] + [len(t) for t in targets])
    needed = frames_needed(np.concatenate(targets).astype(np.uint8), offsets)
    assert needed.tolist() == [3, 5, 1, 6]


def test_ctc_agrees_with_frames_needed():
    for target in ([1, 2, 3], [1, 1, 2], [3, 3, 3]):
        needed = frames_needed(np.array(target), np.array([0, 3]))[0]
        for frames in (needed - 1, needed):
            loss = torch.nn.functional.ctc_loss(
                torch.zeros(frames, 1, 5).log_softmax(2), torch.tensor([target]), torch.tensor([frames]), torch.tensor([3])
            )
            assert torch.isfinite(loss) == (frames >= needed)
