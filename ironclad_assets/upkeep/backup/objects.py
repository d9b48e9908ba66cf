"""Adding objects to a repository: each once, by content, and none under its name before it is on the disk.

New ones wait in a hidden folder until they are synced, a hundred at a time: one call for all of them, where a sync for
each of many small files would take most of a backup's time.
"""

import ctypes
import hashlib
import hmac
import os
import secrets
import shutil
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from ironclad_assets.errors import ErrorCode, StorageUnavailable
from ironclad_assets.storage import atomic
from ironclad_assets.storage.hashing import hash_file
from ironclad_assets.upkeep.backup.manifest import StoredObject
from ironclad_assets.upkeep.backup.repository import INCOMING, Repository
from ironclad_assets.upkeep.backup.seal import Passing, Seal, copy_stream, encrypt

BATCH = 100
BATCH_BYTES = 256 * 1024**2
_READ_ONLY = 0o400


class SourceChanged(Exception):  # noqa: N818 - a circumstance, not an error
    """A file is not what it was said to be: it was replaced meanwhile, or it is damaged."""


@dataclass(slots=True)
class ObjectWriter:
    """Adds objects to a repository for one backup. Use as a context manager; `flush` before the manifest."""

    repository: Repository
    backup: str
    seal: Seal | None
    name_key: bytes
    reserve_bytes: int
    known: dict[str, StoredObject]
    heed: Callable[[int], None] | None = None
    used: dict[str, StoredObject] = field(default_factory=dict)
    added: set[str] = field(default_factory=set)
    copied_bytes: int = 0
    _waiting: list[tuple[Path, Path]] = field(default_factory=list)
    _waiting_bytes: int = 0

    def __enter__(self) -> "ObjectWriter":
        atomic.make_folder(self._incoming)
        return self

    def __exit__(self, *_: object) -> None:
        shutil.rmtree(self._incoming, ignore_errors=True)

    @property
    def _incoming(self) -> Path:
        return self.repository.folder / f"{INCOMING}{self.backup}"

    def add(self, source: Path, *, sha256: str | None = None, link: bool = False) -> tuple[StoredObject, int, str]:
        """Store a file's content unless it is there; return the object, and size and SHA-256 of the content.

        Args:
            source: the file.
            sha256: what it must be; None where nobody knows yet.
            link: it never changes, so that another name of it will do where that is possible.

        Raises:
            SourceChanged: it is not what `sha256` says, or changed while it was read.
            FileNotFoundError: it is gone.
            StorageUnavailable: the repository is full, read-only or away.
        """
        digest = sha256 or hash_file(source)
        name = self._name(digest)
        present = self._find(name)
        if present is not None:
            self.used[name] = present
            return present, source.stat().st_size, digest
        size = source.stat().st_size
        self._require_room(size)
        temporary = self._incoming / secrets.token_hex(16)
        try:
            if link and self.seal is None and self._link(source, temporary):
                stored, seen = StoredObject(name=name, size_bytes=size, sha256=hash_file(temporary)), None
                if stored.sha256 != digest:
                    raise SourceChanged(str(source))
            else:
                stored, seen = self._copy(source, temporary, name=name)
        except BaseException:
            temporary.unlink(missing_ok=True)
            raise
        if seen is not None and seen != (size, digest):
            temporary.unlink()
            raise SourceChanged(str(source))
        self._keep(temporary, stored)
        return stored, size, digest

    def flush(self) -> None:
        """Sync what waits, then give it its names, durably."""
        if not self._waiting:
            return
        try:
            sync_file_system(self._incoming)
            for temporary, final in self._waiting:
                atomic.make_folder(final.parent)
                temporary.replace(final)
            for folder in {final.parent for _, final in self._waiting}:
                atomic.sync_folder(folder)
        except OSError as error:
            raise atomic.storage_error(error, self.repository.folder) from error
        self._waiting, self._waiting_bytes = [], 0

    def _name(self, sha256: str) -> str:
        """Return an object's name: its hash, or, encrypted, what tells nothing to who has not the installation's key.

        The recipients are part of it, so that what a former key opens is not used again.
        """
        if self.seal is None:
            return sha256
        said = "\n".join((*self.seal.recipients, sha256))
        return f"{hmac.new(self.name_key, said.encode(), hashlib.sha256).hexdigest()}.age"

    def _find(self, name: str) -> StoredObject | None:
        """Return the object if it is in the repository already, as far as its size tells."""
        if name in self.used:
            return self.used[name]
        file = self.repository.object_file(name)
        try:
            size = file.stat().st_size
        except FileNotFoundError:
            return None
        known = self.known.get(name)
        if known is None:  # an interrupted backup brought it
            sha256 = hash_file(file)
            known = StoredObject(name=name, size_bytes=size, sha256=sha256)
            return known if self.seal is not None or sha256 == name else None
        return known if known.size_bytes == size else None

    def _require_room(self, size: int) -> None:
        free = shutil.disk_usage(self.repository.folder).free
        if free - size < self.reserve_bytes:
            raise StorageUnavailable(
                f"{self.repository.folder} has {free / 1e9:.2f} GB free, and its reserve of "
                f"{self.reserve_bytes / 1e9:.2f} GB must stay",
                code=ErrorCode.STORAGE_FULL,
            )

    def _link(self, source: Path, temporary: Path) -> bool:
        try:
            os.link(source, temporary)
        except FileNotFoundError:
            raise
        except OSError:
            return False  # another file system, or one without links
        return True

    def _copy(self, source: Path, temporary: Path, *, name: str) -> tuple[StoredObject, tuple[int, str]]:
        with source.open("rb") as reader:
            try:
                with temporary.open("xb") as writer:
                    plain, target = Passing(reader, heed=self.heed), Passing(writer)
                    if self.seal is None:
                        copy_stream(plain, target)
                    else:
                        encrypt(plain, target, recipients=self.seal.recipients)
                    writer.flush()
                    os.fchmod(writer.fileno(), _READ_ONLY)
            except OSError as error:
                raise atomic.storage_error(error, self.repository.folder) from error
        stored = StoredObject(name=name, size_bytes=target.size_bytes, sha256=target.sha256)
        return stored, (plain.size_bytes, plain.sha256)

    def _keep(self, temporary: Path, stored: StoredObject) -> None:
        self.used[stored.name] = stored
        self.added.add(stored.name)
        self.copied_bytes += stored.size_bytes
        self._waiting.append((temporary, self.repository.object_file(stored.name)))
        self._waiting_bytes += stored.size_bytes
        if len(self._waiting) >= BATCH or self._waiting_bytes >= BATCH_BYTES:
            self.flush()


def sync_file_system(folder: Path) -> None:
    """Make every byte on the file system of `folder` durable: one call instead of one for each of many files."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        if ctypes.CDLL(None, use_errno=True).syncfs(descriptor):
            number = ctypes.get_errno()
            raise OSError(number, os.strerror(number))
    finally:
        os.close(descriptor)
