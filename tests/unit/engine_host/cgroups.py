"""A control group with little memory, for tests in which the kernel runs out of it."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from ironclad_assets.settings import MEBIBYTE


@pytest.fixture
def small_cgroup() -> Iterator[Path]:
    """A control group with 300 MiB of memory, where making one is allowed."""
    unified = Path("/sys/fs/cgroup/cgroup.controllers").exists()
    folder = Path("/sys/fs/cgroup" if unified else "/sys/fs/cgroup/memory") / f"ironclad-test-{os.getpid()}"
    try:
        folder.mkdir()
        (folder / ("memory.max" if unified else "memory.limit_in_bytes")).write_text(str(300 * MEBIBYTE))
    except OSError as error:
        if folder.exists():
            folder.rmdir()
        pytest.skip(f"control groups cannot be made here: {error}")
    yield folder
    folder.rmdir()
