"""The engine against the conformance suite, with a small network of random weights. Needs the engine's environment."""

from pathlib import Path

import numpy as np
import pytest

from ironclad_conformance.suite import EngineConformance
from ironclad_conformance.worker import Ending, Work

MAKE_MODELS = Path(__file__).resolve().parents[3] / "benchmarks" / "demucs_models.py"


@pytest.mark.long
class TestDemucsConforms(EngineConformance):
    folder = Path(__file__).resolve().parent.parent
    keeps_model = True
    resume_s = 6.0

    @classmethod
    def make_model_files(cls, folder: Path) -> dict[str, Path]:
        cls.run_in_environment(str(MAKE_MODELS), "htdemucs", str(folder), "--small")
        return {path.name: path for path in sorted(folder.iterdir())}

    def test_stems_sum_to_the_mixture_as_far_as_promised(self, undisturbed: tuple[Work, Ending]) -> None:
        """Random weights separate nothing, so that any sum will do; trained ones promise none either."""
        work, _ = undisturbed
        assert np.isfinite(sum(work.stem(name) for name in work.model["stems"])).all()
