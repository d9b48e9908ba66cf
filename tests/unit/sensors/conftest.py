"""A ledger with songs, for the sensors."""

import pytest

from ironclad_assets.contracts.v1.job import SongIdentity
from ironclad_assets.contracts.v1.options import JobOptions
from ironclad_assets.ledger.store import Ledger


@pytest.fixture
def ledger(tmp_path):
    ledger = Ledger(f"sqlite:///{tmp_path / 'ledger.db'}")
    ledger.migrate()
    yield ledger
    ledger.close()


@pytest.fixture
def add_song(ledger):
    """Return a function that registers the n-th song and gives back its job."""

    def add(number: int, *, user_id: str = "local"):
        song = SongIdentity(
            song=f"s{number:04d}",
            user_id=user_id,
            original_name=f"{number}.flac",
            sha256=f"{number:064x}",
            size_bytes=10,
            archive_path=f"archive/00/{number:064x}",
            uploaded_at="2026-01-01T00:00:00+00:00",
            door="test",
        )
        return ledger.register(song, options=JobOptions(), actor="test").job

    return add
