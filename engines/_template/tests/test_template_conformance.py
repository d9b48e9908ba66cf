"""The engine against the conformance suite: the whole test file a new engine needs."""

from pathlib import Path

from ironclad_conformance.suite import EngineConformance


class TestTemplateConforms(EngineConformance):
    folder = Path(__file__).resolve().parent.parent
    stems_sum_to_mixture = True
