"""The residual tower of RawCTCNet, forward and backward by hand, as one node of PyTorch's graph.

A step of a narrow tower consists of hundreds of tiny operations, and autograd adds a node, a few tensors and a pass over memory
to each. Without it, a step of one short read takes half the time (`python -m benchmarks --only step`). The weights of all
blocks are in one tensor of each kind, so that optimizer and clipping see a dozen parameters instead of a hundred.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.nn import functional as F

EPSILON, MOMENTUM = 1e-5, 0.1
"""Epsilon and momentum of batch normalisation: PyTorch's defaults."""


class Weights(NamedTuple):
    """Weights and statistics of n blocks of width C and kernel K; None for those that a tower lacks.

    Attributes:
        gate: [n, 2C, K C], the tanh half before the sigmoid half, inputs ordered (tap, channel); gate_bias: [n, 2C].
        residual: [n - 1, C, C]; the last block has no residual path, since no block follows. residual_bias: [n - 1, C].
        projection: [n - 1, C, C].
        norm, norm_bias: [n, C], batch normalisation's scale and shift.
        mean, variance: [n, C], its running statistics.
    """

    gate: Tensor
    gate_bias: Tensor
    residual: Tensor
    residual_bias: Tensor
    projection: Any
    norm: Any
    norm_bias: Any
    mean: Any
    variance: Any


def _taps(x: Tensor, dilation: int, kernel: int) -> Tensor:
    """The inputs of each frame's dilated kernel: [batch, frames, channels] -> [batch * frames, kernel * channels]."""
    batch, frames, channels = x.shape
    reach = dilation * (kernel // 2)
    padded = F.pad(x, (0, 0, reach, reach))
    steps = (padded.stride(0), channels, dilation * channels, 1)
    return padded.as_strided((batch, frames, kernel, channels), steps).reshape(batch * frames, kernel * channels)


def _add_taps(x: Tensor, taps: Tensor, dilation: int, kernel: int) -> None:
    """The gradient of `_taps`: adds each tap to the frame it was taken from, in place."""
    frames, channels = x.shape[1:]
    columns = taps.view(*x.shape[:2], kernel, channels).unbind(2)
    for k, column in enumerate(columns):
        shift = (k - kernel // 2) * dilation  # the tap of frame t came from frame t + shift
        length = frames - abs(shift)
        if length > 0:
            x.narrow(1, max(0, shift), length).add_(column.narrow(1, max(0, -shift), length))


def _normalise(x: Tensor, valid: Tensor | None, weights: Weights, i: int, training: bool) -> tuple[Tensor, list[Tensor]]:
    """Batch normalisation of [frames of all reads, channels], with statistics over the valid frames only.

    Invalid frames become zero, like the zero padding of the convolution that follows.

    Returns:
        The normalised x; the tensors that its gradient needs.
    """
    inside = x if valid is None else x[valid]
    scale, shift, mean, variance = weights.norm[i], weights.norm_bias[i], weights.mean[i], weights.variance[i]
    out, batch_mean, batch_scale = torch.native_batch_norm(inside, scale, shift, mean, variance, training, MOMENTUM, EPSILON)
    if valid is not None:
        out = torch.zeros_like(x, dtype=out.dtype).masked_scatter_(valid[:, None], out)
    return out, [inside, batch_mean, batch_scale]


def _forward(
    x: Tensor, valid: Tensor | None, dilations: Sequence[int], training: bool, weights: Weights, keep: list[Any] | None
) -> Tensor:
    """Gated units of all blocks, [batch, frames, blocks * channels]; appends to `keep` what the gradient needs.

    In training, batch normalisation uses the batch's statistics and updates the running ones.
    tanh(a) is computed as 2 sigmoid(2a) - 1, since PyTorch's sigmoid is many times faster on a CPU than its tanh.
    """
    batch, frames, channels = x.shape
    kernel, blocks = weights.gate.shape[2] // channels, len(dilations)
    double = torch.ones(2 * channels, dtype=x.dtype, device=x.device)
    double[:channels] = 2
    gates = (weights.gate * double[:, None]).transpose(1, 2).unbind()
    gate_biases = (weights.gate_bias * double).unbind()
    residuals, residual_biases = weights.residual.transpose(1, 2).unbind(), weights.residual_bias.unbind()
    minus_one = torch.full((), -1.0, dtype=x.dtype)
    units = x.new_empty(batch * frames, blocks, channels)
    columns = units.unbind(1)
    flat = x.reshape(batch * frames, channels)
    ragged = None if valid is None else valid.reshape(-1)
    inside = None if ragged is None or weights.norm is not None else ragged[:, None].to(x.dtype)
    for i, dilation in enumerate(dilations):
        normal: list[Tensor] = []
        if weights.norm is not None:
            flat, normal = _normalise(flat, ragged, weights, i, training)
        elif inside is not None:
            flat = flat * inside
        taps = _taps(flat.view(batch, frames, channels), dilation, kernel)
        both = torch.addmm(gate_biases[i], taps, gates[i]).sigmoid_()
        tanh, sigmoid = both.split(channels, 1)
        torch.add(minus_one, tanh, alpha=2, out=tanh)
        torch.mul(tanh, sigmoid, out=columns[i])
        if keep is not None:
            keep.append((flat if weights.projection is not None else None, taps, both, normal))
        if i + 1 < blocks:
            through = flat if weights.projection is None else flat @ weights.projection[i].t()
            flat = torch.addmm(through, columns[i], residuals[i]).add_(residual_biases[i])
    return units.view(batch, frames, blocks * channels)


def _backward(
    g_units: Tensor,
    units: Tensor,
    valid: Tensor | None,
    dilations: Sequence[int],
    training: bool,
    weights: Weights,
    kept: list[Any],
) -> tuple[Tensor, list[Tensor | None]]:
    """Gradients of x, [batch, frames, channels], and of the weights in their order."""
    batch, frames = units.shape[:2]
    blocks = len(dilations)
    channels = units.shape[2] // blocks
    kernel = weights.gate.shape[2] // channels
    g_columns = g_units.reshape(batch * frames, blocks, channels).unbind(1)
    columns = units.view(batch * frames, blocks, channels).unbind(1)
    gates, residuals = weights.gate.unbind(), weights.residual.unbind()
    ragged = None if valid is None else valid.reshape(-1)
    inside = None if ragged is None or weights.norm is not None else ragged[:, None].to(units.dtype)
    g_weights: list[Any] = [None if w is None else torch.empty_like(w) for w in weights[:7]]
    g_gate, g_gate_bias, g_residual, g_residual_bias, g_projection, g_norm, g_norm_bias = g_weights
    g_x: Tensor | None = None
    g_both = units.new_empty(batch * frames, 2 * channels)
    g_a, g_b = g_both.split(channels, 1)
    g_halves, g_both_t = g_both.view(-1, 2, channels), g_both.t()
    g_gates, g_gate_biases = g_gate.unbind(), g_gate_bias.unbind()
    g_residuals, g_residual_biases = g_residual.unbind(), g_residual_bias.unbind()
    for i in reversed(range(blocks)):
        flat, taps, both, normal = kept[i]
        unit, g_unit = columns[i], g_columns[i]
        if g_x is None:
            g_x = torch.zeros_like(unit, memory_format=torch.contiguous_format)
        else:
            g_unit = torch.addmm(g_unit, g_x, residuals[i])
            torch.mm(g_x.t(), unit, out=g_residuals[i])
            torch.sum(g_x, 0, out=g_residual_biases[i])
            if weights.projection is not None:
                torch.mm(g_x.t(), flat, out=g_projection[i])
                g_x = g_x @ weights.projection[i]
        # unit = tanh sigmoid: d unit / da = sigmoid - unit tanh, d unit / db = unit - unit sigmoid
        tanh, sigmoid = both.split(channels, 1)
        torch.addcmul(sigmoid, unit, tanh, value=-1, out=g_a)
        torch.addcmul(unit, unit, sigmoid, value=-1, out=g_b)
        g_halves.mul_(g_unit[:, None])
        torch.mm(g_both_t, taps, out=g_gates[i])
        torch.sum(g_both, 0, out=g_gate_biases[i])
        _add_taps(g_x.view(batch, frames, channels), g_both @ gates[i], dilations[i], kernel)
        if weights.norm is not None:
            g_x, g_norm[i], g_norm_bias[i] = _normalise_backward(g_x, ragged, weights, i, training, normal)
        elif inside is not None:
            g_x *= inside
    assert g_x is not None
    return g_x.view(batch, frames, channels), g_weights


def _normalise_backward(
    g: Tensor, valid: Tensor | None, weights: Weights, i: int, training: bool, normal: list[Tensor]
) -> tuple[Tensor, Tensor, Tensor]:
    """The gradient of `_normalise`: of x, scale and shift."""
    x, mean, scale = normal
    g_inside, g_scale, g_shift = torch.ops.aten.native_batch_norm_backward(
        g if valid is None else g[valid],
        x,
        weights.norm[i],
        weights.mean[i],
        weights.variance[i],
        mean,
        scale,
        training,
        EPSILON,
        [True, True, True],
    )
    if valid is not None:
        g_inside = torch.zeros_like(g).masked_scatter_(valid[:, None], g_inside)
    return g_inside, g_scale, g_shift


class _TowerFunction(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, x: Tensor, valid: Tensor | None, dilations: Sequence[int], training: bool, *weights: Tensor | None
    ) -> Tensor:
        ctx.kept, ctx.valid, ctx.dilations, ctx.training = [], valid, dilations, training
        units = _forward(x, valid, dilations, training, Weights(*weights), ctx.kept)  # type: ignore[arg-type]
        ctx.save_for_backward(units, *weights[:7])  # so that weights changed in between are an error, not a wrong gradient
        ctx.statistics = weights[7:]  # these change with every batch, but the gradient in training does not depend on them
        return units

    @staticmethod
    @once_differentiable  # type: ignore[misc]
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        units, *weights = ctx.saved_tensors
        all_weights = Weights(*weights, *ctx.statistics)
        g_x, g_weights = _backward(gradients[0], units, ctx.valid, ctx.dilations, ctx.training, all_weights, ctx.kept)
        return (g_x, None, None, None, *g_weights, None, None)


class Tower(nn.Module):
    """Residual blocks of gated, dilated convolutions. Returns the gated units of all blocks, for the skip paths.

    Args:
        channels: width C.
        kernel: width K of the dilated convolutions, in frames; odd.
        dilations: dilations of the n blocks.
        batch_norm: whether to apply batch normalisation before each block, over valid frames only.
        projection: whether the residual path has a 1x1 convolution; it is the identity otherwise.
    """

    def __init__(self, channels: int, kernel: int, dilations: list[int], batch_norm: bool, projection: bool) -> None:
        super().__init__()
        n, c = len(dilations), channels
        self.dilations = tuple(dilations)
        self.gate = nn.Parameter(torch.empty(n, 2 * c, kernel * c))
        self.gate_bias = nn.Parameter(torch.zeros(n, 2 * c))
        self.residual = nn.Parameter(torch.empty(n - 1, c, c))
        self.residual_bias = nn.Parameter(torch.zeros(n - 1, c))
        self.projection = nn.Parameter(torch.empty(n - 1, c, c)) if projection else None
        self.norm = nn.Parameter(torch.ones(n, c)) if batch_norm else None
        self.norm_bias = nn.Parameter(torch.zeros(n, c)) if batch_norm else None
        self.register_buffer("mean", torch.zeros(n, c) if batch_norm else None)
        self.register_buffer("variance", torch.ones(n, c) if batch_norm else None)

    def forward(self, x: Tensor, valid: Tensor | None = None) -> Tensor:
        """The gated units of all blocks.

        Args:
            x: [batch, frames, C].
            valid: bool [batch, frames]; frames that are not valid are hidden from every block. None if all frames are valid.
        Returns:
            [batch, frames, n C].
        """
        weights = Weights(*(getattr(self, name) for name in Weights._fields))
        if torch.is_autocast_enabled(x.device.type):
            kind = torch.get_autocast_dtype(x.device.type)
            x = x.to(kind)
            weights = Weights(*(None if w is None else w.to(kind) for w in weights[:5]), *weights[5:])  # type: ignore[arg-type,call-arg]
        with torch.autocast(x.device.type, enabled=False):
            if torch.is_grad_enabled():
                units: Tensor = _TowerFunction.apply(x, valid, self.dilations, self.training, *weights)
            else:
                units = _forward(x, valid, self.dilations, self.training, weights, None)
        return units
