"""Rendering tracks: exact length and rate, one gain, streams of equal bytes, tags that read back."""

import base64
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
import soundfile as sf
from mutagen.flac import FLAC, Picture
from mutagen.id3 import ID3
from mutagen.mp4 import MP4
from mutagen.oggopus import OggOpus
from mutagen.wave import WAVE

from ironclad_assets.audio import delivered, lossless, mixing, recombine
from ironclad_assets.audio.artwork import make_cover
from ironclad_assets.audio.embed import make_sheet, read_back, write_tags
from ironclad_assets.audio.recombine import render_tracks
from ironclad_assets.audio.resample import StreamResampler
from tests import synth

Signal = synth.Signal
TAGS = {
    "TITLE": ["Ærø (Instrumental)"], "GENRE": ["Folk", "Dub"], "STEM": ["instrumental"], "TRACKNUMBER": ["3"],
    "TRACKTOTAL": ["12"], "MUSICBRAINZ_ARTISTID": ["x"], "COMMENT": ["c"], "LYRICS": ["la\nla"], "DATE": ["1999"],
}  # fmt: skip


class Rendering:
    """A rendering request in the making, with its files in a folder of its own."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.inputs: dict[str, Any] = {}
        self.tracks: list[dict[str, Any]] = []
        self.cover: dict[str, Any] | None = None
        self.messages: list[float] = []

    def add_input(self, name: str, y: Signal, *, sr: int = synth.SR) -> None:
        path = synth.write_raw(self.folder / f"{name}.raw", y)
        self.inputs[name] = {"path": str(path), "sample_rate_hz": sr, "channels": y.shape[0]}

    def add_track(
        self, name: str, *, add: tuple[str, ...], subtract: tuple[str, ...] = (), end: str = "flac", **more: Any
    ) -> None:
        track = {"name": name, "path": f"targets/{name}.{end}", "add": list(add), "subtract": list(subtract)}
        self.tracks.append({**track, "levels": None, "tags": TAGS, **more})

    def render(
        self, *, frames: int, sr: int = synth.SR, channels: int = 2, kind: str = "flac",
        sample_format: str | None = "int24", threads: int = 2,
    ) -> Any:  # fmt: skip
        return render_tracks(
            lambda fraction, _message: self.messages.append(fraction),
            request={
                "inputs": self.inputs, "tracks": self.tracks, "folder": str(self.folder), "cover": self.cover,
                "format": kind, "sample_format": sample_format if kind in ("flac", "wav") else None,
                "bitrate_kbps": None, "threads": threads,
                "audio": {"sample_rate_hz": sr, "channels": channels, "frames": frames},
            },
        )  # fmt: skip

    def read(self, name: str, *, end: str = "flac") -> tuple[Signal, int]:
        return synth.read_audio(self.folder / "targets" / f"{name}.{end}")


@pytest.fixture
def rendering(tmp_path: Path) -> Rendering:
    return Rendering(tmp_path)


def test_mixture_minus_vocals_and_stems_are_rendered_to_the_sample(rendering: Rendering) -> None:
    voice, band = synth.tone(2.0, level=0.2), synth.music(2.0) * np.float32(0.5)
    above = synth.tone(2.0, frequency_hz=19_000, level=0.05)  # what no stem holds
    rendering.add_input("mixture", voice + band + above)
    rendering.add_input("vocals", voice)
    rendering.add_input("drums", band)
    rendering.add_track("instrumental", add=("mixture",), subtract=("vocals",))
    rendering.add_track("sum", add=("vocals", "drums"))
    found = rendering.render(frames=88_200)
    assert synth.rms_db(rendering.read("instrumental")[0] - (band + above)) < -130
    assert synth.rms_db(rendering.read("sum")[0] - (band + voice)) < -130
    assert found["gain_db"] == 0.0
    assert [(one["frames"], one["sample_rate_hz"], one["channels"]) for one in found["tracks"]] == [
        (88_200, 44_100, 2)
    ] * 2
    assert found["tracks"][0]["levels"]["peak"] == pytest.approx(float(np.abs(band + above).max()), abs=1e-5)


def test_stems_of_16_bit_sum_to_the_mixture(rendering: Rendering) -> None:
    parts = {name: synth.music(2.0, seed=seed) * np.float32(0.2) for seed, name in enumerate(("a", "b", "c", "d"))}
    for name, y in parts.items():
        rendering.add_input(name, y)
        rendering.add_track(name, add=(name,))
    rendering.render(frames=88_200, sample_format="int16")
    mixture = sum(parts.values())
    total = sum(rendering.read(name)[0] for name in parts)
    assert synth.rms_db(total - mixture) - synth.rms_db(mixture) < -70


@pytest.mark.parametrize("kind", ["flac", "wav", "mp3"])
def test_one_gain_keeps_every_track_below_full_scale(rendering: Rendering, kind: str) -> None:
    loud, soft = synth.tone(1.0, level=1.6), synth.tone(1.0, frequency_hz=300, level=0.1)
    rendering.add_input("loud", loud)
    rendering.add_input("soft", soft)
    rendering.add_track("loud", add=("loud",), end=kind)
    rendering.add_track("soft", add=("soft",), end=kind)
    found = rendering.render(frames=44_100, kind=kind)
    assert found["gain_db"] == pytest.approx(-20 * np.log10(1.6), abs=0.011)
    gain = 10 ** (found["gain_db"] / 20)
    limit = -60 if kind == "mp3" else -120
    assert np.abs(rendering.read("loud", end=kind)[0]).max() <= 1.0
    assert synth.rms_db(rendering.read("loud", end=kind)[0] - loud * gain) < limit
    assert synth.rms_db(rendering.read("soft", end=kind)[0] - soft * gain) < limit


def test_an_overshoot_in_the_last_sample_is_found(rendering: Rendering) -> None:
    y = synth.tone(6.0, level=0.5)
    y[1, -1] = -2.0
    rendering.add_input("a", y)
    rendering.add_track("a", add=("a",))
    assert rendering.render(frames=y.shape[1])["gain_db"] == -6.03
    assert rendering.read("a")[0].min() == pytest.approx(-1.0, abs=2e-3)


@pytest.mark.parametrize(
    ("engine_hz", "source_hz"), [(44_100, 48_000), (44_100, 96_000), (44_100, 22_050), (48_000, 44_100)]
)
def test_stems_come_back_to_the_sources_rate_and_length(rendering: Rendering, engine_hz: int, source_hz: int) -> None:
    frames = 2 * source_hz + 7
    source = synth.tone(3.0, sr=source_hz, level=0.3)[:, :frames]
    stem = synth.tone(3.0, sr=engine_hz, level=0.3)[:, : round(frames * engine_hz / source_hz)]
    rendering.add_input("mixture", source, sr=source_hz)
    rendering.add_input("vocals", stem, sr=engine_hz)
    rendering.add_track("instrumental", add=("mixture",), subtract=("vocals",))
    rendering.add_track("vocals", add=("vocals",))
    rendering.render(frames=frames, sr=source_hz)
    y, sr = rendering.read("vocals")
    assert (y.shape, sr) == ((2, frames), source_hz)
    middle = slice(source_hz // 10, frames - source_hz // 10)
    assert synth.rms_db((y - source)[:, middle]) < -100
    assert synth.rms_db(rendering.read("instrumental")[0][:, middle]) < -100


def test_resampling_in_blocks_equals_resampling_at_once(rendering: Rendering, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mixing, "BLOCK_FRAMES", 1000)
    monkeypatch.setattr(recombine, "BLOCK_FRAMES", 1000)
    y = synth.music(1.0) * np.float32(0.5)
    rendering.add_input("a", y)
    rendering.add_track("a", add=("a",))
    rendering.render(frames=48_000, sr=48_000)
    resampler = StreamResampler(from_hz=44_100, to_hz=48_000, channels=2)
    whole = np.concatenate((resampler.add(y.T), resampler.finish())).T
    assert synth.rms_db(rendering.read("a")[0] - whole) < -130


@pytest.mark.parametrize(("stored", "wanted"), [(2, 1), (1, 2)])
def test_channels_come_back_to_the_sources(rendering: Rendering, stored: int, wanted: int) -> None:
    y = synth.tone(0.5, channels=stored)
    rendering.add_input("a", y)
    rendering.add_track("a", add=("a",))
    rendering.render(frames=22_050, channels=wanted)
    made, _ = rendering.read("a")
    assert made.shape == (wanted, 22_050)
    assert synth.rms_db(made - y[:1]) < -130


def test_a_stem_that_ends_early_is_continued_with_silence(rendering: Rendering) -> None:
    rendering.add_input("a", synth.tone(0.5))
    rendering.add_track("a", add=("a",))
    rendering.render(frames=44_100)
    made, _ = rendering.read("a")
    assert made.shape[1] == 44_100
    assert not made[:, 22_050:].any()


def test_known_levels_of_a_stem_are_moved_by_the_gain(rendering: Rendering) -> None:
    known = {"loudness_lufs": -10.0, "true_peak_dbtp": 6.1, "peak": 2.0, "rms": 1.0}
    rendering.add_input("a", synth.tone(0.5, level=2.0))
    rendering.add_track("a", add=("a",), levels=known)
    found = rendering.render(frames=22_050)
    levels, gain_db = found["tracks"][0]["levels"], found["gain_db"]
    assert levels["loudness_lufs"] == pytest.approx(-10.0 + gain_db)
    assert levels["true_peak_dbtp"] == pytest.approx(6.1 + gain_db)
    assert levels["peak"] == pytest.approx(1.0, abs=2e-3)


def test_silence_has_no_loudness(rendering: Rendering) -> None:
    rendering.add_input("a", synth.silence(0.5))
    rendering.add_track("a", add=("a",))
    levels = rendering.render(frames=22_050)["tracks"][0]["levels"]
    assert (levels["loudness_lufs"], levels["true_peak_dbtp"], levels["peak"]) == (None, None, 0.0)


def with_cover(rendering: Rendering) -> bytes:
    cover = make_cover(synth.png(rendering.folder / "p.png", size_px=600).read_bytes())
    (rendering.folder / "cover.jpg").write_bytes(cover.data)
    rendering.cover = {"path": str(rendering.folder / "cover.jpg"), "width_px": 600, "height_px": 600}
    return cover.data


@pytest.mark.parametrize("kind", ["flac", "wav", "mp3", "m4a", "opus"])
def test_tags_and_art_are_embedded_and_read_back(rendering: Rendering, kind: str) -> None:
    """META-001, RECON-001"""
    art = with_cover(rendering)
    rendering.add_input("a", synth.tone(0.5, sr=48_000), sr=48_000)
    rendering.add_track("a", add=("a",), end=kind)
    found = rendering.render(frames=24_000, sr=48_000, kind=kind)
    assert (found["tracks"][0]["tags_embedded"], found["tracks"][0]["art_embedded"]) == (True, True)
    path = rendering.folder / "targets" / f"a.{kind}"
    if kind in ("flac", "opus"):
        comments = FLAC(path) if kind == "flac" else OggOpus(path)
        assert comments["stem"] == ["instrumental"]
        assert comments["genre"] == ["Folk", "Dub"]
        blocks = (
            FLAC(path).pictures
            if kind == "flac"
            else [Picture(base64.b64decode(text)) for text in comments["metadata_block_picture"]]
        )
        assert [block.data for block in blocks] == [art]
        assert path.read_bytes()[:4] == (b"fLaC" if kind == "flac" else b"OggS")
        return
    if kind == "m4a":
        atoms = MP4(path)
        assert (atoms["\xa9nam"], atoms["trkn"]) == (["Ærø (Instrumental)"], [(3, 12)])
        assert atoms["\xa9gen"] == ["Folk", "Dub"]
        assert atoms["----:com.apple.iTunes:STEM"] == [b"instrumental"]
        assert atoms["----:com.apple.iTunes:MusicBrainz Artist Id"] == [b"x"]
        assert [bytes(cover) for cover in atoms["covr"]] == [art]
        return
    tags = ID3(path) if kind == "mp3" else WAVE(path).tags
    assert str(tags["TIT2"]) == "Ærø (Instrumental)"
    assert str(tags["TRCK"]) == "3/12"
    assert tags["TCON"].genres == ["Folk", "Dub"]
    assert str(tags["TXXX:STEM"]) == "instrumental"
    assert str(tags["TXXX:MusicBrainz Artist Id"]) == "x"
    assert str(tags.getall("USLT")[0]) == "la\nla"
    assert tags.getall("APIC")[0].data == art
    assert tags.version == (2, 4, 0)


def test_a_failure_of_tags_is_a_warning_and_the_track_stays_playable(
    rendering: Rendering, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_args: object, **_kwargs: object) -> None:
        raise delivered.MutagenError("no room")

    monkeypatch.setattr(delivered, "write_tags", refuse)
    with_cover(rendering)
    rendering.add_input("a", synth.tone(0.5))
    rendering.add_track("a", add=("a",))
    found = rendering.render(frames=22_050)
    assert found["warnings"] == ["a: the tags could not be written (no room)"]
    assert (found["tracks"][0]["tags_embedded"], found["tracks"][0]["art_embedded"]) == (False, False)
    assert found["tracks"][0]["frames"] == 22_050


@pytest.mark.parametrize("kind", ["flac", "wav", "mp3", "m4a", "opus"])
def test_the_number_of_threads_does_not_show_in_the_bytes(tmp_path: Path, kind: str) -> None:
    """RECON-001, SPLIT-006"""
    contents = []
    for threads in (1, 4):
        folder = tmp_path / str(threads)
        folder.mkdir()
        rendering = Rendering(folder)
        for number in range(6):
            rendering.add_input(f"a{number}", synth.music(4.0, seed=number, sr=48_000)[:, : 150_000 + number])
            rendering.add_track(f"a{number}", add=(f"a{number}",), end=kind)
        found = rendering.render(frames=180_000, sr=48_000, kind=kind, threads=threads)
        files = [(folder / "targets" / f"a{number}.{kind}").read_bytes() for number in range(6)]
        contents.append((files, found))
    assert contents[0] == contents[1]
    assert len(set(contents[0][0])) == 6


@pytest.mark.parametrize("kind", ["flac", "m4a"])
def test_a_full_disk_ends_the_rendering_with_the_disks_error(rendering: Rendering, kind: str) -> None:
    for name in ("a", "b", "c"):
        rendering.add_input(name, synth.noise(10.0))
        rendering.add_track(name, add=(name,), end=kind)
    (rendering.folder / "targets").mkdir()
    (rendering.folder / "targets" / f"b.{kind}").symlink_to("/dev/full")
    with pytest.raises(OSError, match="No space left"):
        rendering.render(frames=441_000, kind=kind, threads=3)


@pytest.mark.parametrize("kind", ["flac", "wav", "mp3", "m4a", "opus"])
def test_rendering_twice_gives_equal_bytes(tmp_path: Path, kind: str) -> None:
    """RECON-001: nothing in a delivered file depends on when or where it was made."""
    contents = []
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        rendering = Rendering(tmp_path / name)
        with_cover(rendering)
        rendering.add_input("a", synth.music(1.0, sr=48_000), sr=48_000)
        rendering.add_track("a", add=("a",), end=kind)
        rendering.render(frames=48_000, sr=48_000, kind=kind)
        contents.append((tmp_path / name / "targets" / f"a.{kind}").read_bytes())
    assert contents[0] == contents[1]


@pytest.mark.parametrize("frames", [22_050, 44_100, 100_001, 1152 * 40])
def test_an_mp3_decodes_to_the_sources_frames_in_step_with_it(rendering: Rendering, frames: int) -> None:
    y = synth.music(3.0)[:, :frames] * np.float32(0.5)
    rendering.add_input("a", y)
    rendering.add_track("a", add=("a",), end="mp3")
    rendering.render(frames=frames, kind="mp3")
    made, _ = rendering.read("a", end="mp3")
    assert made.shape == y.shape
    assert synth.rms_db(made - y) - synth.rms_db(y) < -20
    with av.open(str(rendering.folder / "targets" / "a.mp3")) as container:  # a second decoder says the same
        decoded = np.concatenate([frame.to_ndarray() for frame in container.decode(audio=0)], axis=1)
    assert decoded.shape[1] == frames
    assert synth.rms_db(decoded - y) - synth.rms_db(y) < -20


def test_progress_only_rises_and_ends_at_one(rendering: Rendering) -> None:
    rendering.add_input("a", synth.tone(5.0))
    rendering.add_track("a", add=("a",))
    rendering.render(frames=5 * 44_100)
    assert rendering.messages == sorted(rendering.messages)
    assert rendering.messages[-1] == 1.0
    assert len(rendering.messages) > 3


def test_a_wav_is_a_plain_wav(rendering: Rendering) -> None:
    rendering.add_input("a", synth.tone(0.5))
    rendering.add_track("a", add=("a",), end="wav")
    rendering.render(frames=22_050, kind="wav")
    info = sf.info(rendering.folder / "targets" / "a.wav")
    assert (info.format, info.subtype, info.frames) == ("WAV", "PCM_24", 22_050)


@pytest.mark.parametrize("kind", ["flac", "wav", "mp3", "m4a", "opus"])
def test_a_program_that_knows_nothing_of_us_sees_tags_and_cover(rendering: Rendering, kind: str) -> None:
    """RECON-001: FFmpeg's own readers, which share no code with what wrote the tags."""
    with_cover(rendering)
    rendering.add_input("a", synth.tone(0.5, sr=48_000), sr=48_000)
    rendering.add_track("a", add=("a",), end=kind)
    rendering.render(frames=24_000, sr=48_000, kind=kind)
    with av.open(str(rendering.folder / "targets" / f"a.{kind}")) as container:
        found = container.metadata | container.streams.audio[0].metadata  # those of Ogg are the stream's
        seen = {name.lower(): value for name, value in found.items()}
        assert (seen["title"], seen["stem"], seen["date"]) == ("Ærø (Instrumental)", "instrumental", "1999")
        assert seen["track"] in ("3/12", "3")
        (picture,) = container.streams.video
        assert (picture.codec_context.width, picture.codec_context.height) == (600, 600)


def test_a_wav_beyond_four_gigabytes_has_tags_and_cover_too(
    rendering: Rendering, monkeypatch: pytest.MonkeyPatch
) -> None:
    """RECON-001: mutagen cannot write into an RF64; FFmpeg reads what is written for it."""
    monkeypatch.setattr(lossless, "_WAV_LIMIT_BYTES", 1000)
    art = with_cover(rendering)
    rendering.add_input("a", synth.tone(0.5))
    rendering.add_track("a", add=("a",), end="wav")
    found = rendering.render(frames=22_050, kind="wav")
    path = rendering.folder / "targets" / "a.wav"
    assert sf.info(path).format == "RF64"
    assert (found["tracks"][0]["tags_embedded"], found["tracks"][0]["art_embedded"]) == (True, True)
    content = path.read_bytes()
    assert int.from_bytes(content[20:28], "little") == len(content) - 8
    sheet = make_sheet({"TITLE": ("Another",)})
    write_tags(path, sheet=sheet, cover=None)  # again, and shorter
    assert read_back(path).fields == sheet.fields
    assert len(path.read_bytes()) < len(content) - len(art)
    assert synth.read_audio(path)[0].shape == (2, 22_050)
    with av.open(str(path)) as container:
        assert container.metadata["title"] == "Another"
        assert sum(frame.samples for frame in container.decode(audio=0)) == 22_050


def test_float_files_get_no_gain_and_keep_what_is_beyond_full_scale(rendering: Rendering) -> None:
    y = synth.tone(1.0, level=1.6)
    rendering.add_input("a", y)
    rendering.add_track("a", add=("a",), end="wav")
    found = rendering.render(frames=44_100, kind="wav", sample_format="float32")
    assert (found["gain_db"], found["peak"]) == (0.0, pytest.approx(1.6, abs=1e-3))
    assert np.array_equal(rendering.read("a", end="wav")[0], y)
