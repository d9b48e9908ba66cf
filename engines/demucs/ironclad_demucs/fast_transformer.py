"""HTDemucs' transformer for a CPU: the same layers with scales folded into weights and nothing turned round."""

from collections.abc import Sequence

import torch
from demucs.htdemucs import HTDemucs
from demucs.transformer import (
    CrossTransformerEncoder,
    CrossTransformerEncoderLayer,
    MyGroupNorm,
    MyTransformerEncoderLayer,
    create_2d_sin_embedding,
    create_sin_embedding,
)
from einops import rearrange
from torch import Tensor, nn
from torch.nn import functional

ROWS = 672
"""Tokens of the feed-forward part at a time: their hidden values then fit the third-level cache."""


class Attention:
    """`torch.nn.MultiheadAttention` without masks or dropout, its output times a scale. Shapes (tokens, channels)."""

    def __init__(self, attention: nn.MultiheadAttention, *, scale: Tensor) -> None:
        self._heads, self._channels = attention.num_heads, attention.embed_dim
        self._weight, self._bias = attention.in_proj_weight, attention.in_proj_bias
        self._out = scale[:, None] * attention.out_proj.weight
        self._out_bias = scale * attention.out_proj.bias

    def within(self, x: Tensor) -> Tensor:
        """Return the attention of x to itself."""
        query, key, value = functional.linear(x, self._weight, self._bias).chunk(3, dim=1)
        return self._attend(query, key, value)

    def across(self, x: Tensor, *, to: Tensor) -> Tensor:
        """Return the attention of x to other tokens."""
        own, split = self._channels, [self._channels, 2 * self._channels]
        weight, other_weight = self._weight.split(split)
        bias, other_bias = self._bias.split(split)
        query = functional.linear(x, weight, bias)
        key, value = functional.linear(to, other_weight, other_bias).split(own, dim=1)
        return self._attend(query, key, value)

    def _attend(self, query: Tensor, key: Tensor, value: Tensor) -> Tensor:
        found = functional.scaled_dot_product_attention(
            self._heads_of(query), self._heads_of(key), self._heads_of(value)
        )
        joined = found[0].transpose(0, 1).reshape(len(query), self._channels)
        return functional.linear(joined, self._out, self._out_bias)

    def _heads_of(self, x: Tensor) -> Tensor:
        return x.view(1, len(x), self._heads, -1).transpose(1, 2)


class FeedForward:
    """Norm, two products with GELU between them, and a scale. Shape (tokens, channels)."""

    def __init__(self, norm: nn.LayerNorm, first: nn.Linear, last: nn.Linear, *, scale: Tensor) -> None:
        self._norm, self._first = norm, first
        self._last, self._bias = scale[:, None] * last.weight, scale * last.bias

    def add_to(self, x: Tensor) -> Tensor:
        """Return x plus this, in x's memory."""
        for rows in x.split(ROWS):
            hidden = torch.ops.aten.gelu_(self._first(self._norm(rows)))
            rows += functional.linear(hidden, self._last, self._bias)
        return x


class OutputNorm:
    """`demucs.transformer.MyGroupNorm` of one group: over all tokens and channels."""

    def __init__(self, norm: MyGroupNorm) -> None:
        self._weight, self._bias, self._epsilon = norm.weight, norm.bias, norm.eps

    def __call__(self, x: Tensor) -> Tensor:
        # Without weights a norm over everything does not care which dimension the channels are.
        plain = functional.layer_norm(x, x.shape, eps=self._epsilon)
        return torch.addcmul(self._bias, plain, self._weight, out=plain)


class Layer:
    """One layer of one branch: attention within the branch, or across to the other one."""

    def __init__(self, layer: MyTransformerEncoderLayer | CrossTransformerEncoderLayer) -> None:
        self._crosses = isinstance(layer, CrossTransformerEncoderLayer)
        attention = layer.cross_attn if self._crosses else layer.self_attn
        self._attention = Attention(attention, scale=layer.gamma_1.scale)
        self._norm, self._other_norm = layer.norm1, layer.norm2 if self._crosses else None
        norm = layer.norm3 if self._crosses else layer.norm2
        self._forward = FeedForward(norm, layer.linear1, layer.linear2, scale=layer.gamma_2.scale)
        self._last = OutputNorm(layer.norm_out)

    @staticmethod
    def supports(layer: nn.Module) -> bool:
        """Return whether the layer is of the kind that the author's networks have."""
        return (
            isinstance(layer, MyTransformerEncoderLayer | CrossTransformerEncoderLayer)
            and not layer.sparse
            and layer.norm_first
            and isinstance(layer.norm1, nn.LayerNorm)
            and isinstance(layer.norm2, nn.LayerNorm)
            and isinstance(layer.norm_out, MyGroupNorm)
            and layer.norm_out.num_groups == 1
            and hasattr(layer.gamma_1, "scale")
            and layer.activation is functional.gelu
        )

    def __call__(self, x: Tensor, *, other: Tensor) -> Tensor:
        """Return the branch x after this layer; `other` is the other branch before it."""
        if self._other_norm is not None:
            found = self._attention.across(self._norm(x), to=self._other_norm(other))
        else:
            found = self._attention.within(self._norm(x))
        return self._last(self._forward.add_to(x + found))


class FastTransformer:
    """`demucs.transformer.CrossTransformerEncoder` for one window, with the change of channels around it."""

    def __init__(self, network: HTDemucs) -> None:
        transformer = network.crosstransformer
        self._up, self._time_up = _linear(network.channel_upsampler), _linear(network.channel_upsampler_t)
        self._down, self._time_down = _linear(network.channel_downsampler), _linear(network.channel_downsampler_t)
        self._norm, self._time_norm = transformer.norm_in, transformer.norm_in_t
        self._layers = [Layer(layer) for layer in transformer.layers]
        self._time_layers = [Layer(layer) for layer in transformer.layers_t]
        self._weight, self._period = transformer.weight_pos_embed, transformer.max_period
        self._positions: dict[Sequence[int], Tensor] = {}

    @staticmethod
    def supports(transformer: CrossTransformerEncoder) -> bool:
        """Return whether all layers are of the kind that the author's networks have."""
        return (
            transformer.emb == "sin"
            and transformer.sin_random_shift == 0
            and all(Layer.supports(layer) for layer in [*transformer.layers, *transformer.layers_t])
        )

    def __call__(self, x: Tensor, xt: Tensor) -> tuple[Tensor, Tensor]:
        """Return both branches after all layers.

        Args:
            x: the spectral branch, shape (frequencies, channels, times).
            xt: the branch in time, shape (channels, times).
        """
        rows, channels, times = x.shape
        x = self._norm(self._up(x.permute(2, 0, 1).reshape(times * rows, channels)))
        xt = self._time_norm(self._time_up(xt.t()))
        x += self._spectral_positions(rows, x.shape[1], times)
        xt += self._time_positions(*xt.shape)
        for layer, time_layer in zip(self._layers, self._time_layers, strict=True):
            x, xt = layer(x, other=xt), time_layer(xt, other=x)
        x = self._down(x).view(times, rows, channels).permute(1, 2, 0).contiguous()
        return x, self._time_down(xt).t().contiguous()

    def _spectral_positions(self, rows: int, channels: int, times: int) -> Tensor:
        key = (rows, channels, times)
        if key not in self._positions:
            positions = create_2d_sin_embedding(channels, rows, times, "cpu", self._period)
            self._positions[key] = self._weight * rearrange(positions, "1 c f t -> (t f) c").contiguous()
        return self._positions[key]

    def _time_positions(self, times: int, channels: int) -> Tensor:
        key = (times, channels)
        if key not in self._positions:
            positions = create_sin_embedding(times, channels, shift=0, device="cpu", max_period=self._period)
            self._positions[key] = self._weight * positions[:, 0]
        return self._positions[key]


def _linear(layer: nn.Conv1d) -> nn.Linear:
    """Return a convolution of width 1 as a product over tokens."""
    linear = nn.Linear(layer.in_channels, layer.out_channels)
    linear.weight, linear.bias = nn.Parameter(layer.weight[..., 0], requires_grad=False), layer.bias
    return linear
