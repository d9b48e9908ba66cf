"""Disks for the storage tests."""

import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest


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
