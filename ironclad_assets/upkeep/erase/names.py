"""What must not be found any more after a deletion, and finding it in text, however that text spells it.

Ids are long and random, so they are looked for wherever they stand. Names that people give are looked for as they
are, and as JSON, Python and addresses spell them; the name of a user only as a word of its own, and the name of a file
that need not be one (`is_telling`) only in quotes, as every message of ours has it. Neither ever decides what a file
or a field is called.
"""

import json
import re
from collections.abc import Iterable, Iterator, Set
from dataclasses import dataclass
from functools import cached_property
from typing import Any
from urllib.parse import quote, quote_plus

from ironclad_assets.contracts.v1.base import SHA256_PATTERN
from ironclad_assets.ledger.forget import Traces, is_telling

ERASED = "[erased]"

_TOKEN = re.compile(rb"[A-Za-z0-9]+(?:-[A-Za-z0-9]+)*")
_UUID_PARTS = 5
_HASH = re.compile(SHA256_PATTERN)

_NO_KEY = rb"(?!\s*:)"
"""After something in quotes: it is no field of a JSON document."""

_BEFORE, _AFTER = rb"(?<![A-Za-z0-9_-])", rb"(?![A-Za-z0-9_-])"
_TEXT_ONLY = ("__class__", "__enum__", "__mapping_items__")


@dataclass(frozen=True)
class Names:
    """Ids, names and users that are being forgotten.

    Attributes:
        ids: of songs, jobs, runs and traces, and hashes.
        phrases: names of files as they were uploaded, and their paths in the library.
        users: whose everything goes.
    """

    ids: frozenset[str]
    phrases: frozenset[str] = frozenset()
    users: frozenset[str] = frozenset()

    @classmethod
    def of(cls, traces: Iterable[Traces], *, phrases: Iterable[str] = (), users: Iterable[str] = ()) -> "Names":
        """Return the names of songs, with what else is known to name them."""
        found = list(traces)
        ids = frozenset(name for one in found for name in one.ids)
        said = {one.original_name for one in found} | set(phrases)
        return cls(ids=ids, phrases=frozenset(one for one in said if one), users=frozenset(users))

    def with_ids(self, more: Iterable[str]) -> "Names":
        """Return these names and further ids."""
        return Names(ids=self.ids | frozenset(more), phrases=self.phrases, users=self.users)

    @cached_property
    def without_hashes(self) -> "Names":
        """These names without the hashes of originals, which songs of several users may share."""
        return Names(ids=frozenset(one for one in self.ids if not _HASH.fullmatch(one)))

    def find(self, content: bytes, *, users: bool = True) -> list[tuple[int, int]]:
        """Return where something of these stands in `content`, as (start, end), in order.

        Args:
            content: text in UTF-8 or ASCII, whatever else is in it.
            users: whether the users' names count too.
        """
        return self._found(content, users=users, phrases=True)

    def find_ids(self, content: bytes) -> bool:
        """Return whether an id stands in `content`: the name of a file or of a field, which no uploader may choose."""
        return bool(self._found(content, users=False, phrases=False))

    def _found(self, content: bytes, *, users: bool, phrases: bool) -> list[tuple[int, int]]:
        ids, tokens, spans = self._ids, set(), []
        for match in _TOKEN.finditer(content):
            token = match.group()
            tokens.add(token)
            if token in ids or (b"-" in token and any(part in ids for part in _parts(token))):
                spans.append(match.span())
        known = self._spelled.present(content, tokens=tokens) if phrases else []
        known += self._users.present(content, tokens=tokens) if users else []
        if known:
            spans += [match.span() for match in _any_of(known).finditer(content)]
        quoted = self._quoted.present(content, tokens=tokens) if phrases else []
        if quoted:
            any_of = b"(?:" + b"|".join(map(re.escape, quoted)) + b")" + _NO_KEY
            spans += [match.span() for match in re.finditer(any_of, content)]
        return sorted(spans)

    def masked(self, text: str, *, users: bool = True, phrases: bool = True) -> str:
        """Return `text` with `ERASED` in the place of each of these."""
        content = text.encode("utf-8", errors="surrogatepass")
        parts, at = [], 0
        for start, end in self._found(content, users=users, phrases=phrases):
            if start >= at:
                parts += [content[at:start], ERASED.encode()]
            at = max(at, end)
        if not parts:
            return text
        return b"".join((*parts, content[at:])).decode("utf-8", errors="surrogatepass")

    def masked_json(self, document: str) -> str:
        """Return a JSON document with its texts masked; what is no JSON is masked as plain text.

        Keys and values that are words of a program stay, also where a user is called the same.
        """
        try:
            value = json.loads(document)
        except ValueError:
            return self.masked(document)
        masked = self.masked_value(value)
        return document if masked == value else json.dumps(masked)

    def masked_value(self, value: Any) -> Any:  # noqa: ANN401 - any JSON value
        """Return a JSON value with its texts, and keys that are ids, masked."""
        if isinstance(value, str):
            inner = value.lstrip()[:1]
            if inner in ("{", "["):
                return self.masked_json(value)
            return self.masked(value, users=any(mark in value for mark in " /"))
        if isinstance(value, list):
            return [self.masked_value(one) for one in value]
        if isinstance(value, dict):
            return {
                self.masked(key, users=False, phrases=False): one if key in _TEXT_ONLY[:2] else self._member(key, one)
                for key, one in value.items()
            }
        return value

    def _member(self, key: str, value: Any) -> Any:  # noqa: ANN401 - any JSON value
        whose = key in ("user", "user_id", "ironclad/user") and isinstance(value, str)
        return self.masked(value) if whose else self.masked_value(value)

    @cached_property
    def _ids(self) -> frozenset[bytes]:
        return frozenset(one.encode() for one in self.ids)

    @cached_property
    def _users(self) -> "_Phrases":
        return _Phrases(one.encode() for one in self.users)

    @cached_property
    def _spelled(self) -> "_Phrases":
        return _Phrases(spelled for one in self.phrases if is_telling(one) for spelled in spellings(one))

    @cached_property
    def _quoted(self) -> "_Phrases":
        short = (one for one in self.phrases if not is_telling(one))
        return _Phrases(mark + spelled + mark for one in short for spelled in spellings(one) for mark in _QUOTES)


class _Phrases:
    """Many phrases, of which a text has few: each is looked for only where its longest word is there."""

    def __init__(self, phrases: Iterable[bytes]) -> None:
        self._by_word: dict[bytes, list[bytes]] = {}
        for phrase in sorted(set(phrases)):
            word = max(_TOKEN.findall(phrase), key=len, default=b"")
            self._by_word.setdefault(word, []).append(phrase)

    def present(self, content: bytes, *, tokens: Set[bytes]) -> list[bytes]:
        """Return the phrases that stand in `content`, whose words are `tokens`."""
        if not self._by_word:
            return []
        words = [b"", *(tokens & self._by_word.keys())]
        return [phrase for word in words for phrase in self._by_word.get(word, ()) if phrase in content]


_QUOTES = (b"'", b'"')


def spellings(text: str) -> set[bytes]:
    """Return `text` as UTF-8, JSON, Python and addresses spell it."""
    said = {
        text,
        json.dumps(text)[1:-1],
        json.dumps(text, ensure_ascii=False)[1:-1],
        repr(text)[1:-1],
        quote(text),
        quote_plus(text),
    }
    return {one.encode("utf-8", errors="surrogatepass") for one in said}


def _any_of(words: Iterable[bytes]) -> re.Pattern[bytes]:
    longest_first = sorted(words, key=len, reverse=True)
    return re.compile(_BEFORE + b"(?:" + b"|".join(map(re.escape, longest_first)) + b")" + _AFTER)


def _parts(token: bytes) -> Iterator[bytes]:
    """Yield what may be an id within words joined by hyphens: each word, and each five together."""
    words = token.split(b"-")
    yield from words
    for start in range(len(words) - _UUID_PARTS + 1):
        yield b"-".join(words[start : start + _UUID_PARTS])
