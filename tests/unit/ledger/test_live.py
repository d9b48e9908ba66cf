"""Rates and progress in Redis, against a real server that is also killed in the middle."""

import logging
import shutil
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from ironclad_assets.contracts.v1.job import JobError, JobState
from ironclad_assets.contracts.v1.limits import LimitScope
from ironclad_assets.contracts.v1.options import JobOptions
from ironclad_assets.ledger import live as live_module
from ironclad_assets.ledger.admission import LimitReached
from ironclad_assets.ledger.live import LiveProgress
from ironclad_assets.ledger.rules import Rules
from ironclad_assets.ledger.store import Ledger
from ironclad_assets.ledger.worker import current_worker
from tests.unit.ledger.conftest import add_song
from tests.unit.ledger.test_admission import fresh


class RedisServer:
    """A server on a socket of its own."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self.socket = folder / "redis.sock"
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        return f"unix://{self.socket}"

    def start(self) -> None:
        options = ["--port", "0", "--unixsocket", str(self.socket), "--save", "", "--dir", str(self._folder)]
        self._process = subprocess.Popen(["redis-server", *options], stdout=subprocess.DEVNULL)
        deadline = time.monotonic() + 20
        while not self._answers():
            assert time.monotonic() < deadline, "redis-server did not start"
            time.sleep(0.02)

    def _answers(self) -> bool:
        with socket.socket(socket.AF_UNIX) as connection:
            try:
                connection.connect(str(self.socket))
                connection.sendall(b"PING\r\n")
                return connection.recv(16).startswith(b"+PONG")
            except OSError:
                return False

    def kill(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.wait(10)
            self._process = None
            self.socket.unlink(missing_ok=True)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisServer]:
    if shutil.which("redis-server") is None:
        pytest.skip("redis-server is not installed")
    server = RedisServer(tmp_path_factory.mktemp("redis"))
    yield server
    server.kill()


@pytest.fixture
def redis(server: RedisServer) -> RedisServer:
    """The server, running and empty."""
    server.kill()
    server.start()
    return server


def open_ledgers(url: str, redis: RedisServer, *, count: int = 2) -> list[Ledger]:
    """Ledgers as processes of several machines have them."""
    ledgers = [Ledger(url, rules=Rules(redis_url=redis.url)) for _ in range(count)]
    ledgers[0].migrate()
    return ledgers


def run_a_job(ledger: Ledger) -> str:
    job = add_song(ledger)
    ledger.begin_run("s1", run_id="r1", worker=current_worker(), actor="test")
    ledger.start_stage(job, "stems")
    return job


def test_progress_is_seen_everywhere_and_written_to_the_ledger_when_a_stage_ends(url: str, redis: RedisServer) -> None:
    """SUPPORT-002: cross-process progress through Redis."""
    here, there = open_ledgers(url, redis)
    job = run_a_job(here)
    here.report_progress(job, stage="stems", fraction=0.5, message="window 5 of 10")
    seen = there.job(job)
    assert (seen.stage, seen.message, seen.fraction) == ("stems", "window 5 of 10", pytest.approx(0.49))
    assert seen.eta_s is not None
    assert there.jobs()[0] == seen
    plain = Ledger(url).job(job)
    assert (plain.message, plain.fraction) == ("", pytest.approx(0.19)), "the ledger was not bothered"
    here.finish_stage(job, "stems", seconds=1.0, reused=False)
    assert there.job(job).fraction == Ledger(url).job(job).fraction == pytest.approx(0.79)
    here.complete(job, actor="test")
    assert (there.job(job).state, there.job(job).fraction) == (JobState.COMPLETED, 1.0)


def test_of_fifty_submissions_by_several_machines_exactly_ten_are_within_the_rate(url: str, redis: RedisServer) -> None:
    """SUPPORT-002, promise 21: the rate is one for all, and the refusal says when to come again."""
    ledgers = open_ledgers(url, redis, count=5)
    ledgers[0].limits.set(LimitScope.USER, "ada", "submissions_per_minute", 10, actor="test")
    gate, taken, waits = threading.Barrier(50), [], []

    def upload(number: int) -> None:
        gate.wait(30)
        try:
            ledgers[number % 5].register(fresh(number), JobOptions(), actor="test")
            taken.append(number)
        except LimitReached as error:
            waits.append(error.retry_after_s)

    threads = [threading.Thread(target=upload, args=(number,)) for number in range(50)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert (len(taken), len(waits)) == (10, 40)
    assert all(wait is not None and 1.0 <= wait <= 60.0 for wait in waits)


def test_a_file_refused_unread_is_shared_as_its_users_submission_alone(url: str, redis: RedisServer) -> None:
    here, there = open_ledgers(url, redis, count=2)
    here.limits.set(LimitScope.USER, "ada", "submissions_per_minute", 2, actor="test")
    here.limits.set(LimitScope.SYSTEM, "", "submissions_per_minute", 2, actor="test")
    error = JobError(code="too_large", detail="", remedy="")
    for number, ledger in enumerate((here, there, here)):
        song = fresh(number).model_copy(update={"sha256": "", "archive_path": "error/s/original"})
        if number < 2:
            ledger.register(song, JobOptions(), actor="test", error=error)
        else:
            with pytest.raises(LimitReached, match="user 'ada'"):
                ledger.register(song, JobOptions(), actor="test", error=error)
    for number in (3, 4):
        here.register(fresh(number).model_copy(update={"user_id": "bob"}), JobOptions(), actor="test")
    with pytest.raises(LimitReached, match="the installation"):
        there.register(fresh(5).model_copy(update={"user_id": "bob"}), JobOptions(), actor="test")


def test_when_redis_dies_the_ledger_serves_with_one_warning_and_nothing_fails(
    url: str, redis: RedisServer, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """SUPPORT-002: Redis is never needed; when it is back it is used again."""
    monkeypatch.setattr(live_module, "AWAY_S", 0.0)
    (ledger,) = open_ledgers(url, redis, count=1)
    ledger.limits.set(LimitScope.USER, "ada", "submissions_per_minute", 3, actor="test")
    job = run_a_job(ledger)
    ledger.report_progress(job, stage="stems", fraction=0.1, message="in redis")
    redis.kill()
    with caplog.at_level(logging.WARNING):
        for fraction in (0.2, 0.3):
            ledger.report_progress(job, stage="stems", fraction=fraction, message="in the ledger")
        assert ledger.job(job).message == Ledger(url).job(job).message == "in the ledger"
        for number in (2, 3, 4):
            ledger.register(fresh(number), JobOptions(), actor="test")
        with pytest.raises(LimitReached):
            ledger.register(fresh(5), JobOptions(), actor="test")
    assert [record.levelname for record in caplog.records if "redis" in record.message] == ["WARNING"]
    redis.start()
    ledger.report_progress(job, stage="stems", fraction=0.4, message="in redis again")
    assert ledger.job(job).message == "in redis again"
    assert Ledger(url).job(job).message == "in the ledger"


def test_health_says_whether_redis_answers(url: str, redis: RedisServer) -> None:
    here = open_ledgers(url, redis, count=1)[0]
    assert here.live.describe() == "rates and progress are shared"
    redis.kill()
    assert here.live.describe().startswith("warning: away;")
    redis.start()
    assert here.live.describe() == "rates and progress are shared", "it is asked anew each time"


def test_redis_that_hangs_delays_nothing_for_long(url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import socket

    with socket.socket(socket.AF_UNIX) as silent:
        silent.bind(str(tmp_path / "s"))
        silent.listen(8)
        ledger = Ledger(url, rules=Rules(redis_url=f"unix://{tmp_path / 's'}"))
        ledger.migrate()
        job = run_a_job(ledger)
        started = time.monotonic()
        for _ in range(20):
            ledger.report_progress(job, stage="stems", fraction=0.2, message="in the ledger")
        assert time.monotonic() - started < live_module.AWAY_S, "left alone after it did not answer"
        assert Ledger(url).job(job).message == "in the ledger"


def test_progress_of_an_earlier_attempt_is_never_shown(url: str, redis: RedisServer) -> None:
    (ledger,) = open_ledgers(url, redis, count=1)
    job = run_a_job(ledger)
    old = LiveProgress(stage="stems", fraction=0.7, message="old", updated_at="2020-01-01T00:00:00.000000+00:00")
    assert ledger.live.put_progress(job, old)
    assert ledger.job(job).message == ""
    ledger.report_progress(job, stage="stems", fraction=0.7, message="now")
    ledger.requeue_crashed(job, actor="test")
    assert ledger.job(job).message != "now", "a queued job has no progress"


def test_rubbish_in_redis_is_as_good_as_no_redis(url: str, redis: RedisServer) -> None:
    import redis as client

    (ledger,) = open_ledgers(url, redis, count=1)
    job = run_a_job(ledger)
    client.Redis.from_url(redis.url).set(f"ironclad:progress:{job}", b"\xff{")
    assert ledger.job(job).message == ""


def test_without_the_setting_nothing_of_redis_is_imported(tmp_path: Path) -> None:
    """SUPPORT-002: absent, the embedded default serves."""
    code = (
        "import sys; from ironclad_assets.ledger.store import Ledger; "
        f"ledger = Ledger('sqlite:///{tmp_path / 'l.db'}'); ledger.migrate(); ledger.jobs(); "
        "sys.exit(any(name.split('.')[0] in ('redis', 'limits') for name in sys.modules))"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)


def test_a_missing_package_is_named_once_and_the_ledger_serves(
    url: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setitem(sys.modules, "redis", None)
    monkeypatch.delitem(sys.modules, "ironclad_assets.ledger.redis_state", raising=False)
    ledger = Ledger(url, rules=Rules(redis_url="redis://localhost:1/0"))
    ledger.migrate()
    with caplog.at_level(logging.WARNING):
        job = run_a_job(ledger)
        ledger.report_progress(job, stage="stems", fraction=0.2, message="in the ledger")
    assert ledger.job(job).message == "in the ledger"
    assert "constraints/redis.txt" in caplog.text
