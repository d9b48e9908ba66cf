"""What a tick takes in, within its time."""

import errno
import os
import shutil
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from ironclad_assets.contracts.v1.job import JobState
from ironclad_assets.contracts.v1.limits import LimitScope, Role
from ironclad_assets.errors import StorageUnavailable
from ironclad_assets.intake import archive, source, upload
from ironclad_assets.intake import inbox as inbox_module
from ironclad_assets.intake.inbox import Inbox
from ironclad_assets.intake.scan import FoundFile, InputScanner, ScanReport
from ironclad_assets.intake.source import UploadChanged
from ironclad_assets.ledger.store import Ledger
from ironclad_assets.settings import Settings
from ironclad_assets.storage.store import Store


@pytest.fixture
def slow_copies(monkeypatch: pytest.MonkeyPatch) -> None:
    """Copies that take 20 ms a block and get one block a turn."""
    real = os.pread

    def read_slowly(descriptor: int, count: int, offset: int) -> bytes:
        time.sleep(0.02)
        return real(descriptor, count, offset)

    monkeypatch.setattr(archive.os, "pread", read_slowly)
    monkeypatch.setattr(archive, "_clone", lambda source, target: False)
    monkeypatch.setattr(inbox_module, "SLICE_S", 0.0)


def test_complete_files_become_queued_jobs_in_their_order(inbox: Inbox, store: Store, ledger: Ledger) -> None:
    """CAT-001, WATCH-001."""
    (store.input / "ada").mkdir()
    inbox.collect(budget_s=1.0)
    for number, name in enumerate(("b.mp3", "ada/a.mp3", "c.mp3")):
        (store.input / name).write_bytes(b"%d" % number)
        time.sleep(0.02)
    done = inbox.collect(budget_s=5.0)
    assert [one.job.original_name for one in done.taken] == ["b.mp3", "a.mp3", "c.mp3"]
    assert [job.user_id for job in ledger.dispatchable(limit=9)].count("ada") == 1
    assert not [path for path in store.input.rglob("*") if path.is_file()]
    assert inbox.collect(budget_s=1.0).taken == []


def test_a_large_file_is_copied_over_several_ticks_and_lets_others_pass(
    inbox: Inbox, store: Store, slow_copies: None
) -> None:
    (store.input / "large.wav").write_bytes(os.urandom(6 * 2**20))
    time.sleep(0.02)
    (store.input / "small.mp3").write_bytes(b"small")
    first = inbox.collect(budget_s=0.03)
    started = time.monotonic()
    taken = [one.job.original_name for one in first.taken]
    ticks = 1
    assert ("large.wav", "being copied") in first.waiting
    while len(taken) < 2 and ticks < 50:
        taken += [one.job.original_name for one in inbox.collect(budget_s=0.03).taken]
        ticks += 1
    assert taken == ["small.mp3", "large.wav"]
    assert ticks > 2
    assert time.monotonic() - started < 20


def test_a_tick_without_time_leaves_files_for_the_next(inbox: Inbox, store: Store) -> None:
    (store.input / "a.mp3").write_bytes(b"a")
    done = inbox.collect(budget_s=0.0)
    assert (done.taken, done.waiting) == ([], [("a.mp3", "next tick")])
    assert len(inbox.collect(budget_s=1.0).taken) == 1


def test_a_look_that_takes_longer_than_the_tick_may_still_lets_files_in(
    inbox: Inbox, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A full upload folder makes every look long: else nothing would come in as long as it is full."""
    (store.input / "a.mp3").write_bytes(b"a")
    late_s = 0.0
    real = inbox._scanner.scan

    def look_for_long(now_s: float) -> ScanReport:
        nonlocal late_s
        report = real(now_s)
        late_s = 3600.0
        return report

    monkeypatch.setattr(inbox._scanner, "scan", look_for_long)
    monkeypatch.setattr(inbox_module, "time", SimpleNamespace(monotonic=lambda: time.monotonic() + late_s))
    assert len(inbox.collect(budget_s=5.0).taken) == 1


@pytest.mark.parametrize("why", ["user_disabled", "quota_exceeded"])
def test_files_that_are_known_to_wait_are_not_opened_at_every_look(
    inbox: Inbox, store: Store, ledger: Ledger, monkeypatch: pytest.MonkeyPatch, why: str
) -> None:
    """Somebody's thousand files that stay where they are cost the others nothing."""
    ledger.users.add("eve", role=Role.MEMBER, actor="test")
    if why == "user_disabled":
        ledger.users.set_disabled("eve", True, actor="test")
    else:
        ledger.limits.set(LimitScope.USER, "eve", "stored_bytes", 0, actor="test")
    (store.input / "eve").mkdir()
    inbox.collect(budget_s=1.0)
    for number in range(20):
        (store.input / "eve" / f"{number}.mp3").write_bytes(b"%d" % number)
    first = inbox.collect(budget_s=5.0)
    opened: list[str] = []
    real = os.open

    def note(path: Any, flags: int, *rest: int, **more: Any) -> int:
        opened.append(os.fsdecode(path))
        return real(path, flags, *rest, **more)

    monkeypatch.setattr(source.os, "open", note)
    second = inbox.collect(budget_s=5.0)
    assert sorted(second.waiting) == sorted(first.waiting)
    assert len(second.waiting) == 20
    assert all(said.startswith(f"{why}: ") for _, said in second.waiting)
    assert not [path for path in opened if path.endswith(".mp3")]


def test_an_unreadable_file_is_reported_and_not_opened_again_until_it_changes(
    inbox: Inbox, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = store.input / "a.mp3"
    file.write_bytes(b"a")
    real, opened = os.open, []

    def deny(path: Any, flags: int, *rest: int, **more: Any) -> int:
        if Path(os.fsdecode(path)).name == "a.mp3":
            opened.append(path)
            raise PermissionError(13, "Permission denied")
        return real(path, flags, *rest, **more)

    with monkeypatch.context() as patch:
        patch.setattr(source.os, "open", deny)
        first, second = inbox.collect(budget_s=1.0), inbox.collect(budget_s=1.0)
    assert len(opened) == 1
    assert [name for name, _ in first.ignored] == ["a.mp3"]
    assert "Permission denied" in first.ignored[0][1]
    assert second.ignored == first.ignored
    file.chmod(0o600)
    assert len(inbox.collect(budget_s=1.0).taken) == 1


def test_only_a_few_large_files_are_open_at_once(inbox: Inbox, store: Store, slow_copies: None) -> None:
    for number in range(6):
        (store.input / f"{number}.wav").write_bytes(bytes([number]) * (2 * 2**20))
    waiting = inbox.collect(budget_s=0.1).waiting
    copied = [name for name, why in waiting if why == "being copied"]
    assert len(copied) < inbox_module.MOST_OPEN, "one place is for somebody else"
    assert [name for name, why in waiting if why == "next tick"]
    assert len(list(store.archive.glob(".*.part"))) == len(copied)


def drop(store: Store, name: str, content: bytes) -> None:
    path = store.input / name
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(content)


@dataclass
class Clock:
    """A clock that stands still but for a second for each block that is read."""

    now_s: float = 1000.0

    def monotonic(self) -> float:
        return self.now_s


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    """Time in which copies go a block a second, however fast the machine is."""
    clock, real = Clock(), os.pread

    def read(descriptor: int, count: int, offset: int) -> bytes:
        clock.now_s += 1.0
        return real(descriptor, count, offset)

    monkeypatch.setattr(archive.os, "pread", read)
    monkeypatch.setattr(archive, "_clone", lambda source, target: False)
    monkeypatch.setattr(archive, "time", SimpleNamespace(monotonic=clock.monotonic, time=time.time))
    monkeypatch.setattr(inbox_module, "time", clock)
    return clock


def settle(inbox: Inbox, clock: Clock) -> None:
    """Let what is in the upload folder settle, without taking anything."""
    inbox.collect(budget_s=0.0)
    clock.now_s += 1.0


def collect(inbox: Inbox, *, blocks: int) -> list[str]:
    """Take files for as long as so many blocks need; return what was taken."""
    return [f"{one.job.user_id}/{one.job.original_name}" for one in inbox.collect(budget_s=float(blocks)).taken]


def test_users_take_turns_each_with_files_in_their_order(inbox: Inbox, store: Store, clock: Clock) -> None:
    for name in ("eve/b.mp3", "eve/a.mp3", "eve/c.mp3", "ada/d.mp3"):
        drop(store, name, name.encode())
        time.sleep(0.02)
    settle(inbox, clock)
    assert collect(inbox, blocks=9) == ["eve/b.mp3", "ada/d.mp3", "eve/a.mp3", "eve/c.mp3"]


def test_a_small_file_waits_for_no_large_one_of_somebody_else(inbox: Inbox, store: Store, clock: Clock) -> None:
    for number in range(12):
        drop(store, f"eve/{number}.wav", bytes([number]) * (9 * 2**20 if number < 4 else 2**20))
    settle(inbox, clock)
    assert collect(inbox, blocks=5) == []
    drop(store, "ada/small.mp3", b"small")
    settle(inbox, clock)
    assert collect(inbox, blocks=1) == ["ada/small.mp3"]


def test_whoever_had_no_turn_in_a_tick_begins_the_next(inbox: Inbox, store: Store, clock: Clock) -> None:
    """Also where the disk is so slow that a tick is one block."""
    drop(store, "eve/large.wav", b"e" * (9 * 2**20))
    drop(store, "ada/small.mp3", b"small")
    settle(inbox, clock)
    assert [collect(inbox, blocks=1), collect(inbox, blocks=1)].count(["ada/small.mp3"]) == 1


def test_a_place_that_gets_free_is_for_who_waited_for_one(inbox: Inbox, store: Store, clock: Clock) -> None:
    for number in range(9):
        drop(store, f"eve/{number}.wav", bytes([number]) * (4 * 2**20))
        time.sleep(0.02)
    drop(store, "bob/large.wav", b"b" * (90 * 2**20))
    settle(inbox, clock)
    assert collect(inbox, blocks=4) == []
    assert len(inbox._open) == inbox_module.MOST_OPEN
    drop(store, "ada/large.wav", b"a" * (2 * 2**20))
    settle(inbox, clock)
    looks = 0
    while collect(inbox, blocks=5) == [] and looks < 9:
        looks += 1
    assert not (store.input / "eve" / "0.wav").exists()
    collect(inbox, blocks=1)
    assert store.input / "ada" / "large.wav" in inbox._open


def test_a_file_that_changes_under_its_copy_is_copied_afresh(
    inbox: Inbox, store: Store, ledger: Ledger, slow_copies: None
) -> None:
    file = store.input / "a.wav"
    file.write_bytes(b"a" * (3 * 2**20))
    assert inbox.collect(budget_s=0.01).taken == []
    file.write_bytes(b"b")
    taken = []
    for _ in range(50):
        taken += inbox.collect(budget_s=1.0).taken
        if taken:
            break
    assert ledger.song(taken[0].job.song).size_bytes == 1
    assert not list(store.archive.glob(".*.part"))


def test_a_half_copied_file_that_is_deleted_leaves_nothing(inbox: Inbox, store: Store, slow_copies: None) -> None:
    (store.input / "a.wav").write_bytes(b"a" * (3 * 2**20))
    inbox.collect(budget_s=0.01)
    (store.input / "a.wav").unlink()
    done = inbox.collect(budget_s=1.0)
    assert (done.taken, done.waiting) == ([], [])
    assert not list(store.archive.glob(".*.part"))


def test_what_a_user_who_is_being_deleted_left_is_not_taken_meanwhile(
    inbox: Inbox, store: Store, ledger: Ledger, slow_copies: None
) -> None:
    """Promise 16: also what is half copied when the request comes; others' files are."""
    (store.input / "ada").mkdir()
    (store.input / "ada" / "half.wav").write_bytes(b"a" * (3 * 2**20))
    inbox.collect(budget_s=0.01)
    deletion = ledger.deletions.request_user("ada", actor="test", known=True)
    (store.input / "ada" / "next.mp3").write_bytes(b"next")
    (store.input / "mine.mp3").write_bytes(b"mine")
    time.sleep(0.25)  # settled
    done = inbox.collect(budget_s=2.0)
    assert [one.job.original_name for one in done.taken] == ["mine.mp3"]
    why = "user 'ada' is being deleted"
    assert sorted(done.waiting) == [("half.wav", why), ("next.mp3", why)]
    assert not list(store.archive.glob(".*.part"))
    ledger.deletions.finish(deletion.receipt)
    (store.input / "ada" / "half.wav").unlink()  # as the deletion does; what came since is the new user's
    assert [one.job.original_name for one in inbox.collect(budget_s=2.0).taken] == ["next.mp3"]


def test_a_file_that_cannot_be_moved_out_of_the_way_keeps_no_other_waiting(
    inbox: Inbox, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    """CAT-003: such as where the upload folder is a mount of its own, from which nothing is renamed into the store."""
    real = os.replace

    def replace_within(source: Any, target: Any, *, src_dir_fd: int | None = None, **others: Any) -> None:
        if src_dir_fd is not None:
            raise OSError(errno.EXDEV, os.strerror(errno.EXDEV))
        real(source, target, **others)

    monkeypatch.setattr(os, "replace", replace_within)
    folder = store.input / "eve"
    folder.mkdir()
    (folder / "a.mp3").write_bytes(b"two names")
    os.link(folder / "a.mp3", folder / "b.mp3")
    (store.input / "mine.mp3").write_bytes(b"mine")
    taken = inbox.collect(budget_s=2.0).taken
    time.sleep(0.25)  # settled
    done = inbox.collect(budget_s=2.0)
    assert [one.job.original_name for one in taken + done.taken] == ["mine.mp3"]
    why = "cannot be taken: Invalid cross-device link"
    assert sorted(done.ignored) == [("a.mp3", why), ("b.mp3", why)]
    assert sorted(path.name for path in folder.iterdir()) == ["a.mp3", "b.mp3"]


def test_closing_lets_go_of_half_copies(ledger: Ledger, store: Store, settings: Settings, slow_copies: None) -> None:
    inbox = Inbox(ledger=ledger, store=store, settings=settings)
    inbox.collect(budget_s=1.0)
    (store.input / "a.wav").write_bytes(b"a" * (3 * 2**20))
    inbox.collect(budget_s=0.01)
    assert list(store.archive.glob(".*.part"))
    inbox.close()
    assert not list(store.archive.glob(".*.part"))
    assert (store.input / "a.wav").exists()


def test_a_refused_file_is_told_as_a_failed_job(inbox: Inbox, store: Store) -> None:
    (store.input / "a.mp3").write_bytes(b"a")
    os.link(store.input / "a.mp3", store.root / "other")
    inbox.collect(budget_s=1.0)
    time.sleep(0.25)
    taken = inbox.collect(budget_s=1.0).taken
    assert [one.job.state for one in taken] == [JobState.FAILED]


def test_a_file_that_cannot_be_taken_is_left_alone_for_a_while_and_then_tried_again(
    inbox: Inbox, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    (store.input / "a.mp3").write_bytes(b"a")
    asked = []

    def deny(path: Path, mode: int) -> bool:
        asked.append(path)
        return Path(path) != store.input

    with monkeypatch.context() as patch:
        patch.setattr(upload.os, "access", deny)
        first = inbox.collect(budget_s=1.0)
        tries = asked.count(store.input)
        second = inbox.collect(budget_s=1.0)
        assert asked.count(store.input) == tries == 1
    assert [name for name, _ in first.ignored] == ["a.mp3"]
    assert second.ignored == first.ignored
    forget_delays(inbox)
    assert len(inbox.collect(budget_s=1.0).taken) == 1


def forget_delays(inbox: Inbox) -> None:
    """Let every postponed file have its turn again."""
    inbox._postponed = {path: replace(one, until_s=0.0) for path, one in inbox._postponed.items()}


def leave_room(monkeypatch: pytest.MonkeyPatch, *, free_bytes: Callable[[], float]) -> None:
    usage = type("Usage", (), {"free": property(lambda _: free_bytes())})()
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage)


def test_a_file_without_room_waits_alone(
    inbox: Inbox, store: Store, ledger: Ledger, monkeypatch: pytest.MonkeyPatch
) -> None:
    (store.input / "large.wav").write_bytes(b"l" * 5000)
    time.sleep(0.02)
    (store.input / "small.mp3").write_bytes(b"small")
    with monkeypatch.context() as patch:
        leave_room(patch, free_bytes=lambda: store.reserve_bytes + 3000)
        for expected in (["small.mp3"], []):
            done = inbox.collect(budget_s=1.0)
            assert [one.job.original_name for one in done.taken] == expected
            assert [name for name, _ in done.waiting] == ["large.wav"]
            assert "break into the reserve" in done.waiting[0][1]
    assert len(ledger.dispatchable(limit=9)) == 1
    assert [one.job.original_name for one in inbox.collect(budget_s=1.0).taken] == ["large.wav"]


def test_copies_side_by_side_do_not_promise_the_same_room_twice(
    inbox: Inbox, store: Store, monkeypatch: pytest.MonkeyPatch, slow_copies: None
) -> None:
    for name in ("a.wav", "b.wav"):
        (store.input / name).write_bytes(name.encode() * 2**21)  # 10 MiB, ten blocks
        time.sleep(0.02)

    def free_bytes() -> float:
        copied = sum(path.stat().st_size for path in store.archive.glob(".*.part"))
        return store.reserve_bytes + 16 * 2**20 - copied

    leave_room(monkeypatch, free_bytes=free_bytes)
    waiting = dict(inbox.collect(budget_s=0.12).waiting)
    assert waiting["a.wav"] == "being copied"
    assert "break into the reserve" in waiting["b.wav"]


def test_a_store_that_fills_up_gets_the_half_copies_back(
    inbox: Inbox, store: Store, monkeypatch: pytest.MonkeyPatch, slow_copies: None
) -> None:
    (store.input / "a.wav").write_bytes(b"a" * (3 * 2**20))
    inbox.collect(budget_s=0.01)
    assert list(store.archive.glob(".*.part"))
    leave_room(monkeypatch, free_bytes=lambda: store.reserve_bytes - 1)
    with pytest.raises(StorageUnavailable):
        inbox.collect(budget_s=1.0)
    assert not list(store.archive.glob(".*.part"))
    assert (store.input / "a.wav").exists()


def test_a_file_that_changes_between_look_and_copy_waits(
    inbox: Inbox, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    (store.input / "a.mp3").write_bytes(b"a")

    def vanish(*_: object, **__: object) -> None:
        raise UploadChanged("'a.mp3' is gone")

    with monkeypatch.context() as patch:
        patch.setattr(inbox_module, "start_upload", vanish)
        assert inbox.collect(budget_s=1.0).waiting == [("a.mp3", "'a.mp3' is gone")]
    assert len(inbox.collect(budget_s=1.0).taken) == 1


@pytest.mark.parametrize("store_is_ready", [True, False])
def test_storage_that_fails_under_a_copy_stops_everything_only_where_the_store_is_not_ready(
    inbox: Inbox, store: Store, monkeypatch: pytest.MonkeyPatch, store_is_ready: bool
) -> None:
    (store.input / "a.mp3").write_bytes(b"a")

    def fail(*_: object) -> None:
        if not store_is_ready:
            store.sentinel.unlink()
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(os, "pwrite", fail)
        patch.setattr(archive, "_clone", lambda source, target: False)
        if store_is_ready:
            for _ in range(2):
                assert [(name, why[:12]) for name, why in inbox.collect(budget_s=1.0).waiting] == [
                    ("a.mp3", "storage_full")
                ]
        else:
            with pytest.raises(StorageUnavailable):
                inbox.collect(budget_s=1.0)
    assert not list(store.archive.glob(".*.part"))
    store.sentinel.touch()
    forget_delays(inbox)
    assert len(inbox.collect(budget_s=1.0).taken) == 1


def test_a_folder_swapped_for_a_link_leads_to_nobody_elses_file(
    inbox: Inbox, store: Store, ledger: Ledger, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Between the last look at a file and its copy; what lay there would be taken for the swapper's and removed."""
    hers, his = store.input / "ada" / "x.mp3", store.input / "mallory" / "folder" / "x.mp3"
    for file in (hers, his):
        file.parent.mkdir(parents=True)
    inbox.collect(budget_s=1.0)
    his.write_bytes(b"four")
    real = InputScanner.check

    def check(self: InputScanner, found: FoundFile, now_s: float) -> None:
        real(self, found, now_s)
        hers.write_bytes(b"hers")
        his.parent.rename(store.input / "mallory" / ".aside")
        his.parent.symlink_to("../ada")

    with monkeypatch.context() as patch:
        patch.setattr(InputScanner, "check", check)
        done = inbox.collect(budget_s=1.0)
    assert (done.taken, ledger.jobs()) == ([], [])
    assert hers.read_bytes() == b"hers"


@pytest.mark.parametrize("kind", ["file", "loop"])
def test_a_folder_that_is_none_any_more_when_its_file_is_in_ends_no_tick(
    inbox: Inbox, store: Store, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    folder = store.input / "ada" / "folder"
    folder.mkdir(parents=True)
    inbox.collect(budget_s=1.0)
    (folder / "x.mp3").write_bytes(b"x")
    real = Ledger.register

    def swap(self: Ledger, *arguments: Any, **options: Any) -> Any:
        folder.rename(store.input / "ada" / ".aside")
        folder.symlink_to("folder") if kind == "loop" else folder.write_bytes(b"")
        return real(self, *arguments, **options)

    monkeypatch.setattr(Ledger, "register", swap)
    assert len(inbox.collect(budget_s=1.0).taken) == 1


def test_a_store_that_is_away_is_not_looked_into(inbox: Inbox, store: Store) -> None:
    (store.input / "a.mp3").write_bytes(b"a")
    store.sentinel.unlink()
    with pytest.raises(StorageUnavailable):
        inbox.collect(budget_s=1.0)
    assert (store.input / "a.mp3").exists()


def test_waiting_ends_with_the_next_file(inbox: Inbox, store: Store) -> None:
    (store.input / "a.mp3").write_bytes(b"a")
    started = time.monotonic()
    inbox.wait(5.0)
    assert time.monotonic() - started < 2.0
