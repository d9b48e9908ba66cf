"""Lookups through the real graph: the stage asks a fake of the sources, and the song is delivered whatever they do."""

from collections.abc import Iterator
from pathlib import Path

import mutagen
import pytest

import ironclad_assets.assets.song_metadata as stage
from ironclad_assets.contracts.v1.job import Job, JobState
from ironclad_assets.contracts.v1.song_metadata import SongMetadata
from ironclad_assets.lookup.health import source_health
from ironclad_assets.settings import Settings
from ironclad_assets.storage.artifacts import Artifact, load_artifact
from tests import synth
from tests.fakes.lookup_server import LookupServer, Misbehaviour, Recording, Release, jpeg, open_lookup_server
from tests.integration.conftest import Installation

ALBUM = Release(1, "Heights", track=4)
RUN = Recording(10, "Run", length_s=1.5, releases=(ALBUM,))
ASSETS = ["validated_file", "song_metadata"]


@pytest.fixture
def server() -> Iterator[LookupServer]:
    with open_lookup_server() as server:
        server.recordings = [Recording(11, "Run (Instrumental)", length_s=1.5, releases=(ALBUM,)), RUN]
        server.covers[f"release-{ALBUM.id}"] = jpeg(size_px=300)
        yield server


@pytest.fixture
def asking(installation: Installation, server: LookupServer) -> Installation:
    """The installation, with a contact and the fake as its sources."""
    installation.settings = installation.settings.model_copy(
        update={
            "lookup_contact": "music@example.org",
            "lookup_musicbrainz_url": server.url,
            "lookup_cover_art_url": server.url,
            "lookup_acoustid_url": server.url,
            "lookup_interval_s": 0.0,
            "lookup_total_s": 8.0,
        }
    )
    return installation


def submit(installation: Installation, **tags: str) -> Job:
    path = synth.good_song(installation.folder / "xyz.flac", seconds=1.5, **tags)
    return installation.submit(path)


def stored(installation: Installation, job: Job) -> Artifact[SongMetadata]:
    return load_artifact(installation.store.stage("song_metadata", job.song), SongMetadata)


def test_gaps_in_the_tags_are_filled_and_delivered(asking: Installation, server: LookupServer) -> None:
    """META-001: tags and art of the output come from the sources where the file has none."""
    job = submit(asking, title="Run", artist="Ann")
    assert asking.dispatch(job).success
    metadata = stored(asking, job).payload
    assert (metadata.album, metadata.track_number, metadata.date) == ("Heights", 4, "2001-02-03")
    assert metadata.sources["album"] == "musicbrainz"
    assert metadata.reasons["artwork"].source == "cover_art_archive"
    assert metadata.fields["MUSICBRAINZ_TRACKID"] == (RUN.id,)
    (track,) = (asking.store.library("output")).rglob("*.flac")
    assert track.relative_to(asking.store.library("output")).as_posix() == (
        "Ann/Heights (Instrumental)/04 - Run (Instrumental).flac"
    )
    tags = mutagen.File(track)
    assert tags["date"] == ["2001-02-03"]
    assert "musicbrainz_trackid" not in tags
    assert tags["original_recording_id"] == [RUN.id]
    assert tags.pictures[0].width == 300
    assert (track.parent / "cover.jpg").exists()


def test_without_a_contact_nobody_is_asked(asking: Installation, server: LookupServer) -> None:
    asking.settings = asking.settings.model_copy(update={"lookup_contact": None})
    job = submit(asking, title="Run", artist="Ann")
    assert asking.dispatch(job).success
    assert server.asked == []
    assert not (asking.settings.home / "lookup.db").exists()
    assert {one.standing for one in source_health(asking.settings)} == {"off"}


@pytest.mark.parametrize(
    "wrong",
    [
        Misbehaviour(status=503, headers={"Retry-After": "3600"}),
        Misbehaviour(body=b'<?xml version="1.0"?><metadata xmlns="http://musicbr'),
        Misbehaviour(silent_s=60.0),
    ],
    ids=["503", "half", "silent"],
)
def test_a_song_completes_whatever_the_sources_do(
    asking: Installation, server: LookupServer, wrong: Misbehaviour
) -> None:
    """META-003"""
    asking.settings = asking.settings.model_copy(update={"lookup_request_s": 0.5})
    server.always_wrong = wrong
    job = submit(asking, title="Run", artist="Ann")
    assert asking.dispatch(job).success
    assert asking.ledger.job(job.job_uuid).state is JobState.COMPLETED
    metadata = stored(asking, job).payload
    assert (metadata.title, metadata.album) == ("Run", None)
    assert metadata.warnings


def test_an_error_of_our_own_in_a_lookup_fails_no_song(
    asking: Installation, server: LookupServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """META-003"""

    def fail(*args: object, **more: object) -> None:
        raise KeyError("nobody thought of this")

    monkeypatch.setattr(stage, "look_up", fail)
    job = submit(asking, title="Run", artist="Ann")
    assert asking.dispatch(job).success
    assert stored(asking, job).payload.warnings == ("the lookup failed (KeyError)",)


def test_the_same_answers_are_the_same_work_and_others_are_not(asking: Installation, server: LookupServer) -> None:
    job = submit(asking, title="Run", artist="Ann")
    assert asking.dispatch(job).success
    first = stored(asking, job)
    asked = len(server.asked)
    assert asking.run(job.song, assets=ASSETS).success
    assert len(server.asked) == asked, "the cache answers"
    again = stored(asking, job)
    assert (again.key, again.payload) == (first.key, first.payload)
    asking.settings = asking.settings.model_copy(update={"lookup_cache_days": 0.0})
    server.recordings = [Recording(10, "Run", length_s=1.5, releases=(Release(1, "Peaks"),))]
    assert asking.run(job.song, assets=ASSETS).success
    other = stored(asking, job)
    assert other.payload.album == "Peaks"
    assert other.key != first.key


def test_nothing_found_is_the_same_work_as_nobody_asked(asking: Installation, server: LookupServer) -> None:
    server.recordings = []
    server.covers = {}
    job = submit(asking, title="Run", artist="Ann")
    assert asking.dispatch(job).success
    with_lookup = stored(asking, job).key
    asking.settings = asking.settings.model_copy(update={"lookup_contact": None})
    assert asking.run(job.song, assets=ASSETS).success
    assert stored(asking, job).key == with_lookup


def test_the_files_own_cover_stays(asking: Installation, server: LookupServer, tmp_path: Path) -> None:
    path = synth.good_song(tmp_path / "a.flac", seconds=1.5, title="Run", artist="Ann")
    audio, picture = mutagen.File(path), mutagen.flac.Picture()
    picture.type, picture.mime, picture.data = 3, "image/png", synth.png(tmp_path / "p.png", size_px=90).read_bytes()
    audio.add_picture(picture)
    audio.save()
    job = asking.submit(path)
    assert asking.dispatch(job).success
    loaded = stored(asking, job)
    assert loaded.payload.artwork is not None
    assert loaded.payload.artwork.width_px == 90
    assert (loaded.folder / loaded.payload.artwork.file.path).exists()
    assert not any("front" in path for path in server.asked)


def test_settings_of_lookups_are_off_by_default() -> None:
    assert Settings().lookup_contact is None
