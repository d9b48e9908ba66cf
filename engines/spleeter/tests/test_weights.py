"""The file of weights, the checkpoint it is made from, and what is done to a kernel before it is used."""

import json
from pathlib import Path

import numpy as np
import pytest

from ironclad_harness.engine import EngineError
from ironclad_spleeter.checkpoint import MEMBERS, find_checkpoint
from ironclad_spleeter.configuration import CONFIGURATIONS
from ironclad_spleeter.network import split_phases
from ironclad_spleeter.weights import expected_shapes, read_weights, write_weights

FILTERS = (2, 3, 4, 5, 6, 7)
TWO_STEMS = CONFIGURATIONS["2stems"]


@pytest.fixture
def arrays() -> dict[str, np.ndarray]:
    random = np.random.default_rng(1)
    return {
        f"{instrument}/{name}": random.standard_normal(shape).astype(np.float32)
        for instrument in TWO_STEMS.instruments
        for name, shape in expected_shapes(FILTERS).items()
    }


@pytest.fixture
def file(tmp_path: Path, arrays: dict[str, np.ndarray]) -> Path:
    return _write(tmp_path / "2stems.safetensors", arrays=arrays)


def _write(path: Path, *, arrays: dict[str, np.ndarray]) -> Path:
    with path.open("wb") as stream:
        write_weights(stream, arrays=arrays, configuration=TWO_STEMS)
    return path


def test_what_is_written_is_read(file: Path, arrays: dict[str, np.ndarray]) -> None:
    found = read_weights(file, configuration=TWO_STEMS)
    assert {f"{instrument}/{name}" for instrument, each in found.items() for name in each} == set(arrays)
    assert all(
        np.array_equal(array, arrays[f"{instrument}/{name}"])
        for instrument, each in found.items()
        for name, array in each.items()
    )


def test_the_same_arrays_give_the_same_bytes(tmp_path: Path, file: Path, arrays: dict[str, np.ndarray]) -> None:
    assert _write(tmp_path / "again", arrays=arrays).read_bytes() == file.read_bytes()


def test_the_file_is_laid_out_as_safetensors(file: Path) -> None:
    content = file.read_bytes()
    length = int.from_bytes(content[:8], "little")
    header = json.loads(content[8 : 8 + length])
    assert header.pop("__metadata__")["weights"] == "2stems"
    assert max(entry["data_offsets"][1] for entry in header.values()) == len(content) - 8 - length


@pytest.mark.parametrize("kept", [0, 5, 300, 20_000, -1])
def test_a_cut_file_is_damaged(file: Path, kept: int) -> None:
    file.write_bytes(file.read_bytes()[:kept])
    _assert_damaged(file)


@pytest.mark.parametrize(
    "content",
    [
        pytest.param(b"\xff" * 64, id="a header of any length"),
        pytest.param((2).to_bytes(8, "little") + b"[]", id="a header that is a list"),
        pytest.param((2).to_bytes(8, "little") + b"{}" + b"\0" * 8, id="an empty header"),
        pytest.param(b"", id="nothing"),
    ],
)
def test_something_else_is_damaged(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "2stems.safetensors"
    path.write_bytes(content)
    _assert_damaged(path)


def test_another_models_weights_are_refused(tmp_path: Path, file: Path) -> None:
    with pytest.raises(EngineError, match="4stems"):
        read_weights(file, configuration=CONFIGURATIONS["4stems"])


@pytest.mark.parametrize("change", ["missing", "another shape"])
def test_arrays_that_make_no_network_are_refused(tmp_path: Path, arrays: dict[str, np.ndarray], change: str) -> None:
    name = "accompaniment/up3/kernel"
    if change == "missing":
        del arrays[name]
    else:
        arrays[name] = arrays[name][:, :, :, :4]
    _assert_damaged(_write(tmp_path / "2stems.safetensors", arrays=arrays))


def _assert_damaged(path: Path) -> None:
    with pytest.raises(EngineError) as caught:
        read_weights(path, configuration=TWO_STEMS)
    assert caught.value.code == "model_damaged"


def test_the_published_networks_have_the_size_that_the_package_gives_them() -> None:
    """39 MB each: 157 MB for four, as the published checkpoints are."""
    shapes = expected_shapes((16, 32, 64, 128, 256, 512))
    assert shapes["up1/kernel"] == (512, 256, 5, 5)
    assert shapes["up6/kernel"] == (32, 1, 5, 5)
    assert sum(4 * int(np.prod(shape)) for shape in shapes.values()) == pytest.approx(39.3e6, rel=0.01)


@pytest.mark.parametrize("absent", MEMBERS)
def test_an_incomplete_checkpoint_is_missing(tmp_path: Path, absent: str) -> None:
    """TensorFlow's Estimator would go on with random weights, and every stem would be alike."""
    for name in MEMBERS:
        (tmp_path / name).touch()
    assert find_checkpoint(tmp_path) == str(tmp_path / "model")
    (tmp_path / absent).unlink()
    with pytest.raises(EngineError, match=absent) as caught:
        find_checkpoint(tmp_path)
    assert caught.value.code == "model_missing"


def test_four_convolutions_make_the_last_transposed_one() -> None:
    random = np.random.default_rng(4)
    kernel = random.standard_normal((3, 1, 5, 5)).astype(np.float32)
    y = random.standard_normal((3, 4, 6)).astype(np.float32)
    assert np.allclose(_interleave(_convolve(y, split_phases(kernel))), _transposed_convolution(y, kernel), atol=1e-5)


def _convolve(y: np.ndarray, kernels: np.ndarray) -> np.ndarray:
    padded = np.pad(y, ((0, 0), (1, 1), (1, 1)))
    windows = np.lib.stride_tricks.sliding_window_view(padded, (3, 3), axis=(1, 2))
    convolved: np.ndarray = np.einsum("chwij,ocij->ohw", windows, kernels)
    return convolved


def _interleave(phases: np.ndarray) -> np.ndarray:
    _, height, width = phases.shape
    return phases.reshape(2, 2, height, width).transpose(2, 0, 3, 1).reshape(2 * height, 2 * width)


def _transposed_convolution(y: np.ndarray, kernel: np.ndarray) -> np.ndarray:
    """Every input adds its kernel at twice its place; TensorFlow crops one line before and two after."""
    _, height, width = y.shape
    total = np.zeros((2 * height + 3, 2 * width + 3))
    for row in range(height):
        for column in range(width):
            added = np.einsum("c,cij->ij", y[:, row, column], kernel[:, 0])
            total[2 * row : 2 * row + 5, 2 * column : 2 * column + 5] += added
    return total[1:-2, 1:-2]
