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
import stat
from collections.abc import Callable, Iterator
from contextlib import contextmanager
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


class SourceUnreadable(StorageUnavailable):
    """A file is there and cannot be read, so that it is left out; the backups' own disk is not at fault."""


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
            SourceUnreadable: it is there and cannot be read, or is no file.
            FileNotFoundError: it is gone.
            StorageUnavailable: the repository is full, read-only or away.
        """
        with _reading(source):
            status = source.stat()
            if not stat.S_ISREG(status.st_mode):  # a pipe would be waited for
                raise SourceUnreadable(f"{source} is no file", code=ErrorCode.STORAGE_AWAY)
            size, digest = status.st_size, sha256 or hash_file(source)
        name = self._name(digest)
        present = self._find(name)
        if present is not None:
            if self.seal is None and present.size_bytes != size:
                raise SourceChanged(str(source))
            self.used[name] = present
            return present, size, digest
        self._require_room(size)
        temporary = self._incoming / secrets.token_hex(16)
        try:
            linked = link and self.seal is None and self._link(source, temporary)
            stored, seen = self._seen(source, temporary, name) if linked else self._copy(source, temporary, name)
            if seen != (size, digest):
                raise SourceChanged(str(source))
        except BaseException:
            temporary.unlink(missing_ok=True)
            raise
        self._keep(temporary, stored)
        return stored, size, digest

    def has(self, sha256: str) -> bool:
        """Return whether the repository has this content, as far as its size tells."""
        return self._find(self._name(sha256)) is not None

    def find_earlier(self, sha256: str, *, read: bool) -> StoredObject | None:
        """Return the object with this content that is there already; None where none is good.

        Args:
            sha256: of the content.
            read: read it whole; else its size is believed.
        """
        present = self._find(self._name(sha256))
        if present is None:
            return None
        if read and not self._is_good(present):
            return None
        self.used[present.name] = present
        return present

    def _is_good(self, stored: StoredObject) -> bool:
        try:
            return hash_file(self.repository.object_file(stored.name)) == stored.sha256
        except OSError:
            return False

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
            raise self._away(error) from error
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
            known = self.known.get(name)
            sha256 = hash_file(file) if known is None else known.sha256
        except OSError:
            return None  # what cannot be read is written again
        if known is None:  # an interrupted backup brought it
            known = StoredObject(name=name, size_bytes=size, sha256=sha256)
            return known if self.seal is not None or sha256 == name else None
        return known if known.size_bytes == size else None

    def _require_room(self, size: int) -> None:
        try:
            free = shutil.disk_usage(self.repository.folder).free
        except OSError as error:
            raise self._away(error) from error
        if free - size < self.reserve_bytes:
            raise StorageUnavailable(
                f"{self.repository.folder} has {free / 1e9:.2f} GB free, and its reserve of "
                f"{self.reserve_bytes / 1e9:.2f} GB must stay",
                code=ErrorCode.STORAGE_FULL,
            )

    def _away(self, error: OSError) -> StorageUnavailable:
        """Return what an error of the repository means, whatever its number: never that a source is at fault."""
        found = atomic.storage_error(error, self.repository.folder)
        if isinstance(found, StorageUnavailable):
            return found
        detail = f"{self.repository.folder} went away: {error.strerror or error}"
        return StorageUnavailable(detail, code=ErrorCode.STORAGE_AWAY)

    def _link(self, source: Path, temporary: Path) -> bool:
        try:
            os.link(source, temporary)
        except FileNotFoundError as error:
            if not self._incoming.is_dir():
                raise self._away(error) from error
            raise
        except OSError:
            return False  # another file system, or one without links
        return True

    def _seen(self, source: Path, linked: Path, name: str) -> tuple[StoredObject, tuple[int, str]]:
        """Read what a source's other name leads to; return it as an object, and its size and SHA-256."""
        with _reading(source):
            size, sha256 = linked.stat().st_size, hash_file(linked)
        return StoredObject(name=name, size_bytes=size, sha256=sha256), (size, sha256)

    def _copy(self, source: Path, temporary: Path, name: str) -> tuple[StoredObject, tuple[int, str]]:
        """Write a source's content, sealed if so; return it as an object, and size and SHA-256 of the content."""
        with _reading(source):
            reader = source.open("rb")
        plain = Passing(reader, heed=self.heed)
        with reader:
            try:
                with temporary.open("xb") as writer:
                    target = Passing(writer)
                    if self.seal is None:
                        copy_stream(plain, target)
                    else:
                        encrypt(plain, target, recipients=self.seal.recipients)
                    writer.flush()
                    os.fchmod(writer.fileno(), _READ_ONLY)
            except OSError as error:
                if error is plain.error:
                    raise _unreadable(source, error) from error
                raise self._away(error) from error
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


@contextmanager
def _reading(source: Path) -> Iterator[None]:
    """Tell an error of a source from one of the repository; one that is gone stays `FileNotFoundError`."""
    try:
        yield
    except FileNotFoundError:
        raise
    except OSError as error:
        raise _unreadable(source, error) from error


def _unreadable(source: Path, error: OSError) -> SourceUnreadable:
    reason = os.strerror(error.errno) if error.errno else str(error)
    return SourceUnreadable(f"{source} cannot be read: {reason}", code=ErrorCode.STORAGE_AWAY)


def sync_file_system(folder: Path) -> None:
    """Make every byte on the file system of `folder` durable: one call instead of one for each of many files."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        if ctypes.CDLL(None, use_errno=True).syncfs(descriptor):
            number = ctypes.get_errno()
            raise OSError(number, os.strerror(number))
    finally:
        os.close(descriptor)
