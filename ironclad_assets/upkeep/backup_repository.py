"""The folder that backups lie in: objects by content, and one folder with a manifest for each backup.

An object is copied once, however many backups need it. New ones wait in a hidden folder until they are synced, a
hundred at a time; a manifest is written last. So whatever was interrupted, what has a manifest is whole, and what has
none is swept by the next backup. What belongs in a backup is `backup_sources`' business.
"""

import ctypes
import fcntl
import hashlib
import hmac
import os
import re
import secrets
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from ironclad_assets.errors import ErrorCode, IroncladError, StorageUnavailable, failure
from ironclad_assets.storage import atomic
from ironclad_assets.storage.hashing import BLOCK_BYTES, hash_file
from ironclad_assets.upkeep.backup_manifest import (
    ID_PATTERN,
    BackupManifest,
    StoredObject,
    parse_manifest,
    render_manifest,
)
from ironclad_assets.upkeep.backup_seal import Keys, Passing, Seal, Writer, decrypt, encrypt

MANIFEST = "manifest.json"
INCOMING = ".incoming-"
DAMAGED = ".damaged"
BATCH = 100
BATCH_BYTES = 256 * 1024**2
_READ_ONLY = 0o400


class SourceChanged(Exception):  # noqa: N818 - a circumstance, not an error
    """A file is not what it was said to be: it was replaced meanwhile, or it is damaged."""


@dataclass(frozen=True, slots=True)
class Repository:
    """The backups in `folder`."""

    folder: Path

    def create(self) -> None:
        """Make the folders, for their owner alone where they are new."""
        if not self.folder.is_dir():
            atomic.make_folder(self.folder)
            self.folder.chmod(0o700)
        for name in ("objects", "snapshots"):
            atomic.make_folder(self.folder / name)

    @contextmanager
    def writing(self) -> Iterator[None]:
        """Be the only one who adds or removes backups.

        Raises:
            TransientFailure: with `BUSY`, where another is at it.
        """
        with _hold(self.folder / ".writing", exclusive=True):
            yield

    @contextmanager
    def reading(self) -> Iterator[None]:
        """Keep every object where it is meanwhile; a medium that cannot be written needs no lock."""
        with _hold(self.folder / ".reading", exclusive=False):
            yield

    @contextmanager
    def removing(self) -> Iterator[None]:
        """Be the only one here at all.

        Raises:
            TransientFailure: with `BUSY`.
        """
        with self.writing(), _hold(self.folder / ".reading", exclusive=True):
            yield

    def ids(self) -> list[str]:
        """Return the ids of all backups, oldest first."""
        found = (path.parent.name for path in (self.folder / "snapshots").glob(f"*/{MANIFEST}"))
        return sorted(name for name in found if re.match(ID_PATTERN, name))

    def manifest_file(self, backup: str) -> Path:
        return self.folder / "snapshots" / backup / MANIFEST

    def manifest(self, backup: str) -> BackupManifest:
        """Return the manifest of a backup.

        Raises:
            PermanentFailure: `UNKNOWN_BACKUP` or `BACKUP_DAMAGED`.
        """
        file = self.manifest_file(backup)
        if not re.match(ID_PATTERN, backup) or not file.is_file():
            raise failure(ErrorCode.UNKNOWN_BACKUP, f"there is no backup {backup!r} in {self.folder}")
        manifest = parse_manifest(file.read_bytes())
        if manifest.id != backup:
            raise failure(ErrorCode.BACKUP_DAMAGED, f"{file} is the manifest of {manifest.id}")
        return manifest

    def find(self, text: str | None) -> str:
        """Return the id of the backup that people mean: by its beginning, or the newest for None.

        Raises:
            PermanentFailure: with `UNKNOWN_BACKUP`, also where several begin so.
        """
        ids = self.ids()
        found = ids[-1:] if text is None else [one for one in ids if one.startswith(text.lower())]
        if len(found) != 1:
            which = "no backups" if text is None else f"{len(found)} backups that begin with {text!r}"
            raise failure(ErrorCode.UNKNOWN_BACKUP, f"there are {which} in {self.folder}")
        return found[0]

    def object_file(self, name: str) -> Path:
        return self.folder / "objects" / name[:2] / name

    def known_objects(self) -> dict[str, StoredObject]:
        """Return every object that a readable manifest names."""
        found: dict[str, StoredObject] = {}
        for backup in self.ids():
            try:
                manifest = self.manifest(backup)
            except IroncladError:
                continue  # damage is told by `verify`
            found |= {one.name: one for one in (*manifest.objects, manifest.contents)}
        return found

    def read_object(self, stored: StoredObject, target: Writer, *, identities: Keys = ()) -> None:
        """Write the content of an object to `target`, decrypted.

        Raises:
            PermanentFailure: `BACKUP_DAMAGED`, where the stored bytes differ; `BACKUP_LOCKED`.
        """
        sealed = stored.name.endswith(".age")
        if sealed and not identities:
            raise failure(ErrorCode.BACKUP_LOCKED, "its contents are encrypted")
        try:
            with self.object_file(stored.name).open("rb") as stream:
                source = Passing(stream)
                if sealed:
                    decrypt(source, Passing(target), identities=identities)
                else:
                    copy_stream(source, target)
        except FileNotFoundError:
            raise failure(ErrorCode.BACKUP_DAMAGED, f"object {stored.name} is missing") from None
        if (source.size_bytes, source.sha256) != (stored.size_bytes, stored.sha256):
            raise failure(ErrorCode.BACKUP_DAMAGED, f"object {stored.name} differs from its checksum")

    def publish(self, manifest: BackupManifest) -> None:
        """Write the manifest, after which the backup exists."""
        file = self.manifest_file(manifest.id)
        atomic.make_folder(file.parent)
        atomic.write_bytes(file, render_manifest(manifest), mode=0o600)

    def sweep(self) -> int:
        """Remove what an interrupted backup left waiting; return how many things that were. Needs `writing`."""
        left = [*self.folder.glob(f"{INCOMING}*"), *self.folder.rglob(f".*{atomic.PARTIAL_SUFFIX}")]
        left += [path for path in (self.folder / "snapshots").iterdir() if not (path / MANIFEST).exists()]
        for path in left:
            shutil.rmtree(path, ignore_errors=True) if path.is_dir() else path.unlink(missing_ok=True)
        return len(left)

    def remove(self, backups: list[str]) -> int:
        """Remove backups, then the objects that no other needs; return the bytes freed. Needs `removing`.

        A backup whose manifest cannot be read might need any object, so then none is removed.
        """
        for backup in backups:
            self.manifest_file(backup).unlink()
            atomic.sync_folder(self.manifest_file(backup).parent)
            shutil.rmtree(self.manifest_file(backup).parent)
        needed = set()
        for backup in self.ids():
            try:
                manifest = self.manifest(backup)
            except IroncladError:
                return 0
            needed |= {manifest.contents.name, *(one.name for one in manifest.objects)}
        freed = 0
        for path in (self.folder / "objects").glob("*/*"):
            if path.name not in needed:
                freed += path.stat().st_size if path.stat().st_nlink == 1 else 0
                path.unlink()
        return freed


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


def copy_stream(source: Passing, target: Writer) -> None:
    """Copy all of `source` to `target`."""
    while block := source.read(BLOCK_BYTES):
        target.write(block)


@contextmanager
def _hold(lock: Path, *, exclusive: bool) -> Iterator[None]:
    """Hold a lock that ends with this process, or refuse with `BUSY`."""
    try:
        descriptor = os.open(lock, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as error:
        if exclusive:
            raise atomic.storage_error(error, lock) from error
        yield
        return
    try:
        fcntl.flock(descriptor, (fcntl.LOCK_EX if exclusive else fcntl.LOCK_SH) | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(descriptor)
        raise failure(ErrorCode.BUSY, f"another command works on the backups in {lock.parent}") from None
    try:
        yield
    finally:
        os.close(descriptor)


def sync_file_system(folder: Path) -> None:
    """Make every byte on the file system of `folder` durable: one call instead of one for each of many files."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        if ctypes.CDLL(None, use_errno=True).syncfs(descriptor):
            number = ctypes.get_errno()
            raise OSError(number, os.strerror(number))
    finally:
        os.close(descriptor)
