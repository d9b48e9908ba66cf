"""Rows of the table of bad inputs that are about how a file comes: the upload folder's traps, duplicates, floods.

Each goes through the real inbox of an installation; what a file holds is the matter of `test_bad_inputs`.
"""

import os
import socket
import threading
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from typer.testing import CliRunner

from ironclad_assets.cli.exits import Exit
from ironclad_assets.cli.main import build_app
from ironclad_assets.contracts.v1.job import Job, JobState
from ironclad_assets.contracts.v1.limits import LimitScope
from ironclad_assets.contracts.v1.options import JobOptions
from ironclad_assets.errors import ErrorCode, IroncladError
from ironclad_assets.intake import source
from ironclad_assets.intake.names import LONGEST_NAME_BYTES, display_name
from ironclad_assets.intake.scan import LONG_S, InputScanner
from ironclad_assets.intake.upload import Delivery, Upload, take_file
from tests import synth
from tests.bad_inputs.gate import Gate, check_always, is_root
from tests.integration.conftest import Installation

TERABYTE = 1 << 40


@pytest.fixture
def gate(installation: Installation) -> Iterator[Gate]:
    gate = Gate(installation)
    yield gate
    gate.close()


def song(gate: Gate, name: str = "song.wav", *, seed: int = 0) -> Path:
    return synth.write_wav(gate.make_folder() / name, synth.noise(0.6, seed=seed))


def hand_in(gate: Gate, path: Path, *, user_id: str = "local", name: str | None = None) -> Job:
    """Hand a file in that stays its owner's, as `submit` does."""
    here = gate.installation
    return take_file(
        path,
        ledger=here.ledger,
        store=here.store,
        settings=here.settings,
        user_id=user_id,
        options=JobOptions(),
        door="cli",
        actor="test",
        original_name=name,
        keep_source=True,
    ).job


def archived(gate: Gate) -> list[Path]:
    return [path for path in gate.installation.store.archive.rglob("*") if path.is_file()]


def test_what_is_no_plain_file_is_ignored(gate: Gate, tmp_path: Path) -> None:
    """Rows 44, 46, 47 and 48: links, FIFOs, sockets, devices and folders; each is named with its reason."""
    folder = gate.installation.store.input
    secret = synth.write_wav(tmp_path / "secret.wav", synth.noise(0.6))
    (folder / "link.mp3").symlink_to(secret)
    (folder / "to folder").symlink_to(tmp_path)
    (folder / "loop.mp3").symlink_to(folder / "loop.mp3")
    os.mkfifo(folder / "fifo.mp3")
    (folder / "x.mp3").mkdir()
    expected = {"link.mp3": "symbolic link", "to folder": "symbolic link", "loop.mp3": "symbolic link"}
    expected |= {"fifo.mp3": "not a regular file", "socket.mp3": "not a regular file"}
    expected |= {"x.mp3": "no user name: 1 to 64 of a-z, 0-9, hyphen, underscore"}
    if is_root():
        os.mknod(folder / "device.mp3", 0o666 | 0o020000, os.makedev(1, 3))
        expected["device.mp3"] = "not a regular file"
    with socket.socket(socket.AF_UNIX) as listener:
        here = Path.cwd()
        os.chdir(folder)  # the path of a socket is short
        listener.bind("socket.mp3")
        os.chdir(here)
        began = time.monotonic()
        seen = gate.inbox.collect(budget_s=5.0)
        assert time.monotonic() - began < 5.0
    assert dict(seen.ignored) == expected
    assert (seen.taken, archived(gate)) == ([], [])
    gate.send_good_song()


def test_a_hard_link_is_refused_unread(gate: Gate, tmp_path: Path) -> None:
    """Row 45: somebody else's file must not come in by another name of it."""
    secret = synth.write_wav(tmp_path / "secret.wav", synth.noise(0.6))
    os.link(secret, tmp_path / "mine.wav")
    outcome = gate.judge(tmp_path / "mine.wav")
    assert outcome.code == ErrorCode.HARD_LINKED.code
    assert outcome.detail == "'mine.wav' has 2 names"
    check_always(outcome, gate=gate)
    assert (archived(gate), secret.exists()) == ([], True)
    gate.send_good_song()


def test_a_file_replaced_under_the_copy_is_no_other_song(gate: Gate) -> None:
    """Row 49: what was opened is what is stored, under its own hash; what took its name is taken for itself."""
    here = gate.installation
    first, second = song(gate, seed=1), song(gate, seed=2)
    contents = [first.read_bytes(), second.read_bytes()]
    dropped = gate.drop(first)
    delivery = Delivery(user_id="local", options=JobOptions(), door="folder", actor="watcher")
    upload = Upload(dropped, delivery=delivery, ledger=here.ledger, store=here.store, settings=here.settings)
    second.rename(dropped)
    upload.advance()
    registration = upload.finish()
    upload.close()
    taken = here.ledger.song(registration.job.song)
    assert here.store.path(taken.archive_path).read_bytes() == contents[0]
    assert dropped.read_bytes() == contents[1]
    other = gate.collect(dropped).taken[0]
    assert here.store.path(here.ledger.song(other.job.song).archive_path).read_bytes() == contents[1]


def test_a_file_that_grows_for_ever_is_reported(gate: Gate) -> None:
    """Row 50."""
    here = gate.installation
    scanner = InputScanner(here.store, here.settings)
    with (here.store.input / "growing.wav").open("wb") as stream:
        for minute in range(0, 64, 2):
            stream.write(bytes(1000))
            stream.flush()
            report = scanner.scan(60.0 * minute)
            assert report.ready == ()
    assert LONG_S == 3600.0
    assert dict(report.waiting) == {"growing.wav": "growing for 62 minutes"}
    scanner.close()


def test_a_huge_file_is_refused_unread(gate: Gate) -> None:
    """Rows 51 and 57: by its size, at both doors, whatever it would hold."""
    path = gate.make_folder() / "huge.wav"
    with path.open("wb") as stream:
        try:
            stream.truncate(TERABYTE)
        except OSError:  # a file system that knows no files of that size
            stream.truncate(9 << 30)
    began = time.monotonic()
    with pytest.raises(IroncladError, match="the limit is 8589934592") as caught:
        hand_in(gate, path.rename(path.with_name("kept.wav")))
    assert caught.value.code is ErrorCode.TOO_LARGE
    outcome = gate.judge(path.with_name("kept.wav"))
    assert time.monotonic() - began < 10.0
    assert outcome.code == ErrorCode.TOO_LARGE.code
    check_always(outcome, gate=gate)
    assert archived(gate) == []
    gate.send_good_song()


MANY = range(10_000)
HUGE = "a" * 100_000


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["--targets", ",".join(f"stem{number}" for number in MANY)], "targets: 10000 are named; the most is 64"),
        ([f"--stem=stem{number}" for number in MANY], "stems: 10000 are named; the most is 64"),
        (["--stem=vocals"] * len(MANY), "stems: 10000 are named; the most is 64"),
        ([f"--parameter=p{number}=1" for number in MANY], "parameters: 10000 are named; the most is 64"),
        (["--targets", HUGE], "has 100000 characters; the most is 1000"),
        (["--parameter", f"{HUGE}=1"], "has 100002 characters; the most is 1000"),
        (["--parameter", f"shifts={HUGE}"], "has 100007 characters; the most is 1000"),
        (["--parameter", HUGE], "has 100000 characters; the most is 1000"),
        (["--format", HUGE], "has 100000 characters; the most is 1000"),
    ],
)
def test_a_request_of_too_many_parts_is_refused_unread(
    gate: Gate, monkeypatch: pytest.MonkeyPatch, arguments: list[str], says: str
) -> None:
    """Row 58: whatever it asks for, before its song is opened, and in a short line."""
    here = gate.installation
    monkeypatch.setenv("IRONCLAD_HOME", str(here.settings.home))
    monkeypatch.setenv("IRONCLAD_ENGINES_PATH", str(here.settings.engines_path))
    os.mkfifo(path := gate.make_folder() / "song.wav")  # who opened it would wait for ever
    began = time.monotonic()
    result = CliRunner().invoke(build_app(["submit"]), ["submit", str(path), *arguments])
    assert time.monotonic() - began < 10.0
    assert (result.exit_code, result.stdout) == (Exit.REFUSED, "")
    assert result.stderr.startswith(f"{ErrorCode.BAD_OPTION.code}: ")
    assert says in result.stderr
    assert len(result.stderr) < 300
    assert (archived(gate), here.ledger.dispatchable(limit=9)) == ([], [])
    gate.send_good_song()


def test_a_file_nobody_may_read_is_taken_when_that_changes(gate: Gate, monkeypatch: pytest.MonkeyPatch) -> None:
    """Row 52. Root may read everything, so opening is made to fail as it does for others."""
    path, real, tries = song(gate), os.open, []

    def deny(name: Path | bytes | str, flags: int, *rest: int, dir_fd: int | None = None) -> int:
        if name == "song.wav":
            tries.append(name)
            raise PermissionError(13, "Permission denied")
        return real(name, flags, *rest, dir_fd=dir_fd)

    path.chmod(0)
    dropped = gate.drop(path)
    with monkeypatch.context() as patch:
        patch.setattr(source.os, "open", deny)
        reports = [gate.inbox.collect(budget_s=1.0).ignored for _ in range(5)]
    assert len(tries) == 1
    assert all("Permission denied" in report[0][1] for report in reports)
    dropped.chmod(0o600)
    assert gate.collect(dropped).taken[0].job.state is JobState.QUEUED


def test_a_file_deleted_under_the_copy_leaves_nothing_to_do(gate: Gate) -> None:
    """Row 53: it is taken whole, since it was open; and nothing goes on asking for it."""
    here = gate.installation
    dropped = gate.drop(song(gate))
    delivery = Delivery(user_id="local", options=JobOptions(), door="folder", actor="watcher")
    upload = Upload(dropped, delivery=delivery, ledger=here.ledger, store=here.store, settings=here.settings)
    dropped.unlink()
    upload.advance()
    registration = upload.finish()
    upload.close()
    assert len(archived(gate)) == 1
    seen = gate.inbox.collect(budget_s=1.0)
    assert (seen.taken, seen.ignored, seen.waiting) == ([], [], [])
    gate.run(registration.job, stages=("validated_file",))
    assert here.ledger.job(registration.job.job_uuid).state is JobState.COMPLETED


def test_a_file_that_is_still_being_written_is_never_taken(gate: Gate) -> None:
    """Rows 9 and 59, promise 4: however slowly it comes, and if its end never does."""
    content = song(gate).read_bytes()
    target = gate.installation.store.input / "slow.wav"
    with target.open("wb") as stream:
        for byte in content[:20]:
            stream.write(bytes([byte]))
            stream.flush()
            time.sleep(0.02)
            assert gate.inbox.collect(budget_s=1.0).taken == []
        time.sleep(0.3)  # longer than the settle time
        assert gate.inbox.collect(budget_s=1.0).taken == []
        stream.write(content[20:])
    assert gate.collect(target).taken[0].job.state is JobState.QUEUED
    (target.parent / "cut.wav.part").write_bytes(content[:1000])
    assert dict(gate.inbox.collect(budget_s=1.0).ignored) == {"cut.wav.part": "temporary name"}
    assert len(archived(gate)) == 1


def test_the_same_bytes_again_make_no_second_song(gate: Gate) -> None:
    """Row 56, DUP-001: the user's own song is named; another user has one of their own and learns of nobody."""
    path = song(gate)
    content = path.read_bytes()
    first = gate.judge(path)
    again = gate.judge(_write(gate.make_folder() / "other name.wav", content))
    other = gate.judge(_write(gate.make_folder() / "song.wav", content), user_id="other")
    assert again.duplicate
    assert (first.job.song, first.job.job_uuid) == (again.job.song, again.job.job_uuid)
    assert not other.duplicate
    assert other.job.song != first.job.song
    assert other.job.state is JobState.COMPLETED
    assert len(archived(gate)) == 1
    assert ErrorCode.DUPLICATE.facts.http_status == 409


def _write(path: Path, content: bytes) -> Path:
    path.write_bytes(content)
    return path


def test_a_flood_is_taken_at_the_users_rate(gate: Gate) -> None:
    """Row 60: of many files at once as many come in as the limit says; the others keep their files and are told."""
    here = gate.installation
    here.ledger.limits.set(LimitScope.USER, "flood", "submissions_per_minute", 10, actor="test")
    folder = gate.make_folder()
    files = [_write(folder / f"{number}.wav", b"RIFF" + number.to_bytes(4, "big") * 20) for number in range(60)]
    start = threading.Barrier(8)
    codes: list[str] = []

    def send(share: int) -> None:
        start.wait()
        for path in files[share::8]:
            try:
                hand_in(gate, path, user_id="flood")
                codes.append("taken")
            except IroncladError as error:
                codes.append(error.code.code)

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(send, range(8)))
    assert Counter(codes) == {"taken": 10, ErrorCode.RATE_LIMITED.code: 50}
    assert all(path.exists() for path in files)
    gate.send_good_song()


@pytest.mark.parametrize(
    ("raw", "shown"),
    [
        ("../../etc/passwd.wav", "passwd.wav"),
        ("/etc/passwd", "passwd"),
        ("..\\..\\x.wav", "x.wav"),
        (b"nul\0l.wav", "null.wav"),
        ("x" * 300 + ".wav", "x" * 196 + ".wav"),
        ("\u202egpj.exe.wav", "gpj.exe.wav"),
        ("", "unnamed"),
        ("..", "unnamed"),
    ],
)
def test_a_name_is_never_a_path(gate: Gate, raw: str | bytes, shown: str) -> None:
    """Rows 38 to 40: also names that no folder holds, as a program may hand them in with a file."""
    assert display_name(raw) == shown
    assert len(shown.encode()) <= LONGEST_NAME_BYTES
    text = raw if isinstance(raw, str) else os.fsdecode(raw)
    job = hand_in(gate, song(gate), name=text)
    assert gate.installation.ledger.song(job.song).original_name == shown
    assert gate.installation.store.path(gate.installation.ledger.song(job.song).archive_path).is_file()
