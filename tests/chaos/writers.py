"""What writes files about a song for others, each as one act: prepare, write, and what must hold after.

`old` and `new` are the two states that a reader may find; a writer killed or failed anywhere must leave one of them,
and writing again must give the new one. States are what a reader sees: hidden temporaries are not part of them.
"""

import hashlib
import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from ironclad_assets.contracts.v1.options import JobOptions
from ironclad_assets.contracts.v1.song_metadata import SongMetadata
from ironclad_assets.errors import ErrorCode, PermanentFailure
from ironclad_assets.intake.lyrics import LyricsDoor
from ironclad_assets.intake.scan import FoundFile
from ironclad_assets.intake.upload import take_file
from ironclad_assets.ledger.store import Ledger
from ironclad_assets.resources.quarantine import quarantine_song
from ironclad_assets.sensors.prepare import prepare_store
from ironclad_assets.settings import MEBIBYTE, Settings
from ironclad_assets.storage.artifacts import Envelope, load_artifact, persist_artifact
from ironclad_assets.storage.store import Store
from tests.filing import Song, tree

SONG = "song-a"
STAGE = "song_metadata"
KEYS = ("a" * 64, "b" * 64)
WHOLE_FILES = {
    b"jpeg", b"la la\n", b"song-a:target:instrumental", b"song-a:stem:vocals", b"song-a:stem:drums",
}  # fmt: skip
LYRICS = b"[00:01.00] la\n" * 50

State = object
"""Whatever can be compared: what a reader finds."""


@dataclass(frozen=True, slots=True)
class Writer:
    """One act of writing in an installation below a folder.

    Attributes:
        prepare: makes what is there before.
        write: the act; may be done again.
        read: what a reader finds; raises where something is torn.
        between: states beside old and new in which nothing is torn either, such as a file that is in both places.
    """

    prepare: Callable[[Path], None]
    write: Callable[[Path], None]
    read: Callable[[Path], State]
    between: Callable[[State], bool] = lambda state: False


def settings_of(folder: Path) -> Settings:
    return Settings(home=folder / "home", disk_reserve_bytes=MEBIBYTE)


def store_of(folder: Path) -> Store:
    settings = settings_of(folder)
    return Store(settings.store_root, settings.disk_reserve_bytes)


def _nothing(folder: Path) -> None:
    (folder / "nothing").write_bytes(b"")


# An upload: original, ledger's rows, and the file in the upload folder


def _prepare_upload(folder: Path) -> None:
    store_of(folder).create()
    ledger = Ledger(settings_of(folder).ledger_url)
    ledger.migrate()
    ledger.close()
    path = store_of(folder).input / "ada" / "a.flac"
    path.parent.mkdir()
    path.write_bytes(b"fLaC" + bytes(range(256)) * 500)


def _upload(folder: Path) -> None:
    store = store_of(folder)
    path = store.input / "ada" / "a.flac"
    if not path.exists():
        return
    ledger = Ledger(settings_of(folder).ledger_url)
    take_file(
        path, ledger=ledger, store=store, settings=settings_of(folder), user_id="ada", options=JobOptions(),
        door="test", actor="test",
    )  # fmt: skip
    ledger.close()


def _read_upload(folder: Path) -> State:
    store = store_of(folder)
    ledger = Ledger(settings_of(folder).ledger_url)
    songs = [ledger.song(job.song) for job in ledger.jobs()]
    ledger.close()
    for song in songs:
        assert hashlib.sha256(store.path(song.archive_path).read_bytes()).hexdigest() == song.sha256
    waits = (store.input / "ada" / "a.flac").exists()
    assert waits or songs, "the upload is lost"
    for path in store.archive.rglob("[!.]*"):
        assert path.is_dir() or hashlib.sha256(path.read_bytes()).hexdigest() == path.name
    return waits, len(songs)


# An artifact of a stage: its files, then its manifest


def _persist(folder: Path, key: str) -> None:
    stage = store_of(folder).stage(STAGE, SONG)
    work = stage.work(key)
    (work / "words.txt").write_text(key * 100, encoding="utf-8")
    envelope = Envelope(
        stage=STAGE, song=SONG, job_uuid="j", user_id="u", trace_id="t", attempt=1, run_id="r", code_version="1"
    )
    persist_artifact(stage, SongMetadata(title=key[:5]), key=key, checks=(), inputs={}, envelope=envelope)


def _prepare_artifact(folder: Path) -> None:
    store_of(folder).create()
    _persist(folder, KEYS[0])


def _write_artifact(folder: Path) -> None:
    _persist(folder, KEYS[1])


def _read_artifact(folder: Path) -> State:
    found = load_artifact(store_of(folder).stage(STAGE, SONG), SongMetadata)
    assert (found.folder / "words.txt").read_text(encoding="utf-8") == found.key * 100
    return found.key


# The library: a song that is there under one artist, filed again under another


def _song(folder: Path, *, artist: str) -> Song:
    made = folder / "made"
    made.mkdir(exist_ok=True)
    tags = SongMetadata(title="Run", artist=artist, album="Far", track_number=3)
    return Song(store_of(folder), SONG, made, tags, lyrics="la la")


def _prepare_library(folder: Path) -> None:
    store_of(folder).create()
    _song(folder, artist="Ann").keep()


def _write_library(folder: Path) -> None:
    song = _song(folder, artist="Bob")
    song.version = "b"
    song.entry = song.kept()
    song.keep()


def _read_library(folder: Path) -> State:
    """Files of one song go over one by one; each must be whole, and the manifest must name what is there."""
    shown = {path: content for path, content in tree(store_of(folder)).items() if "/." not in path}
    assert set(shown.values()) <= WHOLE_FILES, "a torn file is visible"
    _song(folder, artist="Ann").kept()
    return tuple(sorted(shown))


# Small files: lyrics, quarantine, what the home knows of stores


def _prepare_lyrics(folder: Path) -> None:
    _prepare_upload(folder)
    _upload(folder)
    (store_of(folder).input / "ada" / "a.lrc").write_bytes(LYRICS)


def _write_lyrics(folder: Path) -> None:
    path = store_of(folder).input / "ada" / "a.lrc"
    if path.exists():
        ledger = Ledger(settings_of(folder).ledger_url)
        status = path.lstat()
        door = LyricsDoor(ledger=ledger, store=store_of(folder))
        assert door.take(FoundFile(path, "ada", status.st_size, status.st_ctime_ns)) is not None
        ledger.close()


def _read_lyrics(folder: Path) -> State:
    kept = list((store_of(folder).root / "sidecars").rglob("lyrics.*"))
    waits = (store_of(folder).input / "ada" / "a.lrc").exists()
    assert waits or kept, "the lyrics are lost"
    assert all(path.read_bytes() == LYRICS for path in kept)
    return waits, len(kept)


def _quarantine(folder: Path) -> None:
    ledger = Ledger(settings_of(folder).ledger_url)
    job = ledger.jobs()[0]
    error = PermanentFailure("a zip", code=ErrorCode.NOT_AUDIO)
    quarantine_song(store_of(folder), song=ledger.song(job.song), job=job, stage="validated_file", error=error)
    ledger.close()


def prepare_job(folder: Path) -> None:
    _prepare_upload(folder)
    _upload(folder)


def _read_quarantine(folder: Path) -> State:
    records = [json.loads(path.read_bytes())["code"] for path in store_of(folder).root.glob("error/*/error.json")]
    originals = [path.stat().st_size for path in store_of(folder).root.glob("error/*/original")]
    return tuple(records), tuple(originals)


def _write_stores(folder: Path) -> None:
    assert prepare_store(settings_of(folder)) == ""


def _read_stores(folder: Path) -> State:
    sentinel = store_of(folder).sentinel
    memory = folder / "home" / "stores.json"
    known = json.loads(memory.read_bytes()) if memory.exists() else {}
    assert not known or known[str(sentinel.parent)] == sentinel.read_text(encoding="utf-8").strip()
    return sentinel.exists(), bool(known)


def _always(state: State) -> bool:
    return True


SONG_WRITERS = {
    "nothing": Writer(lambda folder: None, _nothing, lambda folder: None),
    "upload": Writer(_prepare_upload, _upload, _read_upload, between=lambda state: state == (True, 1)),
    "artifact": Writer(_prepare_artifact, _write_artifact, _read_artifact),
    "library": Writer(_prepare_library, _write_library, _read_library, between=_always),
    "lyrics": Writer(_prepare_lyrics, _write_lyrics, _read_lyrics, between=lambda state: state == (True, 1)),
    "quarantine": Writer(prepare_job, _quarantine, _read_quarantine, between=_always),
    "stores": Writer(lambda folder: None, _write_stores, _read_stores, between=_always),
}
"""Writers about one song by the name of what they write; `nothing` tries the machinery itself."""
