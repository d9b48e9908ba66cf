"""One way in for a file: judge it unread, copy it into the archive while hashing, register, then let go of it.

Every step can be repeated: whatever moment the power fails, the file is still in the upload folder or its
song is in the ledger, and taking it again finds the song that is there. What may be taken is decided by
the door (`scan` for the upload folder); whether it is audio is decided by the graph.
"""

import math
import os
import shutil
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from ironclad_assets.contracts.v1.job import SongIdentity
from ironclad_assets.contracts.v1.options import JobOptions
from ironclad_assets.errors import ErrorCode, Refusal, StorageUnavailable
from ironclad_assets.intake.admission import expected_s, require_admission
from ironclad_assets.intake.archive import ArchiveCopy, drop_unregistered, keep_original
from ironclad_assets.intake.names import check_user, display_name
from ironclad_assets.intake.refuse import refuse_file
from ironclad_assets.intake.songs import new_song
from ironclad_assets.intake.source import fingerprint, open_folder, open_source
from ironclad_assets.intake.whitelist import check_folder
from ironclad_assets.ledger.registration import Registration
from ironclad_assets.ledger.store import Ledger
from ironclad_assets.settings import Settings
from ironclad_assets.storage import atomic
from ironclad_assets.storage.store import Store


@dataclass(frozen=True, slots=True)
class Delivery:
    """Everything about an upload but its bytes.

    `keep_source` is for files that stay their owner's: they are copied, never moved, unlinked or refused
    for being a hard link. `original_name` None means: the name of the file itself. `below` is a folder above a
    dropped file; a link in the place of a folder below that is not followed.
    """

    user_id: str
    options: JobOptions
    door: str
    actor: str
    original_name: str | None = None
    keep_source: bool = False
    priority: int = 0
    below: Path | None = None


class Upload:
    """One file on its way in: `advance` until done, then `finish`; `close` in every case."""

    def __init__(
        self,
        source: Path,
        *,
        delivery: Delivery,
        ledger: Ledger,
        store: Store,
        settings: Settings,
        promised_bytes: int = 0,
    ) -> None:
        """Open and judge the file, unread; `promised_bytes` of the free space belong to other uploads.

        Raises:
            Refusal: `BAD_USER`, `UNREADABLE`, `HARD_LINKED`, `PATH_REFUSED` or `TOO_LARGE`; or the user is not
                served, or a limit is reached (see `admission`).
            UploadChanged: it is gone or locked.
            NoRoom: the store is ready, but this file would break into its reserve.
            StorageUnavailable: the store cannot take it now.
        """
        self.source = source
        self._delivery = delivery
        self._ledger = ledger
        self._store = store
        check_user(delivery.user_id)
        limits = ledger.admission.limits_of(delivery.user_id)
        with ExitStack() as stack:
            descriptor = stack.enter_context(open_source(source, below=delivery.below))
            self.status = os.fstat(descriptor)
            if delivery.keep_source:
                check_folder(source, descriptor=descriptor, settings=settings)
            judge_unread(
                source, status=self.status, keep_source=delivery.keep_source, max_bytes=limits.max_upload_bytes
            )
            self._require_admission()
            store.require_ready()
            _require_room(store, size_bytes=self.status.st_size, promised_bytes=promised_bytes)
            self._copy = ArchiveCopy(descriptor, store=store)

    def advance(self, deadline: float = math.inf) -> bool:
        """Copy until done or until the monotonic time `deadline`; return whether done."""
        return self._copy.advance(deadline)

    @property
    def user_id(self) -> str:
        """Whose the file is."""
        return self._delivery.user_id

    @property
    def missing_bytes(self) -> int:
        """How much of the file is still to be copied."""
        return self._copy.missing_bytes

    def finish(self) -> Registration:
        """Store the complete copy, register the song, and unlink the source unless it is to be kept.

        Raises:
            Refusal: the user is not served by now, or a limit is reached; the source is where it was.
        """
        archive_path = self._copy.archive_path
        if self._ledger.find_song(self._delivery.user_id, self._copy.sha256) is None:
            self._require_admission()  # others may have come first while this was copied
        try:
            with keep_original(self._store, archive_path=archive_path):
                self._copy.store()
                registration = self._ledger.register(
                    self._identify(),
                    self._delivery.options,
                    actor=self._delivery.actor,
                    priority=self._delivery.priority,
                )
                self._copy.make_last()
        except Refusal:
            is_registered = self._ledger.admission.is_registered
            drop_unregistered(self._store, archive_path=archive_path, is_registered=is_registered)
            raise
        if not self._delivery.keep_source:
            self._let_go()
        return registration

    @property
    def _name(self) -> str:
        name = self._delivery.original_name
        return display_name(self.source.name if name is None else name)

    def _require_admission(self) -> None:
        size_bytes = self.status.st_size
        require_admission(self._ledger, user_id=self._delivery.user_id, name=self._name, size_bytes=size_bytes)

    def _identify(self) -> SongIdentity:
        """Return the song that the complete copy is."""
        return SongIdentity(
            song=new_song(),
            user_id=self._delivery.user_id,
            original_name=self._name,
            sha256=self._copy.sha256,
            size_bytes=self.status.st_size,
            archive_path=self._copy.archive_path,
            uploaded_at=datetime.now(UTC).isoformat(timespec="microseconds"),
            door=self._delivery.door,
            expected_s=expected_s(self._name, size_bytes=self.status.st_size),
        )

    def close(self) -> None:
        """Close the files; a copy that was not stored is removed."""
        self._copy.close()

    def _let_go(self) -> None:
        """Unlink the source, unless another file has its name by now."""
        name = self.source.name
        try:
            with open_folder(self.source.parent, below=self._delivery.below) as folder:
                if fingerprint(os.stat(name, dir_fd=folder, follow_symlinks=False)) == fingerprint(self.status):
                    os.unlink(name, dir_fd=folder)
        except (FileNotFoundError, NotADirectoryError):
            return
        except OSError as error:
            raise atomic.storage_error(error, self.source) from error


def take_file(
    source: Path,
    *,
    ledger: Ledger,
    store: Store,
    settings: Settings,
    user_id: str,
    options: JobOptions,
    door: str,
    actor: str,
    original_name: str | None = None,
    keep_source: bool = False,
    priority: int = 0,
) -> Registration:
    """Take one file in, whole; return its job, or the job of the song that the same bytes made before.

    A dropped file (`keep_source` false) that must not be read is moved to the quarantine and comes back as a
    failed job; for a file that stays its owner's the refusal is raised.

    Raises:
        Refusal: the file or the user is not acceptable.
        UploadChanged: the file changed meanwhile; nothing was taken.
        StorageUnavailable: the store cannot take it now; the file is where it was.
    """
    delivery = Delivery(
        user_id=user_id,
        options=options,
        door=door,
        actor=actor,
        original_name=original_name,
        keep_source=keep_source,
        priority=priority,
    )
    started = start_upload(source, delivery=delivery, ledger=ledger, store=store, settings=settings)
    if isinstance(started, Registration):
        return started
    try:
        started.advance()
        return started.finish()
    finally:
        started.close()


def start_upload(
    source: Path,
    *,
    delivery: Delivery,
    ledger: Ledger,
    store: Store,
    settings: Settings,
    promised_bytes: int = 0,
) -> Upload | Registration:
    """Return the upload that was begun, or the failed job of a dropped file that must not be read."""
    try:
        return Upload(
            source, delivery=delivery, ledger=ledger, store=store, settings=settings, promised_bytes=promised_bytes
        )
    except UnreadRefusal as refusal:
        if delivery.keep_source:
            raise
        store.require_ready()
        return refuse_file(
            source,
            status=refusal.status,
            error=refusal,
            ledger=ledger,
            store=store,
            user_id=delivery.user_id,
            options=delivery.options,
            door=delivery.door,
            actor=delivery.actor,
            below=delivery.below,
        )


class NoRoom(StorageUnavailable):
    """One file is too large for the space that is left now; a smaller one may fit."""

    code = ErrorCode.STORAGE_FULL


class UnreadRefusal(Refusal):
    """A file that is refused by its looks: it is quarantined without being read."""

    def __init__(self, detail: str, *, code: ErrorCode, status: os.stat_result) -> None:
        super().__init__(detail, code=code)
        self.status = status


def judge_unread(source: Path, *, status: os.stat_result, keep_source: bool, max_bytes: int | None) -> None:
    """Refuse a file for what can be seen without reading it.

    Raises:
        UnreadRefusal: `HARD_LINKED` or `TOO_LARGE`.
        Refusal: `UNREADABLE` where the file could be read but never removed.
    """
    name = display_name(source.name)
    if max_bytes is not None and status.st_size > max_bytes:
        raise UnreadRefusal(
            f"{name!r} has {status.st_size} bytes, the limit is {max_bytes}",
            code=ErrorCode.TOO_LARGE,
            status=status,
        )
    if keep_source:
        return
    if status.st_nlink > 1:
        raise UnreadRefusal(f"{name!r} has {status.st_nlink} names", code=ErrorCode.HARD_LINKED, status=status)
    if not os.access(source.parent, os.W_OK | os.X_OK):
        raise Refusal(f"{name!r} cannot be removed from its folder once taken", code=ErrorCode.UNREADABLE)


def _require_room(store: Store, *, size_bytes: int, promised_bytes: int) -> None:
    free = shutil.disk_usage(store.root).free - promised_bytes
    if free - size_bytes < store.reserve_bytes:
        raise NoRoom(f"{free / 1e9:.2f} GB are free; {size_bytes / 1e9:.2f} GB more would break into the reserve")
