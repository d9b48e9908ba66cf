"""Tags from an upload to the delivered files, through the real sandboxed children, in every container."""

import hashlib
import struct
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from mutagen.id3 import ID3, TSOP, TXXX, USLT
from mutagen.mp4 import MP4, MP4Cover
from mutagen.wave import WAVE

from ironclad_assets.audio.tags import read_tags
from ironclad_assets.contracts.v1.base import AudioFormat
from ironclad_assets.contracts.v1.recombined_track import RecombinedTrack
from ironclad_assets.contracts.v1.song_metadata import SongMetadata
from ironclad_assets.contracts.v1.validated_file import ValidatedFile
from ironclad_assets.pipeline.tag import read_metadata
from ironclad_assets.storage.store import Store
from tests import synth
from tests.integration.conftest import Installation
from tests.unit.audio import tagged_files
from tests.unit.audio.tagged_files import RECORDING
from tests.unit.audio.test_artwork import bomb, picture
from tests.unit.pipeline.test_recombine import Song

OUTPUTS = ("flac", "wav", "mp3", "m4a", "opus")
ABOUT_LOUDNESS = ("REPLAYGAIN_TRACK_GAIN", "REPLAYGAIN_TRACK_PEAK", "R128_TRACK_GAIN")


@pytest.fixture
def store(tmp_path: Path) -> Store:
    store = Store(tmp_path / "store", 0)
    store.create()
    return store


def validated(path: Path, *, store: Store, media_type: str = "audio/mpeg") -> ValidatedFile:
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    archived = store.archive / digest[:2] / digest
    archived.parent.mkdir(parents=True, exist_ok=True)
    archived.write_bytes(path.read_bytes())
    return ValidatedFile(
        archive_path=archived.relative_to(store.root).as_posix(), original_name=path.name, sha256=digest,
        size_bytes=path.stat().st_size, media_type=media_type, container="mp3", codec="mp3", lossless=False,
        bit_depth=None, audio=AudioFormat(sample_rate_hz=44_100, channels=2, frames=13_230), peak=0.5, silent=False,
    )  # fmt: skip


def read_song(path: Path, *, store: Store, work: Path) -> SongMetadata:
    work.mkdir(exist_ok=True)
    return read_metadata(validated(path, store=store), store=store, work=work)


def original(folder: Path) -> Path:
    path = tagged_files.mp3(folder, picture=picture((1400, 1400), kind="JPEG"))
    tags = ID3(path)
    for frame in (
        TSOP(text="Ann, A"), TXXX(desc="MusicBrainz Album Id", text="album"), TXXX(desc="MusicBrainz Artist Id",
        text=["artist one", "artist two"]), TXXX(desc="replaygain_track_gain", text="-9.99 dB"),
        TXXX(desc="Own = field", text=["1", "2"]), USLT(lang="eng", desc="", text="la\nla"),
    ):  # fmt: skip
        tags.add(frame)
    tags.save(path)
    return path


def deliver(
    folder: Path, kind: str, metadata: SongMetadata, *, covers: Path, **more: Any
) -> tuple[Song, RecombinedTrack]:
    folder.mkdir()
    song = Song(folder, source_hz=48_000)
    if metadata.artwork is not None:
        (folder / "cover.jpg").write_bytes((covers / metadata.artwork.file.path).read_bytes())
    song.metadata = metadata
    return song, song.recombine(output=kind, targets=("instrumental", "vocals"), **more)


def read_delivered(path: Path, *, work: Path) -> dict[str, Any]:
    work.mkdir(exist_ok=True)
    media_type = "audio/mpeg" if path.suffix == ".mp3" else ""
    found = read_tags(lambda _fraction, _message: None, path=str(path), media_type=media_type, work=str(work))
    assert found.pop("warnings") == []
    loudness = [name for name in ABOUT_LOUDNESS if found["fields"].pop(name, None)]
    assert loudness == (["R128_TRACK_GAIN"] if path.suffix == ".opus" else list(ABOUT_LOUDNESS[:2]))
    return found


def test_every_container_says_the_same_of_a_delivered_song(tmp_path: Path, store: Store) -> None:
    """META-001, RECON-001, ORG-001"""
    metadata = read_song(original(tmp_path), store=store, work=tmp_path / "read")
    said = {}
    for kind in OUTPUTS:
        song, track = deliver(tmp_path / kind, kind, metadata, covers=tmp_path / "read")
        assert all(one.tags_embedded and one.art_embedded for one in track.tracks)
        said[kind] = [read_delivered(song.work / one.file.path, work=tmp_path / "w") for one in track.tracks]
    assert all(found == said["flac"] for found in said.values())
    instrumental, a_cappella, *_ = said["flac"]
    assert (instrumental["title"], instrumental["album"]) == ("Ærø (Instrumental)", "Far (Instrumental)")
    assert (instrumental["track_number"], instrumental["disc_total"], instrumental["compilation"]) == (3, 2, True)
    assert instrumental["artwork"] == {"path": "cover.jpg", "width_px": 1000, "height_px": 1000}
    assert "lyrics" not in instrumental
    assert a_cappella["lyrics"] == "la\nla"
    assert instrumental["fields"] == {
        "ARTISTSORT": ["Ann, A"], "MOOD": ["calm"], "MUSICBRAINZ_ARTISTID": ["artist one", "artist two"],
        "OWN  FIELD": ["1", "2"], "STEM": ["instrumental"], "SEPARATION_ENGINE": ["spectral"],
        "SEPARATION_MODEL": ["default"], "SEPARATION_VERSION": ["1.0.0"], "SOURCE_SHA256": ["0" * 64],
        "ORIGINAL_RECORDING_ID": [RECORDING],
    }  # fmt: skip


@pytest.mark.parametrize("kind", ["mp3", "wav"])
def test_version_2_3_is_written_where_it_is_asked_for(kind: str, tmp_path: Path, store: Store) -> None:
    """RECON-001"""
    metadata = read_song(original(tmp_path), store=store, work=tmp_path / "read")
    song, track = deliver(tmp_path / kind, kind, metadata, covers=tmp_path / "read", id3_version="2.3")
    assert all(one.tags_embedded and one.art_embedded for one in track.tracks)
    path = song.work / track.tracks[0].file.path
    tags = ID3(path, translate=False) if kind == "mp3" else WAVE(path, translate=False).tags
    assert tags.version == (2, 3, 0)
    assert {int(frame.encoding) for frame in tags.values() if frame.FrameID[0] == "T"} == {1}
    assert (str(tags["TYER"]), str(tags["TDAT"]), str(tags["TPE2"])) == ("1999", "0104", "Ann & Co")
    assert tags["TCON"].text == ["Folk; Dub"]
    assert str(tags["TSOP"]) == "Ann, A"
    found = read_delivered(path, work=tmp_path / "w")
    assert (found["genres"], found["date"]) == (["Folk", "Dub"], "1999-04-01")


def endless_m4a(path: Path) -> Path:
    """Return an M4A whose cover holds a name of no length, at which mutagen goes round in circles."""
    path = tagged_files.m4a(path.parent).rename(path)
    file = MP4(path)
    file["covr"] = [MP4Cover(b"PICTURE" * 8)]
    file.save()
    content = path.read_bytes()
    at = content.index(b"covr") + 4
    path.write_bytes(content[:at] + struct.pack(">I", 0) + b"name" + content[at + 8 :])
    return path


def many_frames(path: Path) -> Path:
    """Return an MP3 whose tag of ten megabytes holds half a million frames."""
    synth.write_mp3(path, synth.tone(0.1))
    title = b"TIT2" + struct.pack(">IH", 6, 0) + b"\0Title"
    frames = b"".join(b"TXXX" + struct.pack(">IH", 9, 0) + b"\0%06d\0x" % number for number in range(550_000))
    size = len(title + frames)
    head = b"ID3\3\0\0" + bytes(size >> shift & 0x7F for shift in (21, 14, 7, 0))
    path.write_bytes(head + title + frames + path.read_bytes())
    return path


def bombed(path: Path) -> Path:
    return tagged_files.mp3(path.parent, picture=bomb(30_000, 30_000)).rename(path)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("make", "title", "warned"),
    [
        (endless_m4a, "Name", "reading the tags took more than"),
        (many_frames, None, ""),
        (bombed, "Ærø", "a cover was dropped"),
    ],
)
def test_a_file_made_to_hurt_costs_tags_at_most(
    make: Any, title: str | None, warned: str, tmp_path: Path, store: Store
) -> None:
    """META-001: the sandboxed child answers within its limits, and the song goes on."""
    metadata = read_song(make(tmp_path / "Name.mp3"), store=store, work=tmp_path / "read")
    assert metadata.title in ((title,) if title else ("Title", "Name"))
    assert metadata.warnings
    assert warned in metadata.warnings[0]
    assert not metadata.warnings[0].startswith("the tags cannot be read: ")
    assert metadata.artwork is None


def test_the_setting_decides_the_version_of_id3(installation: Installation) -> None:
    """RECON-001"""
    path = synth.write_flac(installation.folder / "song.flac", synth.noise(1.5))
    old = replace(installation, settings=installation.settings.model_copy(update={"id3_version": "2.3"}))
    job = old.submit(path, format="mp3", stems=())
    assert old.dispatch(job).success
    (delivered,) = installation.store.library("output").rglob("*.mp3")
    assert ID3(delivered, translate=False).version == (2, 3, 0)
