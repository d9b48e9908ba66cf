"""Carrying out removals, so that a kill at any moment leaves nothing torn and no job loses what it needs.

What goes is put aside (`aside`) while its song is held idle in the ledger, and goes where the store lasts (`beyond`)
in the same moment; where either fails, it is put back. Bytes are freed afterwards. One line of the audit says what one
song lost for one reason; it is written in the same transaction.
"""

import fcntl
import json
import os
import secrets
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, nullcontext, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

from sqlalchemy import Connection

from ironclad_assets.ledger.audit import write_audit
from ironclad_assets.ledger.tombstones import receipt_of
from ironclad_assets.ledger.usage import ORIGINAL, QUARANTINE, forget_stored_of
from ironclad_assets.pipeline.ownership import hold_entry
from ironclad_assets.pipeline.shelf import ROOTS
from ironclad_assets.pipeline.shelving import remove_empty
from ironclad_assets.storage import atomic
from ironclad_assets.storage.mirror import ORIGINALS
from ironclad_assets.storage.notes import note_of
from ironclad_assets.storage.sealed import seal
from ironclad_assets.upkeep.prune.aside import Aside
from ironclad_assets.upkeep.prune.beyond import Beyond
from ironclad_assets.upkeep.prune.guard import require_store
from ironclad_assets.upkeep.prune.orphans import NOTE
from ironclad_assets.upkeep.prune.plan import NOT_HERE, Ground, How, Kind, Removal
from ironclad_assets.upkeep.prune.unfile import Unfiled, unfile

PRUNED = "pruned.json"
"""What stays of an artifact: its manifest, and why and when its files went."""

ACTION = "prune"
_MOVED = "content"


@dataclass(slots=True)
class Taken:
    """What one group of removals came to; `unfiled` is what went from the library."""

    removed: list[Removal] = field(default_factory=list)
    skipped: list[tuple[Removal, str]] = field(default_factory=list)
    unfiled: Unfiled | None = None


@dataclass(slots=True)
class Hands:
    """Carries out the removals of one sweep."""

    ground: Ground
    actor: str

    def carry_out(self, group: Sequence[Removal]) -> Taken:
        """Carry out removals of one song and kind, together, or skip those that no longer should be.

        Raises:
            StorageUnavailable: the store went away. As after any error, what had gone by then is gone everywhere and
                written down, the rest is where it was.
        """
        store = self.ground.store
        require_store(store, self.ground.settings)
        beyond = Beyond(store)
        beyond.look_up(group)
        # Before the ledger is held: whoever has it may be slow. Until the entry is told, so that no retry reads it.
        filed = any(one.how is How.UNFILE for one in group)
        with hold_entry(store, song=group[0].song) if filed else nullcontext():
            return self._carry_out(group, beyond=beyond)

    def _carry_out(self, group: Sequence[Removal], *, beyond: Beyond) -> Taken:
        taken, asides = Taken(), list[Aside]()
        try:
            with self._allowed(_most_guarded(group)) as (connection, why_not):
                if connection is None or why_not:
                    return Taken(skipped=[(one, why_not) for one in group])
                failed = self._take_all(group, taken, connection, beyond=beyond, asides=asides)
                if taken.removed:
                    self._forget(connection, [one for one in taken.removed if not beyond.stays(one)])
                    self._write_line(connection, taken.removed)
        except BaseException:
            for aside in reversed(asides):
                aside.put_back()
            beyond.restore(group)
            raise
        for aside in asides:
            aside.free()
        self._leave_folders(taken.removed)
        beyond.finish(taken.removed)
        if failed is not None:
            beyond.restore(group)
        if taken.unfiled is not None:
            taken.unfiled.keep_entry()
        if failed is not None:
            raise failed
        return taken

    @contextmanager
    def _allowed(self, one: Removal) -> Iterator[tuple[Connection | None, str]]:
        """Give a transaction in which what the removal needs holds, and goes on holding; else say why not."""
        sweeps = self.ground.ledger.sweeps
        with ExitStack() as stack:
            if one.path.startswith(ORIGINALS):
                stack.enter_context(_hold_originals((self.ground.store.root / one.path).parent))
            if one.guard == "idle":
                if not stack.enter_context(_no_analysis(one, self.ground)):
                    yield None, "it is being analysed"
                    return
                connection, why_not = stack.enter_context(self._hold_idle(one))
                yield connection, why_not
            elif one.guard == "unknown_song":
                found = stack.enter_context(sweeps.hold_unknown(song=one.song))
                yield found, "" if found is not None else "the ledger knows the song by now"
            elif one.guard == "unknown_original":
                found = stack.enter_context(sweeps.hold_unknown(archive_path=one.path))
                yield found, "" if found is not None else "a song has this original by now"
            else:
                connection, _ = stack.enter_context(sweeps.hold_idle(()))
                yield connection, ""

    @contextmanager
    def _hold_idle(self, one: Removal) -> Iterator[tuple[Connection, str]]:
        """Hold the songs of a removal; say why it may not be now: work of theirs, or of others with that original."""
        hold_idle = self.ground.ledger.sweeps.hold_idle
        if one.kind is Kind.OLD and one.path.startswith(ORIGINALS):
            with hold_idle(one.holders, archive_path=one.path) as (connection, alone):
                yield connection, "" if alone else "a job of its songs has begun, or another song has it by now"
        else:
            with hold_idle(one.holders) as (connection, idle):
                yield connection, "" if idle else "a job of its song has begun"

    def _take_all(
        self,
        group: Sequence[Removal],
        taken: Taken,
        connection: Connection,
        *,
        beyond: Beyond,
        asides: list[Aside],
    ) -> Exception | None:
        """Take away what is still what was planned, until something fails; return that error.

        What is put aside here waits to be freed, or to be put back.
        """
        filed = [one for one in group if one.how is How.UNFILE]
        if filed:
            taken.unfiled = unfile(filed, ground=self.ground, connection=connection)
            gone = taken.unfiled.gone
            taken.removed += [one for one in filed if one.path in gone]
            taken.skipped += [(one, "it is not the song's own file any more") for one in filed if one.path not in gone]
        for one in group:
            if one.how is How.UNFILE:
                continue
            why = self._changed(one)
            if why:
                taken.skipped.append((one, why))
                continue
            aside = Aside()
            try:
                self._put_aside(one, aside)
                beyond.hide(one)
            except Exception as error:  # noqa: BLE001 - what went before it is gone, and must be written down
                aside.put_back()
                return error
            except BaseException:
                aside.put_back()
                raise
            asides.append(aside)
            taken.removed.append(one)
        return None

    def _changed(self, one: Removal) -> str:
        """Return why something is not what was planned to go, or nothing."""
        path = self.ground.folder(one.base) / one.path
        try:
            status = (path / one.names[0] if one.names else path).lstat()
        except (FileNotFoundError, NotADirectoryError):
            return "" if one.how is How.REMOVE and one.inode == NOT_HERE else "it is gone already"
        if one.how is How.MOVE and one.inode == NOT_HERE:
            return ""  # fetched to be moved
        same = (status.st_ino, status.st_mtime_ns) == (one.inode, one.changed_ns)
        return "" if same else "it changed meanwhile"

    def _put_aside(self, one: Removal, aside: Aside) -> None:
        """Rename one thing out of sight, its note first."""
        path = self.ground.folder(one.base) / one.path
        if one.how is How.MOVE:
            self._move(path, one, aside)
            return
        if one.how is How.RETIRE:
            manifest = json.loads((path / "manifest.json").read_bytes())
            aside.write(path / PRUNED, {"manifest": manifest, **_facts(one, actor=self.actor)})
        elif one.path.startswith(ORIGINALS) and one.kind is Kind.OLD:
            # It names no song: one of several may be deleted, and the note stays for the others.
            aside.write(note_of(path), {"original": path.name, **_facts(one, actor=self.actor)})
        for target in [path / name for name in one.names] or [path]:
            if os.path.lexists(target):
                aside.hide(target)

    def _move(self, path: Path, one: Removal, aside: Aside) -> None:
        """Move an orphan below ``orphaned/``, its note first: what has a note is never taken for left-over writing."""
        stamp = datetime.now(UTC).strftime("%Y%m%dT%H%M%S")
        folder = self.ground.store.root / "orphaned" / f"{stamp}-{secrets.token_hex(8)}"
        work = folder.with_name(f".{secrets.token_hex(16)}{atomic.PARTIAL_SUFFIX}")
        atomic.make_folder(work)
        note = {"from": one.path, "song": one.song, "moved_at": datetime.now(UTC).isoformat(timespec="milliseconds")}
        atomic.write_json(work / NOTE, seal({**note, **_facts(one, actor=self.actor)}))
        work.rename(folder)
        atomic.sync_folder(folder.parent)
        aside.move(path, folder / _MOVED)

    def _leave_folders(self, removed: Sequence[Removal]) -> None:
        """Remove the folders of the library that are empty now: they are called after artists and albums."""
        for one in removed:
            root = one.path.partition("/")[0]
            if root in ROOTS and one.base == "store":
                remove_empty((self.ground.store.root / one.path).parent, root=self.ground.store.library(root))

    def _forget(self, connection: Connection, removed: Sequence[Removal]) -> None:
        """Keep the ledger's count of what is stored in step."""
        for one in removed:
            stage = _stage_of(one)
            if stage is not None:
                forget_stored_of(connection, one.holders, stage)

    def _write_line(self, connection: Connection, removed: Sequence[Removal]) -> None:
        first = removed[0]
        verb = "moved to orphaned/" if first.how is How.MOVE else "removed"
        size = sum(one.size_bytes for one in removed)
        detail = f"{first.kind}: {verb} {sum(one.files for one in removed)} files, {size} bytes ({first.why})"
        subject = receipt_of(connection, "song", first.song) or first.song or first.path
        write_audit(connection, ACTION, subject, actor=self.actor, detail=detail)


def _most_guarded(group: Sequence[Removal]) -> Removal:
    """Return the one of a group for which most must hold: an original, which others may have too."""
    return next((one for one in group if one.path.startswith(ORIGINALS)), group[0])


def _stage_of(one: Removal) -> str | None:
    """Return the stage whose stored bytes go with it, or the original."""
    if one.kind is Kind.OLD and one.path.startswith("error/"):
        return QUARANTINE
    if one.how is How.RETIRE or (one.kind is Kind.CORRUPT and one.path.startswith("stages/")):
        return one.path.split("/")[1]
    return ORIGINAL if one.path.startswith(ORIGINALS) and one.holders else None


def _facts(one: Removal, *, actor: str) -> dict[str, object]:
    return {
        "kind": one.kind.value,
        "why": one.why,
        "actor": actor,
        "at": datetime.now(UTC).isoformat(timespec="milliseconds"),
        "size_bytes": one.size_bytes,
        "files": one.files,
    }


@contextmanager
def _hold_originals(folder: Path) -> Iterator[None]:
    """Wait for uploads that have stored an original in the folder and not registered its song; keep others waiting."""
    atomic.make_folder(folder)  # an upload waits for its lock as this does
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        with suppress(OSError):  # some network file systems have no locks
            fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


@contextmanager
def _no_analysis(one: Removal, ground: Ground) -> Iterator[bool]:
    """Keep the analysis of a song away from stages that go; say whether nobody analyses it now."""
    lock = ground.store.stage("song_analysis", one.song).path / ".lock"
    if one.kind is not Kind.INTERMEDIATE or not lock.exists():
        yield True
        return
    descriptor = os.open(lock, os.O_RDWR | os.O_CLOEXEC)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            yield False
            return
        yield True
    finally:
        os.close(descriptor)
