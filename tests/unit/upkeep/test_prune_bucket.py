"""Sweeps and deletions of a store in a bucket: what goes here goes there, and nothing that is needed goes there."""

import json
import sqlite3
import threading
import time
from contextlib import closing, suppress
from dataclasses import replace
from pathlib import Path

import pytest

from ironclad_assets.contracts.v1.options import JobOptions
from ironclad_assets.engine_host.locks import hold_lock
from ironclad_assets.errors import ErrorCode, IroncladError, StorageUnavailable, failure
from ironclad_assets.intake.upload import Delivery, Upload
from ironclad_assets.settings import Settings
from ironclad_assets.storage import atomic, housekeeping
from ironclad_assets.storage.artifacts import find_reusable, load_artifact, read_manifest
from ironclad_assets.storage.housekeeping import publish_everything
from ironclad_assets.storage.mirror import Mirror
from ironclad_assets.storage.notes import find_note, note_of
from ironclad_assets.storage.opening import open_store
from ironclad_assets.storage.s3 import S3Objects
from ironclad_assets.upkeep.copies import evict_copies, remove_old_leftovers
from ironclad_assets.upkeep.prune.aside import Aside
from ironclad_assets.upkeep.prune.beyond import Beyond
from ironclad_assets.upkeep.prune.hands import Hands
from ironclad_assets.upkeep.prune.plan import Kind
from ironclad_assets.upkeep.recount import recount
from tests.unit.upkeep.test_erase import ask, erase
from tests.unit.upkeep.worlds import DAY_S, NOTHING, World, make_world

SONG = b"what two users bring" * 100


def machine(s3, folder: Path, name: str) -> tuple[Settings, object]:
    settings = Settings(home=folder / name, disk_reserve_bytes=1, **s3.environment())
    store = open_store(settings)
    store.create()
    return settings, store


@pytest.fixture
def world(request, s3, tmp_path):
    """An installation whose store lasts in a bucket, over SQLite or the kind of database that the test names."""
    settings, store = machine(s3, tmp_path, "here")
    on_postgres = getattr(request, "param", "sqlite") == "postgres"
    url = request.getfixturevalue("postgres_url") if on_postgres else f"sqlite:///{settings.home_dir / 'ledger.db'}"
    world = make_world(settings, store, url=url, folder=tmp_path)
    yield world
    world.ledger.close()


def complete(world: World, age_days: float = 0.0) -> str:
    """Return a song of which everything is in the bucket, and counted."""
    song = world.song(age_days=age_days, content=SONG)
    publish_everything(world.store)
    recount(world.ledger, store=world.store)
    return song


@pytest.fixture
def old(world):
    """A song whose original is older than its limit."""
    world.limit("keep_originals_days", 1)
    return complete(world, age_days=3)


def original_of(world: World, song: str) -> str:
    return world.ledger.song(song).archive_path


def counted(world: World, song: str) -> set[str]:
    return set(world.ledger.usage.stored(song))


def take(world: World, planned: list):
    return Hands(world.sweep()._ground(time.time()), actor="test").carry_out(planned)


def bucket(s3) -> set[str]:
    return set(s3.keys())


def visible(world: World) -> set[str]:
    """Return the files of the store that have names, but for locks."""
    return {path for path in world.files() if "/." not in f"/{path}" and not path.startswith("orphaned/")}


def damage(world: World, song: str) -> Path:
    file = next(world.store.root.glob(f"stages/stems/{song}/*/audio.f32"))
    file.write_bytes(b"\0" * file.stat().st_size)
    assert {finding.code for finding in world.verify()} == {"file_damaged"}
    return file


def test_local_damage_leaves_the_good_copy_in_the_bucket_and_it_comes_back(world, s3):
    song = complete(world)
    damage(world, song)
    before = s3.keys("store/stages/stems")
    assert world.prune(Kind.CORRUPT).removed[Kind.CORRUPT]
    assert list(world.store.root.glob("orphaned/*/content"))
    assert s3.keys("store/stages/stems") == before
    found = load_artifact(world.store.stage("stems", song), type(NOTHING))
    assert (found.folder / "audio.f32").read_bytes() == f"stems of {song}".encode() * 50
    assert "stems" in counted(world, song)
    assert world.verify() == []


@pytest.mark.parametrize("wrong", ["a file", "the manifest", "a file is missing"])
def test_damage_here_and_in_the_bucket_makes_room_for_a_retry(world, s3, wrong):
    song = complete(world)
    damage(world, song)
    ending = "manifest.json" if wrong == "the manifest" else "audio.f32"
    key = next(key for key in s3.keys("store/stages/stems") if key.endswith(ending))
    if wrong == "a file is missing":
        s3.remove(key)
    else:
        s3.replace(key, b"\0" * len(s3.content(key)))
    world.prune(Kind.CORRUPT)
    assert s3.keys("store/stages/stems") == []
    assert find_reusable(world.store.stage("stems", song), type(NOTHING), key="a" * 64) is None
    assert "stems" not in counted(world, song)


def fail_from(s3, first: int, how: str) -> None:
    """Let the bucket go away with its `first` request from now; or let the answer to that one and the next be lost."""
    begun = len(s3.requests)

    def fault(number, request):
        at = number - begun
        return (
            "drop" if how == "away" and at >= first else "lose" if how == "lost" and first <= at <= first + 1 else None
        )

    s3.fault = fault


@pytest.mark.parametrize("how", ["away", "lost"])
@pytest.mark.parametrize("kind", [Kind.OLD, Kind.INTERMEDIATE])
def test_a_bucket_that_fails_in_the_middle_leaves_all_of_a_thing_or_nothing(world, s3, old, kind, how):
    """Promise 17: what is here is in the bucket and is counted, or none of the three."""
    stages = ("staged_chunks", "stems", "recombined_track")
    things = [original_of(world, old)] if kind is Kind.OLD else [f"stages/{stage}/{old}" for stage in stages]
    before = visible(world)
    for first in range(1, 40):
        fail_from(s3, first, how)
        world.store.mirror._present_until_s = 0.0
        swept = None
        with suppress(StorageUnavailable):
            swept = world.prune(kind)
        s3.fault = lambda number, request: None
        if swept is not None:
            break
        for thing in things:
            stage = "original" if kind is Kind.OLD else thing.split("/")[1]
            name = thing if kind is Kind.OLD else f"{thing}/manifest.json"
            assert (name in visible(world)) is (stage in counted(world, old))
            assert how == "lost" or (f"store/{name}" in bucket(s3)) is (stage in counted(world, old))
            if kind is Kind.OLD and name in visible(world):
                assert f"store/{name}" in bucket(s3), "its bytes are not there again"
        if not all(thing.startswith("stages/") for thing in things):
            assert visible(world) == before
        assert not list(world.store.root.rglob(".*.part"))
    assert first > 2
    world.prune(kind)
    assert not [path for path in visible(world) for thing in things if path.startswith(thing) and "pruned" not in path]
    assert world.verify() == []


def test_a_ledger_that_fails_at_the_end_leaves_the_original_everywhere(world, s3, old, monkeypatch):
    def fail(*_):
        raise RuntimeError

    monkeypatch.setattr(Hands, "_write_line", fail)
    with pytest.raises(RuntimeError):
        world.prune(Kind.OLD)
    assert original_of(world, old) in visible(world)
    assert f"store/{original_of(world, old)}" in bucket(s3)
    assert "original" in counted(world, old)


def watch_writers(world: World, s3) -> list[str]:
    """Return the list of what the bucket is asked while nobody else can write the ledger, filled from now on."""
    held: list[str] = []

    def look(number, request):
        with closing(sqlite3.connect(world.settings.home_dir / "ledger.db", timeout=0)) as connection:
            try:
                connection.execute("BEGIN IMMEDIATE")
            except sqlite3.OperationalError:
                held.append(request.method)

    s3.fault = look
    return held


def test_nobody_who_writes_the_ledger_waits_for_more_than_one_short_request(world, s3, old):
    world.store.mirror._present_until_s = 0.0
    held = watch_writers(world, s3)
    swept = world.prune(Kind.OLD, Kind.INTERMEDIATE)
    assert swept.removed[Kind.OLD]
    assert held == ["POST"] * 4  # an original and three manifests, each in a deletion of its own


def test_tracks_that_are_taken_out_of_the_library_keep_nobody_waiting_for_the_bucket(world, s3):
    song = complete(world, age_days=3)
    world.limit("keep_tracks_days", 1)
    for root in ("output", "output-stems"):
        world.touch(world.store.library(root), 3)
    held = watch_writers(world, s3)
    assert world.prune(Kind.OLD).removed[Kind.OLD]
    assert held == []
    entry = read_manifest(world.store.stage("library_entry", song))
    assert {file["root"] for file in entry.payload["files"]} == {"output-stems"}
    (there,) = [key for key in bucket(s3) if key.endswith(f"library_entry/{song}/manifest.json")]
    assert json.loads(s3.content(there))["key"] == entry.key
    assert world.verify() == []


def test_a_bucket_that_fails_after_tracks_were_taken_is_told_by_the_next_sweep(world, s3):
    complete(world, age_days=3)
    world.limit("keep_tracks_days", 1)
    for root in ("output", "output-stems"):
        world.touch(world.store.library(root), 3)
    s3.fault = lambda number, request: "drop" if request.method == "PUT" else None
    with pytest.raises(StorageUnavailable):
        world.prune(Kind.OLD)
    s3.fault = lambda number, request: None
    assert not [path for path in visible(world) if path.startswith("output/")]
    assert {one.code for one in world.verify()} == {"library_file_missing", "count_differs"}
    world.prune(Kind.OLD)
    assert world.verify() == []


BOTH = pytest.mark.parametrize("world", ["sqlite", "postgres"], indirect=True)


@pytest.fixture
def upload(world, s3, tmp_path):
    """Return what makes an upload of the old song's bytes on another machine that is copied, and not registered yet."""
    settings, store = machine(s3, tmp_path, "there")
    made = []

    def make(user: str) -> Upload:
        source = tmp_path / "again.flac"
        source.write_bytes(SONG)
        delivery = Delivery(user_id=user, options=JobOptions(), door="api", actor=user)
        made.append(Upload(source, delivery=delivery, ledger=world.ledger, store=store, settings=settings))
        assert made[-1].advance()
        return made[-1]

    yield make
    for one in made:
        one.close()


@BOTH
def test_bytes_that_another_machine_took_in_after_the_plan_stay(world, s3, old, upload):
    """Promise 1: accepted means durable; two machines share the ledger and the bucket."""
    planned = world.plan(Kind.OLD)
    upload("bob").finish()
    taken = take(world, planned)
    assert [why for _, why in taken.skipped] == ["a job of its songs has begun, or another song has it by now"]
    assert f"store/{original_of(world, old)}" in bucket(s3)
    assert "original" in counted(world, old)


@BOTH
def test_bytes_that_another_machine_took_in_stay_also_where_tracks_go_with_them(world, s3, old, upload):
    """Tracks, stems and original of one song are taken together; what holds for the original is asked all the same."""
    world.limit("keep_tracks_days", 1)
    for root in ("output", "output-stems"):
        world.touch(world.store.library(root), 3)
    planned = world.plan(Kind.OLD)
    assert [one.path.split("/")[0] for one in planned] == ["output", "output", "archive"]
    upload("bob").finish()
    assert take(world, planned).removed == []
    assert f"store/{original_of(world, old)}" in bucket(s3)
    assert world.prune(Kind.OLD).removed[Kind.OLD] == 2, "the tracks, by a plan that knows of bob"


@BOTH
@pytest.mark.parametrize("user", ["ada", "bob"])
def test_bytes_that_go_while_another_machine_registers_them_are_in_the_bucket_then(
    world, s3, old, upload, user, monkeypatch
):
    planned, register = world.plan(Kind.OLD), world.ledger.register

    def sweep_first(*args, **options):
        assert take(world, planned).removed
        return register(*args, **options)

    monkeypatch.setattr(world.ledger, "register", sweep_first)
    job = upload(user).finish().job
    assert f"store/{original_of(world, old)}" in bucket(s3)
    assert "original" in counted(world, job.song)


@pytest.mark.parametrize("world", ["postgres"], indirect=True)
def test_nobody_registers_bytes_while_their_removal_is_decided(world, s3, old, upload, monkeypatch):
    """Writers of a server run side by side: whoever comes second hears of the other."""
    planned, hide = world.plan(Kind.OLD), Mirror.hide
    registering = threading.Thread(target=upload("bob").finish)

    def hide_late(mirror, parting):
        registering.start()
        registering.join(0.5)
        assert registering.is_alive()
        hide(mirror, parting)

    monkeypatch.setattr(Mirror, "hide", hide_late)
    assert take(world, planned).removed
    registering.join()
    assert f"store/{original_of(world, old)}" in bucket(s3)


@BOTH
def test_bytes_that_another_machine_takes_in_during_a_deletion_are_in_the_bucket_then(
    world, s3, old, upload, monkeypatch
):
    """Promise 16: a deletion and an upload of the same bytes wait for each other, on whichever machine."""
    archive_path, delete = original_of(world, old), S3Objects.delete
    registering = threading.Thread(target=upload("bob").finish)

    def delete_late(objects, keys, **options):
        wanted = list(keys)
        if archive_path in wanted:
            registering.start()
            registering.join(1.0)
        delete(objects, wanted, **options)

    monkeypatch.setattr(S3Objects, "delete", delete_late)
    ask(world, old)
    assert erase(world).done
    registering.join()
    assert f"store/{archive_path}" in bucket(s3)
    (job,) = world.ledger.jobs()
    assert world.store.original(world.ledger.song(job.song).archive_path).read_bytes() == SONG


@BOTH
def test_a_deletion_takes_an_original_and_its_note_out_of_the_bucket(world, s3, old):
    archive_path = original_of(world, old)
    world.prune(Kind.OLD)
    assert [key for key in bucket(s3) if archive_path in key]
    ask(world, old)
    assert erase(world).done
    assert [key for key in bucket(s3) if archive_path in key or old in key] == []
    assert list(world.store.archive.glob("??/*")) == []


def later(world: World, days: float) -> None:
    """Let days pass: what is in the bucket has the server's time."""
    world.ahead_s, world.boot_s = world.ahead_s + days * DAY_S, world.boot_s + days * DAY_S


@BOTH
def test_an_old_original_goes_though_this_machine_has_no_copy_of_it(world, s3, old):
    path = world.store.path(original_of(world, old))
    path.unlink()
    assert world.prune(Kind.OLD).removed == {}, "it was put into the bucket just now"
    later(world, 2)
    assert [one.size_bytes for one in world.plan(Kind.OLD)] == [len(SONG)]
    assert world.prune(Kind.OLD).bytes_removed[Kind.OLD] == len(SONG)
    assert f"store/{original_of(world, old)}" not in bucket(s3)
    assert "original" not in counted(world, old)
    assert note_of(path).exists()
    asked = len(s3.requests)
    assert world.plan(Kind.OLD) == []
    assert not [one for one in s3.requests[asked:] if one.method == "HEAD"], "what went costs no question every night"


def test_another_machine_knows_that_an_original_went_by_its_limit_until_it_is_back(world, s3, old, upload, tmp_path):
    archive_path = original_of(world, old)
    other = open_store(machine(s3, tmp_path, "there")[0])
    assert find_note(other, archive_path) is None
    world.prune(Kind.OLD)
    assert f"store/{archive_path}.pruned.json" in bucket(s3)
    note = find_note(other, archive_path)
    assert note is not None
    assert note.read_bytes() == note_of(world.store.path(archive_path)).read_bytes()
    upload("bob").finish()
    assert f"store/{archive_path}.pruned.json" not in bucket(s3)
    assert find_note(other, archive_path) is None


@BOTH
def test_no_note_says_that_an_original_went_which_another_machine_took_in_meanwhile(
    world, s3, old, upload, monkeypatch
):
    """If its bytes are lost one day, nobody may believe that they were older than their limit."""
    planned, finish = world.plan(Kind.OLD), Beyond.finish

    def finish_late(beyond, removed):
        upload("bob").finish()
        finish(beyond, removed)

    monkeypatch.setattr(Beyond, "finish", finish_late)
    assert take(world, planned).removed
    assert f"store/{original_of(world, old)}" in bucket(s3)
    assert [key for key in bucket(s3) if key.endswith(".pruned.json") and "archive" in key] == []
    assert not note_of(world.store.path(original_of(world, old))).exists()


def test_the_note_of_another_machine_that_cannot_be_kept_here_stops_no_sweep(world, s3, old, monkeypatch):
    world.prune(Kind.OLD)
    note, write = note_of(world.store.path(original_of(world, old))), atomic.write_bytes
    note.unlink()  # as on a machine that did not take the original

    def refuse(path, content):
        if path == note:
            raise StorageUnavailable(f"{path}: No space left on device", code=ErrorCode.STORAGE_FULL)
        write(path, content)

    monkeypatch.setattr(atomic, "write_bytes", refuse)
    assert world.prune(Kind.INTERMEDIATE).removed[Kind.INTERMEDIATE]
    assert world.verify() == []


def test_an_original_that_was_fetched_after_the_plan_stays(world, old):
    path = world.store.path(original_of(world, old))
    path.unlink()
    later(world, 2)
    planned = world.plan(Kind.OLD)
    world.store.original(original_of(world, old))
    assert take(world, planned).removed == []
    assert path.exists()


def test_the_share_of_a_sweep_is_that_of_the_bucket(world, s3, old):
    for number in range(20):
        world.song(content=SONG + bytes([number]))
    publish_everything(world.store)
    for folder in ("archive", "stages", "output", "output-stems"):
        for file in world.store.path(folder).rglob("*"):
            if file.is_file() and file.name != "manifest.json":
                file.unlink()
    later(world, 2)
    with world.sweep(Kind.OLD).plan() as (swept, _):
        assert swept.store_bytes > 20 * len(SONG)


def test_a_recount_counts_what_is_in_the_bucket_alone(world, old):
    world.store.path(original_of(world, old)).unlink()
    assert recount(world.ledger, store=world.store) == 0
    assert "original" in counted(world, old)


def test_leftovers_are_not_judged_by_a_clock_that_jumped(world, s3, old):
    """What a publication that is on its way has put there is no leftover, whatever the clock says."""
    s3.replace("store/stages/stems/s9/on-its-way/vocals.f32", b"half of it")
    world.prune()  # leaves a witness of the clocks
    world.ahead_s = 3650 * DAY_S
    with pytest.raises(IroncladError) as caught:
        remove_old_leftovers(world.store, ledger=world.ledger, settings=world.settings, clock=world.clock)
    assert caught.value.code is ErrorCode.CLOCK_DOUBTFUL
    assert "store/stages/stems/s9/on-its-way/vocals.f32" in bucket(s3)
    world.ahead_s, world.boot_s = 2 * DAY_S, world.boot_s + 2 * DAY_S
    assert remove_old_leftovers(world.store, ledger=world.ledger, settings=world.settings, clock=world.clock) >= 10
    assert "store/stages/stems/s9/on-its-way/vocals.f32" not in bucket(s3)


def test_one_object_that_the_bucket_does_not_give_keeps_nobody_elses_files(world, s3):
    """Promise 6: such as one on a bad disk of the server; the bucket itself answers."""
    broken, other = world.song(age_days=8), world.song(user="bob", age_days=8)
    publish_everything(world.store)
    recount(world.ledger, store=world.store)
    for song in (broken, other):
        world.store.path(original_of(world, song)).unlink()
        world.age(song, 8)
    name = original_of(world, broken)
    s3.fault = lambda number, request: "403" if name in request.path else None
    swept = world.prune(Kind.INTERMEDIATE)
    assert swept.skipped == {"it cannot be looked at: storage_away": 1}
    assert swept.removed
    s3.fault = lambda number, request: "403"
    with pytest.raises(StorageUnavailable):
        world.prune(Kind.INTERMEDIATE)


def test_what_others_put_into_the_bucket_above_the_artifacts_stops_no_search_for_leftovers(world, s3):
    """Such as the folders that a console makes, or a copy of a bucket."""
    complete(world)
    for key in ("store/stages/", "store/stages/stems/", "store/stages/stems/s0001/", "store/stages/README"):
        s3.replace(key, b"")
    s3.replace("store/stages/stems/s9/left/vocals.f32", b"half of it")
    before = bucket(s3)
    assert housekeeping.remove_leftovers(world.store, now=time.time() + 2 * DAY_S) == len(b"half of it")
    assert before - bucket(s3) == {"store/stages/stems/s9/left/vocals.f32"}


def test_what_an_upload_that_came_to_nothing_left_in_the_bucket_is_moved_here_and_goes_later(world, s3, upload):
    """An original is in the bucket before its song is registered; then its user went, or was refused."""
    upload("ada")
    [key] = s3.keys("store/archive")
    assert world.prune(Kind.ORPHANED).removed == {}, "it may be on its way"
    world.ahead_s, world.boot_s = 2 * DAY_S, world.boot_s + 2 * DAY_S
    [planned] = world.plan(Kind.ORPHANED)
    assert (f"store/{planned.path}", planned.size_bytes) == (key, len(SONG))
    assert world.prune(Kind.ORPHANED, confirmed=False).left == {"": len(SONG)}, "it counts for the share"
    assert bucket(s3) >= {key}
    assert world.prune(Kind.ORPHANED).bytes_removed == {Kind.ORPHANED: len(SONG)}
    assert key not in bucket(s3)
    assert [path.read_bytes() for path in world.store.root.glob("orphaned/*/content")] == [SONG]
    world.ahead_s = 40 * DAY_S
    world.prune(Kind.ORPHANED)
    assert not [content for content in world.files().values() if content == SONG]


def test_what_an_upload_left_in_the_bucket_stays_there_where_the_disk_here_has_no_room_for_it(world, s3, upload):
    """Everything would wait for the reserve: a bucket may have left over more than a machine can hold."""
    upload("ada")
    before = bucket(s3)
    world.ahead_s, world.boot_s = 2 * DAY_S, world.boot_s + 2 * DAY_S
    world.store = replace(world.store, reserve_bytes=10**18)
    assert world.prune(Kind.ORPHANED).skipped == {"it cannot be taken: storage_full": 1}
    assert bucket(s3) == before
    assert not [content for content in world.files().values() if content == SONG]


def test_an_original_in_the_bucket_that_is_registered_after_the_plan_stays(world, s3, upload):
    """Promise 1: accepted means durable."""
    one = upload("ada")
    world.ahead_s = 2 * DAY_S
    planned = world.plan(Kind.ORPHANED)
    one.finish()
    assert [why for _, why in take(world, planned).skipped] == ["a song has this original by now"]
    assert s3.keys("store/archive")


def test_copies_that_an_analysis_reads_are_not_let_go(world, old, monkeypatch):
    """Its job has ended, so that the ledger does not know of it."""
    monkeypatch.setattr(housekeeping, "SMALL_BYTES", 1)
    lock = world.store.stage("song_analysis", old).path / ".lock"
    files = list(world.store.root.glob(f"stages/stems/{old}/*/audio.f32"))
    with hold_lock(lock, busy=failure(ErrorCode.BUSY, "it is being analysed")):
        evict_copies(world.store, ledger=world.ledger, limit_bytes=0)
        assert all(file.exists() for file in files)
    evict_copies(world.store, ledger=world.ledger, limit_bytes=0)
    assert not any(file.exists() for file in files)


@pytest.mark.parametrize("moment", ["before the bucket", "after the bucket"])
def test_a_sweep_that_is_killed_between_here_and_the_bucket_is_carried_on(world, s3, old, monkeypatch, moment):
    class Killed(BaseException):
        """The process ends here."""

    hide = Mirror.hide

    def die(mirror, parting):
        if moment == "after the bucket":
            hide(mirror, parting)
        raise Killed

    with monkeypatch.context() as patch:
        patch.setattr(Mirror, "hide", die)
        patch.setattr(Aside, "put_back", lambda self: None)
        with pytest.raises(Killed):
            world.prune(Kind.OLD)
    assert "original" in counted(world, old)
    if moment == "before the bucket":
        assert world.store.original(original_of(world, old)).read_bytes() == SONG
    later(world, 3)
    world.prune(Kind.OLD, Kind.PARTIAL)
    assert original_of(world, old) not in visible(world)
    assert f"store/{original_of(world, old)}" not in bucket(s3)
    assert not list(world.store.root.rglob(".*.part"))
