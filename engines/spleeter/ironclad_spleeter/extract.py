"""Makes the file of `weights` from a published checkpoint: ``python -m ironclad_spleeter.extract``.

Runs once per model in the environment that has TensorFlow; the default engine needs only the file. The same
checkpoint gives the same bytes.
"""

import argparse
import os
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow

from ironclad_harness.engine import EngineError, Samples
from ironclad_spleeter.checkpoint import find_checkpoint
from ironclad_spleeter.configuration import CONFIGURATIONS, LEVELS, Configuration
from ironclad_spleeter.weights import expected_shapes, write_weights

NORMALISATION_EPSILON = 1e-3
"""Keras' default for `BatchNormalization`, which Spleeter leaves as it is."""

_OUT_FIRST = (3, 2, 0, 1)
"""From TensorFlow's (height, width, a, b) to (b, a, height, width): (out, in), or (in, out) where transposed."""


Reader = Any  # TensorFlow's CheckpointReader, which has no types


def main(arguments: Sequence[str]) -> int:
    """Extract one model; return the process's exit status."""
    parser = argparse.ArgumentParser(prog="ironclad_spleeter.extract", description=__doc__)
    parser.add_argument("--source", type=Path, required=True, help="the models folder")
    parser.add_argument("--weights", choices=sorted(CONFIGURATIONS), required=True)
    parser.add_argument("--output", type=Path, required=True, help="the file to write")
    options = parser.parse_args(arguments)
    configuration = CONFIGURATIONS[options.weights]
    try:
        arrays = extract(options.source / options.weights, configuration=configuration)
    except EngineError as error:
        sys.stderr.write(f"{error}\n")
        return 1
    with options.output.open("wb") as stream:
        write_weights(stream, arrays=arrays, configuration=configuration)
        stream.flush()
        os.fsync(stream.fileno())
    return 0


def extract(folder: Path, *, configuration: Configuration) -> dict[str, Samples]:
    """Return the arrays of every network of the checkpoint in `folder`, named ``instrument/layer/array``.

    Raises:
        EngineError: ``model_missing``: files are missing; ``model_damaged``: it is no checkpoint of this model.
    """
    prefix = find_checkpoint(folder)
    try:
        reader = tensorflow.train.load_checkpoint(prefix)
        return {
            f"{instrument}/{name}": array
            for number, instrument in enumerate(configuration.instruments)
            for name, array in _network(reader, number=number)
        }
    except (tensorflow.errors.OpError, RuntimeError, ValueError, KeyError) as error:
        raise EngineError("model_damaged", f"{prefix} is no checkpoint of {configuration.weights}: {error}") from error


def _network(reader: Reader, *, number: int) -> Iterator[tuple[str, Samples]]:
    """Yield the arrays of the network of instrument `number`.

    Keras numbers layers of a kind through all networks: seven convolutions each, six transposed ones and
    twelve normalisations.
    """
    found: dict[str, Samples] = {}
    for level in range(1, LEVELS + 1):
        _add_convolution(found, f"down{level}", reader=reader, variable=_variable("conv2d", 7 * number + level - 1))
        _add_convolution(
            found, f"up{level}", reader=reader, variable=_variable("conv2d_transpose", 6 * number + level - 1)
        )
        for layer, place in ((f"down{level}", level - 1), (f"up{level}", LEVELS + level - 1)):
            variable = _variable("batch_normalization", 12 * number + place)
            _add_normalisation(found, layer, reader=reader, variable=variable)
    _add_convolution(found, "last", reader=reader, variable=_variable("conv2d", 7 * number + LEVELS))
    filters = tuple(found[f"down{level}/bias"].size for level in range(1, LEVELS + 1))
    for name, shape in expected_shapes(filters).items():
        if found[name].shape != shape:
            raise ValueError(f"{name} of network {number} has the shape {found[name].shape}, not {shape}")
        yield name, found[name]


def _variable(kind: str, number: int) -> str:
    return f"{kind}_{number}" if number else kind


def _add_convolution(found: dict[str, Samples], layer: str, *, reader: Reader, variable: str) -> None:
    found[f"{layer}/kernel"] = reader.get_tensor(f"{variable}/kernel").transpose(_OUT_FIRST)
    found[f"{layer}/bias"] = reader.get_tensor(f"{variable}/bias")


def _add_normalisation(found: dict[str, Samples], layer: str, *, reader: Reader, variable: str) -> None:
    names = ("gamma", "beta", "moving_mean", "moving_variance")
    gamma, beta, mean, variance = (reader.get_tensor(f"{variable}/{name}").astype(np.float64) for name in names)
    scale = gamma / np.sqrt(variance + NORMALISATION_EPSILON)
    found[f"{layer}/scale"] = scale.astype(np.float32)
    found[f"{layer}/shift"] = (beta - mean * scale).astype(np.float32)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
