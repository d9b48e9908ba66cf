"""The room `song_metadata`: tags from the file, then from its name, and a song goes on whatever happens."""

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ironclad_assets.contracts.v1.base import AudioFormat
from ironclad_assets.contracts.v1.lookup import FetchedCover
from ironclad_assets.contracts.v1.song_metadata import Reason, SongMetadata
from ironclad_assets.contracts.v1.validated_file import ValidatedFile
from ironclad_assets.errors import JobCanceled
from ironclad_assets.pipeline.filling import Findings
from ironclad_assets.pipeline.tag import TAG_LIMITS, complete_metadata, describe_song, parse_name, read_metadata
from ironclad_assets.sandbox.limits import Limits
from ironclad_assets.sandbox.watch import SilentWatch
from ironclad_assets.storage.hashing import record_file
from ironclad_assets.storage.store import Store
from tests import synth
from tests.unit.audio.tagged_files import flac


def validated(store: Store, path: Path, *, name: str) -> ValidatedFile:
    return ValidatedFile(
        archive_path=path.relative_to(store.root).as_posix(), original_name=name, sha256="0" * 64, size_bytes=1,
        media_type="audio/flac", container="flac", codec="flac", bit_depth=16, lossless=True,
        audio=AudioFormat(sample_rate_hz=44_100, channels=2, frames=1), peak=0.1, silent=False,
    )  # fmt: skip


@pytest.fixture
def work(tmp_path: Path) -> Path:
    folder = tmp_path / "work"
    folder.mkdir()
    return folder


def complete(name: str, work: Path, **found: Any) -> Any:
    return complete_metadata({"fields": {}, "warnings": [], **found}, original_name=name, work=work)


def test_tags_and_cover_of_the_file_are_read_in_a_child(store: Store, work: Path) -> None:
    """META-001"""
    path = synth.good_song(store.archive / "song.flac", seconds=0.5, title="Run", artist="Ann", tracknumber="3")
    metadata = read_metadata(validated(store, path, name="xyz.flac"), store=store, work=work)
    assert (metadata.title, metadata.artist, metadata.track_number) == ("Run", "Ann", 3)
    assert metadata.sources == {"title": "file", "artist": "file", "artists": "file", "track_number": "file"}


def test_a_cover_becomes_a_file_of_the_artifact(store: Store, work: Path) -> None:
    """META-001"""
    path = flac(store.archive, picture=synth.png(work / "p.png", size_px=200).read_bytes())
    metadata = read_metadata(validated(store, path, name="a.flac"), store=store, work=work)
    assert metadata.artwork is not None
    assert metadata.artwork.file == record_file(work / "cover.jpg", base=work)
    assert metadata.sources["artwork"] == "file"


def test_a_song_without_any_name_is_untitled(work: Path) -> None:
    metadata = complete(" . ", work)
    assert (metadata.title, metadata.sources["title"]) == ("Untitled", "default")


def test_a_file_that_is_gone_or_out_of_bounds_still_gets_a_title(store: Store, work: Path) -> None:
    gone = validated(store, store.archive / "gone", name="Ann - Run.flac")
    metadata = read_metadata(gone, store=store, work=work)
    assert (metadata.title, metadata.artist) == ("Run", "Ann")
    assert metadata.warnings
    small = Limits(cpu_s=10, memory_bytes=1024**2, wall_s=0.0)
    assert read_metadata(gone, store=store, work=work, limits=small).title == "Run"


def test_a_cancel_is_not_taken_for_a_failure_of_tags(store: Store, work: Path) -> None:
    class Canceling(SilentWatch):
        def canceled(self) -> bool:
            return True

    with pytest.raises(JobCanceled):
        read_metadata(
            validated(store, synth.good_song(store.archive / "a.flac", seconds=0.5), name="a.flac"),
            store=store, work=work, watch=Canceling(), limits=TAG_LIMITS,
        )  # fmt: skip


@pytest.mark.parametrize(
    ("name", "guess"),
    [
        ("Run.flac", {"title": "Run"}),
        ("Ann - Run.flac", {"title": "Run", "artist": "Ann"}),
        ("Ann – Run.flac", {"title": "Run", "artist": "Ann"}),
        ("03 - Run.flac", {"title": "Run", "track_number": 3}),
        ("03. Run.mp3", {"title": "Run", "track_number": 3}),
        ("03 Run.mp3", {"title": "Run", "track_number": 3}),
        ("03_run_away.mp3", {"title": "run away", "track_number": 3}),
        ("03 - Ann - Run.flac", {"title": "Run", "artist": "Ann", "track_number": 3}),
        ("2-03 - Run.flac", {"title": "Run", "track_number": 3, "disc_number": 2}),
        ("Ann - Run - Live.flac", {"title": "Run - Live", "artist": "Ann"}),
        ("50 Ways.flac", {"title": "50 Ways"}),
        ("99.flac", {"title": "99"}),
        ("Jay-Z.flac", {"title": "Jay-Z"}),
        (".flac", {"title": "flac"}),
        ("no extension", {"title": "no extension"}),
    ],
)
def test_a_file_name_says_artist_number_and_title(name: str, guess: dict[str, Any]) -> None:
    """META-001"""
    found = parse_name(name)
    found.pop("artists", None)
    assert found == guess


@given(name=st.text(max_size=80))
def test_any_name_gives_a_title(name: str) -> None:
    metadata = complete(name, Path())
    assert metadata.title.strip()
    assert metadata.sources["title"] in ("file_name", "default")


def test_the_name_fills_gaps_but_never_replaces_a_tag(work: Path) -> None:
    metadata = complete("07 - Bob - Run.flac", work, title="Run", artist="Ann", artists=["Ann"])
    assert (metadata.artist, metadata.track_number) == ("Ann", 7)
    assert (metadata.sources["artist"], metadata.sources["track_number"]) == ("file", "file_name")


def test_a_name_that_contradicts_the_title_adds_nothing(work: Path) -> None:
    metadata = complete("07 - Bob - Rip of something.flac", work, title="Run")
    assert (metadata.artist, metadata.track_number) == (None, None)


def test_a_dash_in_the_title_is_not_taken_for_an_artist_when_the_artist_is_known(work: Path) -> None:
    metadata = complete("Run - Part Two.flac", work, artist="Ann", artists=["Ann"])
    assert (metadata.title, metadata.artist) == ("Run - Part Two", "Ann")


def test_every_field_has_its_reason(work: Path) -> None:
    """META-001"""
    metadata = complete("07 - Ann - Run.flac", work, artist="Ann", artists=["Ann"])
    assert metadata.reasons["artist"] == Reason(source="file")
    assert metadata.reasons["title"] == Reason(source="file_name")
    assert metadata.reasons.keys() == metadata.sources.keys()


def test_what_sources_found_fills_gaps_before_the_files_name(work: Path) -> None:
    """META-001: from tags, then sources, then the file's name."""
    found = Reason(source="musicbrainz", matched_by="tags", score=0.99)
    findings = Findings(
        values={"title": "Run", "album": "Album"},
        fields={"MUSICBRAINZ_TRACKID": ("new",), "LABEL": ("theirs",)},
        reasons={"title": found, "album": found, "MUSICBRAINZ_TRACKID": found, "artwork": found},
        cover=FetchedCover(data=b"jpeg", width_px=3, height_px=2),
        warnings=("AcoustID refused",),
    )
    read = {"fields": {"LABEL": ("mine",)}, "warnings": ["odd"], "artwork": None, "artist": "Ann"}
    metadata = complete_metadata(read, original_name="07 - Bob - run.flac", work=work, findings=findings)
    assert (metadata.title, metadata.artist, metadata.album, metadata.track_number) == ("Run", "Ann", "Album", 7)
    assert metadata.fields == {"LABEL": ("mine",), "MUSICBRAINZ_TRACKID": ("new",)}
    assert metadata.sources == {
        "artist": "file", "title": "musicbrainz", "album": "musicbrainz", "track_number": "file_name",
        "artwork": "musicbrainz",
    }  # fmt: skip
    assert metadata.warnings == ("odd", "AcoustID refused")
    assert metadata.artwork is not None
    assert (work / metadata.artwork.file.path).read_bytes() == b"jpeg"


def test_a_song_is_described_to_the_sources_by_tags_then_name(store: Store) -> None:
    song = validated(store, store.archive / "a.flac", name="03 - Ann - Run.flac")
    described = describe_song(
        {"fields": {"ISRC": ["x"]}, "artwork": {"path": "cover.jpg"}, "warnings": [], "album": "Album"},
        validated=song, store=store,
    )  # fmt: skip
    assert (described.song.title, described.song.artist, described.song.album) == ("Run", "Ann", "Album")
    assert described.has_cover
    assert described.fields == {"ISRC": ("x",)}
    assert described.gaps == ("title", "artist", "album_artist", "track_number", "date")


def test_metadata_of_an_older_release_is_still_read() -> None:
    """META-002"""
    old = {"title": "Run", "sources": {"title": "file"}, "fields": {}, "warnings": []}
    metadata = SongMetadata.model_validate(old)
    assert (metadata.reasons, metadata.candidates) == ({}, ())
