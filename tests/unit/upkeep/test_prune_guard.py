"""When no sweep begins, and when none takes a thing: storage away, strange clocks, jobs that begin, kills."""

import json
import os
import shutil
import signal
import sys
import threading
import time

import pytest

from ironclad_assets.contracts.v1.job import JobState
from ironclad_assets.errors import ErrorCode, IroncladError, StorageUnavailable
from ironclad_assets.ledger.worker import current_worker
from ironclad_assets.storage.store import KNOWN_STORES
from ironclad_assets.upkeep.prune.plan import Kind
from tests.unit.upkeep.worlds import DAY_S, World, make_world

_CHANGES = ("os.rename", "os.remove", "os.rmdir", "os.mkdir", "os.link", "os.utime", "shutil.rmtree")
"""Events of the interpreter before which a sweep may be killed; files that are opened for writing are another."""


@pytest.fixture
def world(settings, store, tmp_path):
    world = make_world(settings, store, url=f"sqlite:///{settings.home_dir / 'ledger.db'}", folder=tmp_path)
    yield world
    world.ledger.close()


def refused(world: World) -> ErrorCode:
    """Return the code with which a sweep that nobody confirmed refuses; nothing may have changed."""
    before = world.files()
    with pytest.raises(IroncladError) as caught:
        world.prune(confirmed=False)
    assert world.files() == before
    return caught.value.code


def empty(world: World) -> None:
    shutil.rmtree(world.store.root)
    world.store.root.mkdir()


@pytest.mark.parametrize("how", ["no sentinel", "empty mount", "another store", "unknown store", "no root"])
def test_nothing_is_deleted_while_the_storage_is_away(world, how):
    """Promise 14: absent or empty storage: no deletions, not even when confirmed, and no plan."""
    world.song(age_days=8)
    if how == "no sentinel":
        world.store.sentinel.unlink()
    elif how == "empty mount":
        empty(world)
    elif how == "another store":
        world.store.sentinel.write_text("another\n", encoding="utf-8")
    elif how == "unknown store":
        (world.settings.home_dir / KNOWN_STORES).write_text("{}", encoding="utf-8")
    else:
        world.store.root.rename(world.folder / "elsewhere")
    before = world.files()
    for confirmed in (False, True):
        with pytest.raises(StorageUnavailable) as caught:
            world.prune(confirmed=confirmed)
        assert caught.value.code is ErrorCode.STORAGE_AWAY
    with pytest.raises(StorageUnavailable):
        world.plan()
    assert world.files() == before


def test_storage_that_goes_away_in_the_midst_stops_the_sweep(world):
    songs = [world.song(age_days=8) for _ in range(3)]

    def pull(step: str, done: int) -> None:
        if step == "taken":
            world.store.sentinel.unlink(missing_ok=True)

    sweep = world.sweep()
    with pytest.raises(StorageUnavailable):
        type(sweep)(**{name: getattr(sweep, name) for name in sweep.__slots__} | {"tell": pull}).run()
    left = [song for song in songs if world.store.stage("stems", song).manifest.exists()]
    assert len(left) == 2


def test_a_store_that_is_full_can_be_swept(world, monkeypatch):
    song = world.song(age_days=8)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: os.terminal_size((0, 0)) and (1, 1, 0))
    world.prune()
    assert not world.store.stage("stems", song).manifest.exists()


def test_nothing_newer_than_its_limit_goes_whatever_the_clock_says(world):
    """Promise 17: clock jumps of a day back and forth, and of ten years; before any sweep has seen this boot."""
    world.limit("keep_intermediate_days", 7)
    world.song(age_days=6.5)
    world.song()
    for days in (1.1, 2.0, 3650.0):
        world.ahead_s = days * DAY_S
        assert refused(world) is ErrorCode.CLOCK_DOUBTFUL
    world.ahead_s = -DAY_S
    assert refused(world) is ErrorCode.CLOCK_DOUBTFUL
    for days in (0.0, 0.3, 0.9):
        world.ahead_s = days * DAY_S
        assert world.plan() == [], "ages go by the ledger, which is not ahead"


def test_a_jump_is_seen_by_the_seconds_since_the_boot(world):
    """Promise 17: also where the ledger believes the new time by now."""
    world.song()
    world.prune(confirmed=False)
    for days in (1.0, -1.0, 3650.0):
        world.ahead_s = days * DAY_S
        assert refused(world) is ErrorCode.CLOCK_DOUBTFUL
    world.boot_s += 3650 * DAY_S
    world.ahead_s = 3650 * DAY_S
    assert world.plan() != [], "ten years have passed"


def test_an_idle_installation_is_swept_for_ever(world):
    """Days without any line in the ledger are no jump: the clock of the boot says so."""
    song = world.song()
    world.prune(confirmed=False)
    for day in range(1, 9):
        world.ahead_s, world.boot_s = day * DAY_S, 1000.0 + day * DAY_S
        world.prune(confirmed=False)
    assert not world.store.stage("stems", song).manifest.exists()


def test_a_clock_that_is_right_after_all_is_confirmed_once(world):
    song = world.song(age_days=8)
    world.lines_are_old(3)
    with world.ledger._database.write() as connection:
        connection.exec_driver_sql("DELETE FROM audit")
    assert refused(world) is ErrorCode.CLOCK_DOUBTFUL
    world.prune(confirmed=True)
    assert not world.store.stage("stems", song).manifest.exists()
    world.prune(confirmed=False)


def test_files_that_look_old_by_one_clock_alone_stay(world):
    by_disk, by_ledger = world.song(), world.song(age_days=8)
    world.touch(world.store.stage("stems", by_disk).path, 9)
    world.touch(world.store.stage("stems", by_ledger).path, 0)
    world.prune(Kind.INTERMEDIATE)
    assert world.store.stage("stems", by_disk).manifest.exists()
    assert world.store.stage("stems", by_ledger).manifest.exists()
    assert not world.store.stage("staged_chunks", by_ledger).manifest.exists()


def test_runs_that_begin_while_a_sweep_works_lose_nothing(world):
    """Promise 17: never what is in use; a run that begins finds its stages whole, or not there."""
    songs = [world.song(age_days=8) for _ in range(6)]
    torn = []

    def work() -> None:
        for song in songs:
            job = world.ledger.retry(world.ledger.latest_job(song).job_uuid, actor="test")
            world.ledger.begin_run(song, run_id=f"again-{job.job_uuid}", worker=current_worker(), actor="test")
            before = {path for path in (world.store.root / "stages").glob(f"*/{song}/*") if path.name[0] != "."}
            time.sleep(0.01)
            after = {path for path in (world.store.root / "stages").glob(f"*/{song}/*") if path.name[0] != "."}
            if before != after:
                torn.append((song, before ^ after))

    thread = threading.Thread(target=work)
    thread.start()
    world.prune()
    thread.join()
    assert torn == []
    assert all(world.ledger.latest_job(song).state is JobState.RUNNING for song in songs)


def test_a_sweep_killed_at_every_step_leaves_nothing_torn_and_the_next_goes_on(settings, store, tmp_path):
    """Promise 2: SIGKILL before every change that a sweep makes; then a sweep to the end, and all is well."""
    template = tmp_path / "template"
    world = make_world(settings, store, url=f"sqlite:///{settings.home_dir / 'ledger.db'}", folder=tmp_path)
    done, young = world.song(age_days=40), world.song()
    world.limit("keep_stems_days", 30)
    world.limit("keep_originals_days", 30)
    world.put("stages/stems/gone/abc/x")
    world.put(f"archive/ab/{'ab' * 32}")
    world.put(f"archive/.{'0' * 32}.part")
    world.ledger.close()
    shutil.copytree(settings.home_dir, template, symlinks=True, copy_function=shutil.copy2)
    kills, step = 0, 1 if int(os.environ.get("CHAOS_ROUNDS", "1")) > 1 else 17
    while True:
        _restore(template, settings.home_dir)
        ended = _sweep_in_child(world, kill_before=kills)
        if ended == 0:
            break
        assert ended == -signal.SIGKILL
        kills += step
        torn = [one for one in world.verify() if one.code in ("file_missing", "file_damaged", "manifest_damaged")]
        assert torn == []
        assert world.store.stage("stems", young).manifest.exists()
        _age_hidden(world)
        world.prune()
        assert not list(store.root.glob("stages/stems/gone")), f"after {kills} changes"
        assert not world.store.stage("stems", done).manifest.exists()
        assert [one for one in world.verify() if not one.code.startswith("library")] == []
        assert world.plan() == []
        world.ledger.close()
    assert kills > 50


def _restore(template, home):
    shutil.rmtree(home)
    shutil.copytree(template, home, symlinks=True, copy_function=shutil.copy2)


def _age_hidden(world: World) -> None:
    """Let an hour pass for what the killed sweep was writing."""
    for path in world.store.root.rglob(".*.part"):
        world.touch(path, 0.1)
    for path in world.settings.home_dir.glob("**/.*.part"):
        if world.store.root not in path.parents:
            os.utime(path, (time.time() - 9000, time.time() - 9000))


def _sweep_in_child(world: World, *, kill_before: int) -> int:
    """Sweep in a forked child that dies by SIGKILL before its n-th change; return how it ended."""
    child = os.fork()
    if child == 0:
        seen = 0

        def count(event: str, arguments: tuple[object, ...]) -> None:
            nonlocal seen
            writes = event == "open" and isinstance(arguments[2], int) and arguments[2] & (os.O_WRONLY | os.O_RDWR)
            if event in _CHANGES or writes:
                if seen == kill_before:
                    os.kill(os.getpid(), signal.SIGKILL)
                seen += 1

        try:
            sys.addaudithook(count)
            world.prune()
        except BaseException as error:  # noqa: BLE001 - a child ends here
            os.write(2, f"{error!r}\n".encode())
            os._exit(3)
        os._exit(0)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def test_the_witness_is_plain(world):
    world.prune()
    document = json.loads((world.settings.home_dir / "run" / "clock.json").read_bytes())
    assert document["boot_id"] == "this boot"
