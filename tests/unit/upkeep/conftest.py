"""What tests of backups begin with: an installation, a folder for its backups, an empty machine."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from ironclad_assets.settings import Settings
from tests.unit.upkeep.installations import Installed, install


@pytest.fixture
def installed(settings: Settings) -> Iterator[Installed]:
    """An installation without songs."""
    made = install(settings)
    yield made
    made.ledger.close()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Where the backups go: not the store's own folder."""
    return tmp_path / "backups"


@pytest.fixture
def target(tmp_path: Path) -> Settings:
    """An empty machine."""
    return Settings(home=tmp_path / "new", disk_reserve_bytes=1)
