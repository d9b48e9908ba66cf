"""The folder that backups lie in: objects by content, and one folder with a manifest for each backup.

An object is there once, however many backups need it; `objects` adds them. A manifest is written last, so
whatever was interrupted, what has a manifest is whole, and what has none is swept by the next backup. What belongs in
a backup is `sources`' business.
"""

import fcntl
import os
import re
import shutil
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from ironclad_assets.errors import ErrorCode, IroncladError, failure
from ironclad_assets.storage import atomic
from ironclad_assets.upkeep.backup.manifest import (
    ID_PATTERN,
    BackupManifest,
    StoredObject,
    parse_manifest,
    render_manifest,
)
from ironclad_assets.upkeep.backup.seal import Keys, Passing, Writer, copy_stream, decrypt

MANIFEST = "manifest.json"
INCOMING = ".incoming-"
DAMAGED = ".damaged"

_WAITING = rf"^({re.escape(INCOMING)}.*|\.[0-9a-f]{{32}}{re.escape(atomic.PARTIAL_SUFFIX)})$"
_OBJECT_FILE = rf"^[0-9a-f]{{64}}(\.age)?({re.escape(DAMAGED)})?$"


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

    def is_there(self) -> bool:
        """Return whether the folder is one of backups, though it may have none now."""
        return (self.folder / "snapshots").is_dir()

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
        """Return the ids of all backups, oldest first; also of those whose manifest cannot be read.

        Raises:
            StorageUnavailable: which there are cannot be told, so that none may be taken for gone.
        """
        return sorted(path.name for path in self._snapshots() if _is_there(path / MANIFEST))

    def _snapshots(self) -> list[Path]:
        """Return the folders of backups, also unfinished ones; what else lies beside them is somebody else's."""
        folder = self.folder / "snapshots"
        try:
            return [folder / name for name in os.listdir(folder) if re.match(ID_PATTERN, name)]
        except (FileNotFoundError, NotADirectoryError):
            return []
        except OSError as error:
            raise atomic.storage_error(error, folder) from error

    def manifest_file(self, backup: str) -> Path:
        return self.folder / "snapshots" / backup / MANIFEST

    def manifest(self, backup: str) -> BackupManifest:
        """Return the manifest of a backup.

        Raises:
            PermanentFailure: `UNKNOWN_BACKUP` or `BACKUP_DAMAGED`.
        """
        file = self.manifest_file(backup)
        if not re.match(ID_PATTERN, backup) or not _is_there(file):
            raise failure(ErrorCode.UNKNOWN_BACKUP, f"there is no backup {backup!r} in {self.folder}")
        try:
            content = file.read_bytes()
        except OSError as error:
            raise failure(ErrorCode.BACKUP_DAMAGED, f"{file} cannot be read: {error.strerror}") from error
        manifest = parse_manifest(content)
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
        """Remove what an interrupted backup left waiting; return how many things that were. Needs `writing`.

        The folder may be one that has other things too, such as a store or another program's copies: they stay.
        """
        snapshots = self._snapshots()
        left = [path for path in self.folder.iterdir() if re.match(_WAITING, path.name)]
        left += [path for one in snapshots for path in one.glob(f".*{atomic.PARTIAL_SUFFIX}")]
        left += [path for path in snapshots if not _is_there(path / MANIFEST)]
        for path in left:
            shutil.rmtree(path, ignore_errors=True) if path.is_dir() else path.unlink(missing_ok=True)
        return len(left)

    def remove(self, backups: list[str]) -> int:
        """Remove backups, then the objects that no other needs; return the bytes freed. Needs `removing`.

        A backup whose manifest cannot be read might need any object, so then none is removed. One that was put aside
        stays while it is needed and nothing has taken its place: its disk may give it again.
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
            if not re.match(_OBJECT_FILE, path.name):
                continue
            final = path.with_name(path.name.removesuffix(DAMAGED))
            if final.name not in needed or (path != final and final.exists()):
                freed += path.stat().st_size if path.stat().st_nlink == 1 else 0
                path.unlink()
        return freed


def _is_there(manifest: Path) -> bool:
    """Return whether a backup has a manifest; one that the disk does not give counts, for it may come back."""
    try:
        return stat.S_ISREG(manifest.stat().st_mode)
    except (FileNotFoundError, NotADirectoryError):
        return False
    except OSError:
        return True


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
