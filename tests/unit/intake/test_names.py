"""Names that attack, and what people are shown."""

import os
import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ironclad_assets.intake.names import LONGEST_NAME_BYTES, display_name


@pytest.mark.parametrize(
    ("raw", "shown"),
    [
        (b"song.mp3", "song.mp3"),
        (b"../../etc/passwd", "passwd"),
        (b"/absolute/path.wav", "path.wav"),
        (b"..\\..\\windows\\evil.wav", "evil.wav"),
        (b"%2e%2e%2fsong.mp3", "%2e%2e%2fsong.mp3"),
        (b"a\nb\r\nc.mp3", "a b c.mp3"),
        (b"\x1b[31mred\x07.mp3", "[31mred.mp3"),
        (b"\xff\xfe.mp3", "\ufffd\ufffd.mp3"),
        (os.fsdecode(b"\xff.mp3"), "\ufffd.mp3"),
        ("\ud800.mp3", "?.mp3"),
        ("gpj\u202e3pm.mp3", "gpj3pm.mp3"),
        ("zero\u200bwidth\ufeff.mp3", "zerowidth.mp3"),
        ("cafe\u0301.mp3", "caf\u00e9.mp3"),
        ("a\u2028b", "a b"),
        ("..", "unnamed"),
        (".", "unnamed"),
        ("", "unnamed"),
        ("folder/", "folder"),
        ("\n\t", "unnamed"),
        ("-rf", "-rf"),
        ("CON", "CON"),
    ],
)
def test_a_name_is_shown_as_its_last_part_without_tricks(raw: bytes | str, shown: str) -> None:
    assert display_name(raw) == shown


def test_a_long_name_is_cut_at_a_character() -> None:
    assert display_name("\u00e9" * 255) == "\u00e9" * 100
    assert display_name("x" + "\u00e9" * 255) == "x" + "\u00e9" * 99


def test_a_long_name_keeps_its_extension() -> None:
    assert display_name("\u00e9" * 255 + ".flac") == "\u00e9" * 97 + ".flac"
    assert display_name("x" * 300 + ".no extension") == "x" * 200


@given(st.one_of(st.binary(max_size=400), st.text(max_size=400)))
def test_any_name_becomes_one_short_visible_line(raw: bytes | str) -> None:
    shown = display_name(raw)
    assert shown
    assert len(shown.encode("utf-8")) <= LONGEST_NAME_BYTES
    assert "/" not in shown
    assert shown not in (".", "..")
    assert not any(unicodedata.category(character) in ("Cc", "Cf", "Cs", "Zl", "Zp") for character in shown)
