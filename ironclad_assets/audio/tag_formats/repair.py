"""Mends text that was written in one encoding and is read in another, where there is no doubt which one it was.

Two accidents are known: bytes of an older encoding in a tag that promises Latin-1 (`choose_encoding`, `decode_old`),
and UTF-8 that some program took for Latin-1 and wrote again as Unicode (`undo_double`). What is only likely stays as
it is, and the caller warns.
"""

import re
import unicodedata
from collections.abc import Iterable
from dataclasses import dataclass

UTF8, KANA, CYRILLIC, WESTERN = "utf-8", "cp932", "cp1251", "cp1252"

_FEW_KANA = 3
_FEW_LETTERS = 6
_LONG_WORD = 4
_COMMON_SHARE = 0.5
_COMMON_LETTERS = frozenset("оеаинтсрвл")
"""Two thirds of any Russian text (оеаинтсрвл: 66.9 % in the Russian National Corpus)."""

_VOWELS = frozenset("аеёиоуыэюяіїє")
_HIGH_WORD = re.compile(rb"[A-Za-z\x80-\xff]*[\x80-\xff][A-Za-z\x80-\xff]*")
_CYRILLIC_BYTES = frozenset((*range(0xC0, 0x100), 0xA8, 0xB8))
_WESTERN_BYTES = {
    **{chr(byte): byte for byte in range(0x80, 0x100)},
    **{bytes([byte]).decode(WESTERN): byte for byte in range(0x80, 0xA0) if byte not in (0x81, 0x8D, 0x8F, 0x90, 0x9D)},
}
"""The byte that a character was, if it was read as Latin-1 or Windows-1252."""

_MISREAD = re.compile("[\xc2-\xf4][\x80-\xbf€‚ƒ„…†‡ˆ‰Š‹ŒŽ‘’“”•–—˜™š›œžŸ]")
_SEQUENCE = re.compile("[\xc2-\xdf](.)|[\xe0-\xef](..)|[\xf0-\xf4](...)", flags=re.DOTALL)
_FOLLOWERS = frozenset("\xa0…–—’”™»")
"""What does follow a letter with an accent in sound text: ``OÙ ?`` with a fixed blank, ``JOSÉ’S``."""

_LATIN_LATER = re.compile("[\xc2-\xc5][^\xa0…–—’”™»]|(?<![A-Z])\xc3\xa0|[\x80-\x9f]")
"""One misread letter of Latin, as nobody types it; or a control of Latin-1, which nobody can type."""

_MIXED = re.compile(r"[A-Za-z\u00c0-\u024f][^\W\d_a-zA-Z\u00c0-\u024f]|[A-Za-z][\u0660-\u0669\u06f0-\u06f9]")
_SURE_START = ("â€", "â„¢", "ï»¿", "ð\x9f", "ðŸ")
"""How a typographic mark, a byte order mark and an emoji begin when their bytes are read one by one."""


@dataclass(frozen=True, slots=True)
class Encoding:
    """An encoding, and whether there is no doubt about it."""

    name: str
    certain: bool


def choose_encoding(values: Iterable[bytes]) -> Encoding:
    """Return the encoding of the values of one file that are neither ASCII nor UTF-8; one file has one.

    Shift-JIS is certain by its kana, whose first bytes are no characters of Latin-1; Windows-1251 by words that hold
    nothing but Cyrillic letters, capitals only where words begin, in the mixture that Russian has. Otherwise it is
    Windows-1252, the superset of Latin-1 that nearly every program means by it; certain unless it looks odd.
    """
    old = [value for value in values if not value.isascii() and not _is_utf8(value)]
    if not old:
        return Encoding(WESTERN, certain=True)
    if _is_japanese(old):
        return Encoding(KANA, certain=True)
    if _is_russian(old):
        return Encoding(CYRILLIC, certain=True)
    return Encoding(WESTERN, certain=not any(map(_is_odd, old)))


def decode_old(data: bytes, *, encoding: Encoding) -> str:
    """Return the text of `data`: UTF-8 where it is that, else by the encoding of its file."""
    try:
        return data.decode(UTF8)
    except UnicodeDecodeError:
        return data.decode(encoding.name, "replace" if encoding.name != WESTERN else "ignore")


def undo_double(text: str) -> tuple[str, bool]:
    """Return `text` with UTF-8 that was read as Latin-1 or Windows-1252 put right, and whether doubt remains.

    ``BeyoncÃ©`` becomes ``Beyoncé``; ``JOSÉ’S``, whose bytes are UTF-8 by chance, stays, in doubt.
    """
    doubtful = False
    while not text.isascii() and _MISREAD.search(text):
        data = _western_bytes(text)
        if data is None or not _is_utf8(data):
            break
        mended = data.decode(UTF8)
        if not _is_sure(text, mended=mended):
            doubtful = True
            break
        text = mended
    return text, doubtful


def _western_bytes(text: str) -> bytes | None:
    try:
        return bytes(ord(char) if char < "\x80" else _WESTERN_BYTES[char] for char in text)
    except KeyError:
        return None


def _is_utf8(data: bytes) -> bool:
    try:
        data.decode(UTF8)
    except UnicodeDecodeError:
        return False
    return True


def _is_sure(text: str, *, mended: str) -> bool:
    """Return whether chance can be ruled out: several characters, or one that nobody writes by hand.

    Chance makes a letter of another script in the middle of a Latin word, out of an accent and what follows it.
    """
    found = [char for char in mended if char >= "\x80"]
    if not all(map(_is_usual, found)) or _MIXED.search(mended):
        return False
    if any(start in text for start in _SURE_START):
        return True
    strange = any(set("".join(match.groups(""))) - _FOLLOWERS for match in _SEQUENCE.finditer(text))
    return (strange and len(found) > 1) or _LATIN_LATER.search(text) is not None


def _is_usual(char: str) -> bool:
    """Return whether titles have such characters: of Latin, Greek, Cyrillic, Hebrew, Arabic, and all beyond U+0800."""
    if unicodedata.category(char) in ("Cc", "Cn", "Co", "Cs"):
        return False
    return not ("\u0180" <= char < "\u0218" or "\u021c" <= char < "\u0300" or "\u0530" <= char < "\u05d0"
                or "\u0700" <= char < "\u0800")  # fmt: skip


def _is_japanese(values: list[bytes]) -> bool:
    try:
        text = "".join(value.decode(KANA) for value in values)
    except UnicodeDecodeError:
        return False
    kana = sum("\u3041" <= char <= "\u30fa" for char in text)
    odd = any("\uff61" <= char <= "\uff9f" or unicodedata.category(char) in ("Co", "Cc") for char in text)
    return kana >= _FEW_KANA and not odd


def _is_russian(values: list[bytes]) -> bool:
    words = [word for value in values for word in _HIGH_WORD.findall(value)]
    if not all(_CYRILLIC_BYTES.issuperset(word) for word in words):
        return False
    texts = [word.decode(CYRILLIC) for word in words]
    if not all(text.islower() or text.isupper() or text.istitle() for text in texts):
        return False
    letters = "".join(texts).lower()
    common = sum(letter in _COMMON_LETTERS for letter in letters)
    spoken = all(_VOWELS.intersection(text.lower()) for text in texts if len(text) >= _LONG_WORD)
    named = any(text.istitle() and len(text) >= _LONG_WORD for text in texts)
    return spoken and named and len(letters) >= _FEW_LETTERS and common >= _COMMON_SHARE * len(letters)


def _is_odd(value: bytes) -> bool:
    """Return whether a value looks wrong as Windows-1252: bytes it does not know, or words of nothing but accents."""
    if any(byte in value for byte in (0x81, 0x8D, 0x8F, 0x90, 0x9D)):
        return True
    words = _HIGH_WORD.findall(value)
    return any(len(word) >= _LONG_WORD and min(word) >= 0x80 for word in words)
