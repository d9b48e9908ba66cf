"""Making a backup while everything runs: what is copied, in which order, and why that fits together.

Dagster's databases first, then the ledger in one snapshot, then files. Files are written before the rows that name
them, so whatever the ledger's copy names is there when files are copied; a song that is deleted meanwhile has a
tombstone and is left out. Dagster's copy is the older one, so that no run, key or cursor in it is ahead of the ledger:
what it lacks is asked for again. Reading backups is `restore`'s and `verify`'s.
"""

import os
import secrets
import shutil
from collections.abc import Callable, Container, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from importlib.metadata import version
from pathlib import Path

from ironclad_assets.errors import ErrorCode, IroncladError, StorageUnavailable, failure
from ironclad_assets.ledger.dump import DumpFacts
from ironclad_assets.ledger.store import Ledger
from ironclad_assets.settings import Settings
from ironclad_assets.storage import atomic
from ironclad_assets.storage.opening import open_store
from ironclad_assets.storage.store import Store
from ironclad_assets.upkeep.backup.manifest import BackupManifest, Contents, Extra, StoredObject, render_contents
from ironclad_assets.upkeep.backup.objects import ObjectWriter
from ironclad_assets.upkeep.backup.places import enter
from ironclad_assets.upkeep.backup.repository import Repository
from ironclad_assets.upkeep.backup.seal import make_seal
from ironclad_assets.upkeep.backup.songs import SongCollector, dumped_songs
from ironclad_assets.upkeep.backup.sources import (
    NAME_KEY,
    Collector,
    collect_dagster,
    collect_home,
)
from ironclad_assets.upkeep.erase.tombstones import FILE_NAME, merge_file, publish_beside

LEDGER_FILE = "ledger.jsonl"
SONGS_TOLD = 100

_ID_TIME = "%Y%m%dt%H%M%S%fz"

Report = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class BackupWish:
    """What somebody wants of a backup. `folder` None is the configured one, else the store's own.

    `by_hand`: a person asked for it, not a schedule. `anew`: the folder's disk was replaced or emptied.
    """

    folder: Path | None = None
    recipients: Sequence[str] = ()
    passphrase: str | None = None
    extras: Sequence[Extra] = ()
    by_hand: bool = False
    anew: bool = False


@dataclass(frozen=True, slots=True)
class Made:
    """A backup that was made.

    `added` names the objects that were not in the repository before, `lacking` what should be in it and could not
    be read: originals, by their songs, and databases.
    """

    manifest: BackupManifest
    folder: Path
    copied_bytes: int
    added: frozenset[str]
    warnings: tuple[str, ...]
    lacking: tuple[str, ...]


def backup_folder(settings: Settings, *, folder: Path | None = None) -> Path:
    """Return where backups lie: `folder`, else the configured place, else the store's own."""
    return (folder or settings.backup_path or settings.store_root / "backups").expanduser().absolute()


def on_the_same_disk(settings: Settings, *, folder: Path) -> bool:
    """Return whether the backups are lost together with the store's disk."""
    try:
        return folder.stat().st_dev == settings.store_root.stat().st_dev
    except FileNotFoundError:
        return False


def create_backup(settings: Settings, *, wish: BackupWish, actor: str, report: Report = lambda text: None) -> Made:
    """Copy everything that cannot be made again into a new backup, and return it.

    Args:
        settings: of the installation.
        wish: where to, for whom, and what else.
        actor: who asked, for the audit.
        report: told what is being done.

    Raises:
        TransientFailure: `BUSY`, while another command works on the same backups.
        StorageUnavailable: the store is away, or the backups' disk is full or away.
        PermanentFailure: `BAD_OPTION`, for keys that are none.
    """
    store = open_store(settings)
    if not store.sentinel.is_file():
        raise StorageUnavailable(f"{store.sentinel} is missing; there is no store to copy", code=ErrorCode.STORAGE_AWAY)
    ledger = Ledger(settings.ledger_url)
    repository = Repository(backup_folder(settings, folder=wish.folder))
    enter(settings, repository, anew=wish.anew, earlier=_earlier_places(ledger))
    with repository.writing(), _scratch(settings) as scratch:
        repository.sweep()
        publish_beside(repository.folder, ledger)  # also where no backup can be made now
        report("looking at what is there")
        manifests = _readable(repository)
        sealed = [one.sealed_identity for one in manifests if one.sealed_identity]
        seal = make_seal(wish.recipients, passphrase=wish.passphrase, known=sealed)
        writer = ObjectWriter(
            repository=repository,
            backup=new_id(repository.ids()),
            seal=seal,
            name_key=_name_key(settings) if seal else b"",
            reserve_bytes=settings.disk_reserve_bytes,
            known=repository.known_objects(),
        )
        with writer:
            made = _fill(
                writer, settings=settings, store=store, ledger=ledger, wish=wish, scratch=scratch, report=report
            )
        made = _list_deleted(made, ledger=ledger)
    detail = f"{made.manifest.songs} songs, {repository.folder}"
    ledger.audit.write("backup", made.manifest.id, actor=actor, detail=detail)
    ledger.close()
    return made


def _earlier_places(ledger: Ledger) -> frozenset[str]:
    """Return the folders that backups were made in, by the audit."""
    return frozenset(detail.partition(" songs, ")[2] for detail in ledger.audit.details("backup"))


def _list_deleted(made: Made, *, ledger: Ledger) -> Made:
    """Bring the list of deletions beside the backups up to date; a backup without it is there, and lacks it."""
    file = made.folder / FILE_NAME
    try:
        merge_file(file, stones=ledger.deletions.tombstones())
    except (StorageUnavailable, OSError, ValueError) as error:
        why = f"what was deleted cannot be noted in {file}, and a restore would bring it back: {error}"
        return replace(made, warnings=(*made.warnings, why), lacking=(*made.lacking, FILE_NAME))
    return made


def new_id(earlier: Sequence[str] = ()) -> str:
    """Return an id for a backup that begins now: the time; after the newest of `earlier`, whatever the clock says."""
    now = datetime.now(UTC)
    if earlier and max(earlier) >= now.strftime(_ID_TIME):
        now = datetime.strptime(max(earlier), _ID_TIME).replace(tzinfo=UTC) + timedelta(microseconds=1)
    return now.strftime(_ID_TIME)


def split_recipients(settings: Settings) -> list[str]:
    """Return the public keys that the settings name."""
    return [part.strip() for part in settings.backup_recipients.split(",") if part.strip()]


def choose_expired(
    repository: Repository, *, keep: int | None, keep_days: float | None, scheduled: Container[str] | None = None
) -> list[str]:
    """Return the backups that are neither among the newest `keep` nor younger than `keep_days`; never the newest.

    With `scheduled` only those in it count and go, without those made by hand and those that cannot be read.
    """
    ids = repository.ids()
    if scheduled is not None:
        ids = [one for one in ids if one in scheduled and _is_scheduled(repository, one)]
    kept = set(ids[-1:])
    if keep is not None:
        kept |= set(ids[-keep:])
    if keep_days is not None:
        limit = (datetime.now(UTC) - timedelta(days=keep_days)).strftime(_ID_TIME)
        kept |= {one for one in ids if one >= limit}
    return [one for one in ids if one not in kept]


def own_backups(settings: Settings) -> frozenset[str]:
    """Return the ids of all backups that this installation ever made or came from, by its ledger."""
    ledger = Ledger(settings.ledger_url)
    try:
        return ledger.audit.subjects(("backup", "restore"))
    finally:
        ledger.close()


def _is_scheduled(repository: Repository, backup: str) -> bool:
    try:
        return not repository.manifest(backup).by_hand
    except IroncladError:
        return False


def _fill(
    writer: ObjectWriter, *, settings: Settings, store: Store, ledger: Ledger, wish: BackupWish, scratch: Path,
    report: Report,
) -> Made:  # fmt: skip
    collector = Collector(writer)
    created_at = datetime.now(UTC).isoformat(timespec="milliseconds")
    report("copying Dagster's databases")
    collect_dagster(collector, settings=settings, scratch=scratch)
    report("copying the ledger")
    facts, dump = _dump_ledger(ledger, scratch=scratch)
    collector.add(dump, place="ledger", path=LEDGER_FILE)
    collect_home(collector, settings=settings, scratch=scratch, sealed=writer.seal is not None)
    songs = _collect_songs(collector, dump=dump, store=store, ledger=ledger, wish=wish, report=report)
    contents = collector.contents(rows=facts.rows, settings=settings)
    stored = _add_listing(writer, contents, scratch=scratch)
    writer.flush()
    manifest = BackupManifest(
        id=writer.backup,
        created_at=created_at,
        release=version("ironclad-assets"),
        schema_version=facts.schema,
        encryption="age" if writer.seal else "none",
        recipients=writer.seal.recipients if writer.seal else (),
        sealed_identity=writer.seal.sealed_identity if writer.seal else None,
        extras=tuple(sorted(set(wish.extras))),
        songs=songs,
        files=len(collector.files),
        size_bytes=sum(one.size_bytes for one in collector.files),
        warnings=len(collector.warnings),
        by_hand=wish.by_hand,
        contents=stored,
        objects=tuple(sorted((one for one in writer.used.values() if one != stored), key=lambda one: one.name)),
    )
    writer.repository.publish(manifest)
    return Made(
        manifest=manifest,
        folder=writer.repository.folder,
        copied_bytes=writer.copied_bytes,
        added=frozenset(writer.added),
        warnings=tuple(collector.warnings),
        lacking=(*collector.missing, *collector.lacking),
    )


def _add_listing(writer: ObjectWriter, contents: Contents, *, scratch: Path) -> StoredObject:
    listing = scratch / "contents.json"
    atomic.write_bytes(listing, render_contents(contents), mode=0o600)
    return writer.add(listing)[0]


def _dump_ledger(ledger: Ledger, *, scratch: Path) -> tuple[DumpFacts, Path]:
    dump = scratch / LEDGER_FILE
    with dump.open("wb") as stream:
        facts = ledger.dump.write(stream)
    return facts, dump


def _collect_songs(
    collector: Collector, *, dump: Path, store: Store, ledger: Ledger, wish: BackupWish, report: Report
) -> int:
    """Put in the files of every song in the ledger's copy; return how many songs there are."""
    songs = SongCollector(collector, store, extras=wish.extras, is_gone=lambda song: _is_gone(ledger, song))
    songs.fetch_small()
    count = 0
    for one in dumped_songs(dump):
        songs.add(one)
        count += 1
        if count % SONGS_TOLD == 0:
            report(f"copied the files of {count} songs")
    if not store.sentinel.is_file():
        raise StorageUnavailable(f"{store.sentinel} went away meanwhile", code=ErrorCode.STORAGE_AWAY)
    return count


def _is_gone(ledger: Ledger, song: str) -> bool:
    """Return whether a song of the copy was deleted since, so that its files need not be there."""
    try:
        ledger.song(song)
    except IroncladError as error:
        if error.code is ErrorCode.UNKNOWN_SONG:
            return True
        raise
    return ledger.deletions.is_deleted(song)


def _readable(repository: Repository) -> list[BackupManifest]:
    found = []
    for backup in repository.ids():
        try:
            found.append(repository.manifest(backup))
        except IroncladError:
            continue  # damage is told by `verify`
    return found


def _name_key(settings: Settings) -> bytes:
    """Return the key by which this installation names encrypted objects, made at first use."""
    file = settings.home_dir / NAME_KEY
    if not file.exists():
        atomic.write_bytes(file, secrets.token_bytes(32), mode=0o600)
    return file.read_bytes()


@contextmanager
def _scratch(settings: Settings) -> Iterator[Path]:
    """Give a folder in the home for copies that are not encrypted; it is gone afterwards, also that of a dead one."""
    run = settings.home_dir / "run"
    atomic.make_folder(run)
    for left in run.glob("backup-*"):
        pid = left.name.removeprefix("backup-")
        if not (pid.isdigit() and int(pid) != os.getpid() and Path(f"/proc/{pid}").exists()):
            shutil.rmtree(left, ignore_errors=True)
    folder = run / f"backup-{os.getpid()}"
    folder.mkdir(mode=0o700)
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def require_passphrase(file: Path | None) -> str | None:
    """Return the passphrase in a file's first line, or None for no file.

    Raises:
        PermanentFailure: with `BAD_OPTION`.
    """
    if file is None:
        return None
    try:
        passphrase = file.read_text(encoding="utf-8").split("\n", 1)[0].strip()
    except (OSError, ValueError) as error:
        raise failure(ErrorCode.BAD_OPTION, f"{file} cannot be read as a passphrase: {error}") from error
    if not passphrase:
        raise failure(ErrorCode.BAD_OPTION, f"the first line of {file} is empty")
    return passphrase
