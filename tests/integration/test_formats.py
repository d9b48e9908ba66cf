"""From an uploaded file to delivered ones: rates, channels and lengths come back in every format.

The stems are made here from the staged mixture, so that what they must sum to is known; staging, mixing, encoding
and the library are the real ones, in their confined children.
"""

from dataclasses import dataclass
from pathlib import Path

import av
import numpy as np
import pytest
import soundfile as sf

from ironclad_assets.contracts.v1.base import Levels
from ironclad_assets.contracts.v1.engine import EngineModel
from ironclad_assets.contracts.v1.formats import OutputFormat, SampleFormat
from ironclad_assets.contracts.v1.job import SongIdentity
from ironclad_assets.contracts.v1.options import JobOptions
from ironclad_assets.contracts.v1.recombined_track import RecombinedTrack
from ironclad_assets.contracts.v1.song_metadata import SongMetadata
from ironclad_assets.contracts.v1.staged_chunks import EngineChoice
from ironclad_assets.contracts.v1.stems import Stem, Stems
from ironclad_assets.pipeline.organise import check_entry, organise
from ironclad_assets.pipeline.policy import Policy
from ironclad_assets.pipeline.recombine import check_tracks, recombine
from ironclad_assets.pipeline.stage import stage_song
from ironclad_assets.pipeline.validate import validate_file
from ironclad_assets.storage.store import Store
from tests import synth

ENGINE_HZ = 44_100
STEMS = ("vocals", "drums")
CHOICE = EngineChoice(engine="split", version="1", model="default", stems=STEMS)
LEVELS = Levels(loudness_lufs=-20.0, true_peak_dbtp=-3.0, peak=0.5, rms=0.1)
RATES_HZ = (22_050, 32_000, 44_100, 48_000, 88_200, 96_000, 192_000)
HIGHEST_HZ = {"mp3": 48_000, "m4a": 96_000}
CENTRE, LOW_FREQUENCY = 2, 3


@dataclass(frozen=True)
class Delivery:
    """What came out for one uploaded file."""

    track: RecombinedTrack
    folder: Path
    checks: dict[str, bool]
    source: synth.Signal

    def read(self, name: str, *, kind: str = "stem") -> synth.Signal:
        (one,) = (one for one in self.track.tracks if (one.name, one.kind) == (name, kind))
        return decode(self.folder / one.file.path)


def decode(path: Path) -> synth.Signal:
    """Return a delivered file as FFmpeg decodes it, in floating point."""
    if path.suffix in (".flac", ".wav"):
        return synth.read_audio(path)[0]
    with av.open(str(path)) as container:
        channels = container.streams.audio[0].codec_context.channels
        blocks = [frame.to_ndarray().reshape(-1, frame.samples if frame.format.is_planar else channels)
                  if frame.format.is_planar else frame.to_ndarray().reshape(-1, channels).T
                  for frame in container.decode(audio=0)]  # fmt: skip
    return np.concatenate(blocks, axis=1)


def deliver(
    store: Store, y: synth.Signal, *, sr: int, options: JobOptions, share: float = 0.4, extra: float = 0.0
) -> Delivery:
    """Bring `y` through staging, a split into two stems, and the mix.

    Args:
        share: of the mixture that the vocals get; the drums get the rest but for a tenth, which no stem holds.
        extra: level of a tone that is added to one stem and taken from the other, so that both are louder than
            the mixture.
    """
    original = store.archive / "original.wav"
    sf.write(original, y.T, sr, format="WAVEX" if y.shape[0] > 2 else "WAV", subtype="FLOAT")
    song = SongIdentity(
        song="song", user_id="local", original_name="x.wav", sha256="ab" * 32, size_bytes=original.stat().st_size,
        archive_path="archive/original.wav", uploaded_at="2026-01-01T00:00:00Z", door="test",
    )  # fmt: skip
    validated = validate_file(song, store=store, policy=Policy())
    work = store.stage("staged_chunks", "song").work("0" * 64)
    model = EngineModel(name="default", stems=STEMS, sample_rate_hz=ENGINE_HZ, channels=2)
    staged = stage_song(validated, choice=CHOICE, model=model, store=store, work=work, policy=Policy())
    mixture = synth.read_raw(work / staged.mixture.path, channels=2)
    tone = synth.tone(mixture.shape[1] / ENGINE_HZ, level=extra)[:, : mixture.shape[1]]
    parts = {"vocals": share * mixture + tone, "drums": (0.9 - share) * mixture - tone}
    folder = store.root / "separated"
    folder.mkdir()
    for name, part in parts.items():
        synth.write_raw(folder / f"{name}.raw", part.astype(np.float32))
    stems = Stems(
        engine=CHOICE, device="cpu", residual_db=-20.0, mixture_levels=LEVELS,
        stems=tuple(
            Stem(name=name, audio=staged.mixture.model_copy(update={"path": f"{name}.raw"}), levels=LEVELS)
            for name in STEMS
        ),
    )  # fmt: skip
    metadata = SongMetadata(title="Run", artist="Ann", album="Far", track_number=3)
    made = store.root / "made"
    made.mkdir()
    track = recombine(
        stems, stems_folder=folder, staged=staged, staged_folder=work, metadata=metadata, metadata_folder=folder,
        validated=validated, options=options, work=made,
    )  # fmt: skip
    checks = {check.name: check.passed for check in check_tracks(track, staged=staged, metadata=metadata)}
    return Delivery(track=track, folder=made, checks=checks, source=y)


@pytest.mark.parametrize("sr", RATES_HZ)
@pytest.mark.parametrize("output", list(OutputFormat))
def test_every_rate_comes_back_to_the_sample_in_every_format(store: Store, output: OutputFormat, sr: int) -> None:
    """STEM-001"""
    frames = sr + 137
    y = synth.tone(2.0, sr=sr, level=0.3)[:, :frames]
    made = deliver(store, y, sr=sr, options=JobOptions(format=output))
    rate = 48_000 if output is OutputFormat.OPUS else min(sr, HIGHEST_HZ.get(output.value, sr))
    want = frames if rate == sr else (2 * frames * rate + sr) // (2 * sr)
    assert made.checks["tracks_match_source"]
    assert {(one.audio.sample_rate_hz, one.audio.frames) for one in made.track.tracks} == {(rate, want)}
    assert (rate == sr) == (not made.track.warnings)
    back = made.read("vocals")
    assert back.shape == (2, want)
    middle = slice(rate // 5, want - rate // 5)
    time = np.arange(want) / rate
    wanted = 0.4 * 0.3 * np.sin(2 * np.pi * 440.0 * time)[middle]
    assert synth.rms_db(back[:, middle] - wanted) - synth.rms_db(wanted) < -25  # in step with the source


@pytest.mark.parametrize("output", list(OutputFormat))
def test_mono_comes_back_mono(store: Store, output: OutputFormat) -> None:
    """STEM-001"""
    y = synth.tone(1.0, sr=48_000, channels=1)
    made = deliver(store, y, sr=48_000, options=JobOptions(format=output))
    assert {one.audio.channels for one in made.track.tracks} == {1}
    assert made.read("instrumental", kind="target").shape == y.shape
    assert made.checks["tracks_match_source"]


@pytest.mark.parametrize("channels", [6, 8])
def test_a_voice_in_the_centre_of_surround_sound_is_delivered(store: Store, channels: int) -> None:
    """STEM-001: in a film's mix the voice is in the centre alone."""
    y = np.zeros((channels, 48_000), dtype=np.float32)
    y[CENTRE] = synth.tone(1.0, sr=48_000, channels=1, level=0.5)
    options = JobOptions(format=OutputFormat.WAV, sample_format=SampleFormat.FLOAT32, residual=True)
    made = deliver(store, y, sr=48_000, options=options)
    total = made.read("vocals") + made.read("drums") + made.read("residual")
    assert total.shape == (2, 48_000)
    wanted = np.sqrt(0.5) * np.stack([y[CENTRE], y[CENTRE]])
    assert synth.rms_db(total - wanted) < -120


def test_the_low_frequency_channel_alone_is_left_out(store: Store) -> None:
    """ITU-R BS.775: what it holds the main channels hold too; added to them it would boom."""
    y = np.zeros((6, 48_000), dtype=np.float32)
    y[LOW_FREQUENCY] = synth.tone(1.0, sr=48_000, channels=1, frequency_hz=60, level=0.5)
    y[0] = synth.tone(1.0, sr=48_000, channels=1, level=0.1)
    made = deliver(store, y, sr=48_000, options=JobOptions(format=OutputFormat.WAV))
    assert not made.read("vocals")[1].any()


@pytest.mark.parametrize(
    ("output", "sample_format", "limit_db"),
    [("wav", "float32", -120), ("wav", "int24", -120), ("flac", "int24", -120), ("flac", "int16", -85)],
)
@pytest.mark.parametrize("sr", [44_100, 48_000])
def test_stems_and_residual_sum_to_the_mixture(
    store: Store, output: str, sample_format: str, limit_db: float, sr: int
) -> None:
    """STEM-001: with engine and source at one rate and at two."""
    y = (synth.music(2.0, sr=sr) * 0.5).astype(np.float32)
    options = JobOptions(format=OutputFormat(output), sample_format=SampleFormat(sample_format), residual=True)
    made = deliver(store, y, sr=sr, options=options)
    assert [one.name for one in made.track.tracks] == ["instrumental", "vocals", "drums", "residual"]
    total = made.read("vocals") + made.read("drums") + made.read("residual")
    assert made.track.gain_db == 0.0
    assert synth.rms_db(total - y) < limit_db
    tenth = synth.rms_db(made.read("residual")) - synth.rms_db(y)
    assert tenth == pytest.approx(-20.0, abs=1.0)


@pytest.mark.parametrize("output", [output for output in OutputFormat if output is not OutputFormat.WAV])
def test_one_gain_for_all_where_a_stem_alone_passes_full_scale(store: Store, output: OutputFormat) -> None:
    """STEM-001: the mixture is quiet, both stems are beyond full scale; the mix of what is delivered stays the mix."""
    y = synth.tone(1.0, sr=48_000, level=0.2, frequency_hz=1000)
    options = JobOptions(format=output, residual=True)
    made = deliver(store, y, sr=48_000, options=options, extra=1.4)
    assert made.track.gain_db < -3.0
    gain = 10 ** (made.track.gain_db / 20)
    assert max(one.levels.peak for one in made.track.tracks if one.kind == "stem") <= 1.0 + 1e-6
    if output is OutputFormat.FLAC:
        assert np.abs(made.read("vocals")).max() <= 1.0
    total = made.read("vocals") + made.read("drums") + made.read("residual")
    middle = slice(4_800, -4_800)
    # The stems are 14 dB louder than what remains of them, and lossy codecs err in proportion.
    limit_db = -100 if output is OutputFormat.FLAC else -10
    assert synth.rms_db((total - y * gain)[:, middle]) - synth.rms_db(y * gain) < limit_db


def test_float_files_keep_what_passes_full_scale_and_say_so(store: Store) -> None:
    """STEM-001"""
    y = synth.tone(1.0, level=0.2, frequency_hz=1000)
    options = JobOptions(format=OutputFormat.WAV, sample_format=SampleFormat.FLOAT32, residual=True)
    made = deliver(store, y, sr=44_100, options=options, extra=1.4)
    assert made.track.gain_db == 0.0
    assert np.abs(made.read("vocals")).max() > 1.4
    assert any("above full scale; float WAV keeps it" in warning for warning in made.track.warnings)
    total = made.read("vocals") + made.read("drums") + made.read("residual")
    assert synth.rms_db(total - y) < -120


@pytest.mark.parametrize("output", list(OutputFormat))
def test_the_library_takes_every_format_under_a_name_that_players_know(store: Store, output: OutputFormat) -> None:
    options = JobOptions(format=output, stems=("drums",), residual=True)
    made = deliver(store, synth.tone(1.0), sr=44_100, options=options)
    metadata = SongMetadata(title="Run", artist="Ann", album="Far", track_number=3)
    entry = organise(
        made.track, track_folder=made.folder, metadata=metadata, metadata_folder=made.folder, previous=None,
        store=store, song="song",
    )  # fmt: skip
    assert sorted(item.file.path for item in entry.files) == sorted(
        [
            f"Ann/Far (Instrumental)/03 - Run (Instrumental).{output}",
            f"Ann/Far (Stems)/03 - Run (Drums).{output}",
            f"Ann/Far (Stems)/03 - Run (Residual).{output}",
        ]
    )
    assert all(check.passed for check in check_entry(entry, store=store))
    for item in entry.files:
        assert decode(store.library(item.root) / item.file.path).shape[0] == 2


@pytest.mark.parametrize("output", list(OutputFormat))
def test_delivering_twice_gives_equal_bytes(tmp_path: Path, output: OutputFormat) -> None:
    """SPLIT-006"""
    digests = []
    for name in ("one", "two"):
        store = Store(tmp_path / name, reserve_bytes=0)
        store.create()
        made = deliver(store, synth.tone(1.0), sr=44_100, options=JobOptions(format=output))
        digests.append([one.file.sha256 for one in made.track.tracks])
    assert digests[0] == digests[1]
