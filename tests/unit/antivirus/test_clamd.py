"""Servers that are no clamd, or one that misbehaves: whatever they say, no file counts as clean."""

import hashlib
import socket
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from ironclad_assets.antivirus.clamd import Clamd, ScannerAway
from ironclad_assets.antivirus.health import describe_scanner
from ironclad_assets.antivirus.scan import Outcome, Verdict, require_clean, scan_file
from ironclad_assets.errors import ErrorCode, IroncladError, JobCanceled
from ironclad_assets.settings import Settings
from tests.fakes.clamd import fake_clamd, read_stream

GAVE_UP = b"stream: Heuristics.Limits.Exceeded.MaxRecursion FOUND\0"
CONTENT = b"some bytes of a song" * 10_000

Answer = Callable[[bytes, socket.socket], None]


def answer_with(*replies: bytes, version: bytes = b"ClamAV 1.4.6/27500/Fri Nov 20 09:30:00 2026\0") -> Answer:
    """Return how a clamd behaves that answers each stream with the next of `replies`, the first to the trial."""
    left = list(replies)

    def answer(command: bytes, connection: socket.socket) -> None:
        if command == b"VERSION":
            connection.sendall(version)
        else:
            read_stream(connection)
            connection.sendall(left.pop(0))

    return answer


def scan(tmp_path: Path, answer: Answer, *, timeout_s: float = 5.0, content: bytes = CONTENT) -> Verdict:
    path = tmp_path / "song"
    path.write_bytes(content)
    with fake_clamd(answer) as address:
        digest = hashlib.sha256(content).hexdigest()
        return scan_file(path, clamd=Clamd(address, timeout_s), sha256=digest)


def test_a_file_is_clean_where_it_is_so_plain_and_shifted(tmp_path: Path) -> None:
    """SPLIT-020"""
    verdict = scan(tmp_path, answer_with(GAVE_UP, b"stream: OK\0", b"stream: OK\0"))
    assert verdict.outcome is Outcome.CLEAN
    assert verdict.scanner.startswith("ClamAV 1.4.6/27500/")
    require_clean(verdict)


def test_the_second_stream_has_one_byte_more_in_front(tmp_path: Path) -> None:
    """Promise 11: ClamAV ignores MP3 and Ogg by type."""
    heard: list[bytes] = []

    def answer(command: bytes, connection: socket.socket) -> None:
        if command == b"VERSION":
            connection.sendall(b"ClamAV 1\0")
        else:
            heard.append(read_stream(connection))
            connection.sendall(GAVE_UP if len(heard) == 1 else b"stream: OK\0")

    assert scan(tmp_path, answer).outcome is Outcome.CLEAN
    assert heard[1:] == [CONTENT, b"\x01" + CONTENT]


@pytest.mark.parametrize("replies", [(b"stream: A.B-1 FOUND\0",), (b"stream: OK\0", b"stream: A.B-1 FOUND\0")])
def test_what_is_found_either_way_is_malware(tmp_path: Path, replies: tuple[bytes, ...]) -> None:
    verdict = scan(tmp_path, answer_with(GAVE_UP, *replies))
    assert (verdict.outcome, verdict.detail) == (Outcome.FOUND, "A.B-1")
    with pytest.raises(IroncladError, match=r"found A\.B-1") as caught:
        require_clean(verdict)
    assert caught.value.code is ErrorCode.MALWARE


DOUBTFUL = {
    "nothing": b"",
    "no end": b"stream: OK",
    "two answers": b"stream: OK\0stream: X FOUND\0",
    "other words": b"OK\0",
    "OK and more": b"stream: OK, nearly\0",
    "nonsense": b"\xff\xfe\x00\x01garbage\0",
    "too much": b"stream: OK" + b" " * 10_000 + b"\0",
    "an error": b"INSTREAM size limit exceeded. ERROR\0",
    "another error": b"stream: Can't allocate memory ERROR\0",
    "a limit": b"stream: Heuristics.Limits.Exceeded.MaxFileSize FOUND\0",
    "a web server": b"HTTP/1.1 200 OK\r\n\r\n",
    "found what": b"stream:  FOUND\0",
}


@pytest.mark.parametrize("reply", DOUBTFUL.values(), ids=DOUBTFUL)
@pytest.mark.parametrize("turn", ["plain", "shifted"])
def test_an_answer_in_doubt_is_never_clean(tmp_path: Path, reply: bytes, turn: str) -> None:
    """Promise 11."""
    before = () if turn == "plain" else (b"stream: OK\0",)
    verdict = scan(tmp_path, answer_with(GAVE_UP, *before, reply))
    assert verdict.outcome is Outcome.NOT_SCANNED
    with pytest.raises(ScannerAway) as caught:
        require_clean(verdict)
    assert caught.value.code is ErrorCode.SCANNER_AWAY
    assert not caught.value.permanent


def test_a_scanner_that_would_hide_what_it_gave_up_on_is_not_believed(tmp_path: Path) -> None:
    """With ClamAV's own defaults a file over MaxFileSize is "OK"."""
    verdict = scan(tmp_path, answer_with(*[b"stream: OK\0"] * 3))
    assert verdict.outcome is Outcome.NOT_SCANNED
    assert "AlertExceedsMax yes" in verdict.detail


def test_something_that_calls_itself_otherwise_is_not_believed(tmp_path: Path) -> None:
    verdict = scan(tmp_path, answer_with(GAVE_UP, b"stream: OK\0", b"stream: OK\0", version=b"UNKNOWN COMMAND\0"))
    assert verdict.outcome is Outcome.NOT_SCANNED


def test_a_scanner_that_hangs_is_given_up(tmp_path: Path) -> None:
    def hang(_command: bytes, connection: socket.socket) -> None:
        connection.recv(1 << 20)
        time.sleep(2.0)

    started = time.monotonic()
    verdict = scan(tmp_path, hang, timeout_s=0.3)
    assert verdict.outcome is Outcome.NOT_SCANNED
    assert "did not answer within 0.3 s" in verdict.detail
    assert time.monotonic() - started < 2.0


def test_a_scanner_that_takes_nothing_is_given_up(tmp_path: Path) -> None:
    def stall(command: bytes, connection: socket.socket) -> None:
        if command == b"VERSION":
            connection.sendall(b"ClamAV 1\0")
            return
        connection.settimeout(None)
        time.sleep(2.0)

    assert scan(tmp_path, stall, timeout_s=0.3, content=bytes(32 << 20)).outcome is Outcome.NOT_SCANNED


def test_one_that_answers_before_it_has_the_file_is_not_believed(tmp_path: Path) -> None:
    trials = iter([GAVE_UP])

    def hasty(command: bytes, connection: socket.socket) -> None:
        if command == b"VERSION":
            connection.sendall(b"ClamAV 1\0")
        elif (reply := next(trials, None)) is not None:
            read_stream(connection)
            connection.sendall(reply)
        else:
            connection.sendall(b"stream: OK\0")

    assert scan(tmp_path, hasty, content=bytes(32 << 20)).outcome is Outcome.NOT_SCANNED


@pytest.mark.parametrize("address", ["/nowhere/clamd.ctl", "127.0.0.1:1", "127.0.0.1:99999", "no..such..host:3310"])
def test_nobody_there_means_not_scanned(tmp_path: Path, address: str) -> None:
    path = tmp_path / "song"
    path.write_bytes(CONTENT)
    verdict = scan_file(path, clamd=Clamd(address, 2.0), sha256="")
    assert verdict.outcome is Outcome.NOT_SCANNED
    assert address in verdict.detail


def test_what_was_scanned_is_what_was_uploaded(tmp_path: Path) -> None:
    path = tmp_path / "song"
    path.write_bytes(CONTENT)
    other = "ab" * 32
    with fake_clamd(answer_with(GAVE_UP, b"stream: OK\0")) as address, pytest.raises(IroncladError) as caught:
        scan_file(path, clamd=Clamd(address, 5.0), sha256=other)
    assert caught.value.code is ErrorCode.ARTIFACT_DAMAGED


def test_a_scan_can_be_canceled(tmp_path: Path) -> None:
    """JOB-002"""
    path = tmp_path / "song"
    path.write_bytes(CONTENT)

    def cancel() -> None:
        raise JobCanceled("canceled")

    with fake_clamd(answer_with(GAVE_UP, b"stream: OK\0")) as address, pytest.raises(JobCanceled):
        scan_file(path, clamd=Clamd(address, 5.0), sha256="", heed=cancel)


@pytest.mark.parametrize(
    ("version", "said"),
    [
        (b"ClamAV 1.4.6\0", "warning: it has no signatures but local ones; ClamAV 1.4.6 at "),
        (b"ClamAV 1.4.6/27000/Mon Nov 20 09:30:00 2023\0", " days old; ClamAV 1.4.6/27000/"),
        (b"ClamAV 1.4.6/27500/some day\0", "ClamAV 1.4.6/27500/some day at "),
    ],
)
def test_health_names_the_scanner_and_the_age_of_its_signatures(version: bytes, said: str) -> None:
    with fake_clamd(answer_with(GAVE_UP, version=version)) as address:
        assert said in describe_scanner(Settings(clamd_address=address))


def test_health_says_that_nothing_is_scanned_or_that_nobody_answers() -> None:
    assert "IRONCLAD_CLAMD_ADDRESS is not set" in describe_scanner(Settings())
    with pytest.raises(ScannerAway, match="No such file"):
        describe_scanner(Settings(clamd_address="/nowhere/clamd.ctl"))


@pytest.mark.parametrize("address", ["clamd", "relative/path", "host:", "host:123456", "/" + "x" * 120, "a b:1"])
def test_an_address_that_is_none_is_refused(address: str) -> None:
    with pytest.raises(ValueError, match="clamd_address"):
        Settings(clamd_address=address)
