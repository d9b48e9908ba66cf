"""The weights of a model in one file of plain arrays, and the names of the arrays in it.

The file has the layout of safetensors (a length, a JSON header, raw little-endian float32) with every byte
determined by the arrays, and is mapped into memory instead of read. What makes the arrays belongs to
`extract`, what computes with them to `network`.
"""

import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from ironclad_harness.engine import EngineError, Samples
from ironclad_spleeter.configuration import CHANNELS, LEVELS, Configuration

FORMAT = "ironclad-spleeter-1"
SUFFIX = ".safetensors"
KERNEL = 5
LAST_KERNEL = 4

_ALIGNMENT = 8
_LENGTH_BYTES = 8
_LARGEST_HEADER = 2**20

Arrays = Mapping[str, Samples]


def expected_shapes(filters: tuple[int, ...]) -> dict[str, tuple[int, ...]]:
    """Return the shape of every array of one instrument's network, in the order of the file.

    Kernels of ``down`` and ``last`` are (out, in, height, width), of ``up`` (in, out, height, width), where
    height is time and width is frequency. ``scale`` and ``shift`` are a batch normalisation as the trained
    network applies it.

    Args:
        filters: channels after each convolution on the way down, six of them.
    """
    shapes: dict[str, tuple[int, ...]] = {}
    before = CHANNELS
    for level, out in enumerate(filters, start=1):
        shapes[f"down{level}/kernel"] = (out, before, KERNEL, KERNEL)
        shapes[f"down{level}/bias"] = (out,)
        if level < LEVELS:  # the package normalises the last level too, but nothing reads the result
            shapes[f"down{level}/scale"] = shapes[f"down{level}/shift"] = (out,)
        before = out
    for level, out in enumerate((*filters[-2::-1], 1), start=1):
        shapes[f"up{level}/kernel"] = (before, out, KERNEL, KERNEL)
        for name in ("bias", "scale", "shift"):
            shapes[f"up{level}/{name}"] = (out,)
        before = 2 * out  # the way down's output of the same size beside it
    shapes["last/kernel"] = (CHANNELS, 1, LAST_KERNEL, LAST_KERNEL)
    shapes["last/bias"] = (CHANNELS,)
    return shapes


def write_weights(stream: BinaryIO, *, arrays: Arrays, configuration: Configuration) -> None:
    """Write `arrays`, named ``instrument/layer/array``, as one file."""
    header: dict[str, Any] = {"__metadata__": {"format": FORMAT, "weights": configuration.weights}}
    end = 0
    for name, array in arrays.items():
        header[name] = {"dtype": "F32", "shape": list(array.shape), "data_offsets": [end, end + array.nbytes]}
        end += array.nbytes
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % _ALIGNMENT)
    stream.write(len(text).to_bytes(_LENGTH_BYTES, "little"))
    stream.write(text)
    for array in arrays.values():
        stream.write(np.ascontiguousarray(array, dtype="<f4").tobytes())


def read_weights(path: Path, *, configuration: Configuration) -> dict[str, dict[str, Samples]]:
    """Return the arrays of each instrument's network by ``layer/array``, mapped from `path`.

    Raises:
        EngineError: ``model_damaged``: another model's file, or arrays are missing or of other shapes.
    """
    try:
        header, start = _read_header(path)
        metadata = header.pop("__metadata__")
        if metadata != {"format": FORMAT, "weights": configuration.weights}:
            raise ValueError(f"it holds {metadata}, not {configuration.weights} in {FORMAT}")
        content = np.memmap(path, dtype=np.uint8, mode="c", offset=start)  # OpenVINO shares only writable arrays
        arrays = {name: _array(content, entry=entry) for name, entry in header.items()}
        return {name: _of_instrument(arrays, instrument=name) for name in configuration.instruments}
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        detail = f"{path} is not usable: {error!r}; fetch the model again"
        raise EngineError("model_damaged", detail) from error


def _read_header(path: Path) -> tuple[dict[str, Any], int]:
    with path.open("rb") as stream:
        length = int.from_bytes(stream.read(_LENGTH_BYTES), "little")
        if not 0 < length <= _LARGEST_HEADER:
            raise ValueError(f"a header of {length} bytes")
        header: dict[str, Any] = json.loads(stream.read(length))
    return header, _LENGTH_BYTES + length


def _array(content: NDArray[np.uint8], *, entry: dict[str, Any]) -> Samples:
    first, last = entry["data_offsets"]
    shape = tuple(entry["shape"])
    if entry["dtype"] != "F32" or last - first != 4 * math.prod(shape) or not 0 <= first <= last <= content.size:
        raise ValueError(f"an array {entry} in {content.size} bytes")
    array: Samples = content[first:last].view("<f4").reshape(shape)
    return array


def _of_instrument(arrays: Arrays, *, instrument: str) -> dict[str, Samples]:
    filters = tuple(arrays[f"{instrument}/down{level}/bias"].size for level in range(1, LEVELS + 1))
    found = {}
    for name, shape in expected_shapes(filters).items():
        array = arrays[f"{instrument}/{name}"]
        if array.shape != shape:
            raise ValueError(f"{instrument}/{name} has the shape {array.shape}, not {shape}")
        found[name] = array
    return found
