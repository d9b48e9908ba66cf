"""The type of a file comes from its bytes, out of a short list."""

from pathlib import Path

import pytest

from ironclad_assets.audio import sniff
from ironclad_assets.errors import ErrorCode, IroncladError
from tests import synth


def test_written_files_are_known_under_any_name(tmp_path: Path) -> None:
    """CAT-002: type by content."""
    y = synth.music(0.6)
    assert sniff.sniff_file(synth.write_wav(tmp_path / "a.mp3", y)) is sniff.WAV
    assert sniff.sniff_file(synth.write_flac(tmp_path / "b.flac", y)) is sniff.FLAC
    assert sniff.sniff_file(synth.write_mp3(tmp_path / "c.mp3", y)) is sniff.MP3
    assert sniff.sniff_file(synth.write_ogg(tmp_path / "d.ogg", y)) is sniff.OGG


@pytest.mark.parametrize(
    ("head", "kind"),
    [
        (b"RF64\xff\xff\xff\xffWAVEds64", sniff.WAV),
        (b"FORM\x00\x00\x10\x00AIFFCOMM", sniff.AIFF),
        (b"FORM\x00\x00\x10\x00AIFCFVER", sniff.AIFF),
        (b"\x00\x00\x00\x20ftypM4A \x00\x00\x02\x00", sniff.MP4),
        (b"wvpk\x00\x00\x10\x00", sniff.WAVPACK),
        (b"MAC \x96\x0f", sniff.APE),
        (b".snd\x00\x00\x00\x18", sniff.AU),
        (b"\x1a\x45\xdf\xa3\x01\x00", sniff.MATROSKA),
        (bytes.fromhex("3026b2758e66cf11a6d900aa0062ce6c") + bytes(20), sniff.ASF),
        (bytes.fromhex("726966662e91cf11a5d628db04c10000"), sniff.WAVE64),
        (b"\xff\xf1\x50\x80\x02\x1f\xfc", sniff.ADTS),
    ],
)
def test_containers_are_known_by_their_first_bytes(tmp_path: Path, head: bytes, kind: sniff.Kind) -> None:
    path = tmp_path / "x"
    path.write_bytes(head)
    assert sniff.sniff_file(path) is kind


def test_mp3_is_found_behind_tags_padding_and_a_cut_frame(tmp_path: Path) -> None:
    frames = synth.write_mp3(tmp_path / "a.mp3", synth.music(1.0)).read_bytes()
    tag = b"ID3\x04\x00\x00" + bytes([0, 0, 1, 0]) + bytes(128)
    path = tmp_path / "x"
    for content in (tag + frames, tag + tag + frames, tag + bytes(500) + frames, frames[700:]):
        path.write_bytes(content)
        assert sniff.sniff_file(path) is sniff.MP3


@pytest.mark.parametrize(
    "start",
    [
        b"%PDF-1.7\n",
        b"PK\x03\x04",
        b"\xff\xd8\xff\xe0",
        b"\x89PNG\r\n",
        b"GIF89a",
        b"<html>",
        b"#EXTM3U\n",
        b"ffconcat version 1.0\n",
    ],
)
def test_other_types_with_an_mp3_behind_them_are_refused(tmp_path: Path, start: bytes) -> None:
    """CAT-002: a file of two natures is served to somebody as the other one."""
    frames = synth.write_mp3(tmp_path / "a.mp3", synth.music(0.6)).read_bytes()
    path = tmp_path / "x.mp3"
    path.write_bytes(start + frames)
    with pytest.raises(IroncladError) as caught:
        sniff.sniff_file(path)
    assert caught.value.code is ErrorCode.NOT_AUDIO


@pytest.mark.parametrize("seed", range(20))
def test_random_bytes_are_no_audio(tmp_path: Path, seed: int) -> None:
    with pytest.raises(IroncladError) as caught:
        sniff.sniff_file(synth.random_bytes(tmp_path / "x", seed=seed))
    assert caught.value.code is ErrorCode.NOT_AUDIO


def test_tag_longer_than_the_file_is_damage(tmp_path: Path) -> None:
    path = tmp_path / "x.mp3"
    path.write_bytes(b"ID3\x04\x00\x00\x7f\x7f\x7f\x7f" + bytes(5_000))
    with pytest.raises(IroncladError) as caught:
        sniff.sniff_file(path)
    assert caught.value.code is ErrorCode.DAMAGED


def test_encrypted_wma_is_told(tmp_path: Path) -> None:
    path = tmp_path / "x.wma"
    header = bytes.fromhex("3026b2758e66cf11a6d900aa0062ce6c") + bytes(60)
    path.write_bytes(header + bytes.fromhex("fbb3112223bdd211b4b700a0c955fc6e") + bytes(60))
    with pytest.raises(IroncladError) as caught:
        sniff.sniff_file(path)
    assert caught.value.code is ErrorCode.PROTECTED
