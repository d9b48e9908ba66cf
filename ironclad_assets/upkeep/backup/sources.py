"""What belongs in a backup of the home and of Dagster, and how files are read while they are in use.

What belongs in it of each song is `songs`' business, where files go `repository`'s.
"""

import sqlite3
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path

from ironclad_assets.errors import ErrorCode, StorageUnavailable
from ironclad_assets.settings import Settings
from ironclad_assets.storage.store import KNOWN_STORES
from ironclad_assets.upkeep.backup.manifest import BackedUpFile, Contents, Place
from ironclad_assets.upkeep.backup.objects import ObjectWriter, SourceChanged, SourceUnreadable
from ironclad_assets.upkeep.backup.postgres import FOLDER, dump_tables

NAME_KEY = "backup-name.key"
TRIES = 3

_SECRET_ENDINGS = ("_key", "_token", "_password", "_secret")


@dataclass(slots=True)
class Collector:
    """Puts files into a backup and keeps the list of them."""

    writer: ObjectWriter
    files: list[BackedUpFile] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)
    gone: list[str] = field(default_factory=list)
    pruned: list[str] = field(default_factory=list)
    missing: list[str] = field(default_factory=list)
    lacking: list[str] = field(default_factory=list)

    def add(
        self, source: Path, *, place: Place, path: str, song: str | None = None, sha256: str | None = None,
        link: bool = False,
    ) -> None:  # fmt: skip
        """Put one file in, whatever `ObjectWriter.add` raises."""
        stored, size, digest = self.writer.add(source, sha256=sha256, link=link)
        self.files.append(
            BackedUpFile(place=place, path=path, object=stored.name, size_bytes=size, sha256=digest, song=song)
        )

    def keep(self, *, place: Place, path: str, song: str, sha256: str, size_bytes: int, read: bool) -> bool:
        """List a file that is not here as an earlier backup has it; return whether one does.

        Args:
            place: of the installation.
            path: in it.
            song: whose file it is.
            sha256: of its content.
            size_bytes: of its content.
            read: believe what the backups have only after reading it whole, not by its size.
        """
        stored = self.writer.find_earlier(sha256, read=read)
        if stored is None:
            return False
        self.files.append(
            BackedUpFile(place=place, path=path, object=stored.name, size_bytes=size_bytes, sha256=sha256, song=song)
        )
        return True

    def add_changing(self, source: Path, *, place: Place, path: str, song: str | None = None) -> None:
        """Put in a file that others may replace or remove; one that is gone is none, one that fails is named."""
        for _ in range(TRIES):
            try:
                self.add(source, place=place, path=path, song=song)
            except FileNotFoundError:
                return
            except SourceChanged:
                continue
            except SourceUnreadable as error:
                self.warnings.append(f"{error.detail}, and is left out")
                return
            else:
                return
        self.warnings.append(f"{path} changed all the time")

    def contents(self, *, rows: dict[str, int], settings: Settings) -> Contents:
        """Return what was put in, with the rows of the ledger's copy and the settings."""
        return Contents(
            files=tuple(self.files),
            gone=tuple(self.gone),
            pruned=tuple(self.pruned),
            missing=tuple(self.missing),
            rows=rows,
            settings=public_settings(settings),
            warnings=tuple(self.warnings),
        )

    def add_database(self, source: Path, *, place: Place, path: str, scratch: Path) -> None:
        """Put in a copy of a SQLite database as of one moment, while others write to it; one that fails is named.

        Raises:
            StorageUnavailable: with `STORAGE_FULL`: there is no room for the copy.
        """
        copy = scratch / "copy.db"
        copy.unlink(missing_ok=True)
        try:
            copy_database(source, copy)
        except sqlite3.Error as error:
            if not source.exists():
                return
            detail = f"{source} cannot be copied: {error}"
            if error.sqlite_errorname == "SQLITE_FULL":
                raise StorageUnavailable(detail, code=ErrorCode.STORAGE_FULL) from error
            self.warnings.append(detail)
            self.lacking.append(f"{place}/{path}")
            return
        self.add(copy, place=place, path=path)
        copy.unlink()


def copy_database(source: Path, copy: Path) -> None:
    """Copy a SQLite database with all that is committed, by its own online backup.

    The copy is of one moment, held by a reader: else SQLite begins anew whenever somebody else writes, so that a large
    database in use is never copied (https://www.sqlite.org/c3ref/backup_finish.html).
    """
    with (
        closing(sqlite3.connect(f"{source.absolute().as_uri()}?mode=rw", uri=True, timeout=30.0)) as reader,
        closing(sqlite3.connect(copy)) as writer,
    ):
        reader.execute("BEGIN")
        reader.execute("SELECT count(*) FROM sqlite_master").fetchone()  # the moment
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


def public_settings(settings: Settings) -> dict[str, object]:
    """Return the settings as they may be seen by anybody who may see a backup: without secrets."""
    shown = {}
    for name, value in settings.model_dump(mode="json", exclude_none=True).items():
        text = str(value)
        if name.endswith(_SECRET_ENDINGS) or ("://" in text and "@" in text):
            value = "(not in the backup)"
        shown[name] = value
    return shown
