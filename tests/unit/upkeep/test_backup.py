"""Backups of an installation with a few songs: what is in them, what is found, what comes back."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from ironclad_assets.ledger.store import Ledger
from ironclad_assets.settings import Settings
from ironclad_assets.upkeep.backup import BackupWish, create_backup
from ironclad_assets.upkeep.backup_repository import Repository
from ironclad_assets.upkeep.restore import RestoreWish, restore_backup
from tests.unit.upkeep.installations import Installed, install, tree


@pytest.fixture
def installed(settings: Settings) -> Iterator[Installed]:
    """An installation without songs."""
    made = install(settings)
    yield made
    made.ledger.close()


def test_backup_comes_back_on_an_empty_machine(installed: Installed, tmp_path: Path) -> None:
    """SUPPORT-001, GLOBAL-003."""
    installed.add_song(1)
    installed.add_song(2, user_id="bob")
    made = create_backup(installed.settings, wish=BackupWish(folder=tmp_path / "backups"), actor="me")
    assert made.warnings == ()
    assert made.manifest.songs == 2
    target = Settings(home=tmp_path / "new", disk_reserve_bytes=1)
    wish = RestoreWish(repository=Repository(tmp_path / "backups"), backup=made.manifest.id)
    restored = restore_backup(target, wish=wish, actor="me")
    assert restored.songs == 2
    assert tree(target.store_root / "archive") == tree(installed.store.archive)
    assert Ledger(target.ledger_url).song("s1").user_id == "ada"
