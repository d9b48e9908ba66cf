"""Sweeps: what goes, what stays, and that a dry run says exactly that."""

import errno
import os
import sqlite3
import threading
import time
from contextlib import closing, suppress
from pathlib import Path

import pytest

from ironclad_assets.contracts.v1.job import JobError, JobState
from ironclad_assets.contracts.v1.options import JobOptions
from ironclad_assets.errors import ErrorCode, IroncladError, StorageUnavailable
from ironclad_assets.ledger.users import take_user_turn
from ironclad_assets.pipeline import ownership
from ironclad_assets.pipeline.ownership import hold_entry, read_mark
from ironclad_assets.storage.artifacts import find_reusable
from ironclad_assets.storage.hashing import hash_file
from ironclad_assets.upkeep.backup.create import BackupWish, create_backup
from ironclad_assets.upkeep.prune.aside import Aside
from ironclad_assets.upkeep.prune.hands import Hands
from ironclad_assets.upkeep.prune.plan import Kind
from ironclad_assets.upkeep.prune.sweep import Swept
from ironclad_assets.upkeep.recount import recount
from tests.unit.upkeep.worlds import DAY_S, NOTHING, World, forbid, make_world, pile_folders

RAW = {"staged_chunks", "stems", "recombined_track"}


BOTH = pytest.mark.parametrize("world", ["sqlite", "postgres"], indirect=True)


@pytest.fixture
def world(request, settings, store, tmp_path):
    """An installation over SQLite, or over the kind of database that the test names."""
    on_postgres = getattr(request, "param", "sqlite") == "postgres"
    url = request.getfixturevalue("postgres_url") if on_postgres else f"sqlite:///{settings.home_dir / 'ledger.db'}"
    world = make_world(settings, store, url=url, folder=tmp_path)
    yield world
    world.ledger.close()


def stages_of(world: World, song: str) -> set[str]:
    return {path.parent.parent.name for path in world.store.root.glob(f"stages/*/{song}/manifest.json")}


@BOTH
def test_intermediates_go_once_their_song_is_done_and_the_grace_is_over(world):
    """ORG-002: staged audio goes by itself; what is in the library stays."""
    done, fresh, waiting = world.song(age_days=8), world.song(), world.song(state=JobState.RUNNING, age_days=8)
    swept = world.prune(confirmed=False)
    assert stages_of(world, done) == {"validated_file", "song_metadata", "library_entry"}
    assert stages_of(world, fresh) >= RAW
    assert stages_of(world, waiting) >= RAW
    assert swept.removed[Kind.INTERMEDIATE] == 6
    assert world.verify() == []


def test_a_pruned_stage_is_not_there_for_a_retry_and_says_what_it_was(world):
    """GLOBAL-004: lineage stays honest: the note has the manifest, with who made it."""
    song = world.song(age_days=8)
    world.prune()
    folder = world.store.stage("stems", song)
    assert find_reusable(folder, type(NOTHING), key="a" * 64) is None
    note = (folder.path / "pruned.json").read_text(encoding="utf-8")
    assert '"stage": "stems"' in note
    world.artifact(song, "stems", job_uuid=world.ledger.latest_job(song).job_uuid, user="ada")
    assert stages_of(world, song) >= {"stems"}


def test_intermediates_stay_while_they_cannot_be_made_again(world):
    song, other = world.song(age_days=8), world.song(age_days=8)
    world.store.path(world.ledger.song(song).archive_path).unlink()
    next(world.store.library("output").rglob(f"*Song {other}*")).unlink()
    world.prune(Kind.INTERMEDIATE)
    assert stages_of(world, song) >= RAW
    assert stages_of(world, other) >= RAW


def test_a_dry_run_touches_nothing(world):
    world.song(age_days=8)
    world.put(".gone/x", b"1")
    before = world.files()
    with world.sweep().plan() as (swept, removals):
        assert list(removals)
        assert swept.planned[Kind.INTERMEDIATE] == 6
    assert world.files() == before
    assert world.ledger.audit.lines() == []


def test_what_was_being_written_goes_after_an_hour(world):
    """Promise 2: what a killed writer left is swept."""
    song, active = world.song(), world.song(state=JobState.RUNNING)
    world.age(song, 1)
    world.age(active, 1)
    hex32 = "0123456789abcdef" * 2
    old = [f".{hex32}.part", f"archive/.{hex32}.part", f"input/ada/.{hex32}.part", f"stages/stems/{song}/.{hex32}.part"]
    old += [f"stages/stems/{song}/.0123456789abcdef.part/vocals.f32", f"output/.{song}.part/copy"]
    kept = ["input/ada/.upload.part", "input/ada/song.flac.part", f"stages/stems/{active}/.{hex32}.part"]
    kept += [f"output/.{active}.part/copy"]
    for path in old + kept:
        world.put(path, age_days=0.1)
    young = world.put(f"archive/.{hex32[::-1]}.part", age_days=0.01)
    world.prune(Kind.PARTIAL)
    assert [path for path in old if (world.store.root / path).exists()] == []
    assert [path for path in kept if not (world.store.root / path).exists()] == []
    assert young.exists()


def test_what_another_program_is_writing_into_the_library_is_never_touched(world):
    """Its names may look like ours: a dot, a word, `.part`."""
    theirs = [world.put("output/.mixtape.part"), world.put("output-stems/.album-2019.part/01.flac")]
    ours = world.put(f"output/.s{'0' * 23}.part/{'ab' * 32}-0")
    world.touch(theirs[1].parent, 10)
    world.touch(ours.parent, 10)
    assert [one.path for one in world.plan()] == [ours.parent.relative_to(world.store.root).as_posix()]
    world.prune()
    assert [path.exists() for path in (*theirs, ours.parent)] == [True, True, False]


def test_a_separation_that_can_go_on_is_kept_as_long_as_intermediates_are(world):
    song = world.song(state=JobState.CANCELED)
    world.limit("keep_intermediate_days", 7)
    world.age(song, 2)
    work = f"stages/stems/{song}/.0123456789abcdef.part"
    world.put(f"{work}/checkpoint", age_days=2)
    world.put("spectral-input/" + song + "/request.json", age_days=2)
    world.prune()
    assert (world.store.root / work).exists()
    world.limit("keep_intermediate_days", 1)
    world.prune()
    assert not (world.store.root / work).exists()
    assert not (world.store.root / "spectral-input" / song).exists()


@BOTH
def test_orphans_are_moved_with_a_note_and_go_later(world):
    """SPLIT-007: orphaned stages are moved to orphaned/, pruned later, with an audit trail."""
    world.song()
    places = ["stages/stems/gone/abc/x", "sidecars/gone/lyrics.txt", "spectral-input/gone/request.json"]
    places += ["error/gone/error.json", f"archive/ab/{'ab' * 32}"]
    for path in places:
        world.put(path)
    marked = world.put("output/Ann/Far/01 - Old.flac")
    os.setxattr(marked, "user.ironclad.song", b"gone")
    stranger = world.put("output/Ann/Far/stranger.flac")
    swept = world.prune(Kind.ORPHANED)
    assert swept.removed[Kind.ORPHANED] == 6
    assert not any((world.store.root / path).exists() for path in places)
    assert not marked.exists()
    assert stranger.exists()
    moved = list(world.store.root.glob("orphaned/*/content"))
    assert len(moved) == 6
    assert len(list(world.store.root.glob("orphaned/*/note.json"))) == 6
    assert {line.action for line in world.ledger.audit.lines()} == {"prune"}
    assert world.verify() == []
    world.ahead_s = world.boot_s = 29 * 86_400.0
    assert world.prune(Kind.ORPHANED).removed.total() == 0
    for note in world.store.root.glob("orphaned/*/note.json"):
        world.touch(note, 40)
    assert world.prune(Kind.ORPHANED).removed.total() == 0, "the note's own time says that it is young"
    world.ahead_s = 31 * 86_400.0
    assert world.prune(Kind.ORPHANED).removed[Kind.ORPHANED] == 12
    assert list((world.store.root / "orphaned").iterdir()) == []


def test_what_has_just_come_is_no_orphan(world):
    path = f"archive/cd/{'cd' * 32}"
    world.put(path, age_days=0.01)
    world.prune()
    assert (world.store.root / path).exists()


def test_retention_takes_tracks_and_stems_out_of_the_library_and_the_entry(world):
    """GLOBAL-004: retention per user and kind."""
    old, young, other = world.song(age_days=40), world.song(age_days=20), world.song(user="bob", age_days=40)
    world.limit("keep_stems_days", 30, user="ada")
    world.prune()
    assert not list(world.store.library("output-stems").rglob(f"*{old}*"))
    assert list(world.store.library("output").rglob(f"*Song {old}*"))
    assert list(world.store.library("output-stems").rglob(f"*Song {young}*"))
    assert list(world.store.library("output-stems").rglob(f"*Song {other}*"))
    assert world.verify() == []
    world.limit("keep_tracks_days", 30, user="ada")
    world.prune()
    assert not list(world.store.root.glob(f"output*/**/*{old}*"))
    assert world.verify() == []
    assert world.plan() == []


@BOTH
def test_retention_of_originals_waits_for_everybody_who_brought_them(world):
    song, twin = world.song(age_days=40, content=b"same"), world.song(user="bob", age_days=40, content=b"same")
    original = world.store.path(world.ledger.song(song).archive_path)
    world.limit("keep_originals_days", 30, user="ada")
    world.prune()
    assert original.exists()
    world.limit("keep_originals_days", 30, user="bob")
    world.prune()
    assert not original.exists()
    assert world.ledger.song(twin).archive_path == world.ledger.song(song).archive_path
    assert world.verify() == []


@BOTH
def test_quarantine_and_logs_go_when_they_are_old(world):
    """SPLIT-015: what a failed job left in quarantine is cleaned up later."""
    old, young = world.song(state=JobState.FAILED, age_days=100), world.song(state=JobState.FAILED, age_days=80)
    job = world.ledger.latest_job(old).job_uuid
    log = world.put(f"logs/engines/{job}.log", age_days=40)
    fresh = world.put("logs/engines/other.log", age_days=20)
    service = world.settings.home_dir / "logs" / "daemon.log"
    opened = service.with_name("code-server.log")
    service.parent.mkdir()
    for path in (service, opened):
        path.write_text("x", encoding="utf-8")
        world.touch(path, 40)
    with opened.open("a", encoding="utf-8"):
        world.prune(Kind.OLD)
    assert not world.store.quarantine(old).exists()
    assert world.store.quarantine(young).exists()
    assert (log.exists(), fresh.exists(), service.exists(), opened.exists()) == (False, True, False, True)


def test_a_user_can_be_swept_alone(world):
    mine, other = world.song(age_days=8), world.song(user="bob", age_days=8)
    world.put("stages/stems/gone/abc/x")
    world.prune(user="ada")
    assert not stages_of(world, mine) & RAW
    assert stages_of(world, other) >= RAW
    assert (world.store.root / "stages/stems/gone").exists()


def test_a_sweep_takes_no_more_than_its_share_unless_confirmed(world):
    """Promise 17: at most a tenth of the store in one sweep without confirmation."""
    world.song()
    world.put("stages/stems/gone/abc/x", b"x" * 100_000)
    before = world.files()
    with world.sweep(confirmed=False).plan() as (swept, removals):
        assert (swept.refusal.code, list(removals)) == (ErrorCode.SWEEP_TOO_LARGE, [])
    assert world.prune(confirmed=False).refusal.code is ErrorCode.SWEEP_TOO_LARGE
    assert world.files() == before
    world.put("archive/big", b"x" * 2_000_000)
    world.prune(confirmed=False)
    assert not (world.store.root / "stages/stems/gone").exists()


def test_everything_that_went_is_one_line_of_the_audit_per_song_and_kind(world):
    """Promise 22: what a sweep does is in the audit."""
    song = world.song(age_days=8)
    world.prune()
    [line] = world.ledger.audit.lines()
    assert (line.action, line.object, line.actor) == ("prune", song, "test")
    assert line.detail.startswith("intermediate: removed 6 files, ")


@BOTH
def test_the_ledgers_count_of_stored_bytes_follows(world):
    song = world.song(age_days=8)
    for stage in RAW:
        world.ledger.usage.record(song, stage, size_bytes=1000)
    before = world.ledger.usage.of("ada").stored_bytes
    world.prune()
    assert world.ledger.usage.of("ada").stored_bytes == before - 3000


@BOTH
def test_a_job_that_begins_after_the_plan_loses_nothing(world):
    """Promise 17: never what is in use."""
    song = world.song(age_days=8)
    sweep = world.sweep()
    original = type(sweep).plan

    with original(sweep) as (_, removals):
        planned = list(removals)
    assert planned
    world.ledger.retry(world.ledger.latest_job(song).job_uuid, actor="test")
    from ironclad_assets.upkeep.prune.hands import Hands

    taken = Hands(sweep._ground(time.time()), actor="test").carry_out(planned)
    assert taken.removed == []
    assert {why for _, why in taken.skipped} == {"a job of its song has begun"}
    assert stages_of(world, song) >= RAW


def test_a_second_sweep_waits_for_nobody(world):
    from ironclad_assets.upkeep.prune.guard import only_sweep

    with only_sweep(world.settings), pytest.raises(IroncladError) as caught:
        world.prune()
    assert caught.value.code is ErrorCode.BUSY


class Killed(BaseException):
    """Stands for kill -9."""


def kill_in_the_sweep(world, monkeypatch, *kinds):
    """Sweep, and die when something is out of sight and not removed yet."""

    def die(*_):
        raise Killed

    with monkeypatch.context() as patch:
        patch.setattr(Hands, "_write_line", die)
        patch.setattr(Aside, "put_back", lambda self: None)
        with pytest.raises(Killed):
            world.prune(*kinds)


def hidden_files(world):
    return [path for path in world.store.root.rglob("*") if path.name.endswith(".part")]


def test_what_a_killed_sweep_had_hidden_goes_with_a_later_one(world, monkeypatch):
    """Promise 17: an original, and a quarantine."""
    world.limit("keep_originals_days", 1)
    world.limit("keep_errors_days", 1)
    world.song(age_days=5)
    failed = world.song(state=JobState.FAILED, age_days=5)
    world.put(f"error/{failed}/original", age_days=5)
    world.age(failed, 5)
    for _ in range(3):
        with suppress(pytest.fail.Exception):
            kill_in_the_sweep(world, monkeypatch, Kind.OLD)
    assert {path.relative_to(world.store.root).parts[0] for path in hidden_files(world)} == {"archive", "error"}
    world.ahead_s, world.boot_s = 2 * DAY_S, world.boot_s + 2 * DAY_S
    world.prune()
    assert hidden_files(world) == []


def test_a_refused_file_is_no_longer_counted_when_its_quarantine_is_over(world):
    world.limit("keep_errors_days", 1)
    stays, goes = world.song(state=JobState.FAILED), "s9"
    identity = world.ledger.song(stays).model_copy(
        update={"song": goes, "sha256": "", "archive_path": f"error/{goes}/original"}
    )
    recount(world.ledger, store=world.store)
    counted = world.ledger.usage.of("ada").stored_bytes
    reason = JobError(code="too_large", detail="", remedy="")
    world.ledger.register(identity, JobOptions(), actor="test", error=reason, kept_bytes=100)
    world.put(f"error/{goes}/original")
    world.age(goes, 5)
    assert world.ledger.usage.of("ada").stored_bytes == counted + 100
    assert recount(world.ledger, store=world.store) == 0
    world.prune(Kind.OLD)
    assert not world.store.quarantine(goes).exists()
    assert world.ledger.usage.of("ada").stored_bytes == counted


def test_a_share_counts_originals_though_backups_have_their_bytes_too(world):
    """Rule 6: the default backup links originals, so that removing them frees nothing."""
    world.limit("keep_originals_days", 1)
    for number in range(6):
        world.song(content=bytes([number]) * 100_000, age_days=5)
    create_backup(world.settings, wish=BackupWish(), actor="test")
    for original in world.store.archive.glob("??/*"):
        world.touch(original, 5)
    refusal = world.prune(Kind.OLD, confirmed=False).refusal
    assert refusal.code is ErrorCode.SWEEP_TOO_LARGE
    assert refusal.detail.startswith("600000 bytes that cannot be made again stay, of 1 owners: ")
    assert len(list(world.store.archive.glob("??/*"))) == 6


def damage_entry(world, song, *, how="damaged"):
    record = next((world.store.root / "stages" / "library_entry" / song).rglob("metadata.json"))
    if how == "missing":
        record.unlink()
    else:
        record.write_bytes(b"[" + record.read_bytes()[1:])


def test_good_files_of_a_complete_song_stay_where_only_its_entry_is_damaged(world):
    """With the original gone by its limit they could not be made again."""
    world.limit("keep_originals_days", 1)
    song = world.song(age_days=5)
    world.prune()
    filed = [path for root in ("output", "output-stems") for path in world.store.library(root).rglob("*.flac")]
    assert filed
    damage_entry(world, song)
    world.verify()
    for _ in range(3):
        world.prune()
    assert [path for path in filed if not path.exists()] == []


@pytest.mark.parametrize("state", [JobState.FAILED, JobState.CANCELED])
def test_good_files_of_a_complete_song_stay_though_a_retry_of_it_came_to_nothing(world, state):
    """What the finding of a damaged entry asks for, on a song whose original went by its limit."""
    world.limit("keep_originals_days", 1)
    song = world.song(age_days=5)
    world.prune()
    filed = [path for root in ("output", "output-stems") for path in world.store.library(root).rglob("*.flac")]
    damage_entry(world, song)
    world.verify()
    world.prune()
    world.ledger.retry(world.ledger.latest_job(song).job_uuid, actor="test")
    world.bring(song, state)
    world.age(song, 5)
    world.prune()
    assert [path for path in filed if not path.exists()] == []


@pytest.mark.parametrize("how", ["damaged", "missing", "no journal"])
def test_a_record_that_cannot_be_read_keeps_nobody_elses_files_longer(world, how):
    world.limit("keep_tracks_days", 1)
    broken, other = world.song(age_days=5), world.song(user="bob", age_days=5)
    if how == "no journal":
        (world.store.root / "stages" / "library_entry" / broken / "claims.json").write_bytes(b"[]")
    else:
        damage_entry(world, broken, how=how)
    swept = world.prune(Kind.OLD)
    assert sum(swept.skipped.values()) > 0
    assert [path for path in world.store.library("output").rglob("*.flac") if other in path.name] == []


def test_what_one_user_has_too_much_of_keeps_nobody_elses_files(world):
    """Promise 17: one user's large expiry waits for a confirmation; what others may lose goes without one."""
    world.limit("keep_originals_days", 1)
    large = world.song(user="bob", content=b"b" * 900_000, age_days=5)
    small = world.song(content=b"a" * 50_000, age_days=5)
    with world.sweep(Kind.OLD, confirmed=False).plan() as (swept, removals):
        listed = [one.path for one in removals]
    assert listed == [world.ledger.song(small).archive_path]
    assert world.prune(Kind.OLD, confirmed=False).left == swept.left == {"bob": 900_000}
    originals = {path.name for path in world.store.archive.glob("??/*") if len(path.name) == 64}
    assert originals == {world.ledger.song(large).sha256}


@pytest.mark.parametrize(
    "folder", ["input/ada/private", "output/Ann", "sidecars/gone", "orphaned/x", "stages/stems/s0001", "error/s0001"]
)
def test_a_folder_that_may_not_be_looked_into_stops_nobody_elses_sweep(world, monkeypatch, folder):
    """Promise 6: such as a private one in the upload folder, or of a media server in the library."""
    world.song(state=JobState.FAILED, age_days=100)
    other = world.song(user="bob", age_days=8)
    world.put(f"{folder}/file", age_days=100)
    forbid(monkeypatch, world.store.root / folder)
    world.prune()
    assert not stages_of(world, other) & RAW
    assert (world.store.root / folder / "file").exists()


@pytest.mark.parametrize("folder", ["archive/00", "archive", "stages/stems", "sidecars", "output-stems", "logs"])
def test_a_folder_that_may_not_be_looked_into_hides_no_other(world, monkeypatch, folder):
    world.put("archive/ff/" + "ff" * 32)
    song = world.song(age_days=2)
    world.touch(world.store.root, 2)
    deleted_elsewhere(world, song)
    world.put(f"input/.{'0' * 32}.part")
    damaged = world.song()
    next(world.store.root.glob(f"stages/song_metadata/{damaged}/*/audio.f32")).write_bytes(b"")
    world.verify()
    forbid(monkeypatch, world.store.root / folder)
    planned = world.plan()
    assert f"input/.{'0' * 32}.part" in {one.path for one in planned}
    assert ("archive/ff/" + "ff" * 32 in {one.path for one in planned}) == (folder != "archive")
    assert [one for one in planned if one.path.startswith("output/")]
    assert Kind.CORRUPT in {one.kind for one in planned}


def test_folders_too_deep_to_be_named_stop_nobodys_sweep(world):
    """Promise 6: any user can make them in a drop folder that is shared over the network."""
    song = world.song(age_days=8)
    folder = world.store.input / "ada"
    folder.mkdir()
    pile_folders(folder)
    world.prune()
    assert not stages_of(world, song) & RAW


def test_what_may_not_be_renamed_stops_nobody_elses_sweep(world, monkeypatch):
    mine, other = world.song(age_days=8), world.song(user="bob", age_days=8)
    real = Path.rename

    def rename(path, target):
        if path.parent == world.store.root / "stages" / "stems" / mine:
            raise PermissionError(errno.EPERM, "Operation not permitted", str(path))
        return real(path, target)

    monkeypatch.setattr(Path, "rename", rename)
    swept = world.prune(Kind.INTERMEDIATE)
    assert swept.skipped == {"it cannot be taken: storage_read_only": 1}
    assert not stages_of(world, other) & RAW


def test_an_orphan_that_may_not_be_moved_is_not_copied_every_night(world, monkeypatch):
    path = world.put(f"archive/cd/{'cd' * 32}", b"somebody's only copy")
    real = Path.rename

    def rename(self, target):
        if self == path:
            raise PermissionError(errno.EPERM, "Operation not permitted", str(self))
        return real(self, target)

    monkeypatch.setattr(Path, "rename", rename)
    monkeypatch.setattr("shutil.copy2", lambda *_, **__: pytest.fail("it was copied"))
    for _ in range(2):
        swept = world.prune(Kind.ORPHANED)
        assert swept.skipped == {"it cannot be taken: storage_read_only": 1}
    assert path.read_bytes() == b"somebody's only copy"
    assert not [file for file in (world.store.root / "orphaned").rglob("*") if file.is_file()]


def test_what_another_machine_kept_of_a_deleted_song_is_not_put_aside(world):
    """Promise 16: a deletion reaches the store of the machine that carries it out; a sweep does the rest."""
    song, unknown = world.song(age_days=2), "s" + "0" * 23
    world.store.path(world.ledger.song(song).archive_path).unlink()  # the bucket had it
    receipt = world.ledger.deletions.request_song(song, actor="me").receipt
    world.ledger.deletions.forget_songs([song], receipt=receipt, removed={})
    world.put(f"stages/stems/{unknown}/manifest.json", b"nobody knows whose")
    world.prune(Kind.ORPHANED)
    left = {path: content for path, content in world.files().items() if song in path or song.encode() in content}
    assert left == {}
    assert [path for path in world.files() if path.startswith("orphaned/") and path.endswith("manifest.json")]
    assert {line.object for line in world.ledger.audit.lines() if line.action == "prune"} == {receipt, unknown}
    assert [path for path in world.store.root.rglob("*") if song in path.name] == [], "not in the name of an album"


def deleted_elsewhere(world, song):
    """Let another machine that shares the ledger have deleted a song."""
    receipt = world.ledger.deletions.request_song(song, actor="me").receipt
    world.ledger.deletions.forget_songs([song], receipt=receipt, removed={})


def test_what_a_killed_sweep_had_hidden_of_a_deleted_song_goes_wherever_it_lay(world, monkeypatch):
    """Promises 16 and 17: the folders of its stages, and files in the library."""
    song = world.song(age_days=2)
    deleted_elsewhere(world, song)
    with monkeypatch.context() as patch:
        patch.setattr(Aside, "free", lambda self: None)
        world.prune(Kind.ORPHANED)
    hidden = {path.relative_to(world.store.root).parts[0] for path in hidden_files(world)}
    assert hidden == {"stages", "output", "output-stems"}
    world.ahead_s, world.boot_s = 2 * DAY_S, world.boot_s + 2 * DAY_S
    world.prune(Kind.PARTIAL)
    assert hidden_files(world) == []
    assert [path for path in world.store.root.rglob("*") if song in path.name] == []


def test_what_tells_of_files_without_marks_stays_until_they_are_gone(world, monkeypatch):
    """Promise 16: nobody would know afterwards whose they are."""
    monkeypatch.setattr(os, "setxattr", no_marks)
    song = world.song(age_days=2)
    assert read_mark(next(world.store.library("output").rglob("*.flac"))) is None
    deleted_elsewhere(world, song)
    with monkeypatch.context() as patch:
        patch.setattr(Aside, "hide", refuse_library(Aside.hide))
        assert world.prune(Kind.ORPHANED).skipped == {"it cannot be taken: storage_read_only": 1}
    world.prune(Kind.ORPHANED)
    assert [path for root in ("output", "output-stems") for path in world.store.library(root).rglob("*")] == []


def no_marks(*_):
    raise OSError(errno.ENOTSUP, "Operation not supported")


def refuse_library(hide):
    """Return what hides files, but for those of the library."""

    def refuse(aside, path):
        if "output" in path.parts:
            raise StorageUnavailable("read-only", code=ErrorCode.STORAGE_READ_ONLY)
        hide(aside, path)

    return refuse


@pytest.mark.parametrize("own", [True, False])
def test_a_dry_run_names_the_cover_that_goes_with_the_last_song_of_its_album(world, own):
    """Promise 17: what then goes is what was shown."""
    users = ("ada", "ada" if own else "bob")
    album = "Album s0001, Album s0002"  # as old as either
    first, second = (world.song(user=user, age_days=40, album=album) for user in users)
    world.limit("keep_tracks_days", 30, user="ada")
    world.limit("keep_stems_days", 30, user="ada")
    planned = {one.path for one in world.plan(Kind.OLD)}
    before = world.files()
    world.prune(Kind.OLD)
    gone = {path for path in set(before) - set(world.files()) if path.startswith("output")}
    assert gone == {path for path in planned if path.startswith("output")}
    covers = [path for path in gone if path.endswith("cover.jpg")]
    assert bool(covers) is own, f"{second} keeps what {first} had brought"


def marked(file, song):
    os.setxattr(file, "user.ironclad.song", song.encode())
    return file


def test_a_cover_goes_with_the_last_files_of_its_album_and_stays_for_the_sake_of_others(world):
    """ORG-002: one sweep has nothing left for the next; what is somebody else's keeps its cover."""
    for album in ("Far", "Near"):
        for name in ("one.flac", "two.flac", "cover.jpg"):
            marked(world.put(f"output/Ann/{album}/{name}", name.encode()), "gone")
    world.put("output/Ann/Near/own.flac")
    planned = {one.path for one in world.plan()}
    assert planned == {
        *(f"output/Ann/Far/{name}" for name in ("one.flac", "two.flac", "cover.jpg")),
        *(f"output/Ann/Near/{name}" for name in ("one.flac", "two.flac")),
    }
    world.prune()
    assert world.plan() == []
    assert (world.store.root / "output/Ann/Near/cover.jpg").exists()


def test_a_sweep_that_waits_for_whoever_arranges_the_library_keeps_nobody_from_the_ledger(world):
    world.limit("keep_tracks_days", 1)
    song = world.song(age_days=3)
    waiting = threading.Thread(target=world.prune, args=(Kind.OLD,))
    with hold_entry(world.store, song=song):
        waiting.start()
        waiting.join(3.0)
        assert waiting.is_alive()
        with closing(sqlite3.connect(world.settings.home_dir / "ledger.db", timeout=0)) as connection:
            connection.execute("BEGIN IMMEDIATE")
    waiting.join()
    assert not list(world.store.library("output").rglob("*.flac"))


@pytest.mark.parametrize("world", ["postgres"], indirect=True)
def test_two_sweeps_of_originals_that_the_same_users_share_never_wait_for_each_other(world):
    """Everybody takes users' turns in one order, whosever song is the older: machines sweep side by side."""
    world.limit("keep_originals_days", 1)
    world.song(user="bob", content=b"same", age_days=3), world.song(user="ada", content=b"same", age_days=3)
    swept: list[Swept] = []
    sweeping = threading.Thread(target=lambda: swept.append(world.prune(Kind.OLD)))
    with world.ledger._database.write() as connection:
        take_user_turn(connection, "ada")
        sweeping.start()
        sweeping.join(3.0)
        assert sweeping.is_alive()
        take_user_turn(connection, "bob")
    sweeping.join()
    assert swept[0].removed[Kind.OLD] == 1


@pytest.mark.parametrize("what", ["*.flac", "cover.jpg"])
def test_a_file_of_the_library_that_an_editor_made_anew_is_in_no_plan(world, what):
    """It would count against its user's share every night, and never go."""
    world.limit("keep_tracks_days", 1)
    world.song(age_days=3)
    edited = next(world.store.library("output").rglob(what))
    edited.unlink()
    edited.write_bytes(b"edited by hand")
    world.touch(edited, 3)
    tracks = [] if what == "*.flac" else list(world.store.library("output").rglob("*.flac"))
    planned = [one.path for one in world.plan(Kind.OLD)]
    assert planned == [path.relative_to(world.store.root).as_posix() for path in tracks]
    swept = world.prune(Kind.OLD)
    assert swept.skipped == {}
    assert edited.read_bytes() == b"edited by hand"
    assert world.plan(Kind.OLD) == []


def test_files_that_are_younger_than_their_limit_are_not_read(world, monkeypatch):
    """A file system without marks would have every file of the library read, night after night."""
    world.limit("keep_tracks_days", 30)
    world.limit("keep_stems_days", 1)
    world.song(age_days=3)
    world.song(age_days=31)
    read = []
    monkeypatch.setattr(ownership, "read_mark", lambda file: None)
    monkeypatch.setattr(ownership, "hash_file", lambda file: read.append(file) or hash_file(file))
    planned = {one.path for one in world.plan(Kind.OLD) if one.path.startswith("output/")}
    tracks = {path.relative_to(world.store.root).as_posix() for path in read if "output" in path.parts}
    assert tracks == planned != set()
