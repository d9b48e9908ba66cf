"""Which files are complete, and which are never taken (WATCH-001)."""

import fcntl
import os
import socket
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any

import pytest
from inotify_simple import Event, flags

from ironclad_assets.errors import ErrorCode, Refusal, StorageUnavailable
from ironclad_assets.intake import closings, scan, source, walk
from ironclad_assets.intake.names import display_name
from ironclad_assets.intake.scan import InputScanner, ScanReport
from ironclad_assets.intake.source import UploadChanged
from ironclad_assets.intake.walk import Candidate, Ignored, walk_input
from ironclad_assets.settings import Settings
from ironclad_assets.storage.store import Store

SETTLE_S = 10.0


@pytest.fixture
def scanner(store: Store, settings: Settings) -> Iterator[InputScanner]:
    """A scanner that already watches, with a settle time that no test waits for in earnest."""
    scanner = InputScanner(store, settings.model_copy(update={"settle_s": SETTLE_S}))
    scanner.scan(0.0)
    yield scanner
    scanner.close()


@pytest.fixture
def deaf_scanner(store: Store, settings: Settings, monkeypatch: pytest.MonkeyPatch) -> InputScanner:
    """A scanner on a machine without inotify."""

    def fail(**_: object) -> None:
        raise OSError("no inotify")

    monkeypatch.setattr(closings, "INotify", fail)
    scanner = InputScanner(store, settings.model_copy(update={"settle_s": SETTLE_S}))
    scanner.scan(0.0)
    return scanner


def look(scanner: InputScanner, now_s: float) -> ScanReport:
    """Scan, and open what is ready as the inbox does: what has to wait or cannot be opened is not."""
    report = scanner.scan(now_s)
    ready, waiting, ignored = [], list(report.waiting), list(report.ignored)
    for found in report.ready:
        try:
            scanner.check(found, now_s)
        except UploadChanged as error:
            waiting.append((display_name(found.path.name), error.detail))
        except Refusal as error:
            ignored.append((display_name(found.path.name), error.detail))
        else:
            ready.append(found)
    return ScanReport(ready=tuple(ready), waiting=tuple(waiting), ignored=tuple(ignored))


def names(report: ScanReport) -> list[str]:
    return [found.path.name for found in report.ready]


def test_a_closed_file_is_complete_at_once(scanner: InputScanner, store: Store) -> None:
    (store.input / "a.mp3").write_bytes(b"a")
    report = look(scanner, 0.1)
    assert names(report) == ["a.mp3"]
    assert report.ready[0].size_bytes == 1


def test_a_file_renamed_into_place_is_complete_at_once(scanner: InputScanner, store: Store) -> None:
    (store.input / "a.mp3.part").write_bytes(b"a")
    report = look(scanner, 0.1)
    assert (names(report), report.ignored) == ([], (("a.mp3.part", "temporary name"),))
    (store.input / "a.mp3.part").rename(store.input / "a.mp3")
    assert names(look(scanner, 0.2)) == ["a.mp3"]


def test_a_file_that_its_writer_has_open_is_never_complete(scanner: InputScanner, store: Store) -> None:
    with (store.input / "a.mp3").open("wb") as stream:
        stream.write(b"half")
        stream.flush()
        assert dict(look(scanner, 0.1).waiting) == {"a.mp3": "changed a moment ago"}
        assert dict(look(scanner, 1000.0).waiting) == {"a.mp3": "open for writing, or locked"}
    assert names(look(scanner, 1000.1)) == ["a.mp3"]


def test_a_file_opened_again_for_writing_waits_again(scanner: InputScanner, store: Store) -> None:
    (store.input / "a.mp3").write_bytes(b"a")
    with (store.input / "a.mp3").open("ab"):
        assert names(look(scanner, 0.1)) == []
    assert names(look(scanner, 0.2)) == ["a.mp3"]


def test_a_file_nobody_saw_being_closed_must_settle(deaf_scanner: InputScanner, store: Store) -> None:
    file = store.input / "a.mp3"
    file.write_bytes(b"a")
    assert names(look(deaf_scanner, 1.0)) == []
    file.write_bytes(b"ab")
    assert names(look(deaf_scanner, 1.0 + SETTLE_S)) == []
    assert names(look(deaf_scanner, 0.9 + 2 * SETTLE_S)) == []
    assert names(look(deaf_scanner, 1.0 + 2 * SETTLE_S)) == ["a.mp3"]


def test_a_clock_that_jumps_settles_nothing(
    deaf_scanner: InputScanner, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    """WATCH-003."""
    (store.input / "a.mp3").write_bytes(b"a")
    os.utime(store.input / "a.mp3", (2**33, 2**33))
    look(deaf_scanner, 1.0)
    monkeypatch.setattr(time, "time", lambda: 2.0**34)
    assert names(look(deaf_scanner, 2.0)) == []


def test_a_file_written_before_the_watch_began_must_settle(store: Store, settings: Settings) -> None:
    (store.input / "a.mp3").write_bytes(b"a")
    scanner = InputScanner(store, settings.model_copy(update={"settle_s": SETTLE_S}))
    assert names(look(scanner, 0.0)) == []
    assert names(look(scanner, SETTLE_S)) == ["a.mp3"]
    scanner.close()


@pytest.mark.parametrize("kind", ["empty", "linked"])
def test_a_file_about_to_change_must_settle_even_when_closed(scanner: InputScanner, store: Store, kind: str) -> None:
    (store.input / "a.mp3").write_bytes(b"" if kind == "empty" else b"a")
    if kind == "linked":
        os.link(store.input / "a.mp3", store.root / "elsewhere")
    assert names(look(scanner, 1.0)) == []
    assert names(look(scanner, 1.0 + SETTLE_S)) == ["a.mp3"]


def test_a_file_locked_by_a_program_waits(scanner: InputScanner, store: Store) -> None:
    file = store.input / "a.mp3"
    file.write_bytes(b"a")
    with file.open("rb") as stream:
        fcntl.flock(stream, fcntl.LOCK_EX)
        assert dict(look(scanner, 0.1).waiting) == {"a.mp3": "open for writing, or locked"}
    assert names(look(scanner, 0.2)) == ["a.mp3"]


def test_where_writers_cannot_be_known_a_closed_file_must_settle(
    scanner: InputScanner, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = fcntl.fcntl

    def refuse_leases(descriptor: int, command: int, argument: int = 0) -> int:
        if command == fcntl.F_SETLEASE:
            raise PermissionError(13, "not the owner")
        return real(descriptor, command, argument)

    monkeypatch.setattr(source.fcntl, "fcntl", refuse_leases)
    (store.input / "a.mp3").write_bytes(b"a")
    assert dict(look(scanner, 0.1).waiting) == {"a.mp3": "writers unknown, waiting for it to settle"}
    assert names(look(scanner, 0.1 + SETTLE_S)) == ["a.mp3"]


def test_folders_name_their_user_at_any_depth(scanner: InputScanner, store: Store) -> None:
    for folder in ("ada", "bob/album/disc 1", "bob/.hidden", "Not A User"):
        (store.input / folder).mkdir(parents=True)
    look(scanner, 0.1)
    for path in ("own.mp3", "ada/a.mp3", "bob/album/disc 1/b.mp3", "bob/.hidden/c.mp3", "Not A User/d.mp3"):
        (store.input / path).write_bytes(b"x")
    report = look(scanner, 0.2)
    assert {found.path.name: found.user_id for found in report.ready} == {
        "own.mp3": "local",
        "a.mp3": "ada",
        "b.mp3": "bob",
    }
    assert dict(report.ignored) == {
        "bob/.hidden": "hidden",
        "Not A User": "no user name: 1 to 64 of a-z, 0-9, hyphen, underscore",
    }


def test_a_user_folder_renamed_and_made_again_is_still_heard(scanner: InputScanner, store: Store) -> None:
    (store.input / "ada").mkdir()
    look(scanner, 0.1)
    (store.input / "ada").rename(store.input / "bob")
    (store.input / "ada").mkdir()
    look(scanner, 0.2)
    (store.input / "ada" / "a.mp3").write_bytes(b"a")
    (store.input / "bob" / "b.mp3").write_bytes(b"b")
    assert sorted(names(look(scanner, 0.3))) == ["a.mp3", "b.mp3"]
    (store.input / "bob" / "b.mp3").unlink()
    (store.input / "bob").rmdir()
    look(scanner, 0.4)
    assert names(look(scanner, 0.5)) == ["a.mp3"]


@pytest.mark.parametrize("name", [".hidden.mp3", "a.mp3.part", "a.TMP", "a.crdownload", "a.filepart", "a.mp3~"])
def test_hidden_and_temporary_names_are_never_taken(scanner: InputScanner, store: Store, name: str) -> None:
    (store.input / name).write_bytes(b"a")
    report = look(scanner, 1000.0)
    assert names(report) == []
    assert [ignored for ignored, _ in report.ignored] == [name]


def test_what_is_no_regular_file_is_ignored_and_blocks_nothing(scanner: InputScanner, store: Store) -> None:
    (store.root / "target.mp3").write_bytes(b"t")
    (store.input / "link.mp3").symlink_to(store.root / "target.mp3")
    (store.input / "loop").symlink_to(store.input / "loop")
    (store.input / "up").symlink_to("..")
    os.mkfifo(store.input / "fifo.mp3")
    (store.input / "folder.mp3").mkdir()
    with socket.socket(socket.AF_UNIX) as server:
        previous = Path.cwd()
        os.chdir(store.input)
        server.bind("socket.mp3")
        os.chdir(previous)
    report = look(scanner, 1000.0)
    assert names(report) == []
    assert dict(report.ignored) == {
        "link.mp3": "symbolic link",
        "loop": "symbolic link",
        "up": "symbolic link",
        "fifo.mp3": "not a regular file",
        "socket.mp3": "not a regular file",
        "folder.mp3": "no user name: 1 to 64 of a-z, 0-9, hyphen, underscore",
    }


@pytest.mark.skipif(os.getuid() != 0, reason="only root makes devices")
def test_a_device_is_ignored(scanner: InputScanner, store: Store) -> None:
    try:
        os.mknod(store.input / "null.mp3", 0o20666, os.makedev(1, 3))
    except PermissionError:
        pytest.skip("this machine lets not even root make devices")
    assert dict(look(scanner, 1000.0).ignored) == {"null.mp3": "not a regular file"}


def test_names_that_are_no_text_are_taken_and_shown_safely(scanner: InputScanner, store: Store) -> None:
    raw = os.fsencode(store.input) + b"/\xff\x1b[2J\n.mp3"
    Path(os.fsdecode(raw)).write_bytes(b"a")
    with Path(os.fsdecode(raw + b".x")).open("wb"):
        report = look(scanner, 0.1)
    assert [os.fsencode(found.path) for found in report.ready] == [raw]
    assert [name for name, _ in report.waiting] == ["\ufffd[2J .mp3.x"]


def test_a_name_of_255_bytes_is_taken(scanner: InputScanner, store: Store) -> None:
    (store.input / ("x" * 251 + ".mp3")).write_bytes(b"a")
    assert len(look(scanner, 0.1).ready) == 1


def test_files_come_in_the_order_in_which_they_arrived(scanner: InputScanner, store: Store) -> None:
    """CAT-001."""
    for name in ("c", "a", "b"):
        (store.input / name).write_bytes(b"x")
        time.sleep(0.02)
    assert names(look(scanner, 0.1)) == ["c", "a", "b"]


@pytest.mark.parametrize("change", ["gone", "swapped", "link", "leased"])
def test_a_file_swapped_between_look_and_open_is_not_taken(
    scanner: InputScanner, store: Store, monkeypatch: pytest.MonkeyPatch, change: str
) -> None:
    file = store.input / "a.mp3"
    file.write_bytes(b"a")
    real = os.open

    def swap(path: Path | bytes | str, flags: int, *rest: int, dir_fd: int | None = None) -> int:
        if path != file.name:
            return real(path, flags, *rest, dir_fd=dir_fd)
        if change == "leased":
            raise BlockingIOError(11, "leased")
        file.unlink()
        if change == "swapped":
            file.write_bytes(b"something else")
        if change == "link":
            file.symlink_to("/etc/passwd")
        return real(path, flags, *rest, dir_fd=dir_fd)

    with monkeypatch.context() as patch:
        patch.setattr(source.os, "open", swap)
        report = look(scanner, 0.1)
    assert report.ready == ()
    why = dict(report.waiting) | dict(report.ignored)
    expected = {"gone": "gone", "swapped": "changed", "link": "symbolic link", "leased": "locked"}
    assert expected[change] in why["a.mp3"]


def test_a_file_that_grows_for_an_hour_is_named(deaf_scanner: InputScanner, store: Store) -> None:
    file = store.input / "a.mp3"
    for hours in range(3):
        file.write_bytes(b"a" * (hours + 1))
        report = look(deaf_scanner, hours * (scan.LONG_S + 1))
    assert dict(report.waiting) == {"a.mp3": "growing for 120 minutes"}


def test_a_missing_upload_folder_is_storage_away(scanner: InputScanner, store: Store) -> None:
    store.input.rmdir()
    with pytest.raises(StorageUnavailable, match="is missing; make it again"):
        look(scanner, 0.1)


def test_a_broken_disk_is_told_as_storage(scanner: InputScanner, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(_: int) -> None:
        raise OSError(5, "Input/output error")

    monkeypatch.setattr(os, "scandir", fail)
    with pytest.raises(StorageUnavailable) as caught:
        look(scanner, 0.1)
    assert caught.value.code is ErrorCode.STORAGE_AWAY


def test_a_user_folder_that_cannot_be_read_stops_nobody_else(
    scanner: InputScanner, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    (store.input / "ada").mkdir()
    (store.input / "b.mp3").write_bytes(b"b")
    real = os.scandir

    def deny(folder: int) -> object:
        if os.path.samestat(os.fstat(folder), (store.input / "ada").stat()):
            raise PermissionError(13, "Permission denied")
        return real(folder)

    monkeypatch.setattr(os, "scandir", deny)
    report = look(scanner, 0.1)
    assert names(report) == ["b.mp3"]
    assert dict(report.ignored) == {"ada": "cannot be read: Permission denied"}


def test_a_folder_that_becomes_a_link_is_not_looked_into(store: Store) -> None:
    """Whoever may write there could have the files of others taken for his own."""
    (store.input / "ada").mkdir()
    (store.input / "ada" / "hers.mp3").write_bytes(b"hers")
    folder = store.input / "mallory" / "folder"
    folder.mkdir(parents=True)
    (store.input / "mallory" / "last.mp3").write_bytes(b"his")
    seen = []
    for entry in walk_input(os.fsencode(store.input), default_user="local", enter=lambda path, inode: None):
        seen.append(entry)
        if folder.is_dir() and not folder.is_symlink():
            folder.rmdir()
            folder.symlink_to("../ada")
    assert {entry.path[len(os.fsencode(store.input)) :] for entry in seen if isinstance(entry, Candidate)} == {
        b"/mallory/last.mp3",
        b"/ada/hers.mp3",
    }
    assert [entry.why for entry in seen if isinstance(entry, Ignored)] == ["cannot be read: Not a directory"]


def test_an_entry_that_cannot_be_looked_at_stops_nobody_else(scanner: InputScanner, store: Store) -> None:
    """Such as one whose whole path is longer than the system takes, or a mount that is dead or private."""
    (store.input / "ada").mkdir()
    (store.input / "b.mp3").write_bytes(b"b")
    folder = os.open(store.input / "ada", os.O_RDONLY)
    for _ in range(16):
        os.mkdir("d" * 240, dir_fd=folder)
        below = os.open("d" * 240, os.O_RDONLY, dir_fd=folder)
        os.close(folder)
        folder = below
    os.close(os.open("e" * 255, os.O_CREAT | os.O_WRONLY, dir_fd=folder))
    os.close(folder)
    report = look(scanner, 0.1)
    assert names(report) == ["b.mp3"]
    assert [why for _, why in report.ignored] == ["cannot be looked at: File name too long"]


def test_of_one_users_pile_a_part_is_looked_at_and_everybody_elses_files(
    scanner: InputScanner, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else a million files in one user's folder would make every look take longer than a tick may."""
    monkeypatch.setattr(walk, "MOST_ENTRIES", 10)
    for folder in ("ada", "mallory/a", "mallory/b", "mallory/c"):
        (store.input / folder).mkdir(parents=True)
    look(scanner, 0.1)
    for number in range(20):
        (store.input / "mallory" / "ab"[number % 2] / f"{number}.mp3").write_bytes(b"x")
    for path in (store.input / "ada" / "a.mp3", store.input / "b.mp3"):
        path.write_bytes(b"x")
    taken = set()
    for turn in range(1, 9):
        report = look(scanner, turn * SETTLE_S)
        mine = [found for found in report.ready if found.user_id == "mallory"]
        assert len(report.ready) - len(mine) == 2
        assert len(mine) <= 10
        taken |= {found.path.name for found in mine}
        assert turn > 1 or walk.BEYOND in dict(report.ignored).values()
        for found in mine:
            found.path.unlink()
    assert len(taken) == 20, "what was beyond comes when the others are gone"


def test_folders_too_deep_are_not_entered(scanner: InputScanner, store: Store) -> None:
    deep = store.input / "ada"
    for _ in range(40):
        deep = deep / "d"
    deep.mkdir(parents=True)
    assert [why for _, why in look(scanner, 0.1).ignored] == ["too many folders deep"]


class Unlisted(dict[Any, Any]):
    """A dictionary that nobody goes through."""

    def items(self) -> Any:
        raise AssertionError("all that are watched are looked through for one")

    __iter__ = keys = values = items


def test_many_folders_are_watched_and_forgotten_without_looking_through_all(monkeypatch: pytest.MonkeyPatch) -> None:
    """Else whoever makes or removes some ten thousand keeps everybody waiting for minutes."""
    many = 10

    class Kernel:
        def __init__(self, **_: object) -> None:
            self.watches = 0

        def add_watch(self, *_: object) -> int:
            self.watches += 1
            return self.watches

        def read(self, **_: object) -> list[Event]:
            return [Event(watch, flags.IGNORED, 0, "") for watch in range(1, many + 1)]

    monkeypatch.setattr(closings, "INotify", Kernel)
    watching = closings.Closings()
    watched = watching._watched = Unlisted()
    for number in range(many):
        watching.watch(b"/input/%d" % number, inode=number)
    assert len(watched) == many
    assert watching.read() == set()
    assert len(watched) == 0


def test_waiting_ends_when_something_happens(scanner: InputScanner, store: Store) -> None:
    (store.input / "a.mp3").write_bytes(b"a")
    started = time.monotonic()
    scanner.wait(5.0)
    assert time.monotonic() - started < 2.0


def test_waiting_ends_without_events_too(deaf_scanner: InputScanner) -> None:
    deaf_scanner.wait(0.01)
    deaf_scanner.close()


def test_a_file_that_vanishes_while_the_folder_is_read_is_not_there(
    scanner: InputScanner, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    (store.input / "a.mp3").write_bytes(b"a")
    real = os.scandir

    def vanish(folder: int) -> AbstractContextManager[list[os.DirEntry[str]]]:
        entries = list(real(folder))
        (store.input / "a.mp3").unlink()
        return nullcontext(entries)

    with monkeypatch.context() as patch:
        patch.setattr(os, "scandir", vanish)
        assert look(scanner, 0.1) == ScanReport(ready=(), waiting=(), ignored=())


def test_a_file_system_without_locks_is_no_obstacle(
    scanner: InputScanner, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise OSError(37, "No locks available")

    monkeypatch.setattr(source.fcntl, "flock", fail)
    monkeypatch.setattr(source.fcntl, "lockf", fail)
    (store.input / "a.mp3").write_bytes(b"a")
    assert names(look(scanner, 0.1)) == ["a.mp3"]
