"""Read, write, read again: whatever the container was and will be, a song says the same thing."""

import struct
from collections.abc import Callable, Iterator, Mapping
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from mutagen.id3 import GEOB, ID3, PCNT, POPM, PRIV, SYLT, TIPL, TMCL, TXXX, UFID, USLT, WOAF, ID3NoHeaderError

from ironclad_assets.audio.artwork import make_cover
from ironclad_assets.audio.embed import holds_tags, make_sheet, read_back, write_tags
from ironclad_assets.audio.encode import open_encoder
from ironclad_assets.audio.tag_formats.containers import read_sheet
from ironclad_assets.audio.tag_formats.id3_frames import Id3Version, as_v23
from ironclad_assets.audio.tag_formats.mapping import KNOWN
from ironclad_assets.audio.tags import read_tags
from ironclad_assets.contracts.v1.formats import OutputFormat
from tests import synth
from tests.unit.audio.tagged_files import EVERY_CONTAINER

OUTPUTS = ("flac", "wav", "mp3", "m4a", "opus")
NAMES = {
    "title": "TITLE", "artist": "ARTIST", "artists": "ARTISTS", "album": "ALBUM", "album_artist": "ALBUMARTIST",
    "track_number": "TRACKNUMBER", "track_total": "TRACKTOTAL", "disc_number": "DISCNUMBER",
    "disc_total": "DISCTOTAL", "date": "DATE", "genres": "GENRE", "composer": "COMPOSER", "comment": "COMMENT",
    "lyrics": "LYRICS",
}  # fmt: skip


@cache
def untagged(kind: str) -> bytes:
    """Return a delivered file of that kind before it gets its tags."""
    with TemporaryDirectory() as folder:
        path = Path(folder) / f"a.{kind}"
        frames = synth.SR // 20
        with open_encoder(path, output=OutputFormat(kind), sample_rate_hz=48_000, channels=1, frames=frames) as encoder:
            encoder.add(synth.tone(0.05, channels=1))
        return path.read_bytes()


def delivered(folder: Path, kind: str, tags: Mapping[str, Any], *, version: Id3Version = "2.4", **more: Any) -> Path:
    path = folder / f"a.{kind}"
    path.write_bytes(untagged(kind))
    write_tags(
        path,
        sheet=make_sheet({name: tuple(values) for name, values in tags.items()}),
        cover=None,
        id3_version=version,
        **more,
    )
    return path


def read(path: Path) -> dict[str, Any]:
    folder = path.parent / "work"
    folder.mkdir(exist_ok=True)
    media_type = "audio/mpeg" if path.suffix == ".mp3" else ""
    return read_tags(lambda _fraction, _message: None, path=str(path), media_type=media_type, work=str(folder))


def as_tags(found: Mapping[str, Any]) -> dict[str, list[str]]:
    """Return the contract under Vorbis comment names, as it is written into a file."""
    tags = {name: found[attribute] for attribute, name in NAMES.items() if attribute in found}
    tags = {name: value if isinstance(value, list) else [str(value)] for name, value in tags.items()}
    if found.get("compilation"):
        tags["COMPILATION"] = ["1"]
    return tags | found["fields"]


def song(found: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in found.items() if name not in ("artwork", "warnings")}


@pytest.mark.parametrize("kind", OUTPUTS)
@pytest.mark.parametrize("make", EVERY_CONTAINER, ids=lambda make: make.__name__)
def test_a_song_says_the_same_in_every_container_it_comes_from_and_goes_to(
    make: Callable[[Path], Path], kind: str, tmp_path: Path
) -> None:
    """META-001"""
    first = read(make(tmp_path))
    second = read(delivered(tmp_path, kind, as_tags(first)))
    assert song(second) == song(first)
    assert second["warnings"] == []


@pytest.mark.parametrize("kind", OUTPUTS)
def test_every_field_of_the_table_comes_back_from_every_container(kind: str, tmp_path: Path) -> None:
    """META-001"""
    special = {
        "TRACKNUMBER": ["3"], "TRACKTOTAL": ["12"], "DISCNUMBER": ["1"], "DISCTOTAL": ["2"], "COMPILATION": ["1"],
        "DATE": ["1999-04-01"], "ORIGINALDATE": ["1969"], "BPM": ["120"], "WEBSITE": ["https://example.org/a"],
        "LICENSE": ["https://example.org/l"], "PERFORMER": ["Ann (guitar)", "Bob"],
    }  # fmt: skip
    tags = {name: [f"Ærø {name.title()}", "second"] for name in KNOWN} | special
    path = delivered(tmp_path, kind, tags)
    assert read_back(path).fields == tags
    assert read_back(path).warnings == []


@pytest.mark.parametrize("kind", ["mp3", "wav"])
def test_version_2_3_says_all_that_it_can(kind: str, tmp_path: Path) -> None:
    tags = {
        "TITLE": ["Ærø"], "ARTISTS": ["Ann", "Bob"], "GENRE": ["Folk", "Dub"], "DATE": ["1999-04-01"],
        "ORIGINALDATE": ["1969-05-06"], "TITLESORT": ["Aeroe"], "ARTISTSORT": ["Ann, A"], "ALBUMSORT": ["B"],
        "DISCSUBTITLE": ["Two"], "MOOD": ["calm"], "COMPOSER": ["A", "B"], "PERFORMER": ["Ann (guitar)", "Bob"],
        "PRODUCER": ["Cat"], "MUSICBRAINZ_ARTISTID": ["x", "y"], "TRACKNUMBER": ["3"], "TRACKTOTAL": ["12"],
        "COMMENT": ["a"], "LYRICS": ["la\nla"], "OWN": ["1", "2"],
    }  # fmt: skip
    path = delivered(tmp_path, kind, tags, version="2.3")
    assert read_back(path).fields == tags | {"COMPOSER": ["A; B"], "OWN": ["1; 2"]}
    sheet = make_sheet({name: tuple(values) for name, values in tags.items()})
    assert holds_tags(path, sheet=sheet, cover=None, id3_version="2.3") == (True, False)


@pytest.mark.parametrize("date", ["1999", "1999-04", "1999-04-01", "spring 1999"])
@pytest.mark.parametrize("name", ["DATE", "ORIGINALDATE"])
def test_dates_lose_nothing_in_version_2_3(name: str, date: str, tmp_path: Path) -> None:
    assert read_back(delivered(tmp_path, "mp3", {name: [date]}, version="2.3")).fields == {name: [date]}


names = st.text(st.characters(min_codepoint=0x20, max_codepoint=0x7D, exclude_characters="="), min_size=1, max_size=30)
texts = st.lists(st.text(st.characters(codec="utf-8"), min_size=1, max_size=40), min_size=1, max_size=3)
any_tags = st.dictionaries(names | st.sampled_from(sorted(KNOWN)), texts, max_size=8)


def every_example(test: Any) -> Any:
    for tags in (
        {"TRACKNUMBER": ["A/1", "2"], "TRACKTOTAL": ["9"], "DISCTOTAL": ["2"], "DATE": ["spring 1999"]},
        {"TRACKNUMBER": ["1"], "TRACKTOTAL": ["9", "10"], "DISCNUMBER": ["1"], "DATE": ["1999-04"]},
        {"GENRE": ["17", "(17)Rock", "Folk"], "LYRICS": ["a", "b", "c" * 300], "COMMENT": ["a", "b"]},
        {
            "GENRE": ["²"],
            "PERFORMER": ["a (b) (c)", "(d)", "e (producer)", "f (x(y))", "g (mix)", "h (performer)"],
            "MIXER": ["m"],
        },
        {"ID3:TIT2": ["AwB0"], "ID3:PRIV": ["not base64", "YQA="], "ID3:XYZ": ["YQ=="], "TITLE": ["t"]},
        {"BPM": ["120", "121"], "WEBSITE": ["no address"], "LICENSE": ["http://é"], "COMPILATION": ["maybe"]},
        {"COMMENT:": ["x"], "COMMENT:ITUNNORM": ["y"], "COMMENT:A": ["z", "w"], "WEBSITE:A": ["http://a"]},
        {"TITLE": ["<script>alert(1)</script>", "\u200fשלום"], "ALBUM": ["../../etc/passwd"]},
        {"MUSICBRAINZ_TRACKID": ["é"], "MUSICBRAINZ_ALBUMID": ["a/b; c"], "KEY": ["Am"], "BPM": ["99999"]},
    ):
        test = example(tags=tags)(test)
    return test


@pytest.mark.parametrize("kind", OUTPUTS)
@every_example
@given(tags=any_tags)
@settings(max_examples=60)
def test_whatever_is_written_is_read_back(kind: str, tags: dict[str, list[str]]) -> None:
    """META-001: no tag of an uploader is lost or changed by the format of the delivered file."""
    sheet = make_sheet({name: tuple(values) for name, values in tags.items()})
    with TemporaryDirectory() as folder:
        assert read_back(delivered(Path(folder), kind, tags)).fields == sheet.fields


@every_example
@given(tags=any_tags)
@settings(max_examples=60)
def test_version_2_3_is_read_back_as_one_value_each(tags: dict[str, list[str]]) -> None:
    sheet = make_sheet({name: tuple(values) for name, values in tags.items()})
    with TemporaryDirectory() as folder:
        assert read_back(delivered(Path(folder), "mp3", tags, version="2.3")).fields == as_v23(sheet).fields


def unusual_frames() -> Iterator[Any]:
    yield PRIV(owner="example.org", data=b"\0\1\2")
    yield PRIV(owner="example.org", data=b"\3")
    yield GEOB(encoding=3, mime="text/plain", filename="é", desc="Serato", data=b"\xff\0")
    yield POPM(email="a@example.org", rating=196, count=7)
    yield PCNT(count=4)
    yield UFID(owner="http://example.org", data=b"xyz")
    yield USLT(encoding=3, lang="deu", desc="", text="tra\nla")
    yield SYLT(encoding=3, lang="eng", format=2, type=1, desc="", text=[("one", 1_230), ("\ntwo", 61_000)])
    yield TIPL(encoding=3, people=[["producer", "Cat"], ["mix", "Dan"], ["cook", "Eve"]])
    yield TMCL(encoding=3, people=[["guitar", "Ann"]])
    yield TXXX(encoding=3, desc="My own", text=["1", "2"])
    yield WOAF(url="http://example.org/file")


@pytest.mark.parametrize("kind", OUTPUTS)
def test_unknown_frames_survive(kind: str, tmp_path: Path) -> None:
    """META-001"""
    path = synth.write_mp3(tmp_path / "b.mp3", synth.tone(0.1))
    tags = ID3()
    for frame in unusual_frames():
        tags.add(frame)
    tags.unknown_frames.append(b"XYZW" + struct.pack(">IH", 5, 0) + b"\x80\1\2\3\4")
    tags.unknown_frames.append(b"XTXT" + struct.pack(">IH", 4, 0) + b"\3abc")
    tags.save(path)
    first = read_sheet(path, media_type="audio/mpeg")
    assert first.warnings == []
    assert first.fields["LYRICS"] == ["tra\nla"]
    assert first.fields["SYNCEDLYRICS"] == ["[00:01.23]one\n[01:01.00]two"]
    assert first.fields["PERFORMER"] == ["Eve (cook)", "Ann (guitar)"]
    assert (first.fields["PRODUCER"], first.fields["MIXER"]) == (["Cat"], ["Dan"])
    assert (first.fields["MY OWN"], first.fields["XTXT"]) == (["1", "2"], ["abc"])
    assert {name for name in first.fields if name.startswith("ID3:")} == {
        "ID3:PRIV", "ID3:GEOB", "ID3:POPM", "ID3:PCNT", "ID3:UFID", "ID3:XYZW",
    }  # fmt: skip
    again = delivered(tmp_path, kind, first.fields)
    assert read_back(again).fields == first.fields
    if kind == "mp3":
        back = ID3(again)
        assert {frame.data for frame in back.getall("PRIV")} == {b"\0\1\2", b"\3"}
        assert (back.getall("POPM")[0].rating, back.getall("GEOB")[0].filename) == (196, "é")


@pytest.mark.parametrize("kind", OUTPUTS)
def test_the_cover_is_the_same_bytes_in_every_container(kind: str, tmp_path: Path) -> None:
    """META-001"""
    cover = make_cover(synth.png(tmp_path / "p.png", size_px=600).read_bytes())
    path = tmp_path / f"a.{kind}"
    path.write_bytes(untagged(kind))
    sheet = make_sheet({"TITLE": ("T",)})
    write_tags(path, sheet=sheet, cover=cover)
    assert holds_tags(path, sheet=sheet, cover=cover) == (True, True)
    assert (read(path)["artwork"]["width_px"], read(path)["title"]) == (600, "T")


@pytest.mark.parametrize("kind", OUTPUTS)
def test_writing_again_replaces_everything(kind: str, tmp_path: Path) -> None:
    path = delivered(tmp_path, kind, {"TITLE": ["a"], "OWN": ["b"], "LYRICS": ["c"]})
    once = path.read_bytes()
    write_tags(path, sheet=make_sheet({"ALBUM": ("d",)}), cover=None)
    assert read_back(path).fields == {"ALBUM": ["d"]}
    write_tags(path, sheet=make_sheet({"TITLE": ("a",), "OWN": ("b",), "LYRICS": ("c",)}), cover=None)
    assert path.read_bytes() == once


def test_no_id3_tag_is_in_flac_or_opus(tmp_path: Path) -> None:
    for kind in ("flac", "opus"):
        path = delivered(tmp_path, kind, {"TITLE": ["a"]})
        assert path.read_bytes()[:4] in (b"fLaC", b"OggS")
        with pytest.raises(ID3NoHeaderError):
            ID3(path)
