"""Copying an upload into the archive while hashing it, in steps that a tick can afford.

The archive is content-addressed: ``archive/<first two>/<sha256>``, read-only. A copy gets that name when it
is complete and synced; until then it is a hidden ``.part`` that no reader looks at. Where the store lasts in an
object store, it is there before it gets its name here.
"""

import fcntl
import hashlib
import math
import os
import secrets
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor, wait
from contextlib import contextmanager, nullcontext, suppress
from pathlib import Path

from ironclad_assets.errors import ErrorCode, IroncladError, TransientFailure
from ironclad_assets.intake.source import Fingerprint, UploadChanged, fingerprint
from ironclad_assets.storage import atomic
from ironclad_assets.storage.hashing import BLOCK_BYTES
from ironclad_assets.storage.mirror import ORIGINALS
from ironclad_assets.storage.notes import drop_note
from ironclad_assets.storage.store import Store

ABANDONED_S = 3600.0
"""Age after which a ``.part`` that nobody writes is left over from a crash."""

_FICLONE = 0x40049409  # ioctl of Linux: share the blocks of another file, where the file system can
_READ_ONLY = 0o444


class ArchiveCopy:
    """One copy on its way: made from an open descriptor, advanced in steps, then stored or abandoned."""

    def __init__(self, source: int, *, store: Store) -> None:
        """Begin to copy what the descriptor `source` shows; the descriptor is duplicated, not taken."""
        self._store = store
        self._seen: Fingerprint = fingerprint(os.fstat(source))
        self._size = os.fstat(source).st_size
        self._copied = 0
        self._hash = hashlib.sha256()
        self._temporary = store.archive / f".{secrets.token_hex(16)}{atomic.PARTIAL_SUFFIX}"
        self._source = os.dup(source)
        try:
            self._target = os.open(self._temporary, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        except OSError as error:
            os.close(self._source)
            raise atomic.storage_error(error, self._temporary) from error
        self._cloned = _clone(self._source, target=self._target)
        self._publishing: Future[None] | None = None
        self._closed = False

    def advance(self, deadline: float) -> bool:
        """Copy until done or until the monotonic time `deadline`, at least one block; return whether done.

        Done includes that the copy is where the store lasts.

        Raises:
            UploadChanged: the file was cut meanwhile.
            TransientFailure: `UNREADABLE`, the file cannot be read to its end.
            StorageUnavailable: the store cannot take it.
        """
        while self._copied < self._size:
            block = self._read()
            if not block:
                raise UploadChanged("the file became shorter while it was read")
            self._hash.update(block)
            self._write(block)
            self._copied += len(block)
            if time.monotonic() >= deadline:
                break
        return self._copied >= self._size and self._lasts(deadline)

    def _lasts(self, deadline: float) -> bool:
        """Return whether the complete copy is where the store lasts, waiting for it until `deadline`."""
        mirror = self._store.mirror
        if mirror is None:
            return True
        if self._publishing is None:
            self._require_unchanged()
            pool = ThreadPoolExecutor(1, thread_name_prefix="original")
            self._publishing = pool.submit(
                mirror.publish_original,
                self._temporary,
                relative=self.archive_path,
                sha256=self.sha256,
                heed=self._heed_close,
            )
            pool.shutdown(wait=False)
        left_s = None if math.isinf(deadline) else max(0.0, deadline - time.monotonic())
        if not wait([self._publishing], timeout=left_s).done:
            return False
        self._publishing.result()
        return True

    def _heed_close(self) -> None:
        if self._closed:
            raise UploadChanged("the copy was abandoned")

    def _require_unchanged(self) -> None:
        if self._copied != self._size or fingerprint(os.fstat(self._source)) != self._seen:
            raise UploadChanged("the file changed while it was read")

    @property
    def missing_bytes(self) -> int:
        return self._size - self._copied

    @property
    def sha256(self) -> str:
        """The hash of what was copied so far."""
        return self._hash.hexdigest()

    @property
    def archive_path(self) -> str:
        """Where the complete copy belongs, relative to the store."""
        return f"{ORIGINALS}{self.sha256[:2]}/{self.sha256}"

    def store(self) -> None:
        """Give the complete copy its name, durably.

        Raises:
            UploadChanged: the source is not as it was when the copy began.
            StorageUnavailable: the store cannot take it.
        """
        self._require_unchanged()
        self._lasts(math.inf)
        if self._store.mirror is not None:  # a sweep may have taken what was there before
            self._store.mirror.require_original(self._temporary, relative=self.archive_path, sha256=self.sha256)
        destination = self._store.path(self.archive_path)
        try:
            os.fchmod(self._target, _READ_ONLY)
            os.fsync(self._target)
            atomic.make_folder(destination.parent)
            atomic.put_in_place(self._temporary, destination)
        except OSError as error:
            raise atomic.storage_error(error, destination) from error

    def make_last(self) -> None:
        """Put the stored copy where the store lasts again, if a sweep elsewhere took it before its song was registered.

        From then on it is no longer one that was older than its limit; a sweep that is about to note that looks again.

        Raises:
            StorageUnavailable: it cannot be made to last now; the same upload made again does.
        """
        if self._store.mirror is not None:
            path = self._store.path(self.archive_path)
            self._store.mirror.require_original(path, relative=self.archive_path, sha256=self.sha256)
        drop_note(self._store, self.archive_path)

    def close(self) -> None:
        """Close both files and remove the copy if it never got its name."""
        self._closed = True
        for descriptor in (self._source, self._target):
            os.close(descriptor)
        self._temporary.unlink(missing_ok=True)

    def _read(self) -> bytes:
        try:
            return os.pread(self._target if self._cloned else self._source, BLOCK_BYTES, self._copied)
        except OSError as error:
            reason = f"reading stopped after {self._copied} bytes: {os.strerror(error.errno or 0)}"
            raise TransientFailure(reason, code=ErrorCode.UNREADABLE) from error

    def _write(self, block: bytes) -> None:
        if self._cloned:
            return
        try:
            written = 0
            while written < len(block):
                written += os.pwrite(self._target, memoryview(block)[written:], self._copied + written)
        except OSError as error:
            raise atomic.storage_error(error, self._temporary) from error


@contextmanager
def keep_original(store: Store, *, archive_path: str) -> Iterator[None]:
    """Keep `drop_unregistered` of any process away while an original is put there and its song is registered."""
    with _locked(store.path(archive_path).parent, how=fcntl.LOCK_SH):
        yield


def drop_unregistered(store: Store, *, archive_path: str, is_registered: Callable[[str], bool]) -> None:
    """Remove an original whose song was refused, unless it is that of another song too.

    What cannot be removed now is left to the sweep.
    """
    with suppress(OSError, IroncladError), _locked(store.path(archive_path).parent, how=fcntl.LOCK_EX):
        if not is_registered(archive_path):
            # Where the store lasts elsewhere, another machine may be about to register the same bytes: swept later.
            store.discard_copy(archive_path)


@contextmanager
def _locked(folder: Path, *, how: int) -> Iterator[None]:
    atomic.make_folder(folder)
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        with suppress(OSError) if how == fcntl.LOCK_SH else nullcontext():  # some network file systems have no locks
            fcntl.flock(descriptor, how)
        yield
    finally:
        os.close(descriptor)


def sweep_abandoned(store: Store) -> list[str]:
    """Remove copies that a crash left behind; return their names."""
    swept = []
    for path in store.archive.glob(f".*{atomic.PARTIAL_SUFFIX}"):
        with suppress(FileNotFoundError):
            if time.time() - path.stat().st_mtime > ABANDONED_S:
                path.unlink()
                swept.append(path.name)
    return swept


def _clone(source: int, *, target: int) -> bool:
    """Let `target` share the blocks of `source`; False where the file system cannot."""
    try:
        fcntl.ioctl(target, _FICLONE, source)
    except OSError:
        return False
    return True
