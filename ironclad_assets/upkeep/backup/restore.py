"""Restoring a backup into an empty home and store, or one of both, on whatever machine and database.

Every byte is checked before it gets its name. The ledger comes after the files and the store's sentinel last of all,
so that nobody works with half of it; `restore.json` in the home says until then that a restore is not done, keeps
`up` away, and lets the same command go on where it was killed. What was deleted since the backup is deleted again.
"""

import json
import shutil
import uuid
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import PurePosixPath
from typing import Any, Literal

from filelock import FileLock, Timeout

from ironclad_assets.errors import ErrorCode, StorageUnavailable, failure
from ironclad_assets.ledger.store import Ledger
from ironclad_assets.settings import Settings
from ironclad_assets.storage import atomic
from ironclad_assets.storage.opening import open_store
from ironclad_assets.storage.store import KNOWN_STORES
from ironclad_assets.upkeep.backup.journal import JOURNAL
from ironclad_assets.upkeep.backup.manifest import BackedUpFile, BackupManifest, Contents
from ironclad_assets.upkeep.backup.objects import sync_file_system
from ironclad_assets.upkeep.backup.places import KNOWN_BACKUPS, remember
from ironclad_assets.upkeep.backup.repository import Repository
from ironclad_assets.upkeep.backup.restored_files import PARTIALS, Placer, entries, inside
from ironclad_assets.upkeep.backup.restored_jobs import queue_again, rebuild_library
from ironclad_assets.upkeep.backup.seal import Keys
from ironclad_assets.upkeep.backup.songs import SMALL_STAGES
from ironclad_assets.upkeep.backup.sources import NAME_KEY, public_settings
from ironclad_assets.upkeep.backup.verify import open_file, read_contents
from ironclad_assets.upkeep.erase import tombstones
from ironclad_assets.upkeep.recount import recount

Part = Literal["home", "store"]
ALL_PARTS: tuple[Part, ...] = ("home", "store")

_KEPT_IN_HOME = frozenset(
    {"engines", "models", "cache", "logs", "run", "upgrades", JOURNAL, KNOWN_STORES, KNOWN_BACKUPS}
)
"""What a home may have before a restore: nothing that a restore brings back."""

_KEPT_BESIDE_STORE = frozenset({"lookup.db", "lookup.db-journal", NAME_KEY})
"""What a home whose database was lost has too; it stays as it is."""

_KEPT_IN_STORE = frozenset({"backups", "lost+found"})


@dataclass(slots=True)
class Restored:
    """What a restore came to. `deleted_again` counts songs and users; `requeued` jobs that were running."""

    backup: str
    files: int = 0
    size_bytes: int = 0
    songs: int = 0
    left_out: int = 0
    requeued: int = 0
    rebuilt: int = 0
    deleted_again: int = 0
    warnings: list[str] = field(default_factory=list)
    other_settings: dict[str, Any] = field(default_factory=dict)  # any JSON value


@dataclass(frozen=True, slots=True)
class RestoreWish:
    """What somebody wants restored. `rebuild` queues complete songs whose library files are not there."""

    repository: Repository
    backup: str
    identities: Keys = ()
    parts: Sequence[Part] = ALL_PARTS
    rebuild: bool = True


def restore_backup(
    settings: Settings, *, wish: RestoreWish, actor: str, report: Callable[[str], None] = lambda text: None
) -> Restored:
    """Bring a backup back and return what that came to.

    Raises:
        PermanentFailure: `HOME_IN_USE`, where home, ledger or store have something already; `BACKUP_DAMAGED`,
            `BACKUP_LOCKED`, `UNKNOWN_BACKUP`.
        TransientFailure: `ALREADY_RUNNING`, while a system runs in the home.
        StorageUnavailable: the disk is full, read-only or away.
    """
    with wish.repository.reading():
        manifest = wish.repository.manifest(wish.backup)
        contents = read_contents(wish.repository, manifest, identities=wish.identities)
        work = _Restore(settings, wish, manifest, contents, report)
        with work.alone():
            return work.perform(actor=actor)


class _Restore:
    """One restore at work."""

    def __init__(
        self,
        settings: Settings,
        wish: RestoreWish,
        manifest: BackupManifest,
        contents: Contents,
        report: Callable[[str], None],
    ) -> None:
        self._settings = settings
        self._wish = wish
        self._manifest = manifest
        self._contents = contents
        self._report = report
        self._store = open_store(settings)
        self._ledger = Ledger(settings.ledger_url)
        self._journal = settings.home_dir / JOURNAL
        self._placer = Placer(
            repository=wish.repository,
            objects={one.name: one for one in manifest.objects},
            identities=wish.identities,
            total=len(contents.files),
            report=report,
        )
        self._result = Restored(manifest.id)

    def alone(self) -> FileLock:
        """Return the lock that keeps a system from starting in this home meanwhile, held."""
        atomic.make_folder(self._settings.home_dir / "run")
        lock = FileLock(self._settings.home_dir / "run" / "supervisor.lock")
        try:
            lock.acquire(timeout=0)
        except Timeout:
            raise failure(ErrorCode.ALREADY_RUNNING, f"{self._settings.home_dir} is run by `pipelinectl up`") from None
        return lock

    def perform(self, *, actor: str) -> Restored:
        """Do everything, from wherever an interrupted restore of the same backup was."""
        state = self._begin()
        stones = self._stones()
        if "store" in self._wish.parts:
            self._restore_store(stones)
        if "home" in self._wish.parts:
            self._restore_home()
            if not state.get("ledger"):
                self._restore_ledger()
                atomic.write_json(self._journal, {**state, "ledger": True})
        self._settle(stones, actor=actor)
        self._open_store()
        remember(self._settings, self._wish.repository)
        self._count()
        self._journal.unlink()
        self._ledger.close()
        self._result.files, self._result.size_bytes = self._placer.files, self._placer.size_bytes
        self._result.warnings += list(self._contents.warnings)
        self._result.other_settings = _other_settings(self._contents.settings, now=self._settings)
        return self._result

    def _begin(self) -> dict[str, Any]:
        """Return what an interrupted restore noted, or note that one begins where everything is empty."""
        wanted = {"backup": self._manifest.id, "parts": list(self._wish.parts)}
        if self._journal.exists():
            state: dict[str, Any] = json.loads(self._journal.read_bytes())
            if {name: state.get(name) for name in wanted} != wanted:
                raise failure(ErrorCode.HOME_IN_USE, f"a restore of backup {state.get('backup')} is not done here")
            self._report("going on where a restore was interrupted")
            self._sweep()
            return state
        self._require_empty()
        self._require_room()
        self._sweep()
        atomic.write_json(self._journal, wanted)
        return wanted

    def _sweep(self) -> None:
        """Remove what a killed restore left half written."""
        left = [*self._settings.home_dir.glob(PARTIALS), *self._settings.dagster_home.rglob(PARTIALS)]
        if "store" in self._wish.parts and self._store.root.is_dir():
            ours = [path for path in self._store.root.iterdir() if path.name not in _KEPT_IN_STORE]
            left += (path for path in ours if path.match(PARTIALS))
            left += (path for folder in ours for path in folder.rglob(PARTIALS))
        for path in left:
            shutil.rmtree(path) if path.is_dir() and not path.is_symlink() else path.unlink(missing_ok=True)

    def _require_empty(self) -> None:
        used: list[str] = []
        if "home" in self._wish.parts:
            kept = _KEPT_IN_HOME if "store" in self._wish.parts else _KEPT_IN_HOME | _KEPT_BESIDE_STORE
            used += entries(self._settings.home_dir, but=kept | self._store_in_home())
            used += [str(path) for path in self._settings.dagster_home.rglob("*.db")]
            if not used and self._ledger.dump.version() is not None:
                used.append(f"the ledger at {self._ledger.place}")
        elif self._ledger.dump.version() is None:
            raise failure(ErrorCode.SCHEMA_MISMATCH, "there is no ledger to restore a store for")
        if self._store.mirror is not None:
            self._require_mirrored()
        if "store" in self._wish.parts:
            used += entries(self._store.root, but=_KEPT_IN_STORE)
        elif not self._store.sentinel.is_file():
            raise StorageUnavailable(f"{self._store.sentinel} is missing", code=ErrorCode.STORAGE_AWAY)
        if used:
            raise failure(ErrorCode.HOME_IN_USE, f"there is something already: {', '.join(used[:5])}")

    def _require_mirrored(self) -> None:
        """Take the store from where it lasts; what is in a backup would not get there."""
        if "store" in self._wish.parts:
            raise failure(
                ErrorCode.BAD_OPTION,
                "the store lasts in a bucket: restore the rest, --only home; or, where the bucket is lost, restore "
                "without IRONCLAD_OBJECT_STORE_URL, set it to an empty prefix, and run `pipelinectl store publish`",
            )
        self._store.create()

    def _store_in_home(self) -> frozenset[str]:
        if self._store.root.parent != self._settings.home_dir:
            return frozenset()
        return frozenset({self._store.root.name})

    def _require_room(self) -> None:
        wanted = sum(one.size_bytes for one in self._contents.files if one.place == "store")
        atomic.make_folder(self._store.root)
        free = shutil.disk_usage(self._store.root).free
        if "store" in self._wish.parts and free - wanted < self._settings.disk_reserve_bytes:
            raise StorageUnavailable(
                f"{self._store.root} has {free / 1e9:.2f} GB free; the backup needs {wanted / 1e9:.2f} GB beside the "
                "reserve",
                code=ErrorCode.STORAGE_FULL,
            )

    def _stones(self) -> tombstones.Tombstones:
        """Return every tombstone that the backups' folder, the target's store and a ledger that is there know."""
        known = tombstones.read_file(self._wish.repository.folder / tombstones.FILE_NAME)
        if "home" not in self._wish.parts:
            known += self._ledger.deletions.tombstones()
        tombstones.merge_file(tombstones.tombstone_file(self._store), stones=known)
        return tombstones.load(self._store, None)

    def _restore_store(self, stones: tombstones.Tombstones) -> None:
        shared = {one.path for one in self._contents.files if one.song is not None and not stones.covers_song(one.song)}
        for one in self._contents.files:
            if one.place != "store":
                continue
            covered = one.song is not None and one.path not in shared and stones.covers_song(one.song)
            if (covered and not self._is_wanted(one)) or self._lacks_files(one):
                self._result.left_out += 1
                continue
            self._placer.place(one, self._store.root / inside(one.path))
        sync_file_system(self._store.root)

    def _is_wanted(self, one: BackedUpFile) -> bool:
        """Return whether a ledger that is there has this original for a song that came since the backup."""
        if "home" in self._wish.parts or not one.path.startswith("archive/"):
            return False
        with self._ledger.deletions.hold_original(one.path) as wanted:
            return wanted

    def _lacks_files(self, one: BackedUpFile) -> bool:
        """Return whether this is the manifest of an artifact whose files are not in the backup."""
        parts = PurePosixPath(one.path).parts
        is_artifact = parts[0] == "stages" and parts[1] not in SMALL_STAGES
        return is_artifact and "stages" not in self._manifest.extras

    def _restore_home(self) -> None:
        roots = {"dagster": self._settings.dagster_home, "home": self._settings.home_dir}
        for one in self._contents.files:
            if one.place not in roots or (one.place == "home" and one.path == KNOWN_STORES):
                continue
            destination = roots[one.place] / inside(one.path)
            if one.place == "dagster" or not destination.exists():
                self._placer.place(one, destination)
        sync_file_system(self._settings.home_dir)

    def _restore_ledger(self) -> None:
        self._report("restoring the ledger")
        (one,) = (one for one in self._contents.files if one.place == "ledger")
        identities = self._wish.identities
        with open_file(self._wish.repository, self._placer.objects[one.object], one, identities=identities) as dump:
            facts = self._ledger.dump.load(dump)
        self._result.songs = facts.rows.get("songs", 0)

    def _settle(self, stones: tombstones.Tombstones, *, actor: str) -> None:
        """Bring the jobs in step with what is there: deleted again, queued again, made again."""
        self._result.deleted_again = tombstones.adopt(self._store, self._ledger)
        if "home" in self._wish.parts:
            self._result.requeued = queue_again(self._ledger)
        if self._wish.rebuild:
            self._report("looking which songs have to be made again")
            rebuilt = rebuild_library(self._ledger, self._store)
            self._result.rebuilt = rebuilt.queued
            self._result.warnings += [
                f"{song} is not whole in the library and cannot be made again: its original is not there"
                for song in rebuilt.lost
            ]
        detail = f"{', '.join(self._wish.parts)} of {self._manifest.created_at}"
        self._ledger.audit.write("restore", self._manifest.id, actor=actor, detail=detail)

    def _open_store(self) -> None:
        """Give a restored store its folders and a sentinel of its own, and let the home know it."""
        if "store" in self._wish.parts:
            if not self._store.sentinel.exists():
                atomic.write_bytes(self._store.sentinel, f"{uuid.uuid4()}\n".encode())
            self._store.create()  # the folders that no file brought
        memory = self._settings.home_dir / KNOWN_STORES
        known: dict[str, str] = json.loads(memory.read_bytes()) if memory.exists() else {}
        known[str(self._store.root)] = self._store.sentinel.read_text(encoding="utf-8").strip()
        atomic.write_json(memory, known)

    def _count(self) -> None:
        """Charge users for what is there: of what the ledger counted then, a backup leaves most stages out.

        Where the store lasts in a bucket it is not what was restored, and asking for every song would take hours.
        """
        if self._store.mirror is None:
            self._report("counting what is stored")
            recount(self._ledger, store=self._store)


def _other_settings(then: dict[str, Any], *, now: Settings) -> dict[str, Any]:
    """Return the settings that were used when the backup was made and differ from those of now."""
    current = public_settings(now)
    places = ("home", "data", "database_url", "backup_path")
    return {name: value for name, value in then.items() if name not in places and current.get(name) != value}
