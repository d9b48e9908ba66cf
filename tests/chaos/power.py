"""A file system of its own that loses its power: ext4 in a file, shut down without writing its journal.

After the cut every call on it fails with EIO; mounted again, its journal is replayed, and what is there then is what a
machine would find after a power failure. Needs root, loop devices and ext4; `require_power` skips where they are
missing.
"""

import fcntl
import os
import shutil
import struct
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

_EXT4_IOC_SHUTDOWN = 0x8004587D
_WITHOUT_JOURNAL = 2
MOUNT_OPTIONS = ("loop", "loop,noauto_da_alloc", "loop,noauto_da_alloc,data=writeback")
"""As most machines have it, and in the two ways in which ext4 mends programs' omissions least."""


class PoweredDisk:
    """An ext4 image below `folder`, mounted at `mount`."""

    def __init__(self, folder: Path, *, size: str = "64M", options: str = MOUNT_OPTIONS[0]) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._image = folder / "disk.img"
        self._options = options
        self.mount = folder / "disk"
        self.mount.mkdir()
        _call("truncate", "-s", size, str(self._image))
        _call("mkfs.ext4", "-q", "-F", str(self._image))
        self.power_up()

    def power_up(self) -> None:
        """Mount it; the journal of an interrupted life is replayed."""
        _call("mount", "-o", self._options, str(self._image), str(self.mount))

    def cut_power(self) -> None:
        """Let nothing more reach the disk, from one instant to the next."""
        descriptor = os.open(self.mount, os.O_RDONLY)
        try:
            fcntl.ioctl(descriptor, _EXT4_IOC_SHUTDOWN, struct.pack("I", _WITHOUT_JOURNAL))
        finally:
            os.close(descriptor)

    def unmount(self) -> None:
        """Take it away; waits for processes that are just ending."""
        for _ in range(100):
            if subprocess.run(["umount", str(self.mount)], capture_output=True, check=False).returncode == 0:
                return
            time.sleep(0.1)
        _call("umount", "--lazy", str(self.mount))


@contextmanager
def powered_disk(folder: Path, *, size: str = "64M", options: str = MOUNT_OPTIONS[0]) -> Iterator[PoweredDisk]:
    """Make a disk and take it away afterwards, whatever state it is in."""
    disk = PoweredDisk(folder, size=size, options=options)
    try:
        yield disk
    finally:
        if disk.mount.is_mount():
            disk.unmount()
        shutil.rmtree(folder, ignore_errors=True)


def require_power(folder: Path) -> None:
    """Skip the test where no such disk can be made."""
    if os.getuid() != 0 or shutil.which("mkfs.ext4") is None:
        pytest.skip("cutting the power needs root and mkfs.ext4")
    try:
        with powered_disk(folder) as disk:
            disk.cut_power()
    except (OSError, subprocess.CalledProcessError) as error:
        pytest.skip(f"no file system in a file can be mounted and shut down here: {error}")


def _call(*command: str) -> None:
    subprocess.run(command, check=True, capture_output=True, timeout=60)
