"""The note that stays where an original was older than its limit: beside its place, and where the store lasts.

Without it an original that is not there is taken for lost. What a note says is the business of whoever writes it.
"""

from contextlib import suppress
from pathlib import Path

from ironclad_assets.errors import StorageUnavailable
from ironclad_assets.storage import atomic
from ironclad_assets.storage.objects import Content
from ironclad_assets.storage.store import Store

NOTE_ENDING = ".pruned.json"


def note_of(original: Path) -> Path:
    """Return where the note of an original is, if there is one."""
    return original.with_name(f"{original.name}{NOTE_ENDING}")


def has_note(store: Store, archive_path: str) -> bool:
    """Return whether there is a note of an original; another machine's is kept here, so that it is not asked for again.

    Raises:
        StorageUnavailable: the object store does not answer.
    """
    if note_of(store.path(archive_path)).exists():
        return True
    content = _read_there(store, archive_path)
    if content is not None:
        with suppress(StorageUnavailable, OSError):  # a disk that is full is asked about nonetheless
            _keep(store, archive_path, content)
    return content is not None


def find_note(store: Store, archive_path: str) -> Path | None:
    """Return the note of an original, fetched where another machine wrote it; None where there is none.

    Raises:
        StorageUnavailable: the object store does not answer, or the note cannot be written here.
    """
    note = note_of(store.path(archive_path))
    if note.exists():
        return note
    content = _read_there(store, archive_path)
    return None if content is None else _keep(store, archive_path, content)


def publish_note(store: Store, archive_path: str) -> None:
    """Let other machines see a note that was written here.

    Raises:
        StorageUnavailable: the object store does not take it now.
    """
    store.publish(f"{archive_path}{NOTE_ENDING}")


def drop_note(store: Store, archive_path: str) -> None:
    """Remove a note: the original is there again.

    Raises:
        StorageUnavailable: it cannot be removed now.
    """
    note = note_of(store.path(archive_path))
    try:
        note.unlink(missing_ok=True)
    except OSError as error:
        raise atomic.storage_error(error, note) from error
    there = f"{archive_path}{NOTE_ENDING}"
    if store.mirror is not None and store.mirror.objects.head(there) is not None:
        store.mirror.objects.delete([there])


def _read_there(store: Store, archive_path: str) -> Content | None:
    return None if store.mirror is None else store.mirror.objects.read(f"{archive_path}{NOTE_ENDING}")


def _keep(store: Store, archive_path: str, content: Content) -> Path:
    note = note_of(store.path(archive_path))
    atomic.make_folder(note.parent)
    atomic.write_bytes(note, content.data)
    return note
