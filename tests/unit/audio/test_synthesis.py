"""The synthesised song: known stems, tags, cover, and the long song."""

from pathlib import Path
from typing import Any

import mutagen
import numpy as np
import pytest
import soundfile as sf
from PIL import Image

from ironclad_assets.audio.synthesis import TAGS, synthesise_long, synthesise_song
from ironclad_assets.audio.synthesis_cover import SIDE_PX, draw_cover

SECONDS = 6.0


def _ignore(fraction: float, message: str) -> None:
    assert 0.0 <= fraction <= 1.0
    assert message


@pytest.fixture(scope="module")
def song(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    return synthesise_song(_ignore, folder=str(tmp_path_factory.mktemp("song")), seconds=SECONDS)


def _pcm(path: str) -> np.ndarray:
    return sf.read(path, dtype="int16")[0].astype(np.int32)


def test_the_stems_sum_to_the_song_at_every_sample(song: dict[str, Any]) -> None:
    assert set(song["stems"]) == {"vocals", "drums", "bass", "other"}
    total = sum(_pcm(path) for path in song["stems"].values())
    assert np.array_equal(total, _pcm(song["song"]))


def test_the_song_is_as_long_and_as_loud_as_promised(song: dict[str, Any]) -> None:
    y = _pcm(song["song"])
    assert y.shape == (round(SECONDS * 44_100), 2) == (song["frames"], song["channels"])
    assert 0.80 < np.abs(y).max() / 32_767 < 0.86


def test_every_stem_sounds(song: dict[str, Any]) -> None:
    for path in song["stems"].values():
        rms = np.sqrt(np.mean(np.square(_pcm(path) / 32_767)))
        assert -32.0 < 20 * np.log10(rms) < -15.0


def test_the_voice_and_bass_stand_in_the_middle_and_the_chords_are_wide(song: dict[str, Any]) -> None:
    def side_share(name: str) -> float:
        y = _pcm(song["stems"][name])
        return float(np.sum((y[:, 0] - y[:, 1]) ** 2) / np.sum((y[:, 0] + y[:, 1]) ** 2))

    assert side_share("vocals") == side_share("bass") == 0.0
    assert 0.0 < side_share("drums") < 0.01
    assert side_share("other") > 0.1


def test_the_song_carries_its_tags_and_its_cover(song: dict[str, Any]) -> None:
    audio = mutagen.File(song["song"])
    assert {name: audio[name] for name in TAGS} == {name: [value] for name, value in TAGS.items()}
    (cover,) = audio.pictures
    assert (cover.type, cover.mime, cover.width) == (3, "image/jpeg", SIDE_PX)
    assert cover.data == draw_cover()


def test_the_cover_is_a_picture(tmp_path: Path) -> None:
    path = tmp_path / "cover.jpg"
    path.write_bytes(draw_cover())
    with Image.open(path) as image:
        assert image.size == (SIDE_PX, SIDE_PX)
        assert len(np.unique(np.asarray(image).reshape(-1, 3), axis=0)) > 1_000


def test_the_song_is_the_same_every_time(song: dict[str, Any], tmp_path: Path) -> None:
    again = synthesise_song(_ignore, folder=str(tmp_path), seconds=SECONDS)
    assert Path(again["song"]).read_bytes() == Path(song["song"]).read_bytes()


@pytest.mark.parametrize("name", ["long.flac", "long.wav"])
def test_a_long_song_has_its_length_and_does_not_repeat_itself(tmp_path: Path, name: str) -> None:
    made = synthesise_long(_ignore, path=str(tmp_path / name), seconds=60.0, seed=7)
    y = _pcm(made["path"])
    assert len(y) == made["frames"] == 60 * 44_100
    section = round(28.8 * 44_100)
    assert not np.array_equal(y[:section], y[section : 2 * section])
    assert np.abs(y[-44_100:]).max() > 1_000
