"""The whole system on Postgres by one setting: songs complete, whatever dies, and the server too."""

import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from ironclad_assets.contracts.v1.job import JobState
from tests.e2e.conftest import MakeSystem
from tests.e2e.running import RunningSystem, say, write_engines
from tests.fakes.postgres import PostgresServer

PASSWORD = "hunter2-%/only-in-the-environment"


@pytest.fixture
def server(make_postgres: Callable[..., PostgresServer]) -> PostgresServer:
    server = make_postgres("-c fsync=off -c log_connections=on")
    server.create_database("ironclad")
    return server


@pytest.fixture
def system(make_system: MakeSystem, server: PostgresServer) -> Iterator[RunningSystem]:
    """A system that was told of its database by nothing but the URL, as people write it.

    It is gone before the next test has a server: that has the same address, and one daemon at a time.
    """
    url = server.url("ironclad", password=PASSWORD).replace("+psycopg2", "")
    system = make_system(IRONCLAD_DATABASE_URL=url)
    write_engines(system.engines)
    yield system
    system.close()


def test_everything_is_killed_and_goes_on_where_the_database_says(
    system: RunningSystem, server: PostgresServer
) -> None:
    """QUEUE-001, promise 5: on Postgres as on SQLite; no password is written anywhere."""
    system.start()
    system.drop_songs(1, seconds=3.0)
    system.await_true(system.jobs, timeout_s=30.0, what="the song is taken")
    (job,) = system.jobs()
    system.await_stage(job, "stems")
    commands = [Path(f"/proc/{pid}/cmdline").read_bytes() for pids in system.processes().values() for pid in pids]
    system.kill_all()
    system.start()
    system.await_completed(songs=1, timeout_s=60.0)
    assert [job.attempt for job in system.jobs()] == [2]
    assert len(system.library()) == 3
    assert not (system.home / "ledger.db").exists()
    assert not (system.home / "dagster" / "history").exists()
    successes = "SELECT count(*) FROM dagster.runs WHERE status = 'SUCCESS'"
    system.await_true(lambda: server.execute(successes, database="ironclad") == [(1,)], timeout_s=10.0, what="success")
    written = [path.read_bytes() for path in system.folder.rglob("*") if path.is_file() and not path.is_symlink()]
    assert commands
    for text in (PASSWORD.encode(), b"hunter2"):
        assert not any(text in one for one in (*written, *commands))


@pytest.mark.chaos
@pytest.mark.long
@pytest.mark.parametrize("mode", ["fast", "immediate"])
def test_songs_wait_and_go_on_while_the_server_is_away(
    system: RunningSystem, server: PostgresServer, mode: str
) -> None:
    """Promise 3: while songs are queued and separated the server is away; none is lost, none done twice."""
    songs = 6
    system.start()
    system.drop_songs(songs, seconds=4.0)
    system.await_true(
        lambda: any(job.stage == "stems" for job in system.jobs()), timeout_s=60.0, what="one is separated"
    )
    away_s = 0.0
    for pause_s in (3.0, 12.0, 1.0):
        server.stop(mode)
        time.sleep(pause_s)
        server.start()
        away_s += pause_s
        time.sleep(4.0)
    took_s = system.await_completed(songs=songs, timeout_s=240.0)
    jobs = system.jobs()
    attempts = sorted(job.attempt for job in jobs)
    say(f"{mode}: {songs} songs, server away for {away_s:.0f} s in all, complete {took_s:.0f} s later, {attempts}")
    for job in jobs:
        for line in system.ledger.history(job.job_uuid) if job.attempt > 1 else ():
            say(f"  {job.song} {line.at} {line.to_state} by {line.actor}: {line.detail}")
    assert system.states() == [JobState.COMPLETED.value] * songs
    assert len(system.library()) == 3 * songs
    assert system.leftovers() == []
    per_song = "SELECT count(*) FROM dagster.runs WHERE status = 'SUCCESS' GROUP BY partition"
    system.await_true(
        lambda: server.execute(per_song, database="ironclad") == [(1,)] * songs,
        timeout_s=20.0,
        what="one success for each song",
    )


@pytest.mark.chaos
@pytest.mark.long
@pytest.mark.skipif(os.getuid() != 0, reason="root renames machines")
def test_another_machine_takes_over_and_mends(make_system: MakeSystem, server: PostgresServer, tmp_path: Path) -> None:
    """A machine vanishes in the middle of a song: the one that stood by does it, once, and nobody did it twice."""
    shared = tmp_path / "shared"
    (shared / "engines").mkdir(parents=True)
    write_engines(shared / "engines", step_s=0.3)
    common = {
        "IRONCLAD_DATABASE_URL": server.url("ironclad"),
        "IRONCLAD_DATA": str(shared / "data"),
        "IRONCLAD_ENGINES_PATH": str(shared / "engines"),
    }
    first, second = (make_system(tmp_path / name, host=name, **common) for name in ("attic", "cellar"))
    first.start()
    second.start()
    assert "another machine's daemon works" in (second.home / "logs" / "daemon.log").read_text(encoding="utf-8")
    first.drop_songs(2, seconds=8.0)
    first.await_true(lambda: any(job.stage == "stems" for job in first.jobs()), timeout_s=90.0, what="one is separated")
    hosts = {worker.host for _, worker in first.ledger.running_jobs()}
    assert hosts == {"attic"}
    first.kill_all()
    began = time.monotonic()
    second.await_completed(songs=2, timeout_s=300.0)
    say(f"another machine had done both songs {time.monotonic() - began:.0f} s after the first vanished")
    per_song = "SELECT count(*) FROM dagster.runs WHERE status = 'SUCCESS' GROUP BY partition"
    second.await_true(
        lambda: server.execute(per_song, database="ironclad") == [(1,)] * 2, timeout_s=20.0, what="one success each"
    )
    assert len(second.library()) == 6
