"""The default engine against the conformance suite, with small random weights. Needs no TensorFlow."""

from pathlib import Path

import numpy as np
import pytest

from ironclad_conformance.suite import EngineConformance
from ironclad_spleeter.configuration import CONFIGURATIONS
from ironclad_spleeter.weights import expected_shapes, write_weights

FILTERS = (4, 4, 8, 8, 8, 8)


def write_random_weights(path: Path, *, model: str) -> None:
    """Write weights of small networks that leave the masks between their extremes, the same every time."""
    random = np.random.default_rng(7)
    configuration = CONFIGURATIONS[model]
    arrays = {
        f"{instrument}/{name}": random.standard_normal(shape).astype(np.float32) * np.float32(0.2)
        for instrument in configuration.instruments
        for name, shape in expected_shapes(FILTERS).items()
    }
    with path.open("wb") as stream:
        write_weights(stream, arrays=arrays, configuration=configuration)


@pytest.mark.long
class TestSpleeterConforms(EngineConformance):
    folder = Path(__file__).resolve().parent.parent
    stems_sum_to_mixture = True
    keeps_model = True

    @classmethod
    def make_model_files(cls, folder: Path) -> dict[str, Path]:
        name = f"{cls.model_facts()['weights']}.safetensors"
        write_random_weights(folder / name, model=cls.model_facts()["weights"])
        return {name: folder / name}
