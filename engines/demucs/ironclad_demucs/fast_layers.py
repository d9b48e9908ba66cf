"""The convolutional layers of HTDemucs for a CPU: the same sums as the package's, arranged for its caches.

The package keeps the spectral branch as (channels, frequencies, times) and turns it round for every residual
branch. Here it is (frequencies, channels, times) throughout. Then the rows that one output frequency needs lie
in one piece of memory, so that every convolution is a product of matrices over a view, without a copy; and all
steps of a layer are done for a few frequencies at a time, while they are in the cache.
"""

from collections.abc import Iterator

import torch
from demucs.demucs import DConv
from demucs.hdemucs import HDecLayer, HEncLayer
from demucs.transformer import LayerScale
from torch import Tensor, nn
from torch.nn import functional

gelu_ = torch.ops.aten.gelu_

BLOCK_FLOATS = 600_000
"""Samples of a layer's widest activation that are worked on at once: a few of them fit the second-level cache."""


def blocks(rows: int, *, floats_per_row: int) -> Iterator[slice]:
    """Yield slices of `rows` small enough for the cache."""
    step = max(1, min(rows, BLOCK_FLOATS // floats_per_row))
    for first in range(0, rows, step):
        yield slice(first, min(rows, first + step))


def product(weights: Tensor, given: Tensor) -> Tensor:
    """Return ``weights @ given[n]`` for every n. Shapes (out, in), (n, in, times) to (n, out, times)."""
    if len(given) == 1:
        return torch.mm(weights, given[0])[None]
    return torch.bmm(weights.expand(len(given), *weights.shape), given)


class ResidualBranch:
    """`demucs.demucs.DConv` without recurrence and attention. The scale of each branch is part of its last norm."""

    def __init__(self, branch: DConv) -> None:
        self._steps = [ResidualStep(layer) for layer in branch.layers]

    @staticmethod
    def supports(branch: DConv) -> bool:
        """Return whether the branch is made of convolutions alone."""
        kinds = (nn.Conv1d, nn.GroupNorm, nn.GELU, nn.Conv1d, nn.GroupNorm, nn.GLU, LayerScale)
        return all(
            len(layer) == len(kinds)
            and all(isinstance(part, kind) for part, kind in zip(layer, kinds, strict=True))
            and layer[0].kernel_size == (3,)
            for layer in branch.layers
        )

    def add_to(self, x: Tensor) -> Tensor:
        """Return x plus its branches, in x's memory. Shape (n, channels, times)."""
        for step in self._steps:
            x += step(x)
        return x


class ResidualStep:
    """One of the branches: a dilated convolution to few channels and a product back to many."""

    def __init__(self, layer: nn.Sequential) -> None:
        first, self._norm, _, last, last_norm, _, scale = layer
        # All three taps in one product: with so few outputs each alone would leave the processor idle.
        self._taps = first.weight.permute(2, 0, 1).reshape(-1, first.in_channels).contiguous()
        self._bias, self._dilation = first.bias[:, None], first.dilation[0]
        # The bias is one more input that is always 1.
        self._widen = torch.cat([last.weight[..., 0], last.bias[:, None]], dim=1)
        # The first half of a gated linear unit may be scaled before the gate.
        factors = torch.cat([scale.scale, torch.ones_like(scale.scale)])
        self._last_weight, self._last_bias = last_norm.weight * factors, last_norm.bias * factors
        self._epsilon = last_norm.eps

    def __call__(self, x: Tensor) -> Tensor:
        """Return what the branch adds to x, shape (n, channels, times)."""
        early, now, late = product(self._taps, x).chunk(3, dim=1)
        hidden = now + self._bias
        hidden[..., self._dilation :] += early[..., : -self._dilation]
        hidden[..., : -self._dilation] += late[..., self._dilation :]
        norm = self._norm
        hidden = functional.group_norm(hidden, norm.num_groups, norm.weight, norm.bias, norm.eps)
        given = hidden.new_ones(len(hidden), hidden.shape[1] + 1, hidden.shape[2])
        given[:, :-1] = gelu_(hidden)
        wide = functional.group_norm(product(self._widen, given), 1, self._last_weight, self._last_bias, self._epsilon)
        return functional.glu(wide, dim=1)


class SpectralEncoder:
    """`demucs.hdemucs.HEncLayer` over frequencies, on (frequencies, channels, times).

    Attributes:
        pad: rows of zeros that must stand before and after the input.
    """

    def __init__(self, layer: HEncLayer) -> None:
        kernel, channels = layer.kernel_size, layer.conv.out_channels
        self.pad, self._stride, self._kernel, self._channels = layer.pad, layer.stride, kernel, channels
        # (out, in, kernel, 1) to (out, kernel * in): the order in which rows follow each other in memory.
        self._weight = layer.conv.weight[..., 0].permute(0, 2, 1).reshape(channels, -1).contiguous()
        self._bias = layer.conv.bias[:, None]
        self._branch = ResidualBranch(layer.dconv) if layer.dconv else None
        self._rewrite = layer.rewrite.weight.reshape(2 * channels, channels).contiguous()
        self._rewrite_bias = layer.rewrite.bias[:, None]

    def __call__(self, padded: Tensor, *, pad: int) -> Tensor:
        """Return the layer's output, with `pad` rows of zeros before and after it.

        Args:
            padded: shape (pad + frequencies + pad, channels, times).
            pad: what the next layer wants.
        """
        rows, channels, times = padded.shape
        count = (rows - self._kernel) // self._stride + 1
        slabs = padded.as_strided((count, self._kernel * channels, times), (self._stride * channels * times, times, 1))
        found = padded.new_empty(count + 2 * pad, self._channels, times)
        found[:pad] = 0
        found[pad + count :] = 0
        for here in blocks(count, floats_per_row=2 * self._channels * times):
            y = gelu_(product(self._weight, slabs[here]).add_(self._bias))
            if self._branch is not None:
                y = self._branch.add_to(y)
            wide = product(self._rewrite, y).add_(self._rewrite_bias)
            torch.ops.aten.glu.out(wide, 1, out=found[pad + here.start : pad + here.stop])
        return found


class SpectralDecoder:
    """`demucs.hdemucs.HDecLayer` over frequencies, on (frequencies, channels, times)."""

    def __init__(self, layer: HDecLayer) -> None:
        self._channels, self._out = layer.chin, layer.conv_tr.out_channels
        self._stride, self._pad, self._last = layer.stride, layer.pad, layer.last
        # (2 * channels, channels, frequency taps, time taps) to one matrix per time tap.
        weight = layer.rewrite.weight
        self._taps = [
            weight[..., tap].permute(0, 2, 1).reshape(len(weight), -1).contiguous() for tap in range(weight.shape[-1])
        ]
        self._reach = weight.shape[-1] // 2
        self._rewrite_bias = layer.rewrite.bias[:, None]
        self._branch = ResidualBranch(layer.dconv) if layer.dconv else None
        # (in, out, kernel, 1) to (kernel * out, in): an input row's shares in the output rows, one below another.
        self._spread = layer.conv_tr.weight[..., 0].permute(2, 1, 0).reshape(-1, self._channels).contiguous()
        self._bias = layer.conv_tr.bias[:, None]

    def __call__(self, x: Tensor, *, skip: Tensor, scale: Tensor | float = 1.0, offset: Tensor | float = 0.0) -> Tensor:
        """Return the layer's output for x plus skip, shape (frequencies, channels, times) throughout.

        Args:
            x: what comes from the layer before.
            skip: what the encoder made.
            scale: multiplies the output of the last layer.
            offset: is added to it then.
        """
        rows, channels, times = x.shape
        stride = self._stride
        padded = self._pad_sum(x, skip)
        spread_weight, bias = self._spread * scale, self._bias * scale + offset
        found = x.new_empty((rows + 1) * stride, self._out, times)
        carried = x.new_zeros(stride, self._out, times)
        for here in blocks(rows, floats_per_row=2 * channels * times):
            count = here.stop - here.start
            y = self._mix(padded, first=here.start, count=count, times=times)
            if self._branch is not None:
                y = self._branch.add_to(y)
            spread = product(spread_weight, y).view(count, 2, stride, self._out, times)
            target = found[here.start * stride : here.stop * stride].view(count, stride, self._out, times)
            torch.add(spread[:, 0], bias, out=target)
            target[0] += carried
            target[1:] += spread[:-1, 1]
            carried = spread[-1, 1].clone()
            if not self._last:
                gelu_(target)
        rest = torch.add(carried, bias, out=found[rows * stride :])
        if not self._last:
            gelu_(rest)
        return found[self._pad : -self._pad]

    def _pad_sum(self, x: Tensor, skip: Tensor) -> Tensor:
        rows, channels, times = x.shape
        reach = self._reach
        padded = x.new_empty(rows + 2 * reach, channels, times + 2 * reach)
        padded[:reach] = 0
        padded[reach + rows :] = 0
        padded[..., :reach] = 0
        padded[..., reach + times :] = 0
        torch.add(x, skip, out=padded[reach : reach + rows, :, reach : reach + times])
        return padded

    def _mix(self, padded: Tensor, *, first: int, count: int, times: int) -> Tensor:
        channels, wide_times = padded.shape[1:]
        found = self._rewrite_bias.expand(count, -1, times)
        for tap, weights in enumerate(self._taps):
            slabs = padded.as_strided(
                (count, len(self._taps) * channels, times),
                (channels * wide_times, wide_times, 1),
                first * channels * wide_times + tap,
            )
            matrices = weights.expand(count, *weights.shape)
            found = found.baddbmm_(matrices, slabs) if tap else torch.baddbmm(found, matrices, slabs)
        return functional.glu(found, dim=1)


class TimeEncoder:
    """`demucs.hdemucs.HEncLayer` in time, on (channels, times)."""

    def __init__(self, layer: HEncLayer) -> None:
        self._conv, self._stride = layer.conv, layer.stride
        self._branch = ResidualBranch(layer.dconv) if layer.dconv else None
        self._rewrite, self._rewrite_bias = layer.rewrite.weight[..., 0].contiguous(), layer.rewrite.bias[:, None]

    def __call__(self, x: Tensor) -> Tensor:
        """Return the layer's output for x, shape (channels, times) on both sides."""
        x = functional.pad(x, (0, -x.shape[1] % self._stride))
        y = gelu_(self._conv(x[None]))
        if self._branch is not None:
            y = self._branch.add_to(y)
        wide = torch.addmm(self._rewrite_bias, self._rewrite, y[0])
        return functional.glu(wide, dim=0)


class TimeDecoder:
    """`demucs.hdemucs.HDecLayer` in time, on (channels, times)."""

    def __init__(self, layer: HDecLayer) -> None:
        self._rewrite = layer.rewrite
        self._branch = ResidualBranch(layer.dconv) if layer.dconv else None
        self._stride, self._pad, self._last = layer.stride, layer.pad, layer.last
        self._out = layer.conv_tr.out_channels
        self._spread = layer.conv_tr.weight.permute(2, 1, 0).reshape(-1, layer.chin).contiguous()
        self._bias = layer.conv_tr.bias[:, None]

    def __call__(
        self, x: Tensor, *, skip: Tensor, length: int, scale: Tensor | float = 1.0, offset: Tensor | float = 0.0
    ) -> Tensor:
        """Return the layer's output for x plus skip, shape (channels, times); `length` frames of it.

        `scale` and `offset` are as those of `SpectralDecoder`.
        """
        y = functional.glu(self._rewrite((x + skip)[None]), dim=1)
        if self._branch is not None:
            y = self._branch.add_to(y)
        times, stride = y.shape[2], self._stride
        spread = torch.mm(self._spread * scale, y[0]).view(2, stride, self._out, times)
        # What two neighbours give to the same output frames, then the frames of one step beside each other.
        steps = functional.pad(spread[0], (0, 1))
        steps[..., 1:] += spread[1]
        found = steps.permute(1, 2, 0).reshape(self._out, (times + 1) * stride)[:, self._pad : self._pad + length]
        found = found + (self._bias * scale + offset)
        return found if self._last else gelu_(found)
