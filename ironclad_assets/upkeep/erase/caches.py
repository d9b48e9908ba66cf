"""Takes a song out of the caches of lookups: answers and covers that tell what was asked about it.

A cache may forget anything, so where it is not certain whom an answer was for, it goes: what is needed again is asked
again. Answers about albums that other songs are on may thus go too; what those songs were given is in their own files.
"""

import json
import re
import sqlite3
import unicodedata
import zlib
from collections.abc import Iterable, Iterator, Mapping
from contextlib import closing
from pathlib import Path
from typing import Any
from urllib.parse import unquote_plus

from ironclad_assets.contracts.v1.lookup import MBID_PATTERN
from ironclad_assets.errors import ErrorCode, StorageUnavailable
from ironclad_assets.ledger.compact import compact_sqlite
from ironclad_assets.storage.store import Store
from ironclad_assets.upkeep.erase.tally import Tally, remove_path

_MBID = re.compile(MBID_PATTERN.strip("^$"))
_BUSY_S = 30.0
_BATCH = 500


def erase_covers(store: Store, *, facts: Iterable[Mapping[str, Any]], tally: Tally) -> None:
    """Remove the kept covers of every album that the songs' tags name."""
    mbids = {mbid for one in facts for mbid in _mbids(one)}
    for path in sorted(store.path("cover-art-cache").glob("*")):
        if mbids & set(_MBID.findall(path.name)):
            remove_path(path, tally=tally, kind="covers")


def erase_answers(database: Path, *, facts: Iterable[Mapping[str, Any]], names: Iterable[str], tally: Tally) -> None:
    """Remove the answers that may have been given to questions about the songs, and rewrite the file.

    Args:
        database: the lookups' shared memory; one that is not there holds none.
        facts: the songs' tags.
        names: the names of their files, which are asked about where tags are missing.
        tally: counts the answers.
    """
    if not database.is_file():
        return
    known = list(facts)
    mbids = {mbid for one in known for mbid in _mbids(one)}
    words = {_fold(title) for title in (*_titles(known), *(Path(name).stem for name in names))} - {""}
    try:
        gone = _forget(database, mbids=mbids, words=words)
    except sqlite3.OperationalError as error:
        raise StorageUnavailable(f"{database} does not answer: {error}", code=ErrorCode.STORAGE_AWAY) from error
    except sqlite3.DatabaseError:  # damaged: the next lookup begins it anew
        for end in ("", "-journal"):
            remove_path(database.with_name(database.name + end), tally=tally, kind="answers")
        return
    tally.add("answers", gone)
    if gone:
        compact_sqlite(database)


def _forget(database: Path, *, mbids: set[str], words: set[str]) -> int:
    location = f"{database.absolute().as_uri()}?mode=rw"
    with closing(sqlite3.connect(location, uri=True, timeout=_BUSY_S, isolation_level=None)) as connection:
        if connection.execute("select 1 from sqlite_master where name = 'sources'").fetchone() is None:
            return 0
        rows = connection.execute("select key, body from answers")
        gone = [key for key, body in rows if _concerns(key, body, mbids=mbids, words=words)]
        for start in range(0, len(gone), _BATCH):
            some = gone[start : start + _BATCH]
            connection.execute(f"delete from answers where key in ({','.join('?' * len(some))})", some)  # noqa: S608
        connection.execute("update sources set last_error = '' where last_error <> ''")
    return len(gone)


def _concerns(key: str, body: bytes, *, mbids: set[str], words: set[str]) -> bool:
    if key.startswith("acoustid:"):  # by the hash of a fingerprint: nobody can tell of which song
        return True
    if mbids & set(_MBID.findall(key)):
        return True
    asked = _fold(unquote_plus(key.partition("?")[2]))
    if any(word in asked for word in words):
        return True
    try:
        return bool(mbids & set(_MBID.findall(zlib.decompress(body).decode(errors="replace"))))
    except zlib.error:
        return True


def _mbids(facts: Mapping[str, Any]) -> Iterator[str]:
    """Yield every id of MusicBrainz that the tags, reasons and candidates name."""
    yield from _MBID.findall(json.dumps(facts))


def _titles(facts: Iterable[Mapping[str, Any]]) -> Iterator[str]:
    for one in facts:
        for said in (one, *one.get("candidates", ())):
            title = said.get("title")
            if isinstance(title, str):
                yield title


def _fold(text: str) -> str:
    """Return letters and digits alone, so that escapes and punctuation of a question hide nothing."""
    plain = unicodedata.normalize("NFKD", text).casefold()
    return "".join(character for character in plain if character.isalnum())
