"""What Spleeter's 16 kHz configurations fix: the transform, the networks' kinds, the names of their instruments.

Numbers and names alone, from `spleeter/resources/*-16kHz.json` and `spleeter/model/` of spleeter 2.4.2. How
weights are stored belongs to `weights`, what is computed to `spectrum`, `network` and `reference`.
"""

from dataclasses import dataclass
from typing import Literal

SAMPLE_RATE_HZ = 44_100
CHANNELS = 2
FRAME = 4096
STEP = 1024
SEGMENT = 512
"""Frames of the spectrogram that the networks see at once."""

BINS = FRAME // 2 + 1
MODEL_BINS = 1536
"""Bins that the networks see: up to 16.5 kHz."""

GAIN = 2 / 3
"""Undoes a Hann window applied twice with steps of a quarter frame."""

EPSILON = 1e-10
LEVELS = 6
"""Convolutions on the way down, and on the way up."""

REFERENCE_SUFFIX = "-reference"

Activation = Literal["LeakyReLU", "ReLU", "ELU"]


@dataclass(frozen=True, slots=True)
class Configuration:
    """One of the published models.

    Attributes:
        weights: name of its weights, and of the folder of its checkpoint.
        instruments: in the order of its networks.
        down: activation after convolutions.
        up: activation after transposed convolutions.
        softmax: whether the networks' outputs compete (5 stems), or each is a mask of its own.
    """

    weights: str
    instruments: tuple[str, ...]
    down: Activation
    up: Activation
    softmax: bool


_ALL = (
    Configuration("2stems", ("vocals", "accompaniment"), down="LeakyReLU", up="ReLU", softmax=False),
    Configuration("4stems", ("vocals", "drums", "bass", "other"), down="ELU", up="ELU", softmax=False),
    Configuration("5stems", ("vocals", "piano", "drums", "bass", "other"), down="ELU", up="ELU", softmax=True),
)
CONFIGURATIONS = {each.weights: each for each in _ALL}


def find_configuration(model: str) -> Configuration:
    """Return the configuration of a model of `engine.toml`, fast or reference.

    Raises:
        KeyError: there is no such model.
    """
    return CONFIGURATIONS[model.removesuffix(REFERENCE_SUFFIX)]
