"""The file for DJ programs, from the options of a job to its place in the library, through the confined children."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
import soundfile as sf
from mutagen.mp4 import MP4

from ironclad_assets.audio.stem_mp4_atom import read_stem_atom
from ironclad_assets.contracts.v1.base import AudioFormat, Levels
from ironclad_assets.contracts.v1.engine import EngineModel
from ironclad_assets.contracts.v1.formats import OutputFormat, SampleFormat
from ironclad_assets.contracts.v1.job import JobState, SongIdentity
from ironclad_assets.contracts.v1.library_entry import LibraryEntry
from ironclad_assets.contracts.v1.options import JobOptions
from ironclad_assets.contracts.v1.recombined_track import RecombinedTrack, Track
from ironclad_assets.contracts.v1.song_metadata import SongMetadata
from ironclad_assets.contracts.v1.staged_chunks import EngineChoice
from ironclad_assets.contracts.v1.stems import Stem, Stems
from ironclad_assets.errors import Refusal
from ironclad_assets.io_managers.contract_io_manager import CONTRACTS
from ironclad_assets.pipeline.organise import check_entry, organise
from ironclad_assets.pipeline.policy import Policy
from ironclad_assets.pipeline.recombine import check_tracks, recombine
from ironclad_assets.pipeline.stage import stage_song
from ironclad_assets.pipeline.validate import validate_file
from ironclad_assets.resources.engines import Engines
from ironclad_assets.storage.artifacts import read_manifest
from ironclad_assets.storage.store import Store
from tests import synth
from tests.integration.conftest import Installation

ENGINE_HZ = 44_100
FOUR = ("drums", "bass", "other", "vocals")
SIX = (*FOUR, "guitar", "piano")
SHARES = {"drums": 0.3, "bass": 0.2, "other": 0.1, "vocals": 0.15, "guitar": 0.05, "piano": 0.05}
"""What of the mixture each stem gets; the rest is in no stem."""

METADATA = SongMetadata(title="Run", artist="Ann", album="Far", track_number=3)
LEVELS = Levels(loudness_lufs=-20.0, true_peak_dbtp=-3.0, peak=0.5, rms=0.1)


@dataclass(frozen=True)
class Delivery:
    track: RecombinedTrack
    folder: Path
    checks: dict[str, bool]

    @property
    def file(self) -> Track:
        (one,) = (one for one in self.track.tracks if one.kind == "dj_stems")
        return one

    def streams(self) -> list[synth.Signal]:
        return decode(self.folder / self.file.file.path)


def decode(path: Path) -> list[synth.Signal]:
    streams = []
    for number in range(5):
        with av.open(str(path)) as container:
            streams.append(np.concatenate([frame.to_ndarray() for frame in container.decode(audio=number)], axis=1))
    return streams


def deliver(
    store: Store, y: synth.Signal, *, sr: int, names: tuple[str, ...] = FOUR, extra: float = 0.0, **options: Any
) -> Delivery:
    """Bring `y` through staging, a split by `SHARES`, and the mix; a tone of level `extra` goes from bass to drums."""
    original = store.archive / "original.wav"
    sf.write(original, y.T, sr, format="WAV", subtype="FLOAT")
    song = SongIdentity(
        song="song", user_id="local", original_name="x.wav", sha256="ab" * 32, size_bytes=original.stat().st_size,
        archive_path="archive/original.wav", uploaded_at="2026-01-01T00:00:00Z", door="test",
    )  # fmt: skip
    validated = validate_file(song, store=store, policy=Policy())
    work = store.stage("staged_chunks", "song").work("0" * 64)
    model = EngineModel(name="default", stems=names, sample_rate_hz=ENGINE_HZ, channels=2)
    choice = EngineChoice(engine="split", version="1", model="default", stems=names)
    staged = stage_song(validated, choice=choice, model=model, store=store, work=work, policy=Policy())
    mixture = synth.read_raw(work / staged.mixture.path, channels=2)
    tone = synth.tone(mixture.shape[1] / ENGINE_HZ + 0.1, level=extra)[:, : mixture.shape[1]]
    folder = store.root / "separated"
    folder.mkdir()
    for name in names:
        part = SHARES[name] * mixture + {"drums": tone, "bass": -tone}.get(name, np.float32(0))
        synth.write_raw(folder / f"{name}.raw", part.astype(np.float32))
    stems = Stems(
        engine=choice, device="cpu", residual_db=-20.0, mixture_levels=LEVELS,
        stems=tuple(
            Stem(name=name, audio=staged.mixture.model_copy(update={"path": f"{name}.raw"}), levels=LEVELS)
            for name in names
        ),
    )  # fmt: skip
    made = store.root / "made"
    made.mkdir()
    track = recombine(
        stems, stems_folder=folder, staged=staged, staged_folder=work, metadata=METADATA, metadata_folder=folder,
        validated=validated, options=JobOptions(dj_stems=True, **options), work=made,
    )  # fmt: skip
    checks = {check.name: check.passed for check in check_tracks(track, staged=staged, metadata=METADATA)}
    return Delivery(track=track, folder=made, checks=checks)


def error_db(back: synth.Signal, wanted: synth.Signal) -> float:
    return synth.rms_db(back - wanted) - synth.rms_db(wanted)


@pytest.mark.parametrize("names", [FOUR, SIX], ids=["four stems", "six stems"])
def test_the_four_streams_add_up_to_the_song_whatever_the_engine_makes(store: Store, names: tuple[str, ...]) -> None:
    """STEM-001: other stems of the engine, and what is in none, are heard in the stream of everything else."""
    y = (synth.music(3.0) * 0.5).astype(np.float32)
    made = deliver(store, y, sr=44_100, names=names)
    assert made.checks["tracks_match_source"]
    assert made.checks["tags_embedded"]
    assert (made.file.name, made.file.format, made.file.extension) == ("dj_stems", OutputFormat.M4A, "stem.mp4")
    assert made.file.audio == AudioFormat(sample_rate_hz=44_100, channels=2, frames=y.shape[1])
    mixdown, drums, bass, other, vocals = made.streams()
    assert mixdown.shape == y.shape
    assert error_db(mixdown, y) < -25
    for back, share in ((drums, 0.3), (bass, 0.2), (other, 0.35), (vocals, 0.15)):
        assert error_db(back, np.float32(share) * y) < -25
    assert error_db(drums + bass + other + vocals, mixdown) < -25
    assert made.file.levels.peak == pytest.approx(float(np.abs(y).max()), abs=1e-4)


@pytest.mark.parametrize(
    ("sr", "rate"), [(22_050, 44_100), (32_000, 48_000), (48_000, 48_000), (88_200, 44_100), (96_000, 48_000)]
)
def test_the_rate_is_one_that_every_dj_program_reads(store: Store, sr: int, rate: int) -> None:
    frames = sr + 137
    made = deliver(store, synth.tone(2.0, sr=sr, level=0.3)[:, :frames], sr=sr)
    want = (2 * frames * rate + sr) // (2 * sr)
    assert made.checks["tracks_match_source"]
    assert made.file.audio == AudioFormat(sample_rate_hz=rate, channels=2, frames=want)
    assert {one.audio.sample_rate_hz for one in made.track.tracks if one.kind != "dj_stems"} == {sr}
    streams = made.streams()
    assert [one.shape for one in streams] == [(2, want)] * 5
    wanted = 0.3 * np.sin(2 * np.pi * 440.0 * np.arange(want) / rate)
    middle = slice(rate // 5, want - rate // 5)
    assert synth.rms_db(streams[0][:, middle] - wanted[middle]) - synth.rms_db(wanted[middle]) < -25


def test_a_mono_song_is_stereo_for_djs_and_mono_beside_it(store: Store) -> None:
    made = deliver(store, synth.tone(1.0, channels=1, level=0.3), sr=44_100)
    assert {one.audio.channels for one in made.track.tracks if one.kind != "dj_stems"} == {1}
    assert made.checks["tracks_match_source"]
    left, right = made.streams()[0]
    assert np.abs(left - right).max() < 1e-3


@pytest.mark.parametrize("output", ["flac", "mp3"])
def test_one_gain_is_common_to_the_file_and_the_tracks_beside_it(store: Store, output: str) -> None:
    """STEM-001: drums and bass are beyond full scale where the song is quiet."""
    y = synth.tone(1.0, level=0.2, frequency_hz=1000)
    made = deliver(store, y, sr=44_100, extra=1.4, stems=(), format=OutputFormat(output))
    gain = 10 ** (made.track.gain_db / 20)
    assert made.track.gain_db < -2.9
    middle = slice(4_410, -4_410)
    mixdown, drums, *_ = made.streams()
    assert error_db(mixdown[:, middle], (y * gain)[:, middle]) < -25
    assert np.abs(drums).max() < 1.03  # what AAC adds
    instrumental = next(one for one in made.track.tracks if one.kind == "target")
    with av.open(str(made.folder / instrumental.file.path)) as container:
        peak = max(np.abs(frame.to_ndarray()).max() / (2**31 if frame.format.name == "s32" else 1)
                   for frame in container.decode(audio=0))  # fmt: skip
    assert peak == pytest.approx(0.85 * 0.2 * gain, rel=0.05)


def test_float_files_keep_their_level_and_the_dj_file_says_how_much_it_lost(store: Store) -> None:
    y = synth.tone(1.0, level=0.2, frequency_hz=1000)
    made = deliver(
        store, y, sr=44_100, extra=1.4, format=OutputFormat.WAV, sample_format=SampleFormat.FLOAT32, stems=("drums",)
    )
    assert made.track.gain_db == 0.0
    (said,) = (text for text in made.track.warnings if "DJ programs" in text)
    lost_db = float(said.split(" is ")[1].split(" dB")[0])
    assert 2.9 < lost_db < 3.6
    middle = slice(4_410, -4_410)
    assert error_db(made.streams()[0][:, middle], (y * 10 ** (-lost_db / 20))[:, middle]) < -25
    assert made.file.levels.peak == pytest.approx(0.2 * 10 ** (-lost_db / 20), rel=0.01)


def test_a_silent_song_has_a_silent_file(store: Store) -> None:
    made = deliver(store, synth.silence(1.0), sr=44_100)
    assert made.checks["tracks_match_source"]
    assert made.file.levels.loudness_lufs is None
    assert not any(one.any() for one in made.streams())


def test_the_library_files_it_under_the_songs_own_title_among_the_stems(store: Store) -> None:
    """ORG-001"""
    made = deliver(store, synth.tone(1.0), sr=44_100, stems=("drums",))
    entries = []
    for song in ("one", "two", "two"):
        entry = organise(
            made.track, track_folder=made.folder, metadata=METADATA, metadata_folder=made.folder,
            previous=entries[-1] if song == "two" and len(entries) > 1 else None, store=store, song=song,
        )  # fmt: skip
        entries.append(entry)
        assert all(check.passed for check in check_entry(entry, store=store))
    paths = [next(item for item in entry.files if item.role == "dj_stems").file.path for entry in entries]
    assert paths[0] == "Ann/Far (Stems)/03 - Run.stem.mp4"
    assert paths[1] == paths[2] == "Ann/Far (Stems)/03 - Run (2).stem.mp4"
    assert {item.root for item in entries[0].files if item.role == "dj_stems"} == {"output-stems"}
    tags = MP4(store.library("output-stems") / paths[0])
    assert (tags["\xa9nam"], tags["\xa9alb"]) == (["Run"], ["Far (Stems)"])
    assert tags["----:com.apple.iTunes:STEM"] == [b"dj_stems"]


def test_delivering_twice_gives_equal_bytes(tmp_path: Path) -> None:
    """SPLIT-006"""
    digests = []
    for name in ("one", "two"):
        store = Store(tmp_path / name, reserve_bytes=0)
        store.create()
        digests.append(deliver(store, synth.music(1.0) * np.float32(0.5), sr=44_100, stems=()).file.file.sha256)
    assert digests[0] == digests[1]


QUARTERS_MANIFEST = """
name = "quarters"
version = "1.0.0"
kind = "separation"
protocol = 1
description = "Four quarters of the mixture"
licence = "MIT"
entry = "quarters_engine:Quarters"
environment = "core"
default_model = "quarter"
devices = ["cpu"]

[[models]]
name = "quarter"
description = "No weights"
stems = ["drums", "bass", "other", "vocals"]
sample_rate_hz = 44100
channels = 2
"""

QUARTERS_MODULE = """
import numpy as np
from ironclad_harness.engine import Pass


class Quarters:
    def __init__(self, context):
        self._window = 2 * context.sample_rate_hz

    def passes(self):
        return (Pass(window=self._window, hop=self._window),)

    def separate(self, y, *, window):
        return np.stack([y * np.float32(share) for share in (0.4, 0.3, 0.2, 0.1)])
"""


def install_quarters(engines: Path) -> None:
    folder = engines / "quarters"
    folder.mkdir()
    (folder / "engine.toml").write_text(QUARTERS_MANIFEST, encoding="utf-8")
    (folder / "quarters_engine.py").write_text(QUARTERS_MODULE, encoding="utf-8")


def entry_of(installation: Installation, song: str) -> LibraryEntry:
    manifest = read_manifest(installation.store.stage("library_entry", song))
    return CONTRACTS["library_entry"].model_validate(manifest.payload)


def test_a_job_that_asks_for_it_gets_it(installation: Installation) -> None:
    """STEM-001: the option travels from the job through the graph into the library."""
    install_quarters(installation.folder / "engines")
    job = installation.song(engine="quarters", dj_stems=True, stems=())
    assert installation.dispatch(job).success
    entry = entry_of(installation, job.song)
    assert sorted(item.role for item in entry.files) == ["dj_stems", "target"]
    (item,) = (item for item in entry.files if item.role == "dj_stems")
    path = installation.store.library(item.root) / item.file.path
    assert path.name == "song.stem.mp4"
    with path.open("rb") as file:
        assert read_stem_atom(file)["version"] == 1
    mixdown, *stems = map(synth.rms_db, decode(path))
    assert stems == pytest.approx([mixdown + 20 * np.log10(share) for share in (0.4, 0.3, 0.2, 0.1)], abs=0.5)
    assert installation.ledger.job(job.job_uuid).resolved.dj_stems


def test_an_engine_without_the_stems_refuses_at_submission(installation: Installation) -> None:
    """The code is published, and the words say what the engine makes."""
    engines = Engines(installation.settings)
    with pytest.raises(Refusal, match=r"needs drums, bass; the engine makes vocals, other") as caught:
        engines.choose(JobOptions(engine="halves", dj_stems=True))
    assert caught.value.code.code == "unknown_target"
    job = installation.song(dj_stems=True)
    installation.dispatch(job)
    ended = installation.ledger.job(job.job_uuid)
    assert ended.state is JobState.FAILED
    assert ended.error is not None
    assert ended.error.code == "unknown_target"


def test_a_users_default_is_passed_over_where_the_engine_cannot_meet_it(installation: Installation) -> None:
    installation.ledger.set_user_defaults("local", JobOptions(dj_stems=True))
    job = installation.song()
    assert installation.dispatch(job).success
    assert {item.role for item in entry_of(installation, job.song).files} == {"target", "stem"}
