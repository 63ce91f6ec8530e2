"""RawCTCNet as published: plain, unfused, channels first. The shipped network must compute the same."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from basecaller.common.geometry import Model, dilations, stem_kernel
from basecaller.networks.rawctcnet import RawCTCNet


class PlainBlock(nn.Module):
    def __init__(self, channels: int, skip_channels: int, kernel: int, dilation: int, batch_norm: bool) -> None:
        super().__init__()
        reach = dilation * (kernel // 2)
        self.norm = nn.BatchNorm1d(channels) if batch_norm else nn.Identity()
        self.tanh = nn.Conv1d(channels, channels, kernel, dilation=dilation, padding=reach)
        self.sigmoid = nn.Conv1d(channels, channels, kernel, dilation=dilation, padding=reach)
        self.residual = nn.Conv1d(channels, channels, 1)
        self.projection = nn.Conv1d(channels, channels, 1)
        self.skip = nn.Conv1d(channels, channels, 1)
        self.bottleneck = nn.Conv1d(channels, skip_channels, 1)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        x = self.norm(x)
        gated = torch.tanh(self.tanh(x)) * torch.sigmoid(self.sigmoid(x))
        return self.residual(gated) + self.projection(x), self.bottleneck(self.skip(gated))


class PlainRawCTCNet(nn.Module):
    def __init__(self, size: Model, labels: int = 5) -> None:
        super().__init__()
        c, s = size.channels, size.skip_channels
        width = stem_kernel(size.stride)
        self.first = nn.Conv1d(1, c, width, stride=size.stride, padding=width // 2)
        self.second = nn.Conv1d(c, c, 1)
        rungs = dilations(size.max_dilation, size.stacks)
        self.blocks = nn.ModuleList(PlainBlock(c, s, size.kernel, d, size.batch_norm) for d in rungs)
        self.head = nn.Conv1d(s, s, 1)
        self.scores = nn.Conv1d(s, labels, 1)

    def forward(self, signal: Tensor) -> Tensor:
        """signal: [batch, samples]; returns [batch, frames, labels]."""
        x = F.elu(self.second(F.elu(self.first(signal[:, None]))))
        total = torch.zeros(())
        for block in self.blocks:
            x, skip = block(x)
            total = total + skip
        return self.scores(F.leaky_relu(self.head(F.leaky_relu(total)))).transpose(1, 2)


def gate_weight(block: PlainBlock, kernel: int, gradient: bool = False) -> Tensor:
    """The two dilated convolutions of a block, or their gradients, as the shipped tower's one product."""
    weights = [conv.weight.grad if gradient else conv.weight for conv in (block.tanh, block.sigmoid)]
    return torch.cat([torch.cat([w[:, :, k] for k in range(kernel)], 1) for w in weights])


@torch.no_grad()
def map_weights(plain: PlainRawCTCNet, shipped: RawCTCNet) -> None:
    """Copies the published network's weights into the shipped one; pairs of 1x1 convolutions become their product."""
    matrix = lambda conv: conv.weight[:, :, 0]  # noqa: E731

    def copy(linear: nn.Linear, weight: Tensor, bias: Tensor) -> None:
        linear.weight.copy_(weight)
        linear.bias.copy_(bias)

    shipped.stem.load_state_dict(plain.first.state_dict())
    copy(shipped.mix, matrix(plain.second), plain.second.bias)
    skips, skip_bias = [], torch.zeros_like(shipped.skip.bias)
    tower, kernel = shipped.tower, shipped.settings.kernel
    for i, block in enumerate(plain.blocks):
        tower.gate[i] = gate_weight(block, kernel)
        tower.gate_bias[i] = torch.cat([block.tanh.bias, block.sigmoid.bias])
        if i + 1 < len(plain.blocks):
            tower.residual[i] = matrix(block.residual)
            tower.residual_bias[i] = block.residual.bias + block.projection.bias
            tower.projection[i] = matrix(block.projection)
        if tower.norm is not None:
            tower.norm[i], tower.norm_bias[i] = block.norm.weight, block.norm.bias
            tower.mean[i], tower.variance[i] = block.norm.running_mean, block.norm.running_var
        skips.append(matrix(block.bottleneck) @ matrix(block.skip))
        skip_bias += matrix(block.bottleneck) @ block.skip.bias + block.bottleneck.bias
    copy(shipped.skip, torch.cat(skips, 1), skip_bias)
    copy(shipped.head, matrix(plain.head), plain.head.bias)
    copy(shipped.scores, matrix(plain.scores), plain.scores.bias)
