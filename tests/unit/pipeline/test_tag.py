"""The room `song_metadata`: tags from the file, then from its name, and a song goes on whatever happens."""

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ironclad_assets.contracts.v1.base import AudioFormat
from ironclad_assets.contracts.v1.validated_file import ValidatedFile
from ironclad_assets.errors import JobCanceled
from ironclad_assets.pipeline.tag import TAG_LIMITS, complete_metadata, parse_name, read_metadata
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
