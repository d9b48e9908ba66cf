"""Fixtures of the tests that run the whole system as its owner does."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.e2e.running import RunningSystem

MakeSystem = Callable[..., RunningSystem]


@pytest.fixture(scope="module")
def make_system(tmp_path_factory: pytest.TempPathFactory) -> Iterator[MakeSystem]:
    """Make systems, each in a folder of its own; every process of theirs is gone afterwards."""
    made: list[RunningSystem] = []

    def make(folder: Path | None = None, **environment: str) -> RunningSystem:
        system = RunningSystem(folder or tmp_path_factory.mktemp("system"), **environment)
        made.append(system)
        return system

    yield make
    for system in made:
        system.close()
