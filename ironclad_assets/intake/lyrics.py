"""Lyrics dropped beside a song: which song they belong to, and keeping them for it.

``Run.lrc`` belongs to ``Run.flac`` of the same folder, whichever came first. Until its song is taken it waits in the
upload folder, and says so; then its bytes go into the store, untouched, and the library gets them under the song's new
name. No job looks at them on that way, so they are scanned here where a virus scanner is set. A text file is lyrics
only beside a song: alone it is refused like anything that is no audio.
"""

import hashlib
import os
import tempfile
import time
from collections import OrderedDict
from pathlib import Path

from ironclad_assets.antivirus.clamd import Clamd, ScannerAway
from ironclad_assets.antivirus.scan import require_clean, scan_file
from ironclad_assets.errors import ErrorCode, Refusal
from ironclad_assets.intake.names import display_name
from ironclad_assets.intake.scan import FoundFile
from ironclad_assets.intake.source import UploadChanged, fingerprint, open_folder, open_source
from ironclad_assets.intake.upload import UnreadRefusal
from ironclad_assets.ledger.store import Ledger
from ironclad_assets.pipeline.naming import fold
from ironclad_assets.pipeline.sidecars import EXTENSIONS, MAX_LYRICS_BYTES, sidecar_folder
from ironclad_assets.storage import atomic
from ironclad_assets.storage.store import Store

MOST_REMEMBERED = 10_000
"""Songs taken lately, by folder and name; older ones are looked for in the ledger."""

WAITS_FOR_SONG = "lyrics, waiting for their song to be taken"
"""What is said of them meanwhile."""

SCAN_S = 5.0
"""Longest time that one answer of the scanner may take here: everybody's intake waits for it."""

AWAY_S = 30.0
"""How long a scanner is left alone that gave no answer."""

_PLAIN = "txt"


class LyricsDoor:
    """Finds the song of each lyrics file in the upload folder."""

    def __init__(self, *, ledger: Ledger, store: Store, clamd: Clamd | None = None) -> None:
        self._ledger = ledger
        self._store = store
        self._clamd = clamd
        self._away: tuple[float, str] = (0.0, "")
        self._taken: OrderedDict[tuple[Path, str], str] = OrderedDict()

    def remember(self, path: Path, *, song: str) -> None:
        """Note that the file at `path` was taken as `song`."""
        self._taken[_key(path)] = song
        while len(self._taken) > MOST_REMEMBERED:
            self._taken.popitem(last=False)

    def knows(self, path: Path) -> bool:
        """Return whether the song of these lyrics was taken a while ago."""
        return _key(path) in self._taken

    def concerns(self, found: FoundFile) -> bool:
        """Return whether the file is to be treated as lyrics."""
        extension = _extension(found.path)
        if extension not in EXTENSIONS:
            return False
        return extension != _PLAIN or self.knows(found.path) or _has_song_beside(found.path)

    def take(self, found: FoundFile) -> str | None:
        """Keep the lyrics for their song and let go of the file; return that song, or None while it waits for one.

        Raises:
            Refusal: `UNREADABLE`: no song, or several, can be meant, or it is no text of a sensible size; or
                `UNKNOWN_USER` or `USER_DISABLED`.
            UnreadRefusal: `MALWARE`: the scanner found something.
            ScannerAway: a scanner is set and did not say that they are clean.
            UploadChanged: it changed or went away meanwhile.
            StorageUnavailable: the store cannot take it now; the file is where it was.
        """
        self._ledger.admission.require_served(found.user_id)
        if _has_song_beside(found.path):
            return None
        song = self._remembered(found.path) or self._song_of_name(found)
        content, status = _read(found, below=self._store.input)
        self._require_clean(content, name=display_name(found.path.name), status=status)
        folder = sidecar_folder(self._store, song=song)
        atomic.make_folder(folder)
        atomic.write_bytes(folder / f"lyrics.{_extension(found.path)}", content)
        self._store.publish(f"sidecars/{song}/lyrics.{_extension(found.path)}")
        try:
            with open_folder(found.path.parent, below=self._store.input) as source:
                status = os.stat(found.path.name, dir_fd=source, follow_symlinks=False)
                if status.st_ctime_ns == found.changed_ns:
                    os.unlink(found.path.name, dir_fd=source)
        except (FileNotFoundError, NotADirectoryError):
            pass
        except OSError as error:
            raise atomic.storage_error(error, found.path) from error
        return song

    def _require_clean(self, content: bytes, *, name: str, status: os.stat_result) -> None:
        """Raise unless no scanner is set or it finds the lyrics clean: a copy of them that nobody else can change."""
        if self._clamd is None:
            return
        until_s, why = self._away
        if time.monotonic() < until_s:
            raise ScannerAway(why)
        with tempfile.NamedTemporaryFile() as copy:
            copy.write(content)
            copy.flush()
            verdict = scan_file(Path(copy.name), clamd=self._clamd, sha256=hashlib.sha256(content).hexdigest())
        try:
            require_clean(verdict)
        except ScannerAway as error:
            self._away = (time.monotonic() + AWAY_S, error.detail)
            raise
        except Refusal as refusal:
            raise UnreadRefusal(f"{name!r}: {refusal.detail}", code=refusal.code, status=status) from refusal

    def _remembered(self, path: Path) -> str | None:
        """Return the song taken beside these lyrics, unless it was deleted since."""
        song = self._taken.get(_key(path))
        if song is not None and not self._ledger.has_song(song):
            del self._taken[_key(path)]
            return None
        return song

    def _song_of_name(self, found: FoundFile) -> str:
        """Return the user's one song of that name.

        Raises:
            Refusal: `UNREADABLE`.
        """
        stem = display_name(found.path.name).rpartition(".")[0]
        songs = self._ledger.songs_named(found.user_id, stem)
        if len(songs) == 1:
            return songs[0].song
        why = f"{len(songs)} songs are called so" if songs else "no song of that name has come"
        raise Refusal(f"{display_name(found.path.name)!r} are lyrics, but {why}", code=ErrorCode.UNREADABLE)


def _read(found: FoundFile, *, below: Path) -> tuple[bytes, os.stat_result]:
    """Return the text and what was known of its file when it was read."""
    name = display_name(found.path.name)
    if found.size_bytes > MAX_LYRICS_BYTES:
        detail = f"{name!r} has {found.size_bytes} bytes; lyrics may have {MAX_LYRICS_BYTES}"
        raise Refusal(detail, code=ErrorCode.UNREADABLE)
    with open_source(found.path, below=below) as descriptor:
        status = os.fstat(descriptor)
        with os.fdopen(os.dup(descriptor), "rb") as stream:
            content = stream.read(MAX_LYRICS_BYTES + 1)
        changed = fingerprint(os.fstat(descriptor)) != fingerprint(status) or len(content) != found.size_bytes
    if changed:
        raise UploadChanged(f"{name!r} changed while it was read")
    if b"\0" in content and not content.startswith((b"\xff\xfe", b"\xfe\xff")):
        raise Refusal(f"{name!r} is no text", code=ErrorCode.UNREADABLE)
    return content, status


def _has_song_beside(path: Path) -> bool:
    """Return whether another file of the folder has the same name but for its extension, and is no lyrics."""
    wanted = _key(path)[1]
    try:
        names = os.listdir(path.parent)
    except OSError:
        return False
    others = (path.with_name(name) for name in names if not name.startswith("."))
    return any(_key(other)[1] == wanted and _extension(other) not in (*EXTENSIONS, "") for other in others)


def _key(path: Path) -> tuple[Path, str]:
    return path.parent, fold(os.fsencode(path.name).decode("utf-8", errors="replace").rpartition(".")[0])


def _extension(path: Path) -> str:
    return path.suffix.removeprefix(".").lower()
