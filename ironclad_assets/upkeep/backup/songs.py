"""What of each song belongs in a backup: its original, what is known of it, and what could not be made again.

An artifact goes in whole or not at all; one that is replaced meanwhile is read again. What cannot be read is named and
left out: one bad file keeps no other song out. A song whose original is not there any more has its library files in,
for nothing makes them again; what the store lost of either stays in as an earlier backup has it.
"""

import os
import stat
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

from pydantic import ValidationError

from ironclad_assets.contracts.v1.library_entry import EntryFile, LibraryEntry
from ironclad_assets.errors import ErrorCode, IroncladError, StorageUnavailable
from ironclad_assets.ledger.dump import iter_lines, iter_rows
from ironclad_assets.storage import atomic
from ironclad_assets.storage.artifacts import read_manifest
from ironclad_assets.storage.notes import find_note
from ironclad_assets.storage.store import StageFolder, Store
from ironclad_assets.upkeep.backup.manifest import Extra
from ironclad_assets.upkeep.backup.objects import SourceChanged, SourceUnreadable
from ironclad_assets.upkeep.backup.sources import TRIES, Collector

SMALL_STAGES = ("validated_file", "song_metadata", "library_entry", "song_analysis")
"""Stages whose files are always in: small, and what follows from them is made again the same, without network."""

CLAIMS = "claims.json"

_LEFT_OUT = (ErrorCode.ARTIFACT_DAMAGED, ErrorCode.ARTIFACT_NEWER)


@dataclass(frozen=True, slots=True)
class DumpedSong:
    """What a backup needs to know of a song in the ledger's copy."""

    song: str
    sha256: str | None
    size_bytes: int
    archive_path: str


@dataclass(slots=True)
class SongCollector:
    """Puts what belongs to songs into a backup. `is_gone` tells whether a song was deleted since the ledger's copy."""

    collector: Collector
    store: Store
    extras: Sequence[Extra]
    is_gone: Callable[[str], bool]
    _stages: Sequence[str] = field(init=False)

    def __post_init__(self) -> None:
        folder = self.store.path("stages")
        here = {path.name for path in folder.iterdir() if path.is_dir()} if folder.is_dir() else set()
        self._stages = sorted({*here, *(stage for stage in SMALL_STAGES if self._is_in_bucket(stage))})

    def _is_in_bucket(self, stage: str) -> bool:
        """Return whether the bucket has anything of a stage, for this machine may have nothing; else nobody asks it."""
        mirror = self.store.mirror
        with suppress(SourceUnreadable), self._fetching():
            return mirror is not None and next(mirror.lasting(f"stages/{stage}"), None) is not None
        return True

    def fetch_small(self) -> None:
        """Bring the sidecars and quarantine's notes here that only the bucket has, where the store lasts in one."""
        mirror = self.store.mirror
        if mirror is None:
            return
        for folder in ("sidecars", "error"):
            with self._naming(f"{folder}/ may not be whole"):
                for path in [stored.path for stored in mirror.lasting(folder)]:
                    with self._naming(f"{path} is left out"):
                        mirror.fetch_file(path)

    @contextmanager
    def _naming(self, what: str) -> Iterator[None]:
        try:
            with self._fetching():
                yield
        except SourceUnreadable as error:
            self.collector.warnings.append(f"{what}: {error.detail}")

    def add(self, one: DumpedSong) -> None:
        """Put in the original, the sidecars, the quarantine and the artifacts of a song."""
        makeable = self._add_original(one) if one.sha256 else True
        for folder in (self.store.quarantine(one.song), self.store.path(f"sidecars/{one.song}")):
            for path in self._files_below(folder):
                self._add_changing(path, song=one.song)
        for stage in self._stages:
            complete = stage in SMALL_STAGES or "stages" in self.extras
            self._add_artifact(one.song, stage=stage, complete=complete)
        if "library" in self.extras or not makeable:
            self._add_library(one.song, makeable=makeable)
        self._add_changing(self.store.stage("library_entry", one.song).path / CLAIMS, song=one.song)

    def _add_original(self, one: DumpedSong) -> bool:
        """Put in a song's original; return whether it is in. One that is not is listed as what it is."""
        why = self._try_original(one)
        if not why:
            return True
        note = self._find_note(one)
        if self.is_gone(one.song):
            self.collector.gone.append(one.song)
        elif note is not None:
            self._add_changing(note, song=one.song)
            self.collector.pruned.append(one.song)
        elif self._list_earlier(one, read=True):
            self.collector.warnings.append(f"{why}; what an earlier backup has of it stays in")
            return True
        else:
            self.collector.missing.append(one.song)
            self.collector.warnings.append(why)
        return False

    def _find_note(self, one: DumpedSong) -> Path | None:
        """Return the note that the original went by its limit; none where the bucket does not give it."""
        try:
            with self._fetching():
                return find_note(self.store, one.archive_path)
        except SourceUnreadable:
            return None

    def _try_original(self, one: DumpedSong) -> str:
        """Put in the original; return what is wrong with it, or nothing."""
        what = f"the original of {one.song}"
        try:
            if self._lasts_in_both(one):
                return "" if self._list_earlier(one) else f"{what} differs from its checksum in the backups"
            with self._fetching():
                source = self.store.original(one.archive_path)
            if source.stat().st_size != one.size_bytes:
                return f"{what} is damaged: {one.archive_path}"
            self.collector.add(
                source, place="store", path=one.archive_path, song=one.song, sha256=one.sha256, link=True
            )
        except FileNotFoundError:
            return f"{what} is not in the store: {one.archive_path}"
        except SourceChanged:
            return f"{what} is damaged: {one.archive_path}"
        except SourceUnreadable as error:
            return f"{what}: {error.detail}"
        except OSError as error:
            return f"{what} cannot be copied: {error}"
        except IroncladError as error:
            if error.code is not ErrorCode.ARTIFACT_DAMAGED:
                raise
            return f"{what} is damaged: {error.detail}"
        return ""

    def _lasts_in_both(self, one: DumpedSong) -> bool:
        """Return whether an original is not here but in the bucket and in the backups, so that nothing is fetched."""
        mirror, sha256 = self.store.mirror, one.sha256
        if mirror is None or sha256 is None or self.store.path(one.archive_path).exists():
            return False
        with self._fetching():
            return self.collector.writer.has(sha256) and mirror.objects.head(one.archive_path) is not None

    @contextmanager
    def _fetching(self) -> Iterator[None]:
        """Tell an object that the bucket does not give, which is left out, from a bucket that is away."""
        try:
            yield
        except StorageUnavailable as error:
            if error.code is not ErrorCode.STORAGE_AWAY:
                raise
            self.store.require_present()
            raise SourceUnreadable(error.detail, code=error.code) from error

    def _list_earlier(self, one: DumpedSong, *, read: bool = False) -> bool:
        """List the original as an earlier backup has it; return whether one does, by its size or read whole."""
        return one.sha256 is not None and self._keep(
            one.archive_path, song=one.song, sha256=one.sha256, size_bytes=one.size_bytes, read=read
        )

    def _keep(self, path: str, *, song: str, sha256: str, size_bytes: int, read: bool = False) -> bool:
        return self.collector.keep(place="store", path=path, song=song, sha256=sha256, size_bytes=size_bytes, read=read)

    def _add_artifact(self, song: str, *, stage: str, complete: bool) -> None:
        """Put in a stage's manifest, and before it the files it names, as far as they belong in this backup."""
        folder, files = self.store.stage(stage, song), self.collector.files
        before = len(files)
        for _ in range(TRIES):
            try:
                self._try_artifact(folder, song=song, complete=complete)
            except (FileNotFoundError, SourceChanged):
                del files[before:]
                continue  # replaced while it was read, or removed
            except (SourceUnreadable, OSError) as error:
                del files[before:]
                self.collector.warnings.append(f"{stage} of {song} is left out: {error}")
            except IroncladError as error:
                del files[before:]
                if error.code in _LEFT_OUT:
                    self.collector.warnings.append(error.detail)
                elif error.code is not ErrorCode.ARTIFACT_MISSING:
                    raise
            return
        if os.path.lexists(folder.manifest):
            self.collector.warnings.append(f"{stage} of {song} is not whole and is left out")

    def _try_artifact(self, folder: StageFolder, *, song: str, complete: bool) -> None:
        with self._fetching():
            manifest = read_manifest(folder)
        for record in manifest.files if complete else ():
            with self._fetching():
                folder.fetch(manifest, record)
            self._add(folder.path / manifest.folder / record.path, song=song, sha256=record.sha256)
        self._add(folder.manifest, song=song)

    def _add_library(self, song: str, *, makeable: bool) -> None:
        """Put in what a song's entry names in the library, as far as it still is what was put there.

        Of what nothing makes again, something goes in; where that cannot be told, the backup lacks the song.
        """
        try:
            with self._fetching():
                manifest = read_manifest(self.store.stage("library_entry", song))
            entry = LibraryEntry.model_validate(manifest.payload)
        except (IroncladError, ValidationError, OSError) as error:
            if isinstance(error, IroncladError) and not isinstance(error, SourceUnreadable):
                if error.code is ErrorCode.ARTIFACT_MISSING:
                    return
                if error.code not in _LEFT_OUT:
                    raise
            self.collector.warnings.append(f"what {song} has in the library is left out: its entry cannot be read")
            if not makeable and not self.is_gone(song):
                self.collector.lacking.append(song)
            return
        for item in entry.files:
            path = self.store.library(item.root) / item.file.path
            try:
                self._add(path, song=song, sha256=item.file.sha256)
            except (FileNotFoundError, SourceChanged):
                why = f"{self._relative(path)} is not what was put there"
            except SourceUnreadable as error:
                why = error.detail
            else:
                continue
            instead = "is left out" if makeable else self._add_instead(path, item, song=song)
            self.collector.warnings.append(f"{why}, and {instead}")

    def _add_instead(self, path: Path, item: EntryFile, *, song: str) -> str:
        """Put in what there is of a library file that nothing makes again; return what that is.

        A cover is that of the album, and another song may have put the one that is there. What an earlier backup has is
        not read, as with what is unchanged: a tag editor may have been at every song.
        """
        if self.is_gone(song):
            return "is left out"
        sha256, size_bytes = item.file.sha256, item.file.size_bytes
        relative = self._relative(path)
        if item.role != "cover" and self._keep(relative, song=song, sha256=sha256, size_bytes=size_bytes):
            return "stays in as an earlier backup has it"
        with suppress(OSError):
            if stat.S_ISREG(path.lstat().st_mode):
                self._add_changing(path, song=song)
                return "goes in as it is now"
        return "is left out"

    def _add(self, path: Path, *, song: str, sha256: str | None = None) -> None:
        self.collector.add(path, place="store", path=self._relative(path), song=song, sha256=sha256)

    def _add_changing(self, path: Path, *, song: str) -> None:
        self.collector.add_changing(path, place="store", path=self._relative(path), song=song)

    def _files_below(self, folder: Path) -> list[Path]:
        """Return the finished regular files below `folder`; a symbolic link is none, a folder that fails is named."""

        def tell(error: OSError) -> None:
            if not isinstance(error, FileNotFoundError):
                self.collector.warnings.append(f"{error.filename!a} is left out: {error.strerror}")

        found = []
        for base, _, names in os.walk(folder, onerror=tell):
            for name in names:
                path = Path(base, name)
                if not _is_text(str(path)):
                    self.collector.warnings.append(f"{str(path)!a} is left out: its name is not UTF-8")
                    continue
                with suppress(OSError):  # it went away
                    if not name.endswith(atomic.PARTIAL_SUFFIX) and stat.S_ISREG(path.lstat().st_mode):
                        found.append(path)
        return sorted(found)

    def _relative(self, path: Path) -> str:
        return path.relative_to(self.store.root).as_posix()


def _is_text(path: str) -> bool:
    """Return whether a path can be written into the contents, which are UTF-8."""
    try:
        path.encode()
    except UnicodeEncodeError:
        return False
    return True


def dumped_songs(dump: Path) -> Iterator[DumpedSong]:
    """Yield the songs of a copy of the ledger."""
    with dump.open("rb") as stream:
        lines = iter_lines(stream)
        next(lines)
        for table, row in iter_rows(lines):
            if table == "songs":
                yield DumpedSong(**{name: row[name] for name in DumpedSong.__slots__})
