"""The songs of `album` taken through the whole graph: every judge looks at these files.

The graph runs in this process with the built-in engine; only what surrounds it (daemons, queue) is left out.
"""

import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import dagster as dg

from ironclad_assets.contracts.v1.library_entry import LibraryEntry
from ironclad_assets.ledger.store import Ledger
from ironclad_assets.settings import MEBIBYTE, Settings
from ironclad_assets.storage.artifacts import load_artifact
from ironclad_assets.storage.store import Store
from tests.integration.conftest import Installation
from tests.judges.album import SONGS, Fields, Song, delivered_frames, delivered_tags, write_upload

STEMS = ("vocals",)


@dataclass(frozen=True, slots=True)
class Delivered:
    """One audio file in the library, and the song it was made from."""

    song: Song
    name: str
    kind: str
    root: Path
    path: Path

    def __str__(self) -> str:
        return f"{self.song.name} {self.name}"

    @property
    def output(self) -> str:
        return self.song.output

    @property
    def expected(self) -> Fields:
        return delivered_tags(self.song, name=self.name, kind=self.kind)

    @property
    def frames(self) -> int:
        return delivered_frames(self.song)

    @property
    def sample_rate_hz(self) -> int:
        return 48_000 if self.output == "opus" else 44_100

    @property
    def relative(self) -> str:
        return self.path.relative_to(self.root).as_posix()

    @property
    def cover(self) -> Path:
        """The cover beside it."""
        return self.path.parent / "cover.jpg"


@dataclass(frozen=True, slots=True)
class Library:
    """Both library roots and every delivered audio file; `uploads` is a copy of what was sent.

    `files` are what was made in the format asked for. The untouched originals stand in the same library, and the
    files for DJ programs among the stems.
    """

    targets: Path
    stems: Path
    uploads: Path
    files: tuple[Delivered, ...]
    originals: tuple[Delivered, ...]
    dj_files: tuple[Delivered, ...]

    def of_format(self, output: str) -> tuple[Delivered, ...]:
        return tuple(file for file in self.files if file.output == output)


def deliver(folder: Path, *, songs: Sequence[Song] = SONGS) -> Library:
    """Take the songs through the graph of a new installation in `folder`.

    Raises:
        AssertionError: a song was not delivered.
    """
    uploads = folder / "uploads"
    uploads.mkdir(parents=True)
    settings = Settings(home=folder / "home", disk_reserve_bytes=MEBIBYTE)
    store = Store(settings.store_root, reserve_bytes=settings.disk_reserve_bytes)
    store.create()
    ledger = Ledger(settings.ledger_url)
    ledger.migrate()
    files: list[Delivered] = []
    with dg.DagsterInstance.ephemeral() as instance:
        installation = Installation(settings, store, ledger, instance, folder)
        for song in songs:
            files.extend(_deliver_one(song, installation=installation, uploads=uploads))
    ledger.close()
    return Library(
        targets=store.library("output"), stems=store.library("output-stems"), uploads=uploads,
        files=tuple(file for file in files if file.kind in ("target", "stem")),
        originals=tuple(file for file in files if file.kind == "original"),
        dj_files=tuple(file for file in files if file.kind == "dj_stems"),
    )  # fmt: skip


def _deliver_one(song: Song, *, installation: Installation, uploads: Path) -> list[Delivered]:
    upload = write_upload(song, folder=uploads)
    sent = shutil.copy(upload, installation.folder / upload.name)
    job = installation.submit(
        sent, user_id=song.output,  # equal files of one user would be one song
        format=song.output, targets=song.targets, stems=STEMS, original=True, dj_stems=song.dj_stems,
    )  # fmt: skip
    assert installation.dispatch(job).success, installation.ledger.job(job.job_uuid).error
    store = installation.store
    entry = load_artifact(store.stage("library_entry", job.song), LibraryEntry).payload
    return [
        Delivered(song, item.name, item.role, store.library(item.root), store.library(item.root) / item.file.path)
        for item in entry.files
        if item.role not in ("cover", "lyrics")
    ]
