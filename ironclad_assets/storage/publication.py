"""Artifacts in the object store: many files that appear there as one, and come from there only when proven.

Each publication puts its files into a folder of its own name, then replaces the manifest on condition that it is
still the one that was known when the work began. So a reader sees the old artifact or the new one, nobody's files
are ever overwritten, and of two who finish, one wins and the other is told.

Locally the artifact is what it is without an object store, plus ``.published.json``: which version this copy is of.
Its files may be missing here; they are fetched when they are read.
"""

import json
import os
import secrets
import shutil
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path

from ironclad_assets.contracts.v1.base import FileRecord
from ironclad_assets.contracts.v1.manifest import Manifest
from ironclad_assets.errors import ErrorCode, PermanentFailure, StorageUnavailable
from ironclad_assets.storage import atomic
from ironclad_assets.storage.hashing import carry_on, hash_file, hash_json
from ironclad_assets.storage.manifests import parse_manifest
from ironclad_assets.storage.mirror import MANIFEST, Mirror
from ironclad_assets.storage.objects import Conflict

RECORD = ".published.json"
TRIES = 5
"""How often a condition is tried again that failed for no visible reason: S3 answers so when two write at once."""

PAUSE_S = 0.1


@dataclass(frozen=True, slots=True)
class Record:
    """The version of the artifact in the object store that the local copy is of; both are empty for none."""

    etag: str = ""
    folder: str = ""


@dataclass(frozen=True, slots=True)
class _Found:
    """A manifest as the object store has it; None is one that cannot be read."""

    manifest: Manifest | None
    etag: str


class Publication:
    """One stage's artifact of one song, here and in the object store."""

    def __init__(self, mirror: Mirror, *, path: Path) -> None:
        self._mirror = mirror
        self._objects = mirror.objects
        self._path = path
        self._prefix = path.relative_to(mirror.root).as_posix()
        self._key = f"{self._prefix}/{MANIFEST}"
        self._where = f"{mirror.name}/{self._key}"

    def publish(self, manifest: Manifest, *, heed: Callable[[], None] = carry_on) -> Manifest:
        """Make the artifact last and keep its manifest here; return that one, or the winner's.

        The winner's has the same key, so it is as good.

        Raises:
            PermanentFailure: `SUPERSEDED`: another attempt with other work was faster, or the artifact was removed.
            StorageUnavailable: the object store cannot take it now; whatever was there still is.
        """
        ours = manifest.model_copy(update={"folder": f"{manifest.key[:16]}-{secrets.token_hex(4)}"})
        try:
            for file in manifest.files:
                heed()
                source = self._path / manifest.folder / file.path
                self._objects.upload(self._object(ours.folder, file), source, sha256=file.sha256, heed=heed)
        except Exception:
            self._drop(ours.folder)
            raise
        try:
            winner, record = self._replace(ours)
        except PermanentFailure:
            self._drop(ours.folder)
            raise  # after any other error the manifest may be there, or come yet: its files must stay
        if winner is not ours:
            self._drop(ours.folder)
            self._keep(winner, record)
            return winner
        self._keep(manifest, record)
        return manifest

    def refresh(self, *, heed: Callable[[], None] = carry_on) -> None:
        """Bring the local manifest up to date; what was here before there was an object store is published.

        Raises:
            PermanentFailure: `ARTIFACT_MISSING`: it was removed elsewhere; `ARTIFACT_DAMAGED` or `ARTIFACT_NEWER`.
            StorageUnavailable: the object store does not answer.
        """
        local, record = self._local(), self._record()
        known = record.etag if record is not None and local is not None else ""
        content = self._objects.read(self._key, known=known or None)
        if content is None:
            self._settle_absence(local, record, heed=heed)
        elif content.unchanged:
            with suppress(OSError):
                os.utime(self._path / RECORD)  # when it was last used, for eviction
        else:
            found = parse_manifest(content.data, where=self._where)
            record = Record(content.etag, found.folder)
            same = local is not None and local.model_copy(update={"folder": found.folder}) == found
            self._keep(local if same and local is not None else found, record)

    def restore(self, manifest: Manifest, file: FileRecord, *, heed: Callable[[], None] = carry_on) -> bool:
        """Fetch one file of the local manifest again; return whether it is here and proven.

        Raises:
            PermanentFailure: `ARTIFACT_DAMAGED`: the object is not what the manifest says.
            StorageUnavailable: it cannot be read or written now.
        """
        record = self._record()
        if record is None or not record.folder:
            return False
        return self._mirror.fetch(
            self._object(record.folder, file),
            self._path / manifest.folder / file.path,
            sha256=file.sha256,
            size_bytes=file.size_bytes,
            heed=heed,
        )

    def is_safe(self, manifest: Manifest) -> bool:
        """Return whether the object store has this version, every file by its size and SHA-256."""
        record = self._record()
        if record is None or not record.folder:
            return False
        head = self._objects.head(self._key)
        return head is not None and head.etag == record.etag and all(self.has(file) for file in manifest.files)

    def has(self, file: FileRecord) -> bool:
        """Return whether the object store has this file of the artifact that is known here, by size and SHA-256."""
        record = self._record()
        if record is None or not record.folder:
            return False
        head = self._objects.head(self._object(record.folder, file))
        return head is not None and (head.size_bytes, head.sha256) == (file.size_bytes, file.sha256)

    def is_whole(self) -> bool:
        """Return whether the object store has an artifact that can be read, whatever is here.

        An object without a SHA-256 of ours is read; a manifest of a newer release is not ours to doubt.

        Raises:
            StorageUnavailable: the object store does not answer.
        """
        try:
            found = self._find()
        except PermanentFailure:
            return True
        manifest = None if found is None else found.manifest
        if manifest is None or hash_json(manifest.payload) != manifest.payload_sha256:
            return False
        return all(self._proves(self._object(manifest.folder, file), file) for file in manifest.files)

    def _proves(self, key: str, file: FileRecord) -> bool:
        head = self._objects.head(key)
        if head is None or head.size_bytes != file.size_bytes:
            return False
        return (head.sha256 or self._mirror.hash(key)) == file.sha256

    @property
    def used_at(self) -> float | None:
        """When the local copy was last used, in Unix seconds; None where it is not one of a published artifact."""
        try:
            return (self._path / RECORD).stat().st_mtime
        except FileNotFoundError:
            return None

    def _replace(self, ours: Manifest) -> tuple[Manifest, Record]:
        """Put the manifest where the known one is; return whose is there then, with its version."""
        record, local = self._record() or Record(), self._local()
        if record.etag and local is not None and local.attempt > ours.attempt:
            if local.key == ours.key and local.passed:
                return local, record
            raise self._superseded(ours, local)
        content = atomic.encode_json(ours.model_dump(mode="json"))
        etag, replaced = record.etag or None, record.folder
        for _ in range(TRIES):
            try:
                done = self._objects.put(self._key, content, replaces=etag)
            except Conflict:
                found = self._find()
            else:
                if replaced:
                    self._drop(replaced)
                return ours, Record(done, ours.folder)
            if found is None:
                if etag is not None:
                    raise self._superseded(ours, None)
            elif found.manifest is not None and found.manifest.folder == ours.folder:  # only the answer was lost
                return ours, Record(found.etag, ours.folder)
            elif found.manifest is not None and found.etag != etag:
                if not _gives_way(found.manifest, ours):
                    if found.manifest.key != ours.key:
                        raise self._superseded(ours, found.manifest)
                    return found.manifest, Record(found.etag, found.manifest.folder)
                replaced = found.manifest.folder
            etag = found.etag if found is not None else None
            time.sleep(PAUSE_S)
        raise StorageUnavailable(f"{self._where} could not be replaced {TRIES} times", code=ErrorCode.STORAGE_AWAY)

    def _superseded(self, ours: Manifest, theirs: Manifest | None) -> PermanentFailure:
        by = "was removed meanwhile" if theirs is None else f"is of attempt {theirs.attempt}, job {theirs.job_uuid}"
        detail = f"{self._where} {by}; attempt {ours.attempt} of job {ours.job_uuid} is not stored"
        return PermanentFailure(detail, code=ErrorCode.SUPERSEDED)

    def _find(self) -> _Found | None:
        content = self._objects.read(self._key)
        if content is None:
            return None
        try:
            return _Found(parse_manifest(content.data, where=self._where), content.etag)
        except PermanentFailure as error:
            if error.code is ErrorCode.ARTIFACT_NEWER:
                raise
            return _Found(None, content.etag)

    def _settle_absence(self, local: Manifest | None, record: Record | None, *, heed: Callable[[], None]) -> None:
        if local is None:
            if record is not None:
                self._write_record(Record())
            return
        if record is not None:
            self._write_record(Record())
            raise PermanentFailure(f"{self._where} is not there any more", code=ErrorCode.ARTIFACT_MISSING)
        files = ((file, self._path / local.folder / file.path) for file in local.files)
        if all(path.is_file() and hash_file(path, heed=heed) == file.sha256 for file, path in files):
            self.publish(local, heed=heed)

    def _local(self) -> Manifest | None:
        try:
            return parse_manifest((self._path / MANIFEST).read_bytes(), where=str(self._path / MANIFEST))
        except (FileNotFoundError, PermanentFailure):
            return None

    def _record(self) -> Record | None:
        try:
            return Record(**json.loads((self._path / RECORD).read_bytes()))
        except FileNotFoundError:
            return None
        except (ValueError, TypeError):
            return Record()

    def _write_record(self, record: Record) -> None:
        atomic.write_json(self._path / RECORD, asdict(record))

    def _keep(self, manifest: Manifest, record: Record) -> None:
        """Make `manifest` the local one; a crash before the record is written costs one reading of it."""
        atomic.make_folder(self._path)
        atomic.write_json(self._path / MANIFEST, manifest.model_dump(mode="json"))
        self._write_record(record)
        for entry in self._path.iterdir():
            if entry.is_dir() and not entry.name.startswith(".") and entry.name != manifest.folder:
                shutil.rmtree(entry, ignore_errors=True)

    def _object(self, folder: str, file: FileRecord) -> str:
        return f"{self._prefix}/{folder}/{file.path}"

    def _drop(self, folder: str) -> None:
        """Remove the objects of a folder that no manifest names any more; what stays is swept."""
        with suppress(StorageUnavailable):
            self._objects.delete(stored.path for stored in self._objects.list(f"{self._prefix}/{folder}"))


def _gives_way(theirs: Manifest, ours: Manifest) -> bool:
    """Return whether `ours` may replace `theirs`, which came in between."""
    return theirs.attempt < ours.attempt or (theirs.attempt == ours.attempt and not theirs.passed)
