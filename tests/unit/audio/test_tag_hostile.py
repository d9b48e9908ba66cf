"""Tags that were made to hurt: whatever they hold, the song keeps what is sound, and nothing else gets through."""

import base64
import struct
import time
import unicodedata
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from mutagen.apev2 import APEv2
from mutagen.asf import ASF, ASFByteArrayAttribute
from mutagen.flac import FLAC
from mutagen.id3 import APIC, COMM, ID3, TIT2
from mutagen.mp4 import MP4, MP4Cover
from mutagen.oggopus import OggOpus

from ironclad_assets.audio import tags
from ironclad_assets.audio.tag_formats.budget import BudgetSpent, cpu_budget
from ironclad_assets.audio.tag_formats.sheet import MAX_SHEET_BYTES, TagSheet
from ironclad_assets.audio.tag_formats.text import clean_line, clean_text
from tests import synth
from tests.unit.audio import tagged_files
from tests.unit.audio.tagged_files import EVERY_CONTAINER, wav_with_info
from tests.unit.audio.test_artwork import bomb, picture
from tests.unit.audio.test_tags import read

TEN_MB = 10 * 1024 * 1024
SVG = b"<svg xmlns='http://www.w3.org/2000/svg' onload='alert(1)'/>"
HTML = b"<!doctype html><script>alert(1)</script>"
ESCAPE = "control characters or overrides of direction"


def mp3_with(path: Path, *frames: Any) -> Path:
    synth.write_mp3(path, synth.tone(0.1))
    id3 = ID3()
    for frame in (TIT2(text="Title"), *frames):
        id3.add(frame)
    id3.save(path)
    return path


def raw_id3(path: Path, content: bytes, *, version: int = 4, size: int | None = None) -> Path:
    """Write an MP3 whose ID3 tag has the content as it is, and claims any size."""
    size = len(content) if size is None else size
    header = b"ID3" + bytes([version, 0, 0]) + bytes(size >> shift & 0x7F for shift in (21, 14, 7, 0))
    synth.write_mp3(path, synth.tone(0.1))
    path.write_bytes(header + content + path.read_bytes())
    return path


def frame(name: bytes, content: bytes, *, size: int | None = None) -> bytes:
    size = len(content) if size is None else size
    return name + bytes(size >> shift & 0x7F for shift in (21, 14, 7, 0)) + b"\0\0" + content


def chunk(name: bytes, content: bytes, *, size: int | None = None) -> bytes:
    return name + struct.pack("<I", len(content) if size is None else size) + content


def atom(name: bytes, content: bytes = b"", *, size: int | None = None) -> bytes:
    return struct.pack(">I", 8 + len(content) if size is None else size) + name + content


# Pictures


def with_picture(kind: str, folder: Path, data: bytes) -> Path:
    makers: dict[str, Callable[..., Path]] = {
        "mp3": tagged_files.mp3, "flac": tagged_files.flac, "m4a": tagged_files.m4a, "opus": tagged_files.opus,
        "wav": tagged_files.wav, "wma": tagged_files.wma,
    }  # fmt: skip
    return makers[kind](folder, picture=data)


@pytest.mark.parametrize("kind", ["mp3", "flac", "m4a", "opus", "wav", "wma"])
@pytest.mark.parametrize(
    ("data", "why"),
    [
        (bomb(30_000, 30_000), "the picture cannot be decoded|pixels"),
        (SVG, "neither JPEG nor PNG nor WebP"),
        (HTML, "neither JPEG nor PNG nor WebP"),
        (picture(kind="GIF"), "neither JPEG nor PNG nor WebP"),
        (picture((600, 600), kind="JPEG")[:900], "cannot be decoded"),
    ],
    ids=["bomb", "svg", "html", "gif", "torn"],
)
def test_a_picture_that_is_none_is_dropped_and_the_tags_stay(kind: str, data: bytes, why: str, tmp_path: Path) -> None:
    """META-001"""
    found = read(with_picture(kind, tmp_path, data))
    assert (found["title"], found["artwork"]) == ("Ærø", None)
    assert found["warnings"][0].startswith("a cover was dropped: ")
    assert len(found["warnings"]) == 1
    assert not (tmp_path / "cover.jpg").exists()


@pytest.mark.parametrize("kind", ["mp3", "flac", "m4a", "opus", "wav", "wma"])
def test_a_webp_cover_is_kept_as_jpeg(kind: str, tmp_path: Path) -> None:
    found = read(with_picture(kind, tmp_path, picture((300, 300), kind="WEBP")))
    assert (found["artwork"]["width_px"], found["warnings"]) == (300, [])
    assert (tmp_path / "cover.jpg").read_bytes()[:3] == b"\xff\xd8\xff"


def test_pictures_in_comments_that_are_no_base64_are_reported(tmp_path: Path) -> None:
    path = tagged_files.opus(tmp_path)
    file = OggOpus(path)
    torn = base64.b64encode(b"\0\0\0\3\xff\xff\xff\xff").decode()
    file["METADATA_BLOCK_PICTURE"] = ["!!not base64!!", "YQ", torn, "A" * 1001]
    file["COVERART"] = "%%%"
    file.save()
    found = read(path)
    assert (found["title"], found["artwork"]) == ("Ærø", None)
    assert found["warnings"] == ["5 pictures in comments cannot be decoded"]


def test_a_picture_that_is_an_address_is_not_followed(tmp_path: Path) -> None:
    found = read(mp3_with(tmp_path / "a.mp3", APIC(mime="-->", type=3, desc="", data=b"http://127.0.0.1/x.jpg")))
    assert (found["title"], found["artwork"], found["warnings"]) == ("Title", None, [])


def test_a_hundred_wrong_pictures_are_looked_at_eight_times(tmp_path: Path) -> None:
    frames = [APIC(mime="image/png", type=0, desc=str(number), data=SVG) for number in range(100)]
    assert len(read(mp3_with(tmp_path / "a.mp3", *frames))["warnings"]) == 8


# Texts


@pytest.mark.parametrize(
    ("title", "shown"),
    [
        ("a\0b", "ab"),
        ("\x1b[31mred\x1b[0m", "red"),
        ("\x1b]0;window\x07title", "title"),
        ("\x1b]8;;http://x\x1b\\link\x1b]8;;\x1b\\", "link"),
        ("\x9b31mred", "red"),
        ("bell\x07 back\x08 del\x7f", "bell back del"),
        ("photo\u202egpj.exe", "photogpj.exe"),
        ("\u2066isolated\u2069 \u202bembedded\u202c", "isolated embedded"),
        ("\u200fשלום", "\u200fשלום"),
        ("می\u200cخواهم", "می\u200cخواهم"),
        ("👩\u200d🎤", "👩\u200d🎤"),
        ("<script>alert(1)</script>", "<script>alert(1)</script>"),
        ("{{7*7}} ${jndi:x} %s", "{{7*7}} ${jndi:x} %s"),
        ("../../etc/passwd", "../../etc/passwd"),
        ("one\r\ntwo\nthree", "one two three"),
        ("\ufeffmark \ufffe\uffff", "mark"),
        ("e\u202e\u0301", "é"),
        ("tab\tbed", "tab bed"),
        (" \u3000edge\u00a0 ", "edge"),
    ],
)
def test_a_title_is_text_on_one_line_without_controls(title: str, shown: str, tmp_path: Path) -> None:
    path = synth.write_flac(tmp_path / "a.flac", synth.tone(0.1))
    file = FLAC(path)
    file["title"] = title
    file.save()
    found = read(path)
    assert found["title"] == shown
    hostile = any(char in title for char in "\x1b\x07\u202e\u2066")
    assert any(ESCAPE in warning for warning in found["warnings"]) == hostile


@given(
    text=st.text(st.characters(codec=None), max_size=200)
    | st.text(alphabet="\ud800\x1b[\x9b]m\u202e\0\x85é\u0301", max_size=20)
)
def test_a_cleaned_text_is_sound_and_stays_as_it_is(text: str) -> None:
    cleaned, _ = clean_text(text)
    assert clean_text(cleaned) == (cleaned, False)
    assert unicodedata.is_normalized("NFC", cleaned)
    assert not [char for char in cleaned if unicodedata.category(char) in ("Cc", "Cs") and char not in "\n\t"]
    assert not set(cleaned) & set("\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069\ufeff\ufffe\uffff")
    assert "\n" not in clean_line(cleaned)


def test_lone_surrogates_become_a_replacement_and_are_reported(tmp_path: Path) -> None:
    title = frame(b"TIT2", b"\2" + "a".encode("utf-16-be") + b"\xd8\x00" + "b".encode("utf-16-be"))
    sheet = TagSheet()
    sheet.add("TITLE", ["a\ud800b"])
    assert (sheet.fields, len(sheet.warnings)) == ({"TITLE": ["a\ufffdb"]}, 1)
    assert "\ud800" not in str(read(raw_id3(tmp_path / "a.mp3", title + frame(b"TPE1", b"\3Ann"))))


# Sizes


@pytest.mark.parametrize("kind", ["mp3", "flac"])
def test_a_comment_of_ten_megabytes_is_cut(kind: str, tmp_path: Path) -> None:
    """META-001"""
    if kind == "mp3":
        path = mp3_with(tmp_path / "a.mp3", COMM(encoding=3, lang="eng", desc="", text="ä" * (TEN_MB // 2)))
    else:
        path = synth.write_flac(tmp_path / "a.flac", synth.tone(0.1))
        file = FLAC(path)
        file.update({"title": "Title", "comment": "ä" * (TEN_MB // 2)})
        file.save()
    found = read(path)
    assert (found["title"], len(found["comment"].encode())) == ("Title", 4096)
    assert found["warnings"] == ["the tag COMMENT is longer than 4096 bytes and was cut"]


def test_tags_of_ten_megabytes_altogether_have_an_end_and_the_title_is_not_lost(tmp_path: Path) -> None:
    path = synth.write_flac(tmp_path / "a.flac", synth.tone(0.1))
    file = FLAC(path)
    file.update({f"own{number}": [f"{value}" * 4000 for value in range(9)] for number in range(280)})
    file["title"] = "Title"
    file.save()
    assert path.stat().st_size > TEN_MB * 0.9
    found = read(path)
    assert found["title"] == "Title"
    assert sum(len(value) for values in found["fields"].values() for value in values) <= MAX_SHEET_BYTES
    assert len(found["warnings"]) <= 50


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_a_budget_that_is_spent_while_garbage_is_collected_is_told_all_the_same() -> None:
    class Slow:
        def __del__(self) -> None:
            spend(0.15)

    def spend(seconds: float) -> None:
        until = time.process_time() + seconds
        while time.process_time() < until:
            pass

    def work() -> None:
        made = Slow()
        del made  # what is raised in it is dropped
        spend(2.0)

    with pytest.raises(BudgetSpent, match="waiting"), cpu_budget(0.05, purpose="waiting"):
        work()


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_a_tag_of_very_many_frames_is_given_up_or_read_but_ends(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tags, "TAGS_CPU_S", 0.2)
    frames = b"".join(frame(b"TXXX", b"\3" + str(number).encode() + b"\0x") for number in range(40_000))
    found = read(raw_id3(tmp_path / "a.mp3", frame(b"TIT2", b"\3Title") + frames))
    given_up = "reading the tags took more than 0.2 s of processor time" in found["warnings"]
    assert given_up or len(found["fields"]) == 100


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_a_file_that_sends_a_library_round_in_circles_is_given_up(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tags, "TAGS_CPU_S", 0.3)
    path = tagged_files.m4a(tmp_path)
    file = MP4(path)
    file["covr"] = [MP4Cover(b"PICTURE" * 8)]
    file.save()
    content = path.read_bytes()
    at = content.index(b"covr") + 4
    path.write_bytes(content[:at] + struct.pack(">I", 0) + b"name" + content[at + 8 :])
    assert read(path)["warnings"] == ["reading the tags took more than 0.3 s of processor time"]


def test_a_cover_that_takes_too_long_costs_no_tags(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def decode(_data: bytes) -> None:
        while True:
            pass

    monkeypatch.setattr(tags, "COVER_CPU_S", 0.1)
    monkeypatch.setattr(tags, "make_cover", decode)
    found = read(tagged_files.flac(tmp_path, picture=picture()))
    assert (found["title"], found["artwork"]) == ("Ærø", None)
    assert found["warnings"] == ["a cover was dropped: looking at the pictures took more than 0.1 s of processor time"]


def test_a_budget_that_is_not_spent_leaves_nothing_behind() -> None:
    with cpu_budget(0.05, purpose="nothing"):
        pass
    sum(range(5_000_000))
    with pytest.raises(BudgetSpent, match="counting took more"), cpu_budget(0.05, purpose="counting"):
        sum(number for number in range(10**12))


HOSTILE: dict[str, Callable[[Path], Path]] = {
    "a frame longer than its tag": lambda path: raw_id3(path, frame(b"TIT2", b"\3x", size=0xFFFFFF)),
    "a tag longer than the file": lambda path: raw_id3(path, frame(b"TIT2", b"\3x"), size=0xFFFFFFF),
    "a frame without content": lambda path: raw_id3(path, frame(b"TIT2", b"") + frame(b"TPE1", b"\3Ann")),
    "an unknown text encoding": lambda path: raw_id3(path, frame(b"TIT2", b"\x09x") + frame(b"TPE1", b"\3Ann")),
    "half a UTF-16 character": lambda path: raw_id3(path, frame(b"TIT2", b"\1\xff\xfea")),
    "a compressed frame": lambda path: raw_id3(path, b"TIT2\0\0\0\x08\0\x09\xff\xff\xff\xffjunk"),
    "chapters within chapters": lambda path: raw_id3(path, _chapters(60)),
    "an ID3 of the future": lambda path: raw_id3(path, b"\xff" * 40, version=9),
    "an APEv2 of four billion items": lambda path: _append(
        synth.write_mp3(path, synth.tone(0.1)),
        b"APETAGEX" + struct.pack("<IIII", 2000, 2**32 - 1, 2**32 - 1, 0) + b"\0" * 8,
    ),
    "a chunk of four gigabytes": lambda path: _wav(path, chunk(b"LIST", b"INFO", size=2**32 - 1)),
    "a chunk of minus eight": lambda path: _wav(path, chunk(b"LIST", b"INFO", size=2**32 - 8) * 40),
    "an INFO of torn texts": lambda path: _cut(wav_with_info(path, INAM=b"abc", IART=b"def"), 5),
    "an ID3 chunk of junk": lambda path: _wav(path, chunk(b"id3 ", b"ID3\4\0\0\x7f\x7f\x7f\x7f")),
    "an RF64 with half a ds64": lambda path: _write(path, b"RF64\0\0\0\0WAVE" + chunk(b"ds64", b"\0\0")),
    "four billion comments": lambda path: _comments(path, 0, 2**32 - 1),
    "a comment of four billion bytes": lambda path: _comments(path, 0, 1, 2**32 - 1),
    "an atom within itself": lambda path: _m4a(path, _nested(2000)),
    "an atom of no length": lambda path: _m4a(path, atom(b"moov", atom(b"udta", size=0))),
    "an atom of 2^63 bytes": lambda path: _m4a(path, atom(b"moov", b"\x7f" + b"\xff" * 7, size=1)),
    "four billion ASF objects": lambda path: _asf(path, objects=2**32 - 1),
    "a page of Ogg without end": lambda path: _write(path, b"OggS\0\2" + b"\0" * 20 + b"\xff" * 256 + b"\1vorbis" * 20),
    "an AIFF of one chunk name": lambda path: _write(path, b"FORM\0\0\0\4AIFFNAME"),
    "half a WavPack": lambda path: _write(path, b"wvpk\x20\0\0\0"),
}


def _write(path: Path, content: bytes) -> Path:
    path.write_bytes(content)
    return path


def _wav(path: Path, chunks: bytes) -> Path:
    return _write(path, b"RIFF\0\0\0\0WAVE" + chunks)


def _m4a(path: Path, atoms: bytes) -> Path:
    return _write(path, atom(b"ftyp", b"M4A \0\0\0\0") + atoms)


def _comments(path: Path, *sizes: int) -> Path:
    """Write a FLAC whose one block is comments that claim such counts and lengths."""
    return _write(path, b"fLaC\x84\0\0" + bytes([4 * len(sizes)]) + struct.pack(f"<{len(sizes)}I", *sizes))


def _asf(path: Path, *, objects: int) -> Path:
    head = bytes.fromhex("3026b2758e66cf11a6d900aa0062ce6c") + struct.pack("<QIBB", 30, objects, 1, 2)
    return _write(path, head + b"\0" * 400)


def _append(path: Path, content: bytes) -> Path:
    return _write(path, path.read_bytes() + content)


def _cut(path: Path, count: int) -> Path:
    return _write(path, path.read_bytes()[:-count])


def _nested(depth: int) -> bytes:
    content = b""
    for _ in range(depth):
        content = atom(b"moov", content)
    return content


def _chapters(depth: int) -> bytes:
    content = frame(b"TIT2", b"\3deep")
    for number in range(depth):
        content = frame(b"CHAP", f"{number}".encode() + b"\0" + b"\0" * 16 + content)
    return content


@pytest.mark.parametrize("make", HOSTILE.values(), ids=HOSTILE)
def test_a_broken_tag_never_raises_and_says_little(make: Callable[[Path], Path], tmp_path: Path) -> None:
    """META-001"""
    found = read(make(tmp_path / "a"), media_type="audio/mpeg")
    assert found["artwork"] is None
    assert all(len(warning) <= 300 and warning.isprintable() for warning in found["warnings"])


def test_an_encrypted_frame_is_kept_and_not_shown(tmp_path: Path) -> None:
    content = b"\x01" + b"\3secret"
    path = raw_id3(tmp_path / "a.mp3", b"TIT2\0\0\0" + bytes([len(content)]) + b"\0\x04" + content)
    found = read(path)
    assert "title" not in found
    assert found["fields"] == {"ID3:TIT2": [base64.b64encode(content).decode()]}


@pytest.mark.parametrize("make", EVERY_CONTAINER, ids=lambda make: make.__name__)
def test_the_sound_frames_beside_a_broken_one_are_read(make: Callable[[Path], Path], tmp_path: Path) -> None:
    assert read(raw_id3(tmp_path / "a.mp3", frame(b"TIT2", b"\x09x") + frame(b"TPE1", b"\3Ann")))["artist"] == "Ann"
    content = make(tmp_path).read_bytes()
    path = _write(tmp_path / "cut", content[: len(content) * 2 // 3])
    assert read(path, media_type="audio/mpeg")["artwork"] is None


@pytest.mark.parametrize("make", EVERY_CONTAINER, ids=lambda make: make.__name__)
@given(data=st.data())
@settings(max_examples=40)
def test_flipped_bytes_never_raise(
    make: Callable[[Path], Path], data: st.DataObject, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """META-001"""
    content = bytearray(_made(make, tmp_path_factory))
    starts = [
        at
        for mark in (b"ilst", b"ID3", b"TAG", b"APETAGEX", b"vorbis", b"OpusTags", b"fLaC")
        if (at := content.find(mark)) >= 0
    ]
    for _ in range(data.draw(st.integers(1, 6))):
        at = data.draw(st.sampled_from([0, *starts])) + data.draw(st.integers(0, 400))
        content[min(at, len(content) - 1)] = data.draw(st.sampled_from([0, 1, 0x7F, 0x80, 0xFF]) | st.integers(0, 255))
    if data.draw(st.booleans()):
        del content[data.draw(st.integers(8, len(content) - 1)) :]
    folder = tmp_path_factory.mktemp("flipped")
    read(_write(folder / "a", bytes(content)), media_type="audio/mpeg")


_MADE: dict[str, bytes] = {}


def _made(make: Callable[[Path], Path], factory: pytest.TempPathFactory) -> bytes:
    if make.__name__ not in _MADE:
        _MADE[make.__name__] = make(factory.mktemp("made")).read_bytes()
    return _MADE[make.__name__]


def test_a_cover_cut_short_in_wma_costs_no_tags(tmp_path: Path) -> None:
    path = tagged_files.wma(tmp_path)
    file = ASF(path)
    file["WM/Picture"] = [ASFByteArrayAttribute(b"\3\0")]
    file.save()
    assert read(path)["title"] == "Ærø"


def test_text_that_calls_itself_a_cover_in_wavpack_is_none(tmp_path: Path) -> None:
    path = tagged_files.wavpack(tmp_path)
    ape = APEv2(path)
    ape["Cover Art (Front)"] = "cover.jpg"
    ape.save()
    found = read(path)
    assert found["title"] == "Ærø"
    assert found["artwork"] is None
