"""Bad files through the whole graph: published code in job, quarantine and asset metadata; the next song completes."""

import json
import os

import dagster as dg
import mutagen.flac
import numpy as np
import pytest

from ironclad_assets.contracts.v1.job import JobState
from ironclad_assets.errors import ErrorCode
from tests import synth


def wav_of_one_sample(path):
    return synth.write_wav(path, np.zeros((1, 1), dtype=np.float32))


BAD_FILES = {
    "zero bytes": (synth.zero_bytes, "song.wav", "empty_file"),
    "random bytes": (synth.random_bytes, "song.mp3", "not_audio"),
    "zip named mp3": (synth.zip_file, "song.mp3", "not_audio"),
    "HLS text named mp3": (synth.hls_text, "song.mp3", "not_audio"),
    "ffconcat text named mp3": (synth.ffconcat_text, "song.mp3", "not_audio"),
    "playlist": (synth.playlist_text, "song.mp3", "not_audio"),
    "one hertz": (synth.one_hertz_wav, "song.wav", "bad_rate"),
    "FLAC lying about its length": (synth.lying_flac, "song.flac", "damaged"),
    "NaN": (synth.nan_wav, "song.wav", "non_finite"),
    "ten hours of silence": (synth.silent_flac, "song.flac", "too_long"),
    "header only": (synth.header_only_wav, "song.wav", "no_audio"),
    "one sample": (wav_of_one_sample, "song.wav", "too_short"),
}


@pytest.mark.parametrize("kind", BAD_FILES)
def test_bad_file_fails_with_its_published_code_everywhere(installation, kind):
    """CAT-002, CAT-003: refused with a stable code and an actionable reason, in job, quarantine and Dagster."""
    make, name, code = BAD_FILES[kind]
    (installation.folder / "in").mkdir()
    job = installation.submit(make(installation.folder / "in" / name))
    result = installation.dispatch(job)

    assert not result.success
    failed = installation.ledger.job(job.job_uuid)
    assert failed.state is JobState.FAILED
    assert failed.error.code == code
    assert failed.error.remedy == ErrorCode.from_code(code).facts.remedy
    assert failed.error.stage == "validated_file"

    folder = installation.store.quarantine(job.song)
    assert json.loads((folder / "error.json").read_text())["code"] == code
    assert (folder / "original").stat().st_size == installation.ledger.song(job.song).size_bytes

    records = installation.instance.fetch_observations(dg.AssetKey("validated_file"), limit=1).records
    shown = records[0].asset_observation
    assert shown.partition == job.song
    assert shown.metadata["error_code"].value == code
    assert shown.metadata["remedy"].value == failed.error.remedy
    assert not result.get_asset_materialization_events()


def test_half_an_mp3_is_taken_for_what_it_holds_or_refused_as_damaged(installation):
    job = installation.submit(synth.half_mp3(installation.folder / "half.mp3"))
    installation.dispatch(job)
    done = installation.ledger.job(job.job_uuid)
    assert done.state is JobState.FAILED
    assert done.error.code == "damaged"


def test_next_good_song_completes_after_every_bad_one(installation):
    for number, (make, name, _) in enumerate(BAD_FILES.values()):
        folder = installation.folder / str(number)
        folder.mkdir()
        job = installation.submit(make(folder / name))
        assert not installation.dispatch(job).success
    good = installation.song("good.flac")
    assert installation.dispatch(good).success
    assert installation.ledger.job(good.job_uuid).state is JobState.COMPLETED


@pytest.mark.parametrize("name", synth.HOSTILE_NAMES, ids=repr)
def test_hostile_names_stay_text_and_never_become_paths(installation, name):
    path = installation.folder / os.fsdecode(name)
    synth.write_flac(installation.folder / "plain.flac", synth.noise(1.0)).rename(path)
    job = installation.submit(path)
    assert installation.dispatch(job).success
    root = installation.store.root.resolve()
    for library in ("output", "output-stems"):
        for file in installation.store.library(library).rglob("*"):
            assert file.resolve().is_relative_to(root)
            for part in file.relative_to(root).parts:
                assert len(part.encode()) <= 255
                assert not any(ord(character) < 32 for character in part)
                assert "\u202e" not in part


def test_climbing_tags_stay_inside_the_library(installation):
    job = installation.submit(synth.climbing_tags(installation.folder / "climb.flac"))
    assert installation.dispatch(job).success
    everything = set(installation.folder.rglob("*.flac"))
    inside = [path for path in everything if "pipeline-data" in path.parts]
    assert len(everything) == len(inside)


def test_picture_bomb_costs_the_cover_not_the_song(installation):
    path = synth.good_song(installation.folder / "bomb.flac", title="Bomb")
    song, picture = mutagen.flac.FLAC(path), mutagen.flac.Picture()
    picture.type, picture.mime = 3, "image/png"
    picture.data = synth.huge_picture(installation.folder / "bomb.png").read_bytes()
    song.add_picture(picture)
    song.save()
    job = installation.submit(path)
    assert installation.dispatch(job).success
    assert not list(installation.store.library("output").rglob("cover.jpg"))


def test_silent_song_is_accepted_and_flagged(installation):
    path = synth.write_flac(installation.folder / "silence.flac", synth.silence(3.0))
    job = installation.submit(path)
    result = installation.dispatch(job)
    assert result.success
    metadata = result.get_asset_materialization_events()[0].materialization.metadata
    assert metadata["silent"].value is True
