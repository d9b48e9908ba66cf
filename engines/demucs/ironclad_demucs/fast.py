"""HTDemucs for a CPU: the package's network, computed with less memory traffic.

Takes the package's own network with its weights and computes what its `forward` does, window by window. What is
not of the kind of the author's networks is left to the package.
"""

import torch
from demucs.hdemucs import HDecLayer, HEncLayer
from demucs.htdemucs import HTDemucs
from demucs.spec import ispectro
from torch import Tensor, nn
from torch.nn import functional

from ironclad_demucs.fast_layers import ResidualBranch, SpectralDecoder, SpectralEncoder, TimeDecoder, TimeEncoder
from ironclad_demucs.fast_transformer import FastTransformer

_TAKEN_OVER = (
    "encoder",
    "tencoder",
    "decoder",
    "tdecoder",
    "crosstransformer",
    "channel_upsampler",
    "channel_upsampler_t",
    "channel_downsampler",
    "channel_downsampler_t",
)

EPSILON = 1e-5
"""Added to a window's standard deviation, as in `demucs.htdemucs.HTDemucs.forward`."""


def accelerate(network: nn.Module) -> nn.Module:
    """Return what computes `network` fastest on a CPU: `FastHTDemucs` where it can, else the network itself.

    Layers whose weights were taken over are removed from `network`, which keeps only what describes it.
    """
    if not supports(network):
        return network
    fast = FastHTDemucs(network)
    for name in _TAKEN_OVER:
        delattr(network, name)
    return fast


def supports(network: nn.Module) -> bool:
    """Return whether `FastHTDemucs` computes what `network` does."""
    return (
        isinstance(network, HTDemucs)
        and network.cac
        and network.use_train_segment
        and bool(network.bottom_channels)
        and network.crosstransformer is not None
        and FastTransformer.supports(network.crosstransformer)
        and len(network.tencoder) == len(network.encoder)
        and all(_supports_layer(layer) for layer in [*network.encoder, *network.tencoder])
        and all(_supports_layer(layer) for layer in [*network.decoder, *network.tdecoder])
    )


def _supports_layer(layer: nn.Module) -> bool:
    if not isinstance(layer, HEncLayer | HDecLayer) or layer.empty or layer.norm or layer.rewrite is None:
        return False
    if layer.pad * 4 != layer.kernel_size or layer.kernel_size != 2 * layer.stride:
        return False
    if isinstance(layer, HEncLayer) and layer.rewrite.kernel_size not in ((1,), (1, 1)):
        return False
    if isinstance(layer, HDecLayer) and not layer.context_freq:
        return False
    return not layer.dconv or ResidualBranch.supports(layer.dconv)


class FastHTDemucs(nn.Module):
    """`demucs.htdemucs.HTDemucs` on a CPU; see `supports`."""

    def __init__(self, network: HTDemucs) -> None:
        super().__init__()
        self._network = network
        self._encoders = [SpectralEncoder(layer) for layer in network.encoder]
        self._time_encoders = [TimeEncoder(layer) for layer in network.tencoder]
        self._decoders = [SpectralDecoder(layer) for layer in network.decoder]
        self._time_decoders = [TimeDecoder(layer) for layer in network.tdecoder]
        self._transformer = FastTransformer(network)
        self._frequencies = None
        if network.freq_emb is not None:
            self._frequencies = (network.freq_emb_scale * network.freq_emb.weight)[..., None]

    def forward(self, mix: Tensor) -> Tensor:
        """Return the sources of `mix`, shape (windows, channels, frames) to (windows, sources, channels, frames)."""
        return torch.stack([self._separate(window) for window in mix])

    def _separate(self, mix: Tensor) -> Tensor:
        network, frames = self._network, mix.shape[1]
        whole = int(network.segment * network.samplerate)
        mix = functional.pad(mix, (0, whole - frames))
        spectrum = network._magnitude(network._spec(mix[None]))[0]
        spectra, waves = self._through(spectrum, mix)
        found = self._to_samples(spectra, frames=whole).add_(waves)
        return found.view(len(network.sources), -1, whole)[..., :frames]

    def _through(self, spectrum: Tensor, mix: Tensor) -> tuple[Tensor, Tensor]:
        """Return the spectra and the waves that add up to the sources.

        Shapes (frequencies, sources * channels * 2, times) and (sources * channels, frames).
        """
        x, mean, std = _normalise(spectrum)
        xt, time_mean, time_std = _normalise(mix)
        pads = [encoder.pad for encoder in self._encoders] + [0]
        x = functional.pad(x.transpose(0, 1), (0, 0, 0, 0, pads[0], pads[0]))
        skips, time_skips, lengths = [], [], []
        for number, (encoder, time_encoder) in enumerate(zip(self._encoders, self._time_encoders, strict=True)):
            lengths.append(xt.shape[1])
            pad = pads[number + 1]
            x, xt = encoder(x, pad=pad), time_encoder(xt)
            inner = x[pad : len(x) - pad]
            if number == 0 and self._frequencies is not None:
                inner += self._frequencies
            skips.append(inner)
            time_skips.append(xt)
        x, xt = self._transformer(x, xt)
        for decoder, time_decoder in zip(self._decoders, self._time_decoders, strict=True):
            last = {"scale": std, "offset": mean} if decoder is self._decoders[-1] else {}
            time_last = {"scale": time_std, "offset": time_mean} if last else {}
            x = decoder(x, skip=skips.pop(), **last)
            xt = time_decoder(xt, skip=time_skips.pop(), length=lengths.pop(), **time_last)
        return x, xt

    def _to_samples(self, spectra: Tensor, *, frames: int) -> Tensor:
        """Return the inverse transform as `HTDemucs._ispec` computes it, shape (sources * channels, frames)."""
        hop = self._network.hop_length
        rows, _, times = spectra.shape
        pairs = spectra.view(rows, -1, 2, times).permute(1, 2, 0, 3)
        padded = torch.empty(pairs.shape[0], rows + 1, times + 4, dtype=torch.complex64)
        padded[:, rows] = 0
        padded[..., :2] = 0
        padded[..., 2 + times :] = 0
        padded[:, :rows, 2 : 2 + times] = torch.complex(pairs[:, 0], pairs[:, 1])
        lead = hop // 2 * 3
        return ispectro(padded, hop, length=hop * times + 2 * lead)[:, lead : lead + frames]


def _normalise(x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    std, mean = torch.std_mean(x)
    return (x - mean) / (EPSILON + std), mean, std
