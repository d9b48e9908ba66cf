"""Making a backup, looking into it and bringing it back, as tests do it; and a disk that fails."""

import errno
import os
from pathlib import Path
from typing import Any

from ironclad_assets.settings import Settings
from ironclad_assets.upkeep.backup.create import BackupWish, Made, create_backup
from ironclad_assets.upkeep.backup.manifest import Contents
from ironclad_assets.upkeep.backup.repository import Repository
from ironclad_assets.upkeep.backup.restore import Restored, RestoreWish, restore_backup
from ironclad_assets.upkeep.backup.verify import read_contents
from tests.unit.upkeep.installations import Installed


def make(installed: Installed, folder: Path | None, **wish: object) -> Made:
    return create_backup(installed.settings, wish=BackupWish(folder=folder, **wish), actor="me")  # type: ignore[arg-type]


def contents_of(made: Made) -> Contents:
    repository = Repository(made.folder)
    return read_contents(repository, repository.manifest(made.manifest.id))


def paths(made: Made) -> set[str]:
    return {one.path for one in contents_of(made).files}


def bring_back(made: Made, settings: Settings) -> Restored:
    wish = RestoreWish(repository=Repository(made.folder), backup=made.manifest.id)
    return restore_backup(settings, wish=wish, actor="me")


def let_disk_fail(failing: Path, *, monkeypatch) -> None:
    """Let every read of a file fail, as a bad sector does."""
    opened, inode = Path.open, failing.stat().st_ino

    def open_failing(self: Path, mode: str = "r", *rest: object, **options: object) -> object:
        stream = opened(self, mode, *rest, **options)  # type: ignore[call-overload]
        return Failing(stream) if mode == "rb" and os.fstat(stream.fileno()).st_ino == inode else stream

    monkeypatch.setattr(Path, "open", open_failing)


class Failing:
    """A file of which nothing can be read."""

    def __init__(self, stream: Any) -> None:
        self._stream = stream

    def __enter__(self) -> "Failing":
        return self

    def __exit__(self, *_: object) -> None:
        self._stream.close()

    def readinto(self, *_: object) -> int:
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    read = readinto
