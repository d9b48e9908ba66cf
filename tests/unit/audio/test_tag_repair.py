"""Wrong encodings: mended where no doubt is left, left alone and reported where there is."""

from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from mutagen.flac import FLAC
from mutagen.id3 import COMM, ID3, TALB, TIT2, TPE1

from ironclad_assets.audio.tag_formats.containers import read_sheet
from ironclad_assets.audio.tag_formats.repair import choose_encoding, decode_old, undo_double
from ironclad_assets.audio.tag_formats.sheet import TagSheet
from tests import synth
from tests.unit.audio.tagged_files import wav_with_info

LATIN1 = 0
MISREAD_BY = ("latin-1", "cp1252")


def misread(text: str, *, by: str) -> str:
    """Return what a program shows that takes UTF-8 for `by`; Windows-1252 there has controls where it has no letter."""
    return "".join(
        bytes([byte]).decode("latin-1" if byte in (0x81, 0x8D, 0x8F, 0x90, 0x9D) else by) for byte in text.encode()
    )


def test_utf8_read_as_latin1_is_mended() -> None:
    for text in (
        "Beyoncé",
        "Sigur Rós – Ágætis byrjun",
        "Élan",
        "mañana",
        "Пётр Чайковский",
        "宇多田ヒカル",
        "Don’t",
        "“Heroes”",
        "a 🎵",
    ):
        assert undo_double(misread(text, by="latin-1")) == (text, False)


@pytest.mark.parametrize(
    "text",
    [
        "Beyoncé",
        "Don’t",
        "Ærø",
        "“Heroes” – live",
        "Ελλάδα",
        "Łódź",
        "naïve façade",
        "Élan",
        "voilà",
        "日本語",
        "שלום",
    ],
)
def test_utf8_read_as_windows_1252_is_mended(text: str) -> None:
    assert undo_double(misread(text, by="cp1252")) == (text, False)


def test_text_that_was_misread_twice_is_mended_twice() -> None:
    assert undo_double(misread(misread("Beyoncé", by="cp1252"), by="cp1252")) == ("Beyoncé", False)


@pytest.mark.parametrize(
    "text",
    [
        "T’ES OÙ\xa0?", "OÙ\xa0? OÙ\xa0!", "MANHÃ… AMANHÃ…", "CANTÓ…", "voilà…”", "NÓ™ SÓ™", "MOÏ\xa0: TOÎ\xa0!",
        "PÔ\xa0»", "JOSÉ’S", "CAFÉ™", "NIÑO…", "VOILÀ…", "Ærø", "ÆØÅ", "ÄÖÜ", "Motörhead", "Ça ira", "Ñandú", "«Où»",
        "½ Mensch", "Björk ©2020", "ÅÄÖ—åäö", "日本", "Zażółć",
    ],
)  # fmt: skip
def test_text_that_is_right_stays(text: str) -> None:
    assert undo_double(text)[0] == text


@given(text=st.text(max_size=60))
@example(text="Ã\x01©")
@example(text="Ã\u0301")
def test_what_a_sheet_has_mended_once_it_does_not_mend_again(text: str) -> None:
    first, second = TagSheet(), TagSheet()
    first.add("TITLE", [text])
    second.add("TITLE", first.fields.get("TITLE", []))
    assert second.fields == first.fields


@given(text=st.text(st.characters(codec="latin-1", min_codepoint=0x20, exclude_categories=["Cc"]), max_size=40))
def test_latin1_without_the_look_of_utf8_is_read_as_it_is(text: str) -> None:
    data = text.encode("latin-1")
    try:
        data.decode()
    except UnicodeDecodeError:
        chosen = choose_encoding([data])
        assert chosen.name != "cp1252" or decode_old(data, encoding=chosen) == text


@pytest.mark.parametrize(
    ("encoding", "texts"),
    [
        ("utf-8", ["Ærø", "Пётр", "宇多田"]),
        ("cp932", ["ヒカルの碁", "宇多田ヒカル", "First Love"]),
        ("cp932", ["さくら (独唱)"]),
        ("cp1251", ["Группа крови", "Кино", "1988"]),
        ("cp1251", ["Звезда по имени Солнце"]),
        ("cp1252", ["Don’t", "Motörhead", "“Heroes” – live"]),
        ("cp1252", ["ÆØÅ", "Þórr", "été"]),
    ],
)
def test_bytes_without_a_declared_encoding_are_read_right(encoding: str, texts: list[str]) -> None:
    data = [text.encode(encoding) for text in texts]
    chosen = choose_encoding(data)
    assert [decode_old(one, encoding=chosen) for one in data] == texts
    assert chosen.certain


@pytest.mark.parametrize(
    ("encoding", "texts"),
    [
        ("koi8-r", ["Группа крови", "Кино"]),
        ("cp1253", ["Ελλάδα", "Μίκης Θεοδωράκης"]),
        ("cp1255", ["שלום חברים"]),
        ("euc-kr", ["서태지와 아이들"]),
        ("gbk", ["邓丽君", "月亮代表我的心"]),
        ("cp932", ["東京事変"]),
        ("iso8859-5", ["Группа крови"]),
        ("cp1251", ["Юг"]),
    ],
)
def test_an_encoding_that_is_not_certain_is_not_guessed(encoding: str, texts: list[str]) -> None:
    chosen = choose_encoding([text.encode(encoding) for text in texts])
    assert chosen.name == "cp1252"
    assert not chosen.certain or encoding == "cp1251"  # two letters are too few to look odd


def tagged_mp3(path: Path, *, encoding: str, v1: bool = False) -> Path:
    """Write an MP3 whose tag promises Latin-1 and holds another encoding."""
    synth.write_mp3(path, synth.tone(0.1))
    tags = ID3()
    for frame, text in ((TIT2, "Группа крови"), (TPE1, "Кино"), (TALB, "Plain")):
        tags.add(frame(encoding=LATIN1, text=text.encode(encoding).decode("latin-1")))
    tags.add(COMM(encoding=LATIN1, lang="rus", desc="", text="Последний герой".encode(encoding).decode("latin-1")))
    tags.save(path, v1=2 if v1 else 0)
    return path


def test_windows_1251_in_latin1_frames_is_read_and_reported(tmp_path: Path) -> None:
    sheet = read_sheet(tagged_mp3(tmp_path / "a.mp3", encoding="cp1251"), media_type="audio/mpeg")
    assert sheet.fields["TITLE"] == ["Группа крови"]
    assert (sheet.fields["ARTIST"], sheet.fields["ALBUM"]) == (["Кино"], ["Plain"])
    assert sheet.fields["COMMENT"] == ["Последний герой"]
    assert sheet.warnings == ["tags that promise Latin-1 are cp1251 and were read so"]


def test_utf8_in_latin1_frames_is_read(tmp_path: Path) -> None:
    sheet = read_sheet(tagged_mp3(tmp_path / "a.mp3", encoding="utf-8"), media_type="audio/mpeg")
    assert (sheet.fields["TITLE"], sheet.fields["COMMENT"]) == (["Группа крови"], ["Последний герой"])


def test_koi8_in_latin1_frames_stays_and_is_reported(tmp_path: Path) -> None:
    sheet = read_sheet(tagged_mp3(tmp_path / "a.mp3", encoding="koi8-r"), media_type="audio/mpeg")
    assert sheet.fields["TITLE"] == ["Группа крови".encode("koi8-r").decode("cp1252")]
    assert sheet.warnings == ["tags that promise Latin-1 look as if they were written in another encoding"]


@pytest.mark.parametrize("encoding", ["utf-8", "cp1252"])
def test_id3v1_is_utf8_or_windows_1252(tmp_path: Path, encoding: str) -> None:
    path = synth.write_mp3(tmp_path / "a.mp3", synth.tone(0.1))
    title, artist = "Ærø – É".encode(encoding), "Don’t".encode(encoding)
    comment = b"c".ljust(28, b"\0") + b"\0\x07"
    tag = b"TAG" + title.ljust(30, b"\0") + artist.ljust(30, b"\0") + b"\0" * 30 + b"1999" + comment + b"\x11"
    path.write_bytes(path.read_bytes() + tag)
    fields = read_sheet(path, media_type="audio/mpeg").fields
    assert fields == {
        "TITLE": ["Ærø – É"], "ARTIST": ["Don’t"], "DATE": ["1999"], "TRACKNUMBER": ["7"], "COMMENT": ["c"],
        "GENRE": ["Rock"],
    }  # fmt: skip


def test_id3v1_does_not_add_its_genre_to_a_better_tag(tmp_path: Path) -> None:
    path = synth.write_mp3(tmp_path / "a.mp3", synth.tone(0.1))
    path.write_bytes(path.read_bytes() + b"TAG" + b"Cut".ljust(124, b"\0") + b"\0")
    tags = ID3()
    tags.add(TIT2(text="Cut at thirty letters it would be"))
    tags.save(path)
    assert read_sheet(path, media_type="audio/mpeg").fields == {"TITLE": ["Cut at thirty letters it would be"]}


@pytest.mark.parametrize("encoding", ["utf-8", "cp1252"])
def test_info_is_utf8_or_windows_1252(tmp_path: Path, encoding: str) -> None:
    texts = {"INAM": "Don’t – Ærø", "IART": "Motörhead"}
    path = wav_with_info(tmp_path / "a.wav", **{name: text.encode(encoding) for name, text in texts.items()})
    sheet = read_sheet(path, media_type="")
    assert (sheet.fields, sheet.warnings) == ({"TITLE": ["Don’t – Ærø"], "ARTIST": ["Motörhead"]}, [])


def test_info_in_shift_jis_is_read_by_its_kana(tmp_path: Path) -> None:
    path = wav_with_info(tmp_path / "a.wav", INAM="ヒカルの碁".encode("cp932"), IART="東京事変".encode("cp932"))
    assert read_sheet(path, media_type="").fields == {"TITLE": ["ヒカルの碁"], "ARTIST": ["東京事変"]}


def test_unicode_tags_that_were_misread_before_are_mended_and_reported(tmp_path: Path) -> None:
    path = synth.write_flac(tmp_path / "a.flac", synth.tone(0.1))
    file = FLAC(path)
    file.update({"title": misread("Beyoncé", by="latin-1"), "artist": "JOSÉ’S", "album": "Ærø"})
    file.save()
    sheet = read_sheet(path, media_type="")
    assert sheet.fields == {"TITLE": ["Beyoncé"], "ARTIST": ["JOSÉ’S"], "ALBUM": ["Ærø"]}
    assert sheet.warnings == [
        "the tag TITLE was UTF-8 read as Latin-1, which was repaired",
        "the tag ARTIST may be UTF-8 that was read as Latin-1",
    ]


def test_comments_that_are_not_utf8_are_reported(tmp_path: Path) -> None:
    path = synth.write_flac(tmp_path / "a.flac", synth.tone(0.1))
    file = FLAC(path)
    file["title"] = "Motorhead"
    file.save()
    path.write_bytes(path.read_bytes().replace(b"Motorhead", b"Mot\xf6rhead"))
    sheet = read_sheet(path, media_type="")
    assert sheet.fields["TITLE"] == ["Mot\ufffdrhead"]
    assert sheet.warnings == ["the tag TITLE has bytes or characters that mean nothing"]
