"""Small installations with songs at every point of their lives, for sweeps and checks: files, rows, and their ages."""

import errno
import hashlib
import os
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import update

from ironclad_assets.contracts.v1.base import Contract
from ironclad_assets.contracts.v1.job import JobError, JobState, SongIdentity
from ironclad_assets.contracts.v1.library_entry import SongRecord
from ironclad_assets.contracts.v1.limits import LimitScope
from ironclad_assets.contracts.v1.options import JobOptions
from ironclad_assets.contracts.v1.recombined_track import RecombinedTrack
from ironclad_assets.ledger.store import Ledger
from ironclad_assets.ledger.tables import history, jobs, songs
from ironclad_assets.ledger.worker import current_worker
from ironclad_assets.pipeline.ownership import hold_entry
from ironclad_assets.settings import Settings
from ironclad_assets.storage import atomic
from ironclad_assets.storage.artifacts import Envelope, persist_artifact
from ironclad_assets.storage.sealed import seal
from ironclad_assets.storage.store import Store
from ironclad_assets.upkeep.findings import Finding
from ironclad_assets.upkeep.prune.guard import Clock, keep_witness
from ironclad_assets.upkeep.prune.plan import Kind, Removal
from ironclad_assets.upkeep.prune.sweep import Sweep, Swept
from ironclad_assets.upkeep.verify.verification import Verification
from tests.filing import song_maker

DAY_S = 86_400.0
NOTHING = RecombinedTrack(tracks=(), gain_db=0.0)
ERROR = JobError(code="not_audio", detail="a zip", remedy="upload audio", stage="validated_file")


@dataclass
class World:
    """One installation whose songs can be made, aged, swept and verified."""

    settings: Settings
    store: Store
    ledger: Ledger
    folder: Path
    made: int = 0
    boot_s: float = 1000.0
    ahead_s: float = 0.0
    clock: Clock = field(init=False)

    def __post_init__(self) -> None:
        self.clock = Clock(
            wall=lambda: time.time() + self.ahead_s, boot_s=lambda: self.boot_s, boot_id=lambda: "this boot"
        )

    def limit(self, name: str, days: float | None, *, user: str = "") -> None:
        scope = LimitScope.USER if user else LimitScope.SYSTEM
        self.ledger.limits.set(scope, user, name, days, actor="test")

    def song(
        self,
        *,
        user: str = "ada",
        state: JobState = JobState.COMPLETED,
        age_days: float = 0.0,
        content: bytes = b"",
        album: str = "",
    ) -> str:
        """Register a song whose job came to `state`, with every artifact that it would have then; return its id."""
        self.made += 1
        name = f"s{self.made:04d}"
        content = content or f"the bytes of {name}".encode()
        sha256 = hashlib.sha256(content).hexdigest()
        path = f"archive/{sha256[:2]}/{sha256}"
        original = self.store.path(path)
        original.parent.mkdir(exist_ok=True)
        original.write_bytes(content)
        identity = SongIdentity(
            song=name, user_id=user, original_name=f"{name}.flac", sha256=sha256, size_bytes=len(content),
            archive_path=path, uploaded_at=datetime.now(UTC).isoformat(timespec="microseconds"), door="test",
        )  # fmt: skip
        job = self.ledger.register(identity, JobOptions(), actor="test").job
        self.bring(name, state)
        stages = ("validated_file", "staged_chunks", "stems", "recombined_track")
        for stage in stages if state is not JobState.QUEUED else ():
            self.artifact(name, stage, job_uuid=job.job_uuid, user=user)
        if state is JobState.COMPLETED:
            self.file(name, job_uuid=job.job_uuid, user=user, album=album or f"Album {name}")
        if state is JobState.FAILED:
            self.quarantine(name, user=user)
        self.age(name, age_days)
        return name

    def bring(self, song: str, state: JobState) -> None:
        """Bring the song's active job to `state`."""
        job = self.ledger.latest_job(song)
        assert job is not None
        if state is JobState.QUEUED:
            return
        self.ledger.begin_run(song, run_id=f"run-{job.job_uuid}", worker=current_worker(), actor="test")
        if state is JobState.COMPLETED:
            self.ledger.complete(job.job_uuid, actor="test")
        elif state is JobState.FAILED:
            self.ledger.fail(job.job_uuid, ERROR, actor="test")
        elif state is JobState.CANCELED:
            self.ledger.canceled(job.job_uuid, actor="test")

    def artifact(self, song: str, stage: str, *, job_uuid: str, user: str, payload: Contract = NOTHING) -> None:
        key = hashlib.sha256(f"{stage}{song}".encode()).hexdigest()
        work = self.store.stage(stage, song).work(key)
        if stage != "library_entry":
            (work / "audio.f32").write_bytes(f"{stage} of {song}".encode() * 50)
        envelope = Envelope(
            stage=stage, song=song, job_uuid=job_uuid, user_id=user, trace_id="t", attempt=1, run_id="r",
            code_version="1",
        )  # fmt: skip
        persist_artifact(
            self.store.stage(stage, song), payload, key=key, checks=(), inputs={}, envelope=envelope
        )  # fmt: skip

    def file(self, song: str, *, job_uuid: str, user: str, album: str) -> None:
        """Put the song into the library, a track, two stems and a cover."""
        made = song_maker(self.store, self.folder / "delivered")(song, title=f"Song {song}", album=album)
        with hold_entry(self.store, song=song):
            entry = made.organise()
        self.artifact(song, "song_metadata", job_uuid=job_uuid, user=user, payload=made.metadata)
        record = SongRecord(
            song=song, original_name="run.flac", user_id=user, uploaded_at="", completed_at="", media_type="",
            duration_s=1.0, sample_rate_hz=44_100, channels=2, job_uuid=job_uuid, trace_id="t", attempt=1,
            steps_completed=(), files=entry.files,
        )  # fmt: skip
        key = hashlib.sha256(f"library_entry{song}".encode()).hexdigest()
        work = self.store.stage("library_entry", song).work(key)
        (work / "metadata.json").write_text(record.model_dump_json(), encoding="utf-8")
        self.artifact(song, "library_entry", job_uuid=job_uuid, user=user, payload=entry)

    def quarantine(self, song: str, *, user: str) -> None:
        folder = self.store.quarantine(song)
        folder.mkdir(exist_ok=True)
        atomic.write_json(folder / "error.json", seal({"song": song, "user_id": user, "code": "not_audio"}))

    def put(self, path: str, content: bytes = b"x" * 100, *, age_days: float = 10.0) -> Path:
        """Put a file anywhere into the store."""
        file = self.store.root / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(content)
        self.touch(file, age_days)
        return file

    def age(self, song: str, days: float) -> None:
        """Make everything of the song as old as that, by the ledger and on disk."""
        at = datetime.fromtimestamp(time.time() - days * DAY_S, tz=UTC).isoformat(timespec="microseconds")
        identity = self.ledger.song(song)
        with self.ledger._database.write() as connection:
            connection.execute(update(jobs).where(jobs.c.song == song).values(updated_at=at))
            connection.execute(update(songs).where(songs.c.song == song).values(uploaded_at=at))
        for folder in (*self.store.root.glob(f"stages/*/{song}"), *self.store.root.glob(f"error/{song}")):
            self.touch(folder, days)
        for root in ("output", "output-stems"):
            for path in self.store.library(root).rglob("*"):
                if path.is_file() and f"Album {song}" in path.parent.name:
                    self.touch(path, days)
        if self.store.path(identity.archive_path).exists():
            self.touch(self.store.path(identity.archive_path), days)

    def touch(self, path: Path, days: float) -> None:
        at = time.time() - days * DAY_S
        for one in [path, *(path.rglob("*") if path.is_dir() else ())]:
            os.utime(one, (at, at))
        for one in path.parents:
            if one == self.store.root or not one.is_relative_to(self.store.root):
                break
            os.utime(one, (at, at))

    def lines_are_old(self, days: float) -> None:
        """Let nothing have happened for a while."""
        at = datetime.fromtimestamp(time.time() - days * DAY_S, tz=UTC).isoformat(timespec="microseconds")
        with self.ledger._database.write() as connection:
            connection.execute(update(history).values(at=at))

    def stop_the_clock(self) -> None:
        """Let no time pass from now on, and the clock be believed."""
        now = time.time()
        self.clock = Clock(wall=lambda: now, boot_s=self.clock.boot_s, boot_id=self.clock.boot_id)
        keep_witness(self.settings, clock=self.clock)

    def sweep(self, *kinds: Kind, confirmed: bool = True, user: str | None = None) -> Sweep:
        return Sweep(
            store=self.store, ledger=self.ledger, settings=self.settings, actor="test", confirmed=confirmed,
            clock=self.clock, user_id=user, **({"kinds": frozenset(kinds)} if kinds else {}),
        )  # fmt: skip

    def plan(self, *kinds: Kind, confirmed: bool = True, user: str | None = None) -> list[Removal]:
        with self.sweep(*kinds, confirmed=confirmed, user=user).plan() as (_, removals):
            return list(removals)

    def prune(self, *kinds: Kind, confirmed: bool = True, user: str | None = None) -> Swept:
        return self.sweep(*kinds, confirmed=confirmed, user=user).run()

    def verify(self) -> list[Finding]:
        return Verification(store=self.store, ledger=self.ledger, settings=self.settings).run().findings

    def files(self) -> dict[str, bytes]:
        """Return every file of the store but those that a sweep writes itself."""
        return {
            path.relative_to(self.store.root).as_posix(): path.read_bytes()
            for path in sorted(self.store.root.rglob("*"))
            if path.is_file() and not path.name.endswith("pruned.json")
        }


MakeWorld = Callable[[], World]


def make_world(settings: Settings, store: Store, *, url: str, folder: Path) -> World:
    """Return an installation that knows its store, with an empty ledger."""
    ledger = Ledger(url)
    ledger.migrate()
    known = {str(store.root): store.sentinel.read_text(encoding="utf-8").strip()}
    atomic.write_json(settings.home_dir / "stores.json", known)
    return World(settings, store, ledger, folder)


def pile_folders(folder: Path) -> None:
    """Make folders below each other in `folder` until the path of the last is too long to be named."""
    held = os.open(folder, os.O_RDONLY)
    for _ in range(30):
        os.mkdir("d" * 200, dir_fd=held)
        deeper = os.open("d" * 200, os.O_RDONLY, dir_fd=held)
        os.close(held)
        held = deeper
    os.close(held)


def forbid(monkeypatch: pytest.MonkeyPatch, folder: Path) -> None:
    """Let nobody look into a folder, not even root."""
    real = os.scandir

    def scandir(path: str | Path = ".") -> Any:  # an iterator of entries
        if str(path).startswith(str(folder)):
            raise PermissionError(errno.EACCES, "Permission denied", str(path))
        return real(path)

    monkeypatch.setattr(os, "scandir", scandir)
