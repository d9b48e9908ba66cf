"""Reading tags: every container says the same thing, and nothing an uploader writes into a tag stops a song."""

import json
import struct
import unicodedata
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from mutagen.flac import FLAC, Picture
from mutagen.id3 import ID3, TIT2, TXXX

from ironclad_assets.audio.tag_formats.sheet import MAX_FIELDS, TagSheet
from ironclad_assets.audio.tag_formats.text import MAX_VALUE_BYTES, clean_text
from ironclad_assets.audio.tags import read_tags
from ironclad_assets.contracts.v1.song_metadata import SongMetadata
from tests import synth
from tests.unit.audio import tagged_files
from tests.unit.audio.tagged_files import EVERY_CONTAINER, RECORDING, wav_with_info


def read(path: Path, *, media_type: str = "") -> dict[str, Any]:
    found = read_tags(lambda _fraction, _message: None, path=str(path), media_type=media_type, work=str(path.parent))
    json.dumps(found, allow_nan=False)
    values = {name: value for name, value in found.items() if name != "artwork"}
    SongMetadata.model_validate({"title": "x", **values})
    return found


def tagged_flac(path: Path, **tags: Any) -> Path:
    synth.write_flac(path, synth.tone(0.1))
    file = FLAC(path)
    file.update(tags)
    file.save()
    return path


@pytest.mark.parametrize("make", EVERY_CONTAINER, ids=lambda make: make.__name__)
def test_every_container_gives_the_same_tags_and_cover(make: Any, tmp_path: Path) -> None:
    """META-001"""
    picture = synth.png(tmp_path / "picture.png", size_px=300).read_bytes()
    path = make(tmp_path, picture=picture).rename(tmp_path / "archived-under-its-hash")
    found = read(path)
    fields = found.pop("fields")
    assert found == {
        "title": "Ærø", "artist": "Ann", "artists": ["Ann"], "album": "Far", "album_artist": "Ann & Co",
        "track_number": 3, "track_total": 12, "disc_number": 1, "disc_total": 2, "date": "1999-04-01",
        "genres": ["Folk", "Dub"], "comment": "hello", "lyrics": "la\nla", "compilation": True,
        "artwork": {"path": "cover.jpg", "width_px": 300, "height_px": 300}, "warnings": [],
    }  # fmt: skip
    assert fields["MUSICBRAINZ_TRACKID"] == [RECORDING]
    assert fields["MOOD"] == ["calm"]
    assert (tmp_path / "cover.jpg").read_bytes()[:3] == b"\xff\xd8\xff"


def test_a_file_without_tags_gives_nothing_and_no_warning(tmp_path: Path) -> None:
    found = read(synth.write_mp3(tmp_path / "a.mp3", synth.tone(0.1)))
    assert found == {"fields": {}, "artwork": None, "warnings": []}


@pytest.mark.parametrize("identifier", [b"RIFF", b"RF64"])
def test_info_chunks_are_read_where_there_is_no_id3(tmp_path: Path, identifier: bytes) -> None:
    path = wav_with_info(
        tmp_path / "a.wav", identifier=identifier, INAM="Ærø".encode("cp1252"), IART="Ænn".encode(), ITRK=b"7/9\0"
    )
    found = read(path)
    assert (found["title"], found["artist"], found["track_number"], found["track_total"]) == ("Ærø", "Ænn", 7, 9)


def test_ape_fills_what_id3_leaves_open(tmp_path: Path) -> None:
    path = tagged_files.mp3_with_ape_only(tmp_path)
    tags = ID3()
    tags.add(TIT2(text="From ID3"))
    tags.save(path)
    found = read(path)
    assert (found["title"], found["artist"]) == ("From ID3", "Ann")


def test_several_artists_are_kept_apart_and_joined_for_people(tmp_path: Path) -> None:
    found = read(tagged_flac(tmp_path / "a.flac", artist=["Ann", "Bob"], albumartist=["Ann", "Bob"]))
    assert (found["artist"], found["artists"], found["album_artist"]) == ("Ann; Bob", ["Ann", "Bob"], "Ann; Bob")


def test_unusual_numbers_stay_as_fields(tmp_path: Path) -> None:
    found = read(tagged_flac(tmp_path / "a.flac", tracknumber="A1", discnumber="99999", date="2001"))
    assert "track_number" not in found
    assert found["fields"] == {"TRACKNUMBER": ["A1"], "DISCNUMBER": ["99999"]}


def test_values_are_nfc_without_controls_and_bounded(tmp_path: Path) -> None:
    found = read(
        tagged_flac(tmp_path / "a.flac", title="bjo\u0308rk\x07\x1b[31m", lyrics="é" * 10_000, comment="a\r\nb\0c")
    )
    assert found["title"] == "björk"
    assert len(found["lyrics"].encode()) == 20_000
    assert found["comment"] == "a\nbc"
    assert found["warnings"] == ["the tag TITLE had control characters or overrides of direction, which were removed"]


def test_at_most_a_hundred_fields_are_kept(tmp_path: Path) -> None:
    found = read(tagged_flac(tmp_path / "a.flac", title="T", **{f"own{number:03}": "x" for number in range(300)}))
    assert (found["title"], len(found["fields"])) == ("T", MAX_FIELDS)
    assert any("more than 100 tags of its own" in warning for warning in found["warnings"])


@given(text=st.text(st.characters(codec=None), max_size=200) | st.text(alphabet="\ud800\udfff\0\x85é", max_size=20))
def test_cleaned_text_is_always_sound(text: str) -> None:
    cleaned, _ = clean_text(text)
    assert len(cleaned.encode()) <= MAX_VALUE_BYTES
    assert unicodedata.is_normalized("NFC", cleaned)
    assert not [char for char in cleaned if unicodedata.category(char) in ("Cc", "Cs") and char not in "\n\t"]


@given(name=st.text(max_size=120), values=st.lists(st.text(max_size=20), max_size=5))
def test_any_field_can_be_written_as_a_vorbis_comment(name: str, values: list[str]) -> None:
    sheet = TagSheet()
    sheet.add(name, values)
    for key, kept in sheet.fields.items():
        assert kept
        assert all(0x20 <= ord(char) <= 0x7D and char != "=" for char in key)


@pytest.mark.parametrize(
    ("start", "media_type"),
    [
        (b"ID3\x04\0\0\x7f\x7f\x7f\x7f", "audio/mpeg"),
        (b"ID3\x04\0\0\0\0\0\x20TIT2\x7f\xff\xff\xff\0\0\x03", "audio/mpeg"),
        (b"fLaC\x04\xff\xff\xff", "audio/flac"),
        (b"fLaC", "audio/flac"),
        (b"OggS\0\x02", "audio/ogg"),
        (b"RIFF\xff\xff\xff\xffWAVELIST\xff\xff\xff\xffINFOINAM\xff\xff\xff\xff", "audio/wav"),
        (b"RIFF\xff\xff\xff\xffWAVEid3 \xff\xff\xff\xffID3", "audio/wav"),
        (b"FORM\0\0\0\0AIFFNAME\xff\xff\xff\xff", "audio/aiff"),
        (b"\0\0\0\x18ftypM4A \0\0\0\0moov", "audio/mp4"),
        (b"wvpk\xff\xff\xff\xff", "audio/x-wavpack"),
        (
            b"\x30\x26\xb2\x75\x8e\x66\xcf\x11\xa6\xd9\0\xaa\0\x62\xce\x6c\xff\xff\xff\xff\xff\xff\xff\xff",
            "audio/x-ms-wma",
        ),
        (b"", "audio/mpeg"),
        (struct.pack("<I", 0) * 400, ""),
    ],
)
def test_damaged_tags_become_a_warning_at_most(tmp_path: Path, start: bytes, media_type: str) -> None:
    path = tmp_path / "a"
    path.write_bytes(start + b"\0" * 200)
    found = read(path, media_type=media_type)
    assert found["artwork"] is None
    assert all(len(warning) <= 300 for warning in found["warnings"])


@given(data=st.data())
def test_a_tag_with_flipped_bytes_never_raises(tmp_path_factory: pytest.TempPathFactory, data: st.DataObject) -> None:
    folder = tmp_path_factory.mktemp("flipped")
    path = data.draw(st.sampled_from([tagged_files.flac, tagged_files.wav, tagged_files.mp3]))(folder)
    content = bytearray(path.read_bytes())
    for _ in range(4):
        content[data.draw(st.integers(0, min(600, len(content) - 1)))] = data.draw(st.integers(0, 255))
    path.write_bytes(content)
    read(path)


def test_a_picture_that_cannot_be_used_is_dropped_with_a_warning_and_the_next_is_taken(tmp_path: Path) -> None:
    path = synth.write_flac(tmp_path / "a.flac", synth.tone(0.1))
    file = FLAC(path)
    for kind, content in ((0, synth.png(tmp_path / "p.png", size_px=32).read_bytes()), (3, b"<svg onload='x()'/>")):
        block = Picture()
        block.type, block.mime, block.data = kind, "image/png", content
        file.add_picture(block)
    file.save()
    found = read(path)
    assert found["artwork"]["width_px"] == 32
    assert found["warnings"] == ["a cover was dropped: the picture is neither JPEG nor PNG nor WebP"]


def test_id3_fields_of_ones_own_keep_their_name(tmp_path: Path) -> None:
    path = synth.write_mp3(tmp_path / "a.mp3", synth.tone(0.1))
    tags = ID3()
    tags.add(TXXX(desc="MusicBrainz Album Id", text="x"))
    tags.add(TXXX(desc="my Own = tag", text=["1", "2"]))
    tags.save(path)
    assert read(path)["fields"] == {"MUSICBRAINZ_ALBUMID": ["x"], "MY OWN  TAG": ["1", "2"]}
