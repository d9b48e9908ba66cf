"""A small installation without a running system: songs in the ledger, their files in the store, Dagster's databases."""

import hashlib
import sqlite3
import tempfile
from contextlib import closing
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from ironclad_assets.contracts.v1.base import FileRecord
from ironclad_assets.contracts.v1.job import Job, SongIdentity
from ironclad_assets.contracts.v1.library_entry import EntryFile, LibraryEntry
from ironclad_assets.contracts.v1.options import JobOptions
from ironclad_assets.ledger.store import Ledger
from ironclad_assets.ledger.worker import current_worker
from ironclad_assets.settings import Settings
from ironclad_assets.storage import atomic
from ironclad_assets.storage.artifacts import Envelope, persist_artifact
from ironclad_assets.storage.hashing import hash_file
from ironclad_assets.storage.store import Store


@dataclass(frozen=True)
class Installed:
    """One installation that tests fill."""

    settings: Settings
    store: Store
    ledger: Ledger

    def add_song(self, number: int, *, user_id: str = "ada", content: bytes | None = None) -> Job:
        """Bring in a song with an original in the archive."""
        content = content if content is not None else f"song {number}".encode() * 100
        sha256 = hashlib.sha256(content).hexdigest()
        relative = f"archive/{sha256[:2]}/{sha256}"
        atomic.make_folder(self.store.path(relative).parent)
        if not self.store.path(relative).exists():
            atomic.write_bytes(self.store.path(relative), content, mode=0o444)
        song = SongIdentity(
            song=f"s{number}",
            user_id=user_id,
            original_name=f"song {number}.mp3",
            sha256=sha256,
            size_bytes=len(content),
            archive_path=relative,
            uploaded_at="2026-01-01T00:00:00.000000+00:00",
            door="test",
        )
        return self.ledger.register(song, JobOptions(), actor="test").job

    def run_song(self, job: Job) -> Job:
        """Let a job be running."""
        return self.ledger.begin_run(job.song, run_id=f"run-{job.song}", worker=current_worker(), actor="test")

    def complete_song(self, job: Job) -> Job:
        """Let a job be complete: with an entry in the library, and the big files of a stage."""
        self.run_song(job)
        content = f"{job.song} as delivered".encode()
        path = f"Artist/{job.song}/01 - Title.flac"
        delivered = self.store.library("output") / path
        atomic.make_folder(delivered.parent)
        atomic.write_bytes(delivered, content)
        record = FileRecord(path=path, size_bytes=len(content), sha256=hash_file(delivered))
        entry = LibraryEntry(files=(EntryFile(role="target", name="instrumental", root="output", file=record),))
        self.add_artifact(job, "library_entry", name="metadata.json", payload=entry)
        self.add_artifact(job, "stems", name="vocals.raw", payload=entry)
        return self.ledger.complete(job.job_uuid, actor="test")

    def add_artifact(self, job: Job, stage: str, *, name: str, payload: LibraryEntry, key: str = "") -> None:
        """Put an artifact of one file into the store."""
        folder = self.store.stage(stage, job.song)
        key = key or hashlib.sha256(f"{stage} {job.song}".encode()).hexdigest()
        (folder.work(key) / name).write_bytes(f"{stage} {job.song} {key}".encode())
        envelope = Envelope(
            stage=stage, song=job.song, job_uuid=job.job_uuid, user_id=job.user_id, trace_id=job.trace_id,
            attempt=job.attempt, run_id="run", code_version="1",
        )  # fmt: skip
        persist_artifact(folder, payload, key=key, checks=(), inputs={}, envelope=envelope)


def install(settings: Settings) -> Installed:
    """Make an installation: ledger, store, and databases as Dagster has them."""
    store, ledger = Store(settings.store_root, settings.disk_reserve_bytes), Ledger(settings.ledger_url)
    store.create()
    if settings.database_url is None:
        (settings.home_dir / "ledger.db").write_bytes(_empty_ledger())
    ledger.migrate()
    for name in ("history/runs.db", "history/runs/index.db", "schedules/schedules.db"):
        file = settings.dagster_home / name
        file.parent.mkdir(parents=True, exist_ok=True)
        with closing(sqlite3.connect(file)) as connection:
            connection.execute("PRAGMA journal_mode=WAL")
            connection.execute("CREATE TABLE things (name TEXT)")
            connection.execute("INSERT INTO things VALUES (?)", (name,))
            connection.commit()
    return Installed(settings=settings, store=store, ledger=ledger)


@cache
def _empty_ledger() -> bytes:
    """Return the file of a migrated ledger, made once for all tests of a process."""
    with tempfile.TemporaryDirectory() as folder:
        ledger = Ledger(f"sqlite:///{folder}/ledger.db")
        ledger.migrate()
        ledger.close()
        return Path(folder, "ledger.db").read_bytes()


def tree(folder: Path) -> dict[str, str]:
    """Return the SHA-256 of every file below `folder`, by its path."""
    return {
        path.relative_to(folder).as_posix(): hash_file(path) for path in sorted(folder.rglob("*")) if path.is_file()
    }
