"""Fixtures of the tests that kill: systems to kill, and what an undisturbed run makes of the same songs."""

from pathlib import Path

import dagster as dg
import pytest

from ironclad_assets.ledger.store import Ledger
from ironclad_assets.settings import MEBIBYTE, Settings
from ironclad_assets.storage.hashing import hash_file
from ironclad_assets.storage.store import Store
from tests import synth
from tests.e2e.conftest import make_system
from tests.e2e.running import LIBRARY_ROOTS, ROUNDS, write_engines
from tests.integration.conftest import Installation

__all__ = ["make_system"]

SONGS = 4 * ROUNDS
SONG_S = 2.0


@pytest.fixture(scope="session")
def reference(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """Return the SHA-256 of each library file of an undisturbed run, by its path in the store."""
    folder = tmp_path_factory.mktemp("reference")
    write_engines(folder / "engines", step_s=0.0)
    settings = Settings(
        home=folder / "home",
        engines_path=folder / "engines",
        default_engine="halves",
        settle_s=0.0,
        disk_reserve_bytes=MEBIBYTE,
    )
    store = Store(settings.store_root, reserve_bytes=settings.disk_reserve_bytes)
    store.create()
    ledger = Ledger(settings.ledger_url)
    ledger.migrate()
    with dg.DagsterInstance.ephemeral() as instance:
        undisturbed = Installation(settings, store, ledger, instance, folder)
        for number in range(SONGS):
            path = synth.write_flac(folder / f"Song {number}.flac", synth.noise(SONG_S, seed=number))
            assert undisturbed.dispatch(undisturbed.submit(path)).success
    ledger.close()
    return {
        str(path.relative_to(store.root)): hash_file(path)
        for root in LIBRARY_ROOTS
        for path in _files_below(store.root / root)
    }


def _files_below(folder: Path) -> list[Path]:
    return sorted(path for path in folder.rglob("*") if path.is_file())
