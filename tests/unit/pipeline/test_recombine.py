"""The room `recombined_track`: what is rendered, in which format, and what its checks say."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ironclad_assets.contracts.v1.base import AudioFormat, Levels, StagedAudio
from ironclad_assets.contracts.v1.formats import OutputFormat
from ironclad_assets.contracts.v1.options import JobOptions
from ironclad_assets.contracts.v1.recombined_track import RecombinedTrack
from ironclad_assets.contracts.v1.song_metadata import Artwork, SongMetadata
from ironclad_assets.contracts.v1.staged_chunks import EngineChoice, MixtureStatistics, StagedChunks
from ironclad_assets.contracts.v1.stems import Stem, Stems
from ironclad_assets.contracts.v1.validated_file import ValidatedFile
from ironclad_assets.errors import ErrorCode, IroncladError, JobCanceled
from ironclad_assets.pipeline.recombine import check_tracks, recombine
from ironclad_assets.sandbox.limits import Limits
from ironclad_assets.sandbox.watch import SilentWatch
from ironclad_assets.storage.hashing import record_file
from tests import synth

LEVELS = Levels(loudness_lufs=-20.0, true_peak_dbtp=-3.0, peak=0.5, rms=0.1)
NAMES = ("vocals", "drums")
CHOICE = EngineChoice(engine="spectral", version="1.0.0", model="default", stems=NAMES)


class Song:
    """A separated song of one second on disk."""

    def __init__(self, folder: Path, *, source_hz: int = 44_100, channels: int = 2, bit_depth: int | None = 16) -> None:
        self.folder = folder
        self.work = folder / "work"
        self.work.mkdir()
        parts = {name: synth.music(1.0, seed=seed) * np.float32(0.3) for seed, name in enumerate(NAMES)}
        for name, y in parts.items():
            synth.write_raw(folder / f"{name}.raw", y)
        synth.write_raw(folder / "mixture.raw", sum(parts.values()))
        mixture = StagedAudio(path="mixture.raw", sample_rate_hz=44_100, channels=2, frames=44_100)
        source = None
        if (source_hz, channels) != (44_100, 2):
            synth.write_raw(folder / "source.raw", synth.tone(1.0, sr=source_hz, channels=channels))
            source = StagedAudio(path="source.raw", sample_rate_hz=source_hz, channels=channels, frames=source_hz)
        audio = AudioFormat(sample_rate_hz=source_hz, channels=channels, frames=source_hz)
        self.staged = StagedChunks(
            original_sha256="0" * 64, engine=CHOICE, mixture=mixture, source=source, source_format=audio,
            statistics=MixtureStatistics(mean=0, std=1, peak=1, rms=1), chunks=(), silent=False,
        )  # fmt: skip
        self.stems = Stems(
            engine=CHOICE, device="cpu", residual_db=-100.0, mixture_levels=LEVELS,
            stems=tuple(Stem(name=name, audio=mixture.model_copy(update={"path": f"{name}.raw"}), levels=LEVELS)
                        for name in NAMES),
        )  # fmt: skip
        self.validated = ValidatedFile(
            archive_path="archive/x", original_name="x.flac", sha256="0" * 64, size_bytes=1, media_type="audio/flac",
            container="flac", codec="flac", bit_depth=bit_depth, lossless=bit_depth is not None, audio=audio, peak=0.5,
            silent=False,
        )  # fmt: skip
        self.metadata = SongMetadata(title="Run", artist="Ann", album="Far")

    def recombine(
        self, *, output: str = "flac", targets: tuple[str, ...] = ("instrumental",),
        wishes: dict[str, Any] | None = None, **more: Any,
    ) -> RecombinedTrack:  # fmt: skip
        return recombine(
            self.stems, stems_folder=self.folder, staged=self.staged, staged_folder=self.folder, metadata=self.metadata,
            metadata_folder=self.folder, validated=self.validated, work=self.work,
            options=JobOptions(targets=targets, format=OutputFormat(output), **(wishes or {})), **more,
        )  # fmt: skip

    def check(self, track: RecombinedTrack) -> dict[str, bool]:
        return {check.name: check.passed for check in check_tracks(track, staged=self.staged, metadata=self.metadata)}


def test_targets_and_every_stem_are_delivered_tagged(tmp_path: Path) -> None:
    """RECON-001"""
    song = Song(tmp_path)
    (tmp_path / "cover.jpg").write_bytes(b"\xff\xd8\xff cover")
    art = Artwork(
        file=record_file(tmp_path / "cover.jpg", base=tmp_path), media_type="image/jpeg", width_px=1, height_px=1
    )
    song.metadata = song.metadata.model_copy(update={"artwork": art})
    track = song.recombine(targets=("instrumental", "vocals"))
    assert [(one.name, one.kind, one.method, one.file.path) for one in track.tracks] == [
        ("instrumental", "target", "subtract", "targets/instrumental.flac"),
        ("vocals", "target", "sum", "targets/vocals.flac"),
        ("vocals", "stem", "sum", "stems/vocals.flac"),
        ("drums", "stem", "sum", "stems/drums.flac"),
    ]
    assert all(one.tags_embedded and one.art_embedded for one in track.tracks)
    assert track.tracks[2].levels.loudness_lufs == LEVELS.loudness_lufs
    assert song.check(track) == {"tracks_match_source": True, "tags_embedded": True, "art_embedded": True}
    for one in track.tracks:
        assert record_file(song.work / one.file.path, base=song.work) == one.file


@pytest.mark.parametrize(
    ("output", "bit_depth", "subtype"),
    [("flac", 16, "PCM_16"), ("flac", 8, "PCM_16"), ("flac", 24, "PCM_24"), ("flac", None, "PCM_24"),
     ("wav", 16, "PCM_24"), ("mp3", 16, "MPEG_LAYER_III")],
)  # fmt: skip
def test_the_depth_follows_the_source(tmp_path: Path, output: str, bit_depth: int | None, subtype: str) -> None:
    import soundfile

    song = Song(tmp_path, bit_depth=bit_depth)
    track = song.recombine(output=output)
    assert soundfile.info(song.work / track.tracks[0].file.path).subtype == subtype


@pytest.mark.parametrize(
    ("output", "wish", "subtype"),
    [("flac", "int16", "PCM_16"), ("flac", "int24", "PCM_24"), ("wav", "int16", "PCM_16"), ("wav", "int24", "PCM_24"),
     ("wav", "float32", "FLOAT")],
)  # fmt: skip
def test_a_sample_format_asked_for_is_delivered_and_recorded(
    tmp_path: Path, output: str, wish: str, subtype: str
) -> None:
    """STEM-001"""
    import soundfile

    song = Song(tmp_path, bit_depth=24)
    track = song.recombine(output=output, wishes={"sample_format": wish, "bitrate_kbps": 128})
    assert {soundfile.info(song.work / one.file.path).subtype for one in track.tracks} == {subtype}
    assert (track.sample_format, track.bitrate_kbps, track.warnings) == (wish, None, ())


@pytest.mark.parametrize(
    ("output", "source_hz", "wish", "kbps", "warned"),
    [("mp3", 44_100, None, 320, False), ("mp3", 44_100, 192, 192, False), ("mp3", 44_100, 200, 192, True),
     ("mp3", 22_050, 320, 160, True), ("m4a", 44_100, None, 256, False), ("m4a", 44_100, 192, 192, False),
     ("opus", 48_000, None, 192, False), ("opus", 48_000, 96, 96, False)],
)  # fmt: skip
def test_a_bit_rate_asked_for_is_delivered_or_the_next_below_with_a_warning(
    tmp_path: Path, output: str, source_hz: int, wish: int | None, kbps: int, warned: bool
) -> None:
    """STEM-001"""
    song = Song(tmp_path, source_hz=source_hz)
    track = song.recombine(output=output, wishes={"bitrate_kbps": wish, "sample_format": "float32"})
    assert (track.sample_format, track.bitrate_kbps) == (None, kbps)
    assert [f"has no {wish} kbit/s; the tracks have {kbps} kbit/s" in warning for warning in track.warnings] == (
        [True] if warned else []
    )


def test_a_sample_format_that_the_format_cannot_hold_is_refused(tmp_path: Path) -> None:
    song = Song(tmp_path)
    with pytest.raises(IroncladError, match="FLAC holds int16 or int24, not float32") as caught:
        song.recombine(output="flac", wishes={"sample_format": "float32"})
    assert caught.value.code is ErrorCode.UNKNOWN_FORMAT
    assert not list(song.work.iterdir())


def test_stems_are_delivered_as_chosen_and_the_residual_beside_them(tmp_path: Path) -> None:
    """STEM-001"""
    song = Song(tmp_path)
    track = song.recombine(wishes={"stems": ("drums",), "residual": True})
    assert [(one.name, one.kind, one.method, one.file.path) for one in track.tracks] == [
        ("instrumental", "target", "subtract", "targets/instrumental.flac"),
        ("drums", "stem", "sum", "stems/drums.flac"),
        ("residual", "stem", "subtract", "stems/residual.flac"),
    ]
    assert track.tracks[-1].levels.peak < 1e-6  # the test's stems leave nothing
    assert all(song.check(track).values())
    for old in song.work.rglob("*.flac"):
        old.unlink()
    assert [one.kind for one in song.recombine(wishes={"stems": ()}).tracks] == ["target"]


@pytest.mark.parametrize("output", ["m4a", "opus"])
def test_a_rate_that_a_lossy_format_cannot_hold_is_resampled_and_says_so(tmp_path: Path, output: str) -> None:
    """STEM-001"""
    song = Song(tmp_path, source_hz=192_000 if output == "m4a" else 44_100)
    track = song.recombine(output=output)
    rate, name = (96_000, "AAC") if output == "m4a" else (48_000, "Opus")
    if output == "m4a":
        assert {(one.audio.sample_rate_hz, one.audio.frames) for one in track.tracks} == {(rate, rate)}
    assert track.warnings[0].startswith(f"{name} cannot hold")
    assert song.check(track)["tracks_match_source"]


@pytest.mark.parametrize(("source_hz", "channels"), [(48_000, 2), (44_100, 1), (8_000, 1), (96_000, 2)])
def test_tracks_come_back_in_the_sources_format(tmp_path: Path, source_hz: int, channels: int) -> None:
    """RECON-001"""
    song = Song(tmp_path, source_hz=source_hz, channels=channels)
    track = song.recombine()
    assert {one.audio for one in track.tracks} == {song.staged.source_format}
    assert song.check(track)["tracks_match_source"]


def test_an_mp3_of_a_rate_it_cannot_hold_is_resampled_and_says_so(tmp_path: Path) -> None:
    song = Song(tmp_path, source_hz=96_000)
    track = song.recombine(output="mp3")
    assert {(one.audio.sample_rate_hz, one.audio.frames) for one in track.tracks} == {(48_000, 48_000)}
    assert track.warnings == ("MP3 cannot hold 96000 Hz; the tracks have 48000 Hz",)
    assert song.check(track)["tracks_match_source"]


def test_a_track_of_another_length_fails_its_check_and_blocks(tmp_path: Path) -> None:
    song = Song(tmp_path)
    track = song.recombine()
    short = track.tracks[0].model_copy(update={"audio": AudioFormat(sample_rate_hz=44_100, channels=2, frames=44_099)})
    (match, *_) = check_tracks(
        track.model_copy(update={"tracks": (short, *track.tracks[1:])}), staged=song.staged, metadata=song.metadata
    )
    assert (match.passed, match.blocking) == (False, True)
    assert "instrumental: 44099 frames" in match.detail


def test_missing_tags_or_art_fail_a_check_that_does_not_block(tmp_path: Path) -> None:
    song = Song(tmp_path)
    track = song.recombine()
    bare = track.model_copy(
        update={"tracks": tuple(one.model_copy(update={"tags_embedded": False}) for one in track.tracks)}
    )
    checks = check_tracks(bare, staged=song.staged, metadata=song.metadata)
    assert [(check.passed, check.blocking) for check in checks] == [(True, True), (False, False), (True, False)]
    assert not check_tracks(RecombinedTrack(tracks=(), gain_db=0.0), staged=song.staged, metadata=song.metadata)[
        0
    ].passed


def test_an_unknown_target_is_refused_before_anything_is_rendered(tmp_path: Path) -> None:
    song = Song(tmp_path)
    with pytest.raises(IroncladError) as caught:
        song.recombine(targets=("piano",))
    assert caught.value.code is ErrorCode.UNKNOWN_TARGET
    assert not list(song.work.iterdir())


def test_a_cancel_ends_the_rendering(tmp_path: Path) -> None:
    """JOB-002"""

    class Canceling(SilentWatch):
        def canceled(self) -> bool:
            return True

    with pytest.raises(JobCanceled):
        Song(tmp_path).recombine(watch=Canceling())


def test_a_file_above_its_limit_is_reported_as_such(tmp_path: Path) -> None:
    limits = Limits(cpu_s=20, memory_bytes=1024**3, wall_s=60, file_bytes=50_000)
    with pytest.raises(IroncladError) as caught:
        Song(tmp_path).recombine(limits=limits)
    assert caught.value.code is ErrorCode.LIMIT_DISK
