"""The built-in engine against the conformance suite."""

from pathlib import Path

from ironclad_conformance.suite import EngineConformance


class TestSpectralConforms(EngineConformance):
    folder = Path(__file__).resolve().parent.parent
    stems_sum_to_mixture = True
