"""What belongs in a backup: which files of the home, of Dagster and of the store, and how each is read while in use.

Files of songs are those of the songs in the ledger's copy, no others, so that rows and files match. An artifact goes
in whole or not at all; one that is replaced meanwhile is read again. Where files go is `repository`'s business.
"""

import os
import sqlite3
import stat
from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path

from ironclad_assets.contracts.v1.library_entry import LibraryEntry
from ironclad_assets.contracts.v1.manifest import Manifest
from ironclad_assets.errors import ErrorCode, IroncladError, TransientFailure
from ironclad_assets.ledger.dump import iter_lines, iter_rows
from ironclad_assets.settings import Settings
from ironclad_assets.storage import atomic
from ironclad_assets.storage.artifacts import read_manifest
from ironclad_assets.storage.store import KNOWN_STORES, Store
from ironclad_assets.upkeep.backup.manifest import BackedUpFile, Extra, Place
from ironclad_assets.upkeep.backup.objects import ObjectWriter, SourceChanged
from ironclad_assets.upkeep.backup.postgres import FOLDER, dump_tables

SMALL_STAGES = ("validated_file", "song_metadata", "library_entry", "song_analysis")
"""Stages whose files are always in: small, and what follows from them is made again the same, without network."""

NAME_KEY = "backup-name.key"
CLAIMS = "claims.json"
TRIES = 3

_SECRET_ENDINGS = ("_key", "_token", "_password", "_secret")


@dataclass(frozen=True, slots=True)
class DumpedSong:
    """What a backup needs to know of a song in the ledger's copy."""

    song: str
    user_id: str
    sha256: str | None
    archive_path: str


@dataclass(slots=True)
class Collector:
    """Puts files into a backup and keeps the list of them."""

    writer: ObjectWriter
    files: list[BackedUpFile] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)
    gone: list[str] = field(default_factory=list)
    missing: list[str] = field(default_factory=list)

    def add(
        self, source: Path, *, place: Place, path: str, song: str | None = None, sha256: str | None = None,
        link: bool = False,
    ) -> None:  # fmt: skip
        """Put one file in, whatever `ObjectWriter.add` raises."""
        stored, size, digest = self.writer.add(source, sha256=sha256, link=link)
        self.files.append(
            BackedUpFile(place=place, path=path, object=stored.name, size_bytes=size, sha256=digest, song=song)
        )

    def add_changing(self, source: Path, *, place: Place, path: str, song: str | None = None) -> None:
        """Put in a file that others may replace or remove; one that is gone is none."""
        for _ in range(TRIES):
            try:
                self.add(source, place=place, path=path, song=song)
            except FileNotFoundError:
                return
            except SourceChanged:
                continue
            else:
                return
        self.warnings.append(f"{path} changed all the time")

    def add_database(self, source: Path, *, place: Place, path: str, scratch: Path) -> None:
        """Put in a copy of a SQLite database as of one moment, while others write to it."""
        copy = scratch / "copy.db"
        copy.unlink(missing_ok=True)
        try:
            copy_database(source, copy)
        except sqlite3.Error as error:
            if not source.exists():
                return
            raise TransientFailure(f"{source} cannot be copied: {error}", code=ErrorCode.STORAGE_AWAY) from error
        self.add(copy, place=place, path=path)
        copy.unlink()


def copy_database(source: Path, copy: Path) -> None:
    """Copy a SQLite database with all that is committed, by its own online backup."""
    with (
        closing(sqlite3.connect(f"{source.absolute().as_uri()}?mode=rw", uri=True, timeout=30.0)) as reader,
        closing(sqlite3.connect(copy)) as writer,
    ):
        reader.backup(writer, pages=4096, sleep=0.01)


def collect_dagster(collector: Collector, *, settings: Settings, scratch: Path) -> None:
    """Put in Dagster's databases of this installation: runs, events, ticks and cursors."""
    root = settings.dagster_home
    for path in sorted(root.rglob("*.db")) if root.is_dir() else ():
        collector.add_database(path, place="dagster", path=path.relative_to(root).as_posix(), scratch=scratch)
    collector.add_changing(root / "tables-of", place="dagster", path="tables-of")
    if settings.on_postgres:
        for file in dump_tables(settings, folder=scratch):
            collector.add(file, place="dagster", path=f"{FOLDER}/{file.name}")
            file.unlink()


def collect_home(collector: Collector, *, settings: Settings, scratch: Path, sealed: bool) -> None:
    """Put in what the home remembers: the cache of lookups, its stores; the key of names only where it is encrypted."""
    home = settings.home_dir
    if (home / "lookup.db").is_file():
        collector.add_database(home / "lookup.db", place="home", path="lookup.db", scratch=scratch)
    collector.add_changing(home / KNOWN_STORES, place="home", path=KNOWN_STORES)
    if sealed:
        collector.add_changing(home / NAME_KEY, place="home", path=NAME_KEY)


def dumped_songs(dump: Path) -> Iterator[DumpedSong]:
    """Yield the songs of a copy of the ledger."""
    with dump.open("rb") as stream:
        lines = iter_lines(stream)
        next(lines)
        for table, row in iter_rows(lines):
            if table == "songs":
                yield DumpedSong(**{name: row[name] for name in DumpedSong.__slots__})


def collect_song(collector: Collector, one: DumpedSong, *, store: Store, extras: Sequence[Extra]) -> bool:
    """Put in the original, the sidecars, the quarantine and the artifacts of a song; return whether its original is in.

    An original that is missing or damaged is the caller's to judge: the song may have been deleted meanwhile.
    """
    whole = True
    if one.sha256:
        whole = _collect_original(collector, one, store=store)
    for folder in (store.quarantine(one.song), store.path(f"sidecars/{one.song}")):
        for path in _files_below(folder):
            collector.add_changing(path, place="store", path=_relative(path, store), song=one.song)
    for stage in _stages(store):
        complete = stage in SMALL_STAGES or "stages" in extras
        _collect_artifact(collector, one.song, store=store, stage=stage, complete=complete, library="library" in extras)
    claims = store.stage("library_entry", one.song).path / CLAIMS
    collector.add_changing(claims, place="store", path=_relative(claims, store), song=one.song)
    return whole


def public_settings(settings: Settings) -> dict[str, object]:
    """Return the settings as they may be seen by anybody who may see a backup: without secrets."""
    shown = {}
    for name, value in settings.model_dump(mode="json", exclude_none=True).items():
        text = str(value)
        if name.endswith(_SECRET_ENDINGS) or ("://" in text and "@" in text):
            value = "(not in the backup)"
        shown[name] = value
    return shown


def _collect_original(collector: Collector, one: DumpedSong, *, store: Store) -> bool:
    source = store.original(one.archive_path)
    try:
        collector.add(source, place="store", path=one.archive_path, song=one.song, sha256=one.sha256, link=True)
    except FileNotFoundError:
        return False
    except SourceChanged:
        collector.warnings.append(f"the original of {one.song} is damaged: {one.archive_path}")
        return False
    return True


def _collect_artifact(
    collector: Collector, song: str, *, store: Store, stage: str, complete: bool, library: bool
) -> None:
    """Put in a stage's manifest, and before it the files it names, as far as they belong in this backup."""
    folder = store.stage(stage, song)
    before = len(collector.files)
    for _ in range(TRIES):
        try:
            manifest = read_manifest(folder)
            if complete:
                for record in manifest.files:
                    folder.fetch(manifest, record)
                    path = folder.path / manifest.folder / record.path
                    collector.add(path, place="store", path=_relative(path, store), song=song, sha256=record.sha256)
            if library and stage == "library_entry":
                _collect_library(collector, manifest, store=store, song=song)
            collector.add(folder.manifest, place="store", path=_relative(folder.manifest, store), song=song)
        except (FileNotFoundError, SourceChanged):
            del collector.files[before:]
            continue  # replaced while it was read, or removed
        except IroncladError as error:
            del collector.files[before:]
            if error.code is ErrorCode.ARTIFACT_MISSING:
                return
            if error.code not in (ErrorCode.ARTIFACT_DAMAGED, ErrorCode.ARTIFACT_NEWER):
                raise
            collector.warnings.append(error.detail)
            return
        else:
            return
    if folder.manifest.exists():
        collector.warnings.append(f"{stage} of {song} is not whole and is left out")


def _collect_library(collector: Collector, manifest: Manifest, *, store: Store, song: str) -> None:
    """Put in what a song's entry names in the library, as far as it still is what was put there."""
    for item in LibraryEntry.model_validate(manifest.payload).files:
        path = store.library(item.root) / item.file.path
        try:
            collector.add(path, place="store", path=_relative(path, store), song=song, sha256=item.file.sha256)
        except (FileNotFoundError, SourceChanged):
            collector.warnings.append(f"{_relative(path, store)} is not what was put there, and is left out")


def _stages(store: Store) -> list[str]:
    folder = store.path("stages")
    return sorted(path.name for path in folder.iterdir() if path.is_dir()) if folder.is_dir() else []


def _files_below(folder: Path) -> list[Path]:
    """Return the finished regular files below `folder`; a symbolic link is none."""
    return sorted(
        path
        for path in (folder.rglob("*") if folder.is_dir() else ())
        if not path.name.endswith(atomic.PARTIAL_SUFFIX) and stat.S_ISREG(os.lstat(path).st_mode)
    )


def _relative(path: Path, store: Store) -> str:
    return path.relative_to(store.root).as_posix()
