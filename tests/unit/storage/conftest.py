"""Disks and stores for the storage tests: one that is a folder, and one that lasts in an S3 bucket."""

import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from ironclad_assets.settings import Settings
from ironclad_assets.storage.opening import open_store
from ironclad_assets.storage.store import Store


@pytest.fixture
def full_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of one megabyte; needs the right to mount."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(folder)], check=False, capture_output=True, timeout=10
    )
    if mounted.returncode:
        pytest.skip("needs root to mount a small tmpfs: sudo make test")
    yield folder
    subprocess.run(["umount", str(folder)], check=True, timeout=10)


@pytest.fixture(params=["disk", "s3"])
def kind(request: pytest.FixtureRequest) -> str:
    """What a store may be."""
    return str(request.param)


@pytest.fixture
def make_store(request: pytest.FixtureRequest, kind: str, tmp_path: Path) -> Callable[..., Store]:
    """Return what makes the store of one machine; those of the kind ``s3`` share their bucket."""
    where = request.getfixturevalue("s3").environment() if kind == "s3" else {}

    def make(machine: str = "machine", *, reserve_bytes: int = 1) -> Store:
        settings = Settings(home=tmp_path / machine, disk_reserve_bytes=reserve_bytes, **where)
        store = open_store(settings)
        store.create()
        return store

    return make


@pytest.fixture
def store(make_store: Callable[..., Store]) -> Store:
    """The store of a machine of its own."""
    return make_store()
