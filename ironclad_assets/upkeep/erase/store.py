"""Takes a song out of the store: original, stages, hand-offs, lyrics, quarantine, and what was put aside of it.

Nothing here asks anybody; `eraser` decides when. The order is such that what tells where the rest lies goes last, so
that a deletion that was killed anywhere finds its way again.
"""

import fcntl
import os
import stat
import time
from collections.abc import Iterator, Sequence
from contextlib import suppress
from datetime import datetime
from pathlib import Path

from ironclad_assets.contracts.v1.job import STAGES
from ironclad_assets.ledger.deletions import Deletion
from ironclad_assets.ledger.forget import Traces
from ironclad_assets.ledger.store import Ledger
from ironclad_assets.pipeline.filed import STAGE as LAST_STAGE
from ironclad_assets.pipeline.sidecars import sidecar_folder
from ironclad_assets.storage import atomic
from ironclad_assets.storage.hashing import hash_file
from ironclad_assets.storage.mirror import ORIGINALS, Parting
from ironclad_assets.storage.notes import NOTE_ENDING
from ironclad_assets.storage.store import Store
from ironclad_assets.upkeep.erase.descent import contents
from ironclad_assets.upkeep.erase.names import Names
from ironclad_assets.upkeep.erase.tally import Tally, remove_named, remove_path, remove_stored
from ironclad_assets.upkeep.prune.orphans import NOTE
from ironclad_assets.upkeep.prune.songs import TEMPORARY

_CLOCK_SLACK_S = 3600.0
"""How far in the future a file's time may lie: beyond that a clock was wrong."""


def erase_song_files(traces: Traces, *, store: Store, ledger: Ledger, tally: Tally) -> None:
    """Remove every file of one song that is in a place of its own; the library comes before this.

    Raises:
        StorageUnavailable: the store is away or read-only; doing it again goes on.
    """
    song = traces.song
    for folder in sorted(store.root.glob(f"*-input/{song}")):
        remove_path(folder, tally=tally, kind="hand_offs")
    remove_stored(store, _relative(store, sidecar_folder(store, song=song)), tally=tally, kind="sidecars")
    remove_stored(store, _relative(store, store.quarantine(song)), tally=tally, kind="quarantine")
    if traces.archive_path.startswith(ORIGINALS):
        _erase_original(traces.archive_path, store=store, ledger=ledger, tally=tally)
    for folder in _stage_folders(store, song=song):
        remove_stored(store, _relative(store, folder), tally=tally, kind="stages")


def erase_hidden(chosen: Sequence[Traces], *, store: Store, tally: Tally) -> None:
    """Remove what a sweep that was killed had renamed out of sight and not removed yet: nobody else looks there.

    Each folder is read once, however many songs are meant.
    """
    originals = {one.archive_path for one in chosen if one.archive_path.startswith(ORIGINALS)}
    for folder in sorted({(store.root / path).parent for path in originals}):
        for path in _hidden(folder):
            if path.is_file() and f"{_relative(store, folder)}/{hash_file(path)}" in originals:
                remove_path(path, tally=tally, kind="archive")
    songs = [one.song.encode() for one in chosen]
    kinds = {"error": "quarantine", "stages/*": "stages", "*-input": "hand_offs"}
    for folder, kind in ((folder, kind) for glob, kind in kinds.items() for folder in sorted(store.root.glob(glob))):
        for path in _hidden(folder):
            said = b"\n".join(document.read_bytes() for document in path.rglob("*.json") if document.is_file())
            if any(song in said for song in songs):
                remove_path(path, tally=tally, kind=kind)


def erase_put_aside(store: Store, *, names: Names, tally: Tally) -> None:
    """Remove what was put into ``orphaned/`` and is named after, or by its note or a manifest tells of, one of `names`.

    With the note goes what it tells of: audio does not say itself whose it is.
    """
    for path in sorted(store.path("orphaned").glob("*")):
        inside = path.rglob("*") if path.is_dir() and not path.is_symlink() else ()
        if any(_names_one(one, names=names) for one in (path, *inside)):
            remove_path(path, tally=tally, kind="orphaned")


def erase_uploads_of(store: Store, user_id: str, *, deletion: Deletion, default_user: str, tally: Tally) -> None:
    """Remove what lay in the user's upload folder when the deletion was asked for, and the folder if it is empty then.

    What changed later belongs to a new user of that name. While the clock is behind the request, it was set back or is
    another machine's: then what came since cannot be told by its time, and who asked has removed what lay there.

    Args:
        store: whose upload folder is meant.
        user_id: whose files go.
        deletion: of this user.
        default_user: whose the files directly in the upload folder are.
        tally: counts the files.
    """
    before_s, now_s = datetime.fromisoformat(deletion.requested_at).timestamp(), time.time()
    default = user_id == default_user

    def lay_here(status: os.stat_result) -> bool:
        return (status.st_ctime <= before_s <= now_s) or status.st_ctime > now_s + _CLOCK_SLACK_S

    folder = store.input / user_id
    if folder.is_symlink():  # intake never followed it, and what it leads to is not the user's
        remove_path(folder, tally=tally, kind="uploads")
    loose = [path for path in store.input.iterdir() if not path.is_dir() or path.is_symlink()] if default else []
    for descriptor, name in contents(folder):
        with suppress(FileNotFoundError):
            status = os.stat(name, dir_fd=descriptor, follow_symlinks=False)
            if stat.S_ISDIR(status.st_mode):
                with suppress(OSError):  # not empty
                    os.rmdir(name, dir_fd=descriptor)
            elif lay_here(status):
                remove_named(name, descriptor=descriptor, tally=tally, kind="uploads")
    for path in loose:
        with suppress(FileNotFoundError):
            if lay_here(path.lstat()):
                remove_path(path, tally=tally, kind="uploads")
    _remove_if_empty(folder)


def _erase_original(archive_path: str, *, store: Store, ledger: Ledger, tally: Tally) -> None:
    """Remove an original, unless a song that stays has the same bytes.

    Whoever brings those bytes in on this machine holds the folder until their song is registered; this waits for them,
    and they for it. On any other machine they look, once it is registered, whether the original is still there.
    """
    kept = (archive_path, f"{archive_path}{NOTE_ENDING}")  # the note is what a sweep left of it
    folder = (store.root / archive_path).parent
    store.require_present()
    atomic.make_folder(folder)
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        with ledger.deletions.hold_original(archive_path) as wanted:
            if wanted:
                return
            if store.mirror is not None:
                store.mirror.hide(Parting(kept))
            for path in kept:
                remove_path(store.root / path, tally=tally, kind="archive")
    finally:
        os.close(descriptor)


def _hidden(folder: Path) -> list[Path]:
    return [path for path in sorted(folder.glob(".*")) if TEMPORARY.fullmatch(path.name)]


def _relative(store: Store, path: Path) -> str:
    return path.relative_to(store.root).as_posix()


def _stage_folders(store: Store, *, song: str) -> Iterator[Path]:
    """Yield the song's stages, the one that knows its files in the library last."""
    known = {folder.name for folder in store.path("stages").iterdir() if folder.is_dir()} | set(STAGES)
    for stage in (*sorted(known - {LAST_STAGE}), LAST_STAGE):
        yield store.stage(stage, song).path


def _names_one(path: Path, *, names: Names) -> bool:
    """Return whether an entry is named after one of `names`, or is a document that tells of one.

    A manifest may name the hash of an original that a song of somebody else has too; the note of a move never does.
    """
    if names.find_ids(os.fsencode(path.name)):
        return True
    if path.suffix != ".json" or path.is_symlink() or not path.is_file():
        return False
    wanted = names if path.name == NOTE else names.without_hashes
    with suppress(OSError):
        return wanted.find_ids(path.read_bytes())
    return False


def _remove_if_empty(folder: Path) -> None:
    with suppress(OSError):
        folder.rmdir()
