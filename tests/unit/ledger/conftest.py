"""Ledgers to test with: SQLite always, Postgres where its programs and a driver are installed."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from sqlalchemy import event

from ironclad_assets.contracts.v1.job import JobError, SongIdentity
from ironclad_assets.contracts.v1.options import JobOptions
from ironclad_assets.ledger.store import Ledger
from ironclad_assets.ledger.worker import WorkerIdentity, current_worker

DEAD = WorkerIdentity(host=current_worker().host, boot_id="another boot", pid=1, started_ticks=1)
ERROR = JobError(code="not_audio", detail="a zip", remedy="upload audio", stage="validated_file")


def make_song(number: int = 1, *, user_id: str = "ada") -> SongIdentity:
    return SongIdentity(
        song=f"s{number}",
        user_id=user_id,
        original_name=f"song {number}.mp3",
        sha256=f"{number:064x}",
        size_bytes=100 + number,
        archive_path=f"archive/{number}",
        uploaded_at="2026-01-01T00:00:00.000000+00:00",
        door="test",
    )


def add_song(ledger: Ledger, number: int = 1, *, user_id: str = "ada", priority: int = 0) -> str:
    """Register a song and return the id of its job."""
    song = make_song(number, user_id=user_id)
    return ledger.register(song, JobOptions(), actor="test", priority=priority).job.job_uuid


@pytest.fixture(params=["sqlite", "postgres"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """The URL of a database without a ledger, of each kind."""
    if request.param == "postgres":
        return str(request.getfixturevalue("postgres_url"))
    return f"sqlite:///{tmp_path / 'ledger.db'}"


@pytest.fixture
def ledger(url: str) -> Iterator[Ledger]:
    """An empty ledger."""
    ledger = Ledger(url)
    ledger.migrate()
    yield ledger
    ledger.close()


@contextmanager
def counted_statements(ledger: Ledger) -> Iterator[list[str]]:
    """Collect the statements that the ledger's database is asked inside the block; an `executemany` is one."""
    statements: list[str] = []

    def note(connection: object, cursor: object, statement: str, *others: object) -> None:
        statements.append(statement)

    engine = ledger._database._open()
    event.listen(engine, "before_cursor_execute", note)
    try:
        yield statements
    finally:
        event.remove(engine, "before_cursor_execute", note)
