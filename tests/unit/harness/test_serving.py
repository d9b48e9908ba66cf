"""A worker that serves: the bytes of a fresh one, and life after stops, failures, rude clients and itself."""

import contextlib
import json
import signal
import socket
import stat
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from ironclad_conformance import warm_worker
from ironclad_conformance.warm_worker import WarmWorker, say
from ironclad_conformance.worker import Work, after_window, run, worker_environment
from ironclad_harness.serving import listen

MakeWork = Callable[..., Work]
STOPPED = 128 + signal.SIGTERM


@pytest.fixture
def server(make_work: MakeWork) -> Iterator[WarmWorker]:
    with warm_worker.start(make_work("server")) as started:
        yield started


def waiting_in_second_window() -> Callable[[dict[str, object]], bool]:
    """Return what tells the heartbeat after the first window: by then the second one is being computed."""
    seen: list[object] = []

    def told(event: dict[str, object]) -> bool:
        seen.append(event.get("windows"))
        return seen.count(1) == 2

    return told


def result_of(work: Work) -> dict[str, object]:
    result = work.result()
    assert result is not None
    return result


def test_a_served_song_has_the_bytes_of_a_fresh_worker_and_the_second_is_warm(
    make_work: MakeWork, server: WarmWorker
) -> None:
    """ENG-002."""
    fresh, first, second = (make_work(name) for name in ("fresh", "first", "second"))
    assert run(fresh).status == 0
    endings = [server.run(first), server.run(second)]
    assert [ending.status for ending in endings] == [0, 0]
    assert first.stem_bytes() == second.stem_bytes() == fresh.stem_bytes()
    assert [result_of(work)["warm"] for work in (fresh, first, second)] == [False, False, True]
    for ending in endings:
        assert ending.of_kind("started")[0]["resumed_frames"] == 0
        assert ending.of_kind("progress")[-1]["fraction"] == 1.0


def test_the_socket_is_for_its_user_alone(server: WarmWorker) -> None:
    assert stat.S_IMODE(server.path.stat().st_mode) == 0o600


def test_a_ping_is_answered_also_while_a_job_runs(make_work: MakeWork, server: WarmWorker) -> None:
    work = make_work("work", entry="Slow", seconds=8)
    with server.connect() as client, client.makefile("r", encoding="utf-8") as lines:
        say(client, request=str(work.request))
        say(client, ping=True)
        events = [json.loads(line) for line in _until(lines, kind="ended")]
        say(client, ping=True)
        after = json.loads(lines.readline())
    during = next(event for event in events if event["kind"] == "pong")
    assert (during["pid"], during["served"]) == (server.process.pid, 0)
    assert after["served"] == 1
    assert after["rss_bytes"] > 1_000_000


def _until(lines: Iterator[str], *, kind: str) -> Iterator[str]:
    for line in lines:
        yield line
        if json.loads(line)["kind"] == kind:
            return


@pytest.mark.parametrize("how", ["a message", "closing"])
def test_a_stopped_job_keeps_its_checkpoint_and_the_worker_goes_on(
    make_work: MakeWork, server: WarmWorker, how: str
) -> None:
    """ENG-003."""
    work, fresh = make_work("work", entry="Slow", seconds=12), make_work("fresh", entry="Slow", seconds=12)
    if how == "a message":
        ending = server.run(work, stop_when=after_window(2))
        assert ending.status == STOPPED
        assert ending.seconds_after_signal is not None
        assert ending.seconds_after_signal < 1.0
    else:
        with server.connect() as client, client.makefile("r", encoding="utf-8") as lines:
            say(client, request=str(work.request))
            list(_until_window(lines, number=2))
    again = server.run(work)
    assert again.status == 0
    assert again.of_kind("started")[0]["resumed_frames"] > 0
    assert server.ping()["pid"] == server.process.pid
    assert run(fresh).status == 0
    assert work.stem_bytes() == fresh.stem_bytes()


def _until_window(lines: Iterator[str], *, number: int) -> Iterator[str]:
    for line in lines:
        yield line
        if after_window(number)(json.loads(line)):
            return


def test_a_stop_that_comes_with_the_request_is_not_lost(make_work: MakeWork, server: WarmWorker) -> None:
    work = make_work("work", entry="Slow")
    with server.connect() as client, client.makefile("r", encoding="utf-8") as lines:
        client.sendall(json.dumps({"request": str(work.request)}).encode() + b'\n{"stop": true}\n')
        events = [json.loads(line) for line in _until(lines, kind="ended")]
    assert events[-1]["status"] == STOPPED
    assert not [event for event in events if event.get("windows", 0) > 2]


def test_a_stop_in_one_long_call_ends_the_process_within_the_grace(make_work: MakeWork, server: WarmWorker) -> None:
    """ENG-003."""
    ending = server.run(make_work("work", entry="VeryLongCall"), stop_when=waiting_in_second_window())
    assert ending.status == STOPPED
    assert ending.seconds_after_signal is not None
    assert ending.seconds_after_signal < 2.5
    assert server.process.poll() == STOPPED


@pytest.mark.parametrize("entry", ["Slow", "VeryLongCall", None])
def test_sigterm_ends_the_process_and_keeps_the_checkpoint(
    make_work: MakeWork, server: WarmWorker, entry: str | None
) -> None:
    work = make_work("work", entry=entry or "Quick")
    with server.connect() as client, client.makefile("r", encoding="utf-8") as lines:
        if entry:
            say(client, request=str(work.request))
            list(_until_window(lines, number=1))
        signalled = time.monotonic()
        server.process.send_signal(signal.SIGTERM)
        assert server.process.wait(timeout=10) == STOPPED
    assert time.monotonic() - signalled < 2.5
    if entry == "Slow":
        assert (work.output / "checkpoint").exists()
        assert not server.path.exists()


@pytest.mark.parametrize(("entry", "status"), [("Failing", 1), ("NoDevice", 1), ("Leaving", 7), ("NotThere", 1)])
def test_after_a_failing_job_nothing_is_kept_and_the_next_one_succeeds(
    make_work: MakeWork, server: WarmWorker, entry: str, status: int
) -> None:
    first, bad, good = make_work("first"), make_work("bad", entry=entry), make_work("good")
    assert server.run(first).status == 0
    assert server.run(bad).status == status
    assert not list(bad.output.glob("*.f32"))
    assert server.run(good).status == 0
    assert result_of(good)["warm"] is False
    assert good.stem_bytes() == first.stem_bytes()


def test_a_stopped_job_does_not_make_the_next_one_cold(make_work: MakeWork, server: WarmWorker) -> None:
    stopped, good = make_work("stopped", entry="Slow"), make_work("good")
    assert server.run(stopped, stop_when=after_window(1)).status == STOPPED
    assert server.run(good).status == 0
    assert result_of(good)["warm"] is True


def test_files_do_not_stay_open_from_job_to_job(make_work: MakeWork) -> None:
    log_of = make_work("log_of")
    with warm_worker.start(log_of) as server:
        assert server.run(make_work("before", entry="CountsDescriptors")).status == 0
        for number in range(4):
            server.run(make_work(f"bad-{number}", entry=("Failing", "Leaving")[number % 2], seconds=6))
            server.run(make_work(f"stopped-{number}", entry="Slow"), stop_when=after_window(1))
        assert server.run(make_work("after", entry="CountsDescriptors")).status == 0
    counts = [line.split()[0] for line in log_of.log().splitlines() if line.startswith("descriptors=")]
    assert len(counts) == 2
    assert counts[0] == counts[1]
    assert "I am about to fail" in log_of.log()


def test_threads_that_the_process_was_not_started_for_are_refused(make_work: MakeWork, server: WarmWorker) -> None:
    work = make_work("work", threads=2)
    assert server.run(work).status == 1
    failure = result_of(work)["failure"]
    assert isinstance(failure, dict)
    assert failure["code"] == "engine_protocol"
    assert "started for 1 threads, not for 2" in failure["detail"]


@pytest.mark.parametrize(
    "garbage", [b"hello\n", b"[]\n", b"\xff\xfe\n", b"{}\n" * 3, b"x" * 200_000, b'{"request": "/no/such/file"}\n']
)
def test_a_rude_client_changes_nothing_for_the_next_one(
    make_work: MakeWork, server: WarmWorker, garbage: bytes
) -> None:
    with server.connect() as client, contextlib.suppress(OSError):
        client.sendall(garbage)
        client.shutdown(socket.SHUT_WR)
        while client.recv(65536):
            pass
    assert server.run(make_work("work")).status == 0


def test_a_request_that_cannot_be_read_ends_with_status_1(tmp_path: Path, server: WarmWorker) -> None:
    with server.connect() as client, client.makefile("r", encoding="utf-8") as lines:
        say(client, request=str(tmp_path / "nothing"))
        assert json.loads(list(_until(lines, kind="ended"))[-1]) == {"kind": "ended", "status": 1}


def test_weights_changed_between_two_songs_are_noticed(make_work: MakeWork, server: WarmWorker, tmp_path: Path) -> None:
    path = tmp_path / "weights"
    path.write_bytes(b"")
    empty = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
    pinned = {"name": "weights", "path": str(path), "size_bytes": 0, "sha256": empty}
    first, second = (make_work(name, model_files=[pinned]) for name in ("first", "second"))
    assert server.run(first).status == 0
    path.write_bytes(b"x")
    assert server.run(second).status == 1
    failure = result_of(second)["failure"]
    assert isinstance(failure, dict)
    assert failure["code"] == "model_damaged"


def test_a_second_worker_does_not_take_the_socket_of_a_living_one(make_work: MakeWork, server: WarmWorker) -> None:
    command = [sys.executable, "-m", "ironclad_harness", "--serve", str(server.path)]
    work = make_work("work")
    other = subprocess.run(
        command, env=worker_environment(work), capture_output=True, text=True, timeout=30, check=False
    )
    assert other.returncode == 1
    assert "another worker" in other.stderr
    assert server.run(work).status == 0


def test_the_socket_of_a_dead_worker_is_replaced(tmp_path: Path) -> None:
    path = tmp_path / "socket"
    listen(path).close()
    assert path.is_socket()
    listen(path).close()


def test_what_is_no_socket_is_not_replaced(tmp_path: Path) -> None:
    path = tmp_path / "socket"
    path.write_text("precious", encoding="utf-8")
    with pytest.raises(OSError, match="in use"):
        listen(path)
    assert path.read_text(encoding="utf-8") == "precious"
