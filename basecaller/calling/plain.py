"""Networks for other programs, as written by `exporting.py`."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from basecaller.networks.base import Network
from basecaller.networks.rawctcnet import RawCTCNet
from basecaller.networks.tower import EPSILON


def _pointwise(weight: Tensor, bias: Tensor | None) -> nn.Conv1d:
    """A 1x1 convolution with given weights, [out, in]."""
    layer = nn.Conv1d(weight.shape[1], weight.shape[0], 1, bias=bias is not None)
    layer.weight.data = weight.detach().clone()[:, :, None]
    if bias is not None and layer.bias is not None:
        layer.bias.data = bias.detach().clone()
    return layer


class Plain(nn.Module):
    """RawCTCNet in ordinary layers: the same function in evaluation mode, without masks.

    Args:
        network: network to copy the weights from.
    """

    def __init__(self, network: RawCTCNet) -> None:
        super().__init__()
        tower, kernel = network.tower, network.settings.kernel
        channels = network.settings.channels
        self.stem = nn.Conv1d(1, channels, network.stem.kernel_size, network.stem.stride, network.stem.padding)  # type: ignore[arg-type]
        self.stem.load_state_dict(network.stem.state_dict())
        self.mix = _pointwise(network.mix.weight, network.mix.bias)
        self.norms, self.gates, self.residuals, self.projections = (nn.ModuleList() for _ in range(4))
        for i, dilation in enumerate(tower.dilations):
            if tower.norm is not None and tower.norm_bias is not None:
                norm = nn.BatchNorm1d(channels, eps=EPSILON)
                norm.weight.data, norm.bias.data = tower.norm[i].detach().clone(), tower.norm_bias[i].detach().clone()
                norm.running_mean, norm.running_var = (
                    tower.get_buffer("mean")[i].clone(),
                    tower.get_buffer("variance")[i].clone(),
                )
                self.norms.append(norm)
            gate = nn.Conv1d(channels, 2 * channels, kernel, dilation=dilation, padding=dilation * (kernel // 2))
            gate.weight.data = tower.gate[i].detach().view(2 * channels, kernel, channels).transpose(1, 2).contiguous()
            gate.bias.data = tower.gate_bias[i].detach().clone()  # type: ignore[union-attr]
            self.gates.append(gate)
            if i + 1 < len(tower.dilations):
                self.residuals.append(_pointwise(tower.residual[i], tower.residual_bias[i]))
                if tower.projection is not None:
                    self.projections.append(_pointwise(tower.projection[i], None))
        self.skip = _pointwise(network.skip.weight, network.skip.bias)
        self.head = _pointwise(network.head.weight, network.head.bias)
        self.scores = _pointwise(network.scores.weight, network.scores.bias)

    def forward(self, signal: Tensor) -> Tensor:
        """Log-probabilities [batch, frames, labels] of signals [batch, samples]."""
        x = F.elu(self.mix(F.elu(self.stem(signal.unsqueeze(1)))))
        units = []
        for i, gate in enumerate(self.gates):
            if len(self.norms):
                x = self.norms[i](x)
            tanh, sigmoid = gate(x).chunk(2, 1)
            units.append(torch.tanh(tanh) * torch.sigmoid(sigmoid))
            if i < len(self.residuals):
                through = self.projections[i](x) if len(self.projections) else x
                x = through + self.residuals[i](units[-1])
        scores = self.scores(F.leaky_relu(self.head(F.leaky_relu(self.skip(torch.cat(units, 1))))))
        return F.log_softmax(scores.transpose(1, 2), 2)


class LogProbabilities(nn.Module):
    """Any network, without masks.

    Args:
        network: the network to wrap.
    """

    def __init__(self, network: Network) -> None:
        super().__init__()
        self.network = network

    def forward(self, signal: Tensor) -> Tensor:
        """Log-probabilities [batch, frames, labels] of signals [batch, samples]."""
        return F.log_softmax(self.network(signal), 2)
