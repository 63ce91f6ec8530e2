"""The protocol of networks: frames, padding and statistics."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from basecaller.calling.caller import Caller, margin
from basecaller.common.errors import SettingError
from basecaller.common.geometry import output_length
from basecaller.networks import named
from basecaller.networks.adapted import build, check_protocol
from basecaller.networks.masking import MaskedBatchNorm
from tests.helpers.networks import SMALLEST, bonito, section

UNSOUND = {
    "too few frames": ("5, 2, 2)", "5, 2, 0)", r"but must return \(2, 61, 5\)"),
    "labels first": (".transpose(1, 2)", "", r"returns \(2, 5, 61\)"),
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
def test_bonitos_network_follows_the_protocol_and_its_receptive_field(changed):
    made = bonito(*changed)
    check_protocol(made)
    made.eval()
    samples = 3 * made.receptive_field + 7
    signal = torch.randn(1, samples, generator=torch.Generator().manual_seed(1), requires_grad=True)
    frame = output_length(samples, made.stride) // 2
    made.double()(signal.double())[0, frame].sum().backward()
    (seen,) = np.nonzero(signal.grad[0].numpy())
    assert seen[-1] - seen[0] + 1 == made.receptive_field
    assert abs((seen[0] + seen[-1]) / 2 - frame * made.stride) <= 0.5


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


def test_a_read_called_in_chunks_equals_a_whole_call():
    made = bonito()
    signal = np.random.default_rng(0).standard_normal(20 * margin(made)).astype(np.float32)
    whole = Caller(made, len(signal) * 2, 1, "greedy")
    parts = Caller(made, 5 * margin(made), 3, "greedy")
    (_, one), (_, other) = (next(iter(caller.probabilities([("read", signal)]))) for caller in (whole, parts))
    np.testing.assert_allclose(one, other, atol=1e-5)
