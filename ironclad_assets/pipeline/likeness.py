"""How alike two names of songs, artists or albums are, however they are spelled. Pure functions of two texts.

What a difference means for a song belongs to `matching.py`.
"""

import re
import unicodedata

EDITION_COST = 0.02
"""What a bracket such as ``(Remastered 2009)`` adds, where the texts are equal without it."""

_OTHER_NUMBERS = 0.5
_LONGEST_READ = 300
_LONGEST_COMPARED = 120
"""Characters of a name that are looked at, and of the folded name that are compared: a tag may be 4 kB of anything."""

_ROMAN = ("ii", "iii", "iv", "v", "vi", "vii", "viii", "ix", "x", "xi", "xii")
_WORDS = {roman: str(at) for at, roman in enumerate(_ROMAN, start=2)} | {"pt": "part", "vol": "volume"}
_FEATURING = re.compile(r"\s[(\[]?\b(?:feat|ft|featuring)\b\.?\s.*", flags=re.IGNORECASE)
_EDITION = (
    r"(?:remaster\w*|deluxe|edition|expanded|anniversary|bonus tracks?|mono|stereo|explicit|album version"
    r"|single version|original (?:version|mix))"
)
_BRACKETS = re.compile(
    rf"\s*(?:\([^()]*\b{_EDITION}\b[^()]*\)|\[[^\[\]]*\b{_EDITION}\b[^\[\]]*\]|\s-\s[^-]*\b{_EDITION}\b[^-]*$)",
    flags=re.IGNORECASE,
)
"""Editions of one recording. Parts, other languages and the like are other songs, so no bracket is dropped blindly."""


def fold(text: str) -> str:
    """Return `text` as it is compared: without accents, case, punctuation, leading article.

    ``&`` becomes ``and``, ``II`` becomes ``2``. Text without a letter or digit is compared as it is written.
    """
    decomposed = unicodedata.normalize("NFKD", text.casefold().replace("&", " and "))
    plain = "".join(char if char.isalnum() else " " for char in decomposed if not unicodedata.combining(char))
    words = [_WORDS.get(word, word) for word in plain.split()]
    if len(words) > 1 and words[0] == "the":
        del words[0]
    return " ".join(words) or unicodedata.normalize("NFC", text.casefold()).strip()


def text_distance(one: str, other: str) -> float:
    """Return how different two names are: 0 equal, 1 nothing in common.

    Featured artists do not count; a bracket or an edition after a dash counts little.
    """
    one, other = one[:_LONGEST_READ], other[:_LONGEST_READ]
    first, second = _FEATURING.sub("", one) or one, _FEATURING.sub("", other) or other
    whole = _relative_edits(fold(first), fold(second))
    if whole == 0.0:
        return 0.0
    bare = _relative_edits(fold(_BRACKETS.sub("", first) or first), fold(_BRACKETS.sub("", second) or second))
    return min(whole, bare + EDITION_COST)


def _relative_edits(one: str, other: str) -> float:
    """Return Levenshtein's distance over the length of the longer text; other numbers are never a slip of the pen."""
    if one == other:
        return 0.0
    least = _OTHER_NUMBERS if _numbers(one) != _numbers(other) else 0.0
    first, second = one[:_LONGEST_COMPARED], other[:_LONGEST_COMPARED]
    if not first or not second:
        return 1.0
    row = list(range(len(second) + 1))
    for index, char in enumerate(first, start=1):
        before, row[0] = row[0], index
        for at, against in enumerate(second, start=1):
            before, row[at] = row[at], min(row[at] + 1, row[at - 1] + 1, before + (char != against))
    return max(least, max(row[-1], 1) / max(len(first), len(second)))


def _numbers(folded: str) -> list[str]:
    return [word for word in folded.split() if any(char.isdecimal() for char in word)]
