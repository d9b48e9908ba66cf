"""Fixtures that every kind of test shares: an installation of its own per test, and a clean environment."""

import os
from pathlib import Path

import pytest

from ironclad_assets.settings import MEBIBYTE, Settings
from ironclad_assets.storage.store import Store
from tests.fakes.postgres import make_postgres, postgres_server, postgres_url
from tests.fakes.s3_server import s3, s3_server

__all__ = ["make_postgres", "postgres_server", "postgres_url", "s3", "s3_server"]


@pytest.fixture(autouse=True)
def clean_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """Keep the settings and the Dagster home of whoever runs the tests out of them."""
    for name in os.environ:
        if name.startswith(("IRONCLAD_", "DAGSTER_")):
            monkeypatch.delenv(name)


@pytest.fixture(autouse=True)
def no_patience(monkeypatch: pytest.MonkeyPatch) -> None:
    """Take back the patience with absent servers that a run gives its process: the next test's process is the same."""
    monkeypatch.setattr("ironclad_assets.ledger.postgres._patience_s", 0.0)


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    """Settings of an installation below the test's own folder."""
    return Settings(home=tmp_path / "home", settle_s=0.2, disk_reserve_bytes=MEBIBYTE)


@pytest.fixture
def store(settings: Settings) -> Store:
    """The created store of `settings`."""
    store = Store(settings.store_root, reserve_bytes=settings.disk_reserve_bytes)
    store.create()
    return store
