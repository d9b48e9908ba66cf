"""Songs without any audio whose files go through the library's rooms, for tests of the library."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ironclad_assets.contracts.v1.base import AudioFormat, Contract, Levels
from ironclad_assets.contracts.v1.formats import OutputFormat
from ironclad_assets.contracts.v1.library_entry import LibraryEntry, SongRecord
from ironclad_assets.contracts.v1.recombined_track import RecombinedTrack, Track
from ironclad_assets.contracts.v1.song_metadata import Artwork, SongMetadata
from ironclad_assets.pipeline.organise import Original, organise
from ironclad_assets.pipeline.sidecars import write_lyrics
from ironclad_assets.pipeline.templates import DEFAULT, Layout
from ironclad_assets.storage.artifacts import Envelope, load_artifact, persist_artifact
from ironclad_assets.storage.hashing import record_file
from ironclad_assets.storage.store import Store

AUDIO = AudioFormat(sample_rate_hz=44_100, channels=2, frames=1)
LEVELS = Levels(loudness_lufs=None, true_peak_dbtp=None, peak=0.0, rms=0.0)


@dataclass
class Song:
    """A song whose delivered files exist, without any audio in them."""

    store: Store
    key: str
    folder: Path
    metadata: SongMetadata
    stems: tuple[str, ...] = ("vocals", "drums")
    targets: tuple[str, ...] = ("instrumental",)
    content: str = ""
    cover: bytes | None = b"jpeg"
    lyrics: str = ""
    original: bytes | None = None
    layout: Layout = DEFAULT
    entry: LibraryEntry | None = None
    version: str = "a"

    def organise(self, **tags: Any) -> LibraryEntry:
        if tags:
            self.metadata = self.metadata.model_copy(update=tags)
        self.entry = organise(
            self.track(),
            track_folder=self.folder,
            metadata=self._with_cover(),
            metadata_folder=self.folder,
            previous=self.entry,
            store=self.store,
            song=self.key,
            layout=self.layout,
            original=self._original(),
            lyrics=write_lyrics(self.lyrics, folder=self.folder),
        )
        return self.entry

    def keep(self, *, user_id: str = "local") -> LibraryEntry:
        """Organise, and keep entry and tags as the IO manager does."""
        metadata = self._with_cover()
        work = self.store.stage("song_metadata", self.key).work(self.version * 64)
        if metadata.artwork is not None and self.cover is not None:
            (work / "cover.jpg").write_bytes(self.cover)
        self._persist("song_metadata", metadata, user_id=user_id)
        entry = self.organise()
        record = SongRecord(
            song=self.key, original_name="run.flac", user_id=user_id, uploaded_at="", completed_at="", media_type="",
            duration_s=1.0, sample_rate_hz=44_100, channels=2, job_uuid="j", trace_id="t", attempt=1,
            steps_completed=(), files=entry.files,
        )  # fmt: skip
        work = self.store.stage("library_entry", self.key).work(self.version * 64)
        (work / "metadata.json").write_text(record.model_dump_json(), encoding="utf-8")
        self._persist("library_entry", entry, user_id=user_id)
        return entry

    def retag(self, **tags: Any) -> None:
        """Keep other tags, as if the stage `song_metadata` alone had run again."""
        self.metadata = self.metadata.model_copy(update=tags)
        folder = self.store.stage("song_metadata", self.key)
        if self.cover is not None:
            (folder.work(self.version * 64) / "cover.jpg").write_bytes(self.cover)
        self._persist("song_metadata", self._with_cover(), user_id="local")

    def kept(self) -> LibraryEntry:
        """Return the entry as its manifest has it, verified."""
        folder = self.store.stage("library_entry", self.key)
        return load_artifact(folder, LibraryEntry).payload

    def _persist(self, stage: str, payload: Contract, *, user_id: str) -> None:
        persist_artifact(
            self.store.stage(stage, self.key), payload, key=self.version * 64, checks=(), inputs={},
            envelope=Envelope(
                stage=stage, song=self.key, job_uuid="j", user_id=user_id, trace_id="t", attempt=1, run_id="r",
                code_version="1",
            ),
        )  # fmt: skip

    def _original(self) -> Original | None:
        if self.original is None:
            return None
        path = self.folder / "uploaded"
        path.write_bytes(self.original)
        return Original(source=path, record=record_file(path, base=self.folder), extension="mp3")

    def track(self) -> RecombinedTrack:
        tracks = [
            self._track(name, "target", ("drums",) if name == "instrumental" else (name,)) for name in self.targets
        ]
        tracks += [self._track(name, "stem", (name,)) for name in self.stems]
        return RecombinedTrack(tracks=tuple(tracks), gain_db=0.0)

    def _track(self, name: str, kind: Any, stems: tuple[str, ...]) -> Track:
        path = self.folder / f"{kind}-{name}.flac"
        path.write_bytes(f"{self.content or self.key}:{kind}:{name}".encode())
        return Track(
            name=name, kind=kind, stems=stems, method="sum", file=record_file(path, base=self.folder),
            format=OutputFormat.FLAC, audio=AUDIO, levels=LEVELS, tags_embedded=True, art_embedded=True,
        )  # fmt: skip

    def _with_cover(self) -> SongMetadata:
        if self.cover is None:
            return self.metadata
        (self.folder / "cover.jpg").write_bytes(self.cover)
        record = record_file(self.folder / "cover.jpg", base=self.folder)
        art = Artwork(file=record, media_type="image/jpeg", width_px=1, height_px=1)
        return self.metadata.model_copy(update={"artwork": art})


NewSong = Callable[..., Song]


def song_maker(store: Store, folder: Path) -> NewSong:
    """Return what makes songs whose files are below `folder`."""

    def make(key: str = "song-a", *, cover: bytes | None = b"jpeg", content: str = "", **tags: Any) -> Song:
        made = folder / key
        made.mkdir(parents=True)
        values = {"title": "Run", "artist": "Ann", "album": "Far", "track_number": 3, **tags}
        return Song(store, key, made, SongMetadata(**values), cover=cover, content=content)

    return make


def tree(store: Store) -> dict[str, bytes]:
    """Return every file in both libraries, hidden ones too."""
    return {
        path.relative_to(store.root).as_posix(): path.read_bytes()
        for root in ("output", "output-stems")
        for path in sorted(store.library(root).rglob("*"))
        if path.is_file()
    }


def folders(store: Store) -> set[str]:
    return {
        path.relative_to(store.root).as_posix()
        for root in ("output", "output-stems")
        for path in store.library(root).rglob("*")
        if path.is_dir()
    }


def audio_paths(entry: LibraryEntry) -> list[str]:
    return [f"{item.root}/{item.file.path}" for item in entry.files if item.role != "cover"]
