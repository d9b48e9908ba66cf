"""The store: its folders, its sentinel, its health, and the artifacts of stages.

Everything below one root, as `docs/architecture.md` draws it. A stage's files are made in a hidden folder
and renamed into place; its manifest is written last and replaced atomically, so a reader sees the old
artifact or the new one, never a mixture.

Where an object store is configured (`docs/storage.md`), it is the home of what must last and the root is a
working copy. What deletes or counts goes through these, which are right for both kinds:

* ``store.discard(relative) -> int``: remove a file or folder, such as ``stages/stems/SONG``, ``archive/ab/SHA256``
  or ``error/SONG``, everywhere; what is not there is fine. Returns the bytes removed from this disk.
* ``store.original(relative) -> Path``: an original, here by then. ``open_store(settings)`` makes the store.
* ``store.lasting(prefix) -> Iterator[Stored]``: what is stored for good below a folder, such as ``stages/stems``:
  path relative to the root, size, time of the last change.
* ``store.require_present()``: raise unless the store is there and ours, also when it is full or read-only.
"""

import os
import shutil
import uuid
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from ironclad_assets.contracts.v1.base import FileRecord
from ironclad_assets.contracts.v1.manifest import Manifest
from ironclad_assets.errors import ErrorCode, StorageUnavailable
from ironclad_assets.storage import atomic
from ironclad_assets.storage.hashing import carry_on
from ironclad_assets.storage.mirror import MANIFEST, ORIGINALS, SENTINEL, Mirror
from ironclad_assets.storage.objects import Stored
from ironclad_assets.storage.publication import Publication

FOLDERS = (
    "input", "archive", "stages", "output", "output-stems", "error", "orphaned", "cover-art-cache", "logs", "backups",
)  # fmt: skip


KNOWN_STORES = "stores.json"
"""File in the home that remembers which store each root had, so that an empty mount point is not made one."""


@dataclass(frozen=True, slots=True)
class Store:
    """The store below `root`; `mirror` is where it lasts, if not in the root itself."""

    root: Path
    reserve_bytes: int
    mirror: Mirror | None = None

    def create(self) -> None:
        """Create the folders and the sentinel where the root is new or empty.

        A root that has data but no sentinel is left alone: that is somebody else's folder, or a mount
        that is away.

        Raises:
            StorageUnavailable: `STORAGE_AWAY`: the object store is, or belongs to another store.
        """
        atomic.make_folder(self.root)
        own = self.sentinel.read_text(encoding="utf-8").strip() if self.sentinel.exists() else None
        if own is None and not self._is_new():
            return
        settled = own or str(uuid.uuid4())
        if self.mirror is not None:
            settled = self.mirror.settle_id(own, new=lambda: settled)
        if own is None:
            # Before the folders: a power cut between them must not leave data without a sentinel.
            atomic.write_bytes(self.sentinel, f"{settled}\n".encode())
        self._make_folders()
        if self.mirror is not None:
            self.mirror.remember()

    def _is_new(self) -> bool:
        """Return whether nobody's data is in the root; a sentinel that was never finished is none."""
        return all(
            path.name.startswith(".") and path.name.endswith(atomic.PARTIAL_SUFFIX) for path in self.root.iterdir()
        )

    def _make_folders(self) -> None:
        for name in FOLDERS:
            atomic.make_folder(self.root / name)

    @property
    def sentinel(self) -> Path:
        return self.root / SENTINEL

    def require_ready(self) -> None:
        """Raise unless the store is there, ours, writable and above its reserve.

        Raises:
            StorageUnavailable: with `STORAGE_AWAY`, `STORAGE_READ_ONLY` or `STORAGE_FULL`.
        """
        self.require_present()
        if os.statvfs(self.root).f_flag & os.ST_RDONLY or not os.access(self.root, os.W_OK):
            raise StorageUnavailable(f"{self.root} is read-only", code=ErrorCode.STORAGE_READ_ONLY)
        free = shutil.disk_usage(self.root).free
        if free < self.reserve_bytes:
            raise StorageUnavailable(
                f"{self.root} has {free / 1e9:.2f} GB free, below the reserve of {self.reserve_bytes / 1e9:.2f} GB",
                code=ErrorCode.STORAGE_FULL,
            )

    def require_present(self) -> None:
        """Raise unless the store is there and ours, here and where it lasts; it may be full or read-only.

        Raises:
            StorageUnavailable: with `STORAGE_AWAY`.
        """
        if not self.sentinel.is_file():
            raise StorageUnavailable(
                f"{self.sentinel} is missing; mount the storage, or restore the file", code=ErrorCode.STORAGE_AWAY
            )
        if self.mirror is not None:
            self.mirror.require_present()

    def discard(self, relative: str) -> int:
        """Remove the file or folder `relative`; return how many bytes that freed here. Doing it twice is fine.

        Raises:
            ValueError: it is the root, one of its folders or outside of it: nobody means that.
            StorageUnavailable: the store is away, or does not let go of it.
        """
        target = self.root / _inside(relative)
        self.require_present()
        if self.mirror is not None:
            self.mirror.discard(relative)
        return _remove(target)

    def lasting(self, prefix: str) -> Iterator[Stored]:
        """Yield every file below the folder `prefix` that is stored for good, sorted by path; hidden ones too.

        Raises:
            StorageUnavailable: the store is away.
        """
        self.require_present()
        if self.mirror is not None:
            yield from self.mirror.lasting(prefix)
            return
        base = self.root / prefix
        for path in sorted(base.rglob("*")):
            if path.is_file() and not path.is_symlink():
                status = path.stat()
                yield Stored(path.relative_to(self.root).as_posix(), status.st_size, status.st_mtime)

    def path(self, relative: str) -> Path:
        return self.root / relative

    def original(self, relative: str) -> Path:
        """Return where the original ``archive/..`` is, fetched from where it lasts if it is not here.

        Raises:
            PermanentFailure: `ARTIFACT_DAMAGED`: what is there is not what its name says.
            StorageUnavailable: it cannot be fetched now.
        """
        path = self.root / relative
        if self.mirror is not None and relative.startswith(ORIGINALS) and not path.exists():
            self.mirror.fetch_original(relative)
        return path

    def discard_copy(self, relative: str) -> int:
        """Remove only what is here of a file that lasts elsewhere; else the file itself. Returns the bytes removed.

        Raises:
            StorageUnavailable: it cannot be removed now.
        """
        return _remove(self.root / _inside(relative))

    def publish(self, relative: str) -> None:
        """Make a small file that was just written last: a sidecar, a record of the quarantine.

        Raises:
            StorageUnavailable: it cannot be made to last now.
        """
        if self.mirror is not None:
            self.mirror.publish_file(relative)

    def fetch_folder(self, relative: str) -> None:
        """Bring the small files of a folder here that are not, from where they last.

        Raises:
            StorageUnavailable: they cannot be fetched now.
        """
        if self.mirror is not None:
            self.mirror.fetch_folder(relative)

    @property
    def input(self) -> Path:
        return self.root / "input"

    @property
    def archive(self) -> Path:
        return self.root / "archive"

    def library(self, root: str) -> Path:
        """Return a library root: ``output`` or ``output-stems``."""
        return self.root / root

    def stage(self, stage: str, song: str) -> "StageFolder":
        return StageFolder(self.root / "stages" / stage / song, self.mirror)

    def hand_off(self, engine: str, song: str) -> Path:
        """Return the folder in which `engine` is handed requests about `song`."""
        return self.root / f"{engine}-input" / song

    def quarantine(self, song: str) -> Path:
        return self.root / "error" / song


@dataclass(frozen=True, slots=True)
class StageFolder:
    """The artifact of one stage for one song: a manifest, and one folder of files per key."""

    path: Path
    mirror: Mirror | None = None

    @property
    def manifest(self) -> Path:
        return self.path / MANIFEST

    @property
    def publication(self) -> Publication | None:
        """What it is where the store lasts, if not in the root itself."""
        return None if self.mirror is None else Publication(self.mirror, path=self.path)

    def keep(self, manifest: Manifest, *, heed: Callable[[], None] = carry_on) -> Manifest:
        """Make `manifest`, whose files are in place, that of the artifact; return the one that counts from now on.

        It is another where an equal one was stored elsewhere meanwhile.

        Raises:
            PermanentFailure: `SUPERSEDED`: another attempt with other work was faster.
            StorageUnavailable: it cannot be stored now; the earlier artifact is still in place.
        """
        publication = self.publication
        if publication is not None:
            return publication.publish(manifest, heed=heed)
        atomic.write_json(self.manifest, manifest.model_dump(mode="json"))
        return manifest

    def work(self, key: str) -> Path:
        """Return the hidden folder in which the files of `key` are made, created if missing.

        What an interrupted attempt left there is still there, also where it had been committed already.
        """
        folder, final = self._hidden(key), self.files(key)
        if final.is_dir() and not folder.exists():
            final.rename(folder)
        atomic.make_folder(folder)
        return folder

    def drop_empty_work(self, key: str) -> None:
        """Remove the work folder of `key` where nothing is in it; what is in one may be of use to another attempt."""
        with suppress(OSError):
            self._hidden(key).rmdir()

    def _hidden(self, key: str) -> Path:
        return self.path / f".{key[:16]}{atomic.PARTIAL_SUFFIX}"

    def files(self, key: str) -> Path:
        """Return the folder that holds the finished files of `key`."""
        return self.path / key[:16]

    def commit(self, key: str) -> Path:
        """Make the work folder of `key` durable and give it its final name; return that.

        Committing twice changes nothing.
        """
        work, final = self._hidden(key), self.files(key)
        if not work.exists() and final.is_dir():
            return final
        try:
            for file in sorted(work.rglob("*")):
                if file.is_file():
                    atomic.sync_file(file)
            for folder in (*(path for path in work.rglob("*") if path.is_dir()), work):
                atomic.sync_folder(folder)
            if final.exists():
                shutil.rmtree(final)
            work.rename(final)
            atomic.sync_folder(self.path)
        except OSError as error:
            raise atomic.storage_error(error, final) from error
        return final

    def fetch(self, manifest: Manifest, file: FileRecord) -> None:
        """Bring one of the manifest's files here, if it is not and lasts elsewhere.

        Raises:
            PermanentFailure: `ARTIFACT_DAMAGED`: what lasts there is not what the manifest says.
            StorageUnavailable: it cannot be fetched now.
        """
        publication = self.publication
        if publication is not None and not (self.path / manifest.folder / file.path).exists():
            publication.restore(manifest, file)

    def discard_others(self, folder: str) -> None:
        """Remove every folder but the one that the manifest, which is in place, names."""
        if not self.path.is_dir():
            return
        for entry in self.path.iterdir():
            if entry.is_dir() and entry.name != folder:
                shutil.rmtree(entry, ignore_errors=True)


def _inside(relative: str) -> PurePosixPath:
    """Return `relative` as a path that is certain to lie in one of the store's folders."""
    path = PurePosixPath(relative)
    if path.is_absolute() or ".." in path.parts or len(path.parts) < 2:
        raise ValueError(f"{relative!r} is not the path of a file or folder in one of the store's folders")
    return path


def _remove(target: Path) -> int:
    """Remove a file or folder durably; return how many bytes it had."""
    try:
        if target.is_symlink() or target.is_file():
            freed = target.lstat().st_size
            target.unlink()
        elif target.is_dir():
            freed = sum(path.lstat().st_size for path in target.rglob("*") if not path.is_dir())
            shutil.rmtree(target)
        else:
            return 0
        atomic.sync_folder(target.parent)
    except FileNotFoundError:  # somebody else removes it too
        return 0
    except OSError as error:
        raise atomic.storage_error(error, target) from error
    return freed
