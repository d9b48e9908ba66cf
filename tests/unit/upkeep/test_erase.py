"""Erasing: everything of a song goes from store, ledger, caches and logs, and whatever is in the way only delays it."""

import errno
import json
import os
import shutil
import sqlite3
import sys
import threading
import time
import zlib
from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from ironclad_assets.contracts.v1.job import JobState
from ironclad_assets.contracts.v1.options import JobOptions
from ironclad_assets.errors import ErrorCode, IroncladError, StorageUnavailable
from ironclad_assets.intake.upload import take_file
from ironclad_assets.ledger import deletions
from ironclad_assets.ledger.compact import compact_sqlite
from ironclad_assets.ledger.deletions import Deletion
from ironclad_assets.ledger.forget import Traces, read_traces
from ironclad_assets.ledger.store import Ledger
from ironclad_assets.ledger.tombstones import Tombstone, digest_of
from ironclad_assets.lookup.policy import state_path
from ironclad_assets.lookup.state import SharedState
from ironclad_assets.pipeline.ownership import read_mark, set_mark
from ironclad_assets.settings import MEBIBYTE, Settings
from ironclad_assets.storage.store import Store
from ironclad_assets.upkeep.erase import tombstones
from ironclad_assets.upkeep.erase.eraser import Eraser, Progress
from ironclad_assets.upkeep.erase.names import Names
from ironclad_assets.upkeep.erase.tally import Tally
from ironclad_assets.upkeep.prune.aside import Aside
from ironclad_assets.upkeep.prune.plan import Kind
from tests.forgetting import places_of
from tests.unit.upkeep.worlds import World, forbid, make_world, pile_folders

ROUNDS = int(os.environ.get("CHAOS_ROUNDS", "1"))
STEP = 1 if ROUNDS > 1 else 7
"""Every how manieth place is one to be killed at."""

LONG = "s06e3zk9v1xy0qj4m7r2t8w5"


@dataclass
class Scheduler:
    """Stands for Dagster: knows a run of each song, and forgets it when it is told to."""

    busy: str = ""
    asked: list[str] = field(default_factory=list)
    erased: set[str] = field(default_factory=set)
    compacted: int = 0

    def quieten(self, traces: Sequence[Traces]) -> str:
        self.asked += [one.song for one in traces]
        return self.busy

    def ids(self, traces: Sequence[Traces]) -> frozenset[str]:
        return frozenset(f"analysis-of-{one.song}" for one in traces)

    def erase(self, traces: Sequence[Traces], *, names: Names, tally: Tally) -> None:
        self.erased |= {one.song for one in traces} | names.users
        tally.add("runs", len(traces))

    def compact(self) -> None:
        self.compacted += 1


@pytest.fixture
def world(settings: Settings, store: Store, tmp_path: Path) -> Iterator[World]:
    world = make_world(settings, store, url=f"sqlite:///{settings.home_dir / 'ledger.db'}", folder=tmp_path)
    yield world
    world.ledger.close()


def eraser(world: World, scheduler: Scheduler | None = None, *, alone: bool = True) -> Eraser:
    return Eraser(
        settings=world.settings,
        ledger=world.ledger,
        store=world.store,
        elsewhere=scheduler or Scheduler(),
        alone=alone,
    )


def erase(world: World, scheduler: Scheduler | None = None, *, alone: bool = True) -> Progress:
    return eraser(world, scheduler, alone=alone).work()


def ask(world: World, song: str) -> Deletion:
    return world.ledger.deletions.request_song(song, actor="test")


def names_of(world: World, song: str) -> tuple[str, ...]:
    with world.ledger._database.read() as connection:
        traces = read_traces(connection, song)
    return tuple(name for name in (*traces.ids, traces.original_name, f"Song {song}") if len(name) > 4)


def files(world: World) -> dict[str, bytes]:
    """Return every file of the store but the list of tombstones."""
    return {name: content for name, content in world.files().items() if not name.startswith("backups/")}


def test_what_a_sweep_put_aside_of_a_song_goes_with_its_note_and_what_of_others_stays(world: World) -> None:
    """The audio in it does not say whose it is; without its note no sweep would ever remove it."""
    gone, kept = world.song(content=b"same bytes"), world.song(user="bob", content=b"same bytes")
    for song in (gone, kept):
        for stage in ("stems", "validated_file"):
            audio = next((world.store.root / "stages" / stage / song).glob("[!.]*/*[!n]"))
            audio.chmod(0o600)
            audio.write_bytes(b"rot" + audio.read_bytes())
    world.verify()
    world.sweep(Kind.CORRUPT).run()
    aside = world.store.path("orphaned")
    notes = [json.loads(note.read_bytes()) for note in aside.glob("*/note.json")]
    assert {note["song"] for note in notes} == {gone, kept}
    ask(world, gone)
    erase(world)
    left = {path.parent.name for path in aside.rglob("*") if path.is_file() and path.parent.parent == aside}
    assert {json.loads((aside / name / "note.json").read_bytes())["song"] for name in left} == {kept}
    assert {path.name for path in aside.iterdir()} == left


def test_what_a_killed_sweep_had_hidden_of_a_song_goes_with_the_song(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A receipt says that nothing is left; nobody else looks for such names."""
    world.limit("keep_originals_days", 1)
    done, failed = world.song(age_days=5), world.song(state=JobState.FAILED, age_days=5)
    quarantine = world.put(f"error/{failed}/error.json", json.dumps({"song": failed}).encode()).parent
    monkeypatch.setattr(Aside, "free", lambda self: None)
    world.prune(Kind.OLD)
    Aside().hide(quarantine)
    Aside().hide(world.store.root / "stages" / "stems" / done)
    assert {path.parent.name for path in world.store.root.rglob("*.part")} > {"error", "stems"}
    for song in (done, failed):
        ask(world, song)
    erase(world)
    assert list(world.store.root.rglob("*.part")) == []


def test_a_link_in_the_place_of_a_users_upload_folder_is_removed_and_not_followed(world: World, tmp_path: Path) -> None:
    music = tmp_path / "music"
    music.mkdir()
    (music / "mine.flac").write_bytes(b"x")
    link = world.store.input / "ada"
    link.symlink_to(music)
    world.song()
    world.ledger.deletions.request_user("ada", actor="test")
    erase(world)
    assert (music / "mine.flac").read_bytes() == b"x"
    assert not link.is_symlink()


def test_nothing_of_a_song_is_left_and_nothing_of_others_is_touched(world: World) -> None:
    """GLOBAL-004: store, ledger and logs; in whatever state the song is."""
    world.song(user="bob")
    before, states = files(world), (JobState.COMPLETED, JobState.FAILED, JobState.CANCELED, JobState.QUEUED)
    gone = [world.song(state=state) for state in states]
    world.put(f"halves-input/{gone[0]}/request.json")
    world.put(f"sidecars/{gone[0]}/lyrics.lrc")
    world.put(f"orphaned/2026/{gone[0]}/manifest.json")
    world.put(f"logs/engines/{world.ledger.latest_job(gone[0]).job_uuid}.log")  # type: ignore[union-attr]
    named = [name for song in gone for name in names_of(world, song)]
    scheduler = Scheduler()
    receipts = [ask(world, song).receipt for song in gone]
    assert set(erase(world, scheduler).done) == set(receipts)
    assert places_of(world.settings.home_dir, named) == []
    assert {name: content for name, content in files(world).items() if name in before} == before
    assert scheduler.erased == set(gone)
    assert scheduler.compacted == 1, "once for all of them"
    removed = world.ledger.deletions.receipt(receipts[0]).removed or {}
    assert {"archive", "hand_offs", "library", "logs", "orphaned", "records", "runs", "sidecars", "stages"} <= set(
        removed
    )
    assert erase(world) == Progress((), {})


def test_an_original_stays_while_another_song_has_the_same_bytes(world: World) -> None:
    first, second = world.song(content=b"same", user="ada"), world.song(content=b"same", user="bob")
    original = world.store.path(world.ledger.song(second).archive_path)
    ask(world, first)
    erase(world)
    assert original.read_bytes() == b"same"
    ask(world, second)
    erase(world)
    assert not original.exists()


def test_what_stays_of_an_original_that_others_had_too_does_not_name_the_song(world: World) -> None:
    """Its note stays for their sake, and is theirs."""
    world.limit("keep_originals_days", 1)
    first, second = (world.song(content=b"same", user=user, age_days=3) for user in ("ada", "bob"))
    world.prune(Kind.OLD)
    (note,) = world.store.archive.glob("??/*.pruned.json")
    ask(world, first)
    assert erase(world).done
    assert first not in note.read_text(encoding="utf-8")
    ask(world, second)
    assert erase(world).done
    assert not note.exists()


def test_the_same_bytes_uploaded_during_the_deletion_are_a_song_of_their_own(world: World) -> None:
    song = world.song(content=b"again")
    ask(world, song)
    again = world.song(content=b"again")
    assert again != song
    erase(world)
    assert world.store.path(world.ledger.song(again).archive_path).read_bytes() == b"again"


def test_an_upload_of_the_same_bytes_beside_the_deletion_never_loses_its_original(world: World) -> None:
    """Promise 16: nobody's upload is lost for another's deletion, whichever of the two is faster."""
    source = world.folder / "same.flac"
    source.write_bytes(b"the same bytes" * 1000)

    def bring() -> None:
        take_file(
            source,
            ledger=world.ledger,
            store=world.store,
            settings=world.settings,
            user_id="ada",
            options=JobOptions(),
            door="test",
            actor="test",
            keep_source=True,
        )

    bring()
    for number in range(12):
        (song,) = [job.song for job in world.ledger.jobs() if job.state is JobState.QUEUED]
        ask(world, song)
        upload = threading.Timer(number / 1000.0, bring)
        upload.start()
        erase(world)
        upload.join()
        (again,) = [job.song for job in world.ledger.jobs() if job.state is JobState.QUEUED]
        assert again != song
        assert (world.store.root / world.ledger.song(again).archive_path).read_bytes() == source.read_bytes()


def test_a_user_goes_with_uploads_and_what_comes_later_stays(world: World) -> None:
    mine = [world.song(), world.song(state=JobState.QUEUED)]
    others = world.song(user="bob")
    world.ledger.set_user_defaults("ada", JobOptions(engine="demucs"))
    waiting = world.put("input/ada/album/waiting.flac")
    loose = world.put("input/loose.flac")
    deletion = world.ledger.deletions.request_user("ada", actor="cli:ada")
    time.sleep(0.02)
    late = world.put("input/ada/late.flac", age_days=0.0)
    scheduler = Scheduler()
    assert erase(world, scheduler).done == (deletion.receipt,)
    assert (waiting.parent.exists(), late.exists(), loose.exists()) == (False, True, True)
    assert scheduler.erased == {*mine, "ada"}
    assert world.ledger.song(others).user_id == "bob"
    late.unlink()
    world.ledger.deletions.request_user("ada", actor="test", known=True)
    erase(world)
    assert not late.parent.exists()
    done = world.ledger.deletions.receipt(deletion.receipt)
    assert (done.actor, done.subject) == (f"cli:{done.receipt}", None)


def test_however_deep_a_user_piled_folders_in_the_upload_folder_all_deletions_end(world: World) -> None:
    """Promise 16: paths of more than the 4,096 bytes that Linux takes, and more folders than Python can nest calls."""
    world.put("input/ada/waiting.flac")
    descriptor = os.open(world.store.input / "ada", os.O_RDONLY)
    for _ in range(2500):
        os.mkdir("a", dir_fd=descriptor)
        inner = os.open("a", os.O_RDONLY, dir_fd=descriptor)
        os.close(descriptor)
        descriptor = inner
    os.close(os.open("deepest.flac", os.O_WRONLY | os.O_CREAT, dir_fd=descriptor))
    os.close(descriptor)
    piled = world.ledger.deletions.request_user("ada", actor="test", known=True)
    other = ask(world, world.song(user="bob"))
    assert set(erase(world).done) == {piled.receipt, other.receipt}
    assert not (world.store.input / "ada").exists()
    assert world.ledger.deletions.receipt(piled.receipt).removed == {"uploads": {"count": 2, "bytes": 100}}


def test_a_folder_of_the_upload_folder_that_is_swapped_for_a_link_leads_a_deletion_nowhere(
    world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Promise 3: whoever may write there could have the eraser remove what is somebody else's."""
    theirs = tmp_path / "theirs"
    theirs.mkdir()
    (theirs / "same.flac").write_bytes(b"x")
    mine, away = world.put("input/ada/album/same.flac"), world.store.input / "ada" / "away"
    world.ledger.deletions.request_user("ada", actor="test", known=True)
    real = os.scandir

    def swap(folder: object) -> object:
        entries = real(folder)  # type: ignore[call-overload]
        named = Path(f"/proc/self/fd/{folder}").readlink() if isinstance(folder, int) else folder
        if named in (mine.parent, str(mine.parent)):
            mine.parent.rename(away)
            mine.parent.symlink_to(theirs)
        return entries

    with monkeypatch.context() as patch:
        patch.setattr(os, "scandir", swap)
        erase(world)
    assert (theirs / "same.flac").read_bytes() == b"x"
    assert list(away.iterdir()) == []


def test_what_is_uploaded_after_the_request_stays_though_the_clock_was_set_back(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Promise 1: it waits in the upload folder, while the user is being deleted, for the new user's turn."""
    ahead = (datetime.now(UTC) + timedelta(minutes=30)).isoformat(timespec="microseconds")
    with monkeypatch.context() as patch:
        patch.setattr(deletions, "utc_now", lambda: ahead)
        world.ledger.deletions.request_user("ada", actor="test", known=True)
    late = world.put("input/ada/late.flac")
    assert len(erase(world).done) == 1
    assert late.exists()


def test_loose_files_of_the_upload_folder_are_the_default_users(world: World) -> None:
    loose = world.put("input/loose.flac")
    os.utime(loose)
    world.ledger.deletions.request_user(world.settings.default_user, actor="test", known=True)
    erase(world)
    assert not loose.exists()


def test_while_the_store_is_away_the_request_stays_and_nothing_is_taken_for_gone(world: World) -> None:
    song = world.song()
    deletion, sentinel = ask(world, song), world.store.sentinel
    before = files(world)
    content = sentinel.read_bytes()
    sentinel.unlink()
    with pytest.raises(StorageUnavailable) as raised:
        erase(world)
    assert raised.value.code is ErrorCode.STORAGE_AWAY
    sentinel.write_bytes(content)
    assert files(world) == before
    assert erase(world).done == (deletion.receipt,)


@pytest.mark.parametrize("order", [1, -1])
def test_what_keeps_one_deletion_waiting_keeps_no_other(
    world: World, monkeypatch: pytest.MonkeyPatch, order: int
) -> None:
    """Promise 6: such as a file that the system may not remove, whoever asked first."""
    stuck, other = world.song(), world.song(user="bob")
    receipts = {song: ask(world, song).receipt for song in (stuck, other)[::order]}
    real = shutil.rmtree

    def rmtree(path: Path, **options: object) -> None:
        if path == world.store.root / "stages" / "stems" / stuck:
            raise PermissionError(errno.EPERM, "Operation not permitted", str(path))
        real(path, **options)

    monkeypatch.setattr(shutil, "rmtree", rmtree)
    progress = erase(world)
    assert progress.done == (receipts[other],)
    assert progress.failed == progress.waiting.keys() == {receipts[stuck]}
    assert "storage_read_only" in progress.waiting[receipts[stuck]]
    monkeypatch.undo()
    assert erase(world).done == (receipts[stuck],)


@pytest.mark.parametrize("content", [b"\0" * 40, b"[]", b'{"output/x": 1}'])
def test_a_song_goes_whose_journal_of_paths_is_damaged(world: World, content: bytes) -> None:
    song = world.song()
    names = names_of(world, song)
    (world.store.root / "stages" / "library_entry" / song / "claims.json").write_bytes(content)
    receipt = ask(world, song).receipt
    assert erase(world).done == (receipt,)
    assert places_of(world.store.root, names) == []


def test_copies_of_the_ledger_go_also_where_somebody_sorted_them_into_folders(world: World) -> None:
    song, upgrades = world.song(), world.settings.home_dir / "upgrades"
    for name, content in {"old/ledger-0001.jsonl": song, "old/ledger-0002.jsonl": "nobody", "notes.txt": "x"}.items():
        (upgrades / name).parent.mkdir(parents=True, exist_ok=True)
        (upgrades / name).write_text(content)
    receipt = ask(world, song).receipt
    assert erase(world).done == (receipt,)
    assert {path.name for path in upgrades.rglob("*")} == {"old", "ledger-0002.jsonl", "notes.txt"}


def test_a_folder_of_others_in_the_library_keeps_no_deletion_waiting(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Promise 6: such as a private one, or one too deep to have a name."""
    song = world.song()
    private = world.put("output/Private/file")
    pile_folders(world.store.library("output"))
    forbid(monkeypatch, private.parent)
    receipt = ask(world, song).receipt
    assert erase(world).done == (receipt,)
    assert private.exists()
    monkeypatch.undo()
    assert places_of(private.parent, [song]) == []


def test_a_full_store_is_no_reason_to_keep_what_is_to_go(world: World) -> None:
    song = world.song()
    deletion = ask(world, song)
    full = Store(world.store.root, reserve_bytes=2**62)
    one = Eraser(settings=world.settings, ledger=world.ledger, store=full, elsewhere=Scheduler(), alone=True)
    assert one.work().done == (deletion.receipt,)


def test_files_of_a_running_job_stay_until_it_has_stopped(world: World) -> None:
    song = world.song(state=JobState.RUNNING)
    job = world.ledger.latest_job(song)
    assert job is not None
    deletion = ask(world, song)
    before = files(world)
    assert list(erase(world).waiting) == [deletion.receipt]
    assert files(world) == before
    world.ledger.canceled(job.job_uuid, actor="run")
    assert erase(world, Scheduler(busy="1 runs are still stopping")).waiting == {
        deletion.receipt: "1 runs are still stopping"
    }
    assert files(world) == before
    assert erase(world).done == (deletion.receipt,)


def test_while_others_live_a_song_that_was_just_worked_on_waits_a_little(world: World) -> None:
    fresh, old = world.song(), world.song(age_days=1)
    receipts = [ask(world, fresh).receipt, ask(world, old).receipt]
    progress = erase(world, alone=False)
    assert (progress.done, list(progress.waiting)) == ((receipts[1],), receipts[:1])
    world.age(fresh, -1.0)  # a clock that jumped keeps nothing for ever
    assert erase(world, alone=False).done == (receipts[0],)


def test_a_song_and_its_user_deleted_at_once_are_both_done(world: World) -> None:
    song = world.song()
    first = ask(world, song)
    second = world.ledger.deletions.request_user("ada", actor="test")
    assert set(erase(world).done) == {first.receipt, second.receipt}


def test_edited_and_moved_files_of_the_song_go_and_a_shared_cover_gets_an_heir(world: World) -> None:
    song, other = world.song(), world.song(user="bob")
    library = world.store.library("output")
    track = next(path for path in library.rglob("*") if path.is_file() and f"Song {song}" in path.name)
    copy = track.with_name("moved.flac")
    shutil.copy2(track, copy)
    with copy.open("rb") as stream:
        set_mark(stream.fileno(), song=song)
    if read_mark(copy) != song:
        pytest.skip("this file system keeps no attributes")
    elsewhere = library / "Mine" / "moved.flac"
    elsewhere.parent.mkdir()
    copy.rename(elsewhere)
    track.unlink()
    track.write_bytes(b"a tag editor made this anew")
    shared = library / "Various"
    shared.mkdir()
    for name, whose in (("cover.jpg", song), ("1.flac", other)):
        (shared / name).write_bytes(b"x")
        with (shared / name).open("rb") as stream:
            set_mark(stream.fileno(), song=whose)
    ask(world, song)
    erase(world)
    assert (track.exists(), elsewhere.parent.exists()) == (False, False)
    assert read_mark(shared / "cover.jpg") == other
    assert places_of(world.settings.home_dir, names_of(world, other)), "the other song is still there"


def test_caches_forget_what_may_have_been_asked_about_the_song(world: World) -> None:
    song = world.song()
    mbid, strange = "0f8fad5b-d9cb-469f-a165-70867728950e", "1f8fad5b-d9cb-469f-a165-70867728950e"
    manifest = world.store.stage("song_metadata", song).manifest
    document = json.loads(manifest.read_bytes())
    document["payload"]["fields"] = {"MUSICBRAINZ_ALBUMID": [mbid]}
    manifest.write_text(json.dumps(document))
    mine = world.put(f"cover-art-cache/release-{mbid}-500x500.jpg")
    theirs = world.put(f"cover-art-cache/release-{strange}-500x500.jpg")
    state = SharedState(state_path(world.settings))
    kept = ("https://m/ws/2/recording?query=quite+another", f"https://m/ws/2/release/{strange}")
    for key in (
        f"https://m/ws/2/release/{mbid}",
        f"https://m?query=recording%3A%22Song+{song}%22",
        "acoustid:1",
        *kept,
    ):
        state.keep(key, status=200, body=b"{}")
    state.keep("https://m/ws/2/recording/x", status=200, body=mbid.encode())
    state.close()
    with closing(sqlite3.connect(state_path(world.settings))) as connection:
        connection.execute("insert into answers values ('damaged', 200, x'00', 0)")
        connection.commit()
    ask(world, song)
    erase(world)
    with closing(sqlite3.connect(state_path(world.settings))) as connection:
        rows = connection.execute("select key, body from answers").fetchall()
    assert (mine.exists(), theirs.exists()) == (False, True)
    assert {key for key, _ in rows} == set(kept)
    assert all(zlib.decompress(body) == b"{}" for _, body in rows)


@pytest.mark.parametrize("content", [b"", b"no database " * 1000])
def test_a_cache_that_is_damaged_or_empty_is_in_nobodys_way(world: World, content: bytes) -> None:
    state_path(world.settings).write_bytes(content)
    deletion = ask(world, world.song())
    assert erase(world).done == (deletion.receipt,)
    assert state_path(world.settings).exists() == (not content)


class Killed(BaseException):
    """Stands for a power cut: nothing catches it."""


class Killer:
    """Ends the process, as far as the code under test can tell, at the n-th change of a file or a database."""

    EVENTS = (
        "os.remove",
        "os.rename",
        "os.rmdir",
        "os.mkdir",
        "shutil.rmtree",
        "sqlite3.connect/handle",
        "os.truncate",
    )

    def __init__(self) -> None:
        self.left: int | None = None
        sys.addaudithook(self._hear)

    def _hear(self, event: str, _: object) -> None:
        if self.left is not None and event in self.EVENTS:
            self.left -= 1
            if self.left < 0:
                self.left = None
                raise Killed(event)


KILLER = Killer()


def world_of(folder: Path) -> World:
    settings = Settings(home=folder / "home", disk_reserve_bytes=MEBIBYTE)
    store = Store(settings.store_root, settings.disk_reserve_bytes)
    store.create()
    ledger = Ledger(settings.ledger_url)
    ledger.migrate()
    return World(settings, store, ledger, folder)


def test_a_deletion_that_is_killed_anywhere_is_finished_by_the_next(tmp_path: Path) -> None:
    """Promise 16, GLOBAL-004: whichever step was the last, nothing is left and no other song is harmed."""
    first = world_of(tmp_path / "first")
    song, other = first.song(), first.song(user="bob")
    named = names_of(first, song)
    deletion = ask(first, song)
    kept = {name: content for name, content in files(first).items() if other in name or f"Song {other}" in name}
    assert kept
    first.ledger.close()
    compact_sqlite(first.settings.home_dir / "ledger.db")
    at, killed = 0, True
    while killed:
        folder = tmp_path / f"at{at}"
        shutil.copytree(tmp_path / "first", folder, symlinks=True)
        world = world_of(folder)
        try:
            KILLER.left = at
            erase(world)
            killed = False
        except Killed:
            assert not world.ledger.deletions.receipt(deletion.receipt).done or at > 0
        finally:
            KILLER.left = None
            world.ledger.close()
        again = erase(world)
        assert world.ledger.deletions.receipt(deletion.receipt).done, (at, again)
        assert places_of(world.settings.home_dir, named) == [], at
        assert {name: content for name, content in files(world).items() if name in kept} == kept, at
        world.ledger.close()
        shutil.rmtree(folder)
        at += STEP
    assert at > 20, "there were places to be killed at"


def test_tombstones_outlive_their_ledger_and_damaged_lines_hide_no_others(world: World) -> None:
    song = world.song()
    deletion = ask(world, song)
    world.ledger.deletions.request_user("bob", actor="test", known=True)
    assert tombstones.publish(world.store, world.ledger) == 3
    file = tombstones.tombstone_file(world.store)
    file.write_text("no json\n{}\n" + file.read_text() + '{"digest": 1}')
    found = tombstones.load(world.store, None)
    job = world.ledger.latest_job(song)
    assert job is not None
    assert found.covers_song(song)
    assert found.covers_job(job.job_uuid)
    assert not found.covers_song("s9")
    assert found.covers_user("bob", before="2026-01-01T00:00:00")
    assert not found.covers_user("bob", before="2999-01-01T00:00:00")
    assert not found.covers_user("ada", before="2026-01-01T00:00:00")
    assert found.receipt_of(digest_of("song", song)) == deletion.receipt
    assert found.receipt_of("nothing") is None
    newer = Tombstone(digest_of("user", "bob"), "user", "2999-06-01T00:00:00", "another")
    tombstones.merge_file(file, stones=[newer])
    assert tombstones.load(world.store, world.ledger).covers_user("bob", before="2999-01-01T00:00:00")


def test_a_restored_song_is_deleted_again(world: World) -> None:
    """Promise 16: the store's list is enough, also where the ledger came from before the deletion."""
    song = world.song()
    receipt = ask(world, song).receipt
    tombstones.publish(world.store, world.ledger)
    restored = Ledger(f"sqlite:///{world.folder / 'restored.db'}")
    restored.migrate()
    older = World(world.settings, world.store, restored, world.folder / "older")
    older.song()
    assert tombstones.adopt(world.store, restored) == 1
    assert erase(older).done == (receipt,)
    with pytest.raises(IroncladError) as raised:
        restored.song(song)
    assert raised.value.code is ErrorCode.DELETED
    restored.close()
