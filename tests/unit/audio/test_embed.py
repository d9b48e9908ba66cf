"""What a delivered file holds beside its sound: nothing that contradicts its tags, nothing that changes with time."""

from pathlib import Path

import av
import pytest
from mutagen.id3 import ID3
from mutagen.wave import WAVE

from ironclad_assets.audio.artwork import make_cover
from ironclad_assets.audio.embed import make_sheet, read_back, write_tags
from ironclad_assets.audio.tag_formats.containers import read_sheet
from tests.unit.audio.tagged_files import wav_with_info
from tests.unit.audio.test_artwork import picture
from tests.unit.audio.test_tag_round_trip import OUTPUTS, delivered, untagged


def ffmpeg_title(path: Path) -> str:
    with av.open(str(path)) as container:
        return container.metadata["title"]


@pytest.mark.parametrize("identifier", [b"RIFF", b"RF64"])
def test_the_info_of_a_wav_cannot_contradict_its_id3(tmp_path: Path, identifier: bytes) -> None:
    """RECON-001: FFmpeg asks INFO first, MediaInfo ID3."""
    path = wav_with_info(tmp_path / "a.wav", identifier=identifier, INAM=b"Old", IART=b"Someone else")
    assert ffmpeg_title(path) == "Old"
    write_tags(path, sheet=make_sheet({"TITLE": ("New",)}), cover=None)
    assert (ffmpeg_title(path), read_back(path).fields) == ("New", {"TITLE": ["New"]})
    with av.open(str(path)) as container:
        assert sum(frame.samples for frame in container.decode(audio=0)) == 400


def test_a_list_chunk_that_is_no_info_stays(tmp_path: Path) -> None:
    path = tmp_path / "a.wav"
    content = untagged("wav")
    cues = b"LIST" + (4).to_bytes(4, "little") + b"adtl"
    path.write_bytes(content[:4] + (len(content) - 8 + len(cues)).to_bytes(4, "little") + content[8:] + cues)
    write_tags(path, sheet=make_sheet({"TITLE": ("New",)}), cover=None)
    assert cues in path.read_bytes()


def test_an_mp3_has_one_tag_of_version_2_4_in_utf8(tmp_path: Path) -> None:
    """RECON-001"""
    path = delivered(tmp_path, "mp3", {"TITLE": ["Ærø"], "COMMENT": ["c"], "LYRICS": ["l"], "OWN": ["x"]})
    tags = ID3(path, load_v1=False)
    assert tags.version == (2, 4, 0)
    assert {int(frame.encoding) for frame in tags.values()} == {3}
    content = path.read_bytes()
    assert b"TAG" not in content[-128:-125]
    assert b"APETAGEX" not in content
    assert content.count(b"ID3\x04") == 1


def test_a_second_writing_of_another_version_leaves_one_tag(tmp_path: Path) -> None:
    for kind in ("mp3", "wav"):
        path = delivered(tmp_path, kind, {"TITLE": ["a"]}, version="2.3")
        write_tags(path, sheet=make_sheet({"TITLE": ("b",)}), cover=None)
        tags = ID3(path) if kind == "mp3" else WAVE(path).tags
        assert (tags.version, str(tags["TIT2"])) == ((2, 4, 0), "b")


def test_tags_are_written_in_composed_form(tmp_path: Path) -> None:
    for kind in OUTPUTS:
        path = delivered(tmp_path, kind, {"TITLE": ["Bjo\u0308rk"]})
        assert read_back(path).fields["TITLE"] == ["Bj\u00f6rk"]
        assert "Bjo\u0308rk".encode() not in path.read_bytes()


@pytest.mark.parametrize("kind", OUTPUTS)
def test_equal_tags_give_equal_bytes_whatever_was_there_before(kind: str, tmp_path: Path) -> None:
    cover = make_cover(picture((600, 600)))
    contents = []
    for before in ({}, {"TITLE": ["x" * 3000], "OWN": ["y"]}):
        path = delivered(tmp_path, kind, before)
        write_tags(path, sheet=make_sheet({"TITLE": ("a",), "OTHER": ("b", "c")}), cover=cover)
        contents.append(path.read_bytes())
    assert contents[0] == contents[1]


@pytest.mark.parametrize("kind", OUTPUTS)
def test_several_values_are_several_values(kind: str, tmp_path: Path) -> None:
    """ORG-001: servers split nothing by themselves, so what is apart must be written apart."""
    path = delivered(tmp_path, kind, {"ARTISTS": ["Ann", "AC/DC"], "GENRE": ["Folk; Dub", "Pop"]})
    assert read_sheet(path, media_type="audio/mpeg" if kind == "mp3" else "").fields == {
        "ARTISTS": ["Ann", "AC/DC"], "GENRE": ["Folk; Dub", "Pop"],
    }  # fmt: skip
