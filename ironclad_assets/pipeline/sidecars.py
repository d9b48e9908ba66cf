"""Lyrics that lie beside a song: what the text is called, and what it holds.

Media servers take ``<same name>.lrc`` (with times) or ``.txt`` beside a file for its lyrics. Here a text becomes such
a file; where it goes is decided in `pipeline/organise.py`, what was dropped beside an upload is taken in `intake/`.
"""

import re
from dataclasses import dataclass
from pathlib import Path

from ironclad_assets.contracts.v1.base import FileRecord
from ironclad_assets.storage import atomic
from ironclad_assets.storage.hashing import record_file
from ironclad_assets.storage.store import Store

EXTENSIONS = ("lrc", "elrc", "txt")
"""What Jellyfin and Navidrome read, the best first; Plex knows the first and the last."""

MAX_LYRICS_BYTES = 1024**2

_TIMED = re.compile(r"^\s*\[\d{1,3}:\d{2}(?:[.:]\d{1,3})?\]", flags=re.MULTILINE)
_ENHANCED = re.compile(r"<\d{1,3}:\d{2}(?:[.:]\d{1,3})?>")
_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\ufeff\u202a-\u202e\u2066-\u2069]")


@dataclass(frozen=True, slots=True)
class Lyrics:
    """A text on its way to a song's side."""

    source: Path
    record: FileRecord
    extension: str


def write_lyrics(text: str, *, folder: Path) -> Lyrics | None:
    """Write the lyrics into `folder` and return them; None where there is nothing to read in them.

    Args:
        text: as tags have it: plain, or with a time before each line.
        folder: of the artifact; gets ``lyrics.lrc`` or ``lyrics.txt``.
    """
    lines = _CONTROL.sub("", text.replace("\r\n", "\n").replace("\r", "\n")).strip("\n")
    if not lines.strip():
        return None
    extension = guess_extension(lines)
    file = folder / f"lyrics.{extension}"
    cut = lines.encode(errors="replace")[: MAX_LYRICS_BYTES - 1].decode(errors="ignore")
    atomic.write_bytes(file, f"{cut}\n".encode())
    return Lyrics(source=file, record=record_file(file, base=folder), extension=extension)


def find_lyrics(store: Store, *, song: str) -> Lyrics | None:
    """Return the lyrics that were dropped beside the song's upload, the best where there are several; None for none."""
    folder = sidecar_folder(store, song=song)
    for extension in EXTENSIONS:
        file = folder / f"lyrics.{extension}"
        if file.is_file():
            return Lyrics(source=file, record=record_file(file, base=folder), extension=extension)
    return None


def sidecar_folder(store: Store, *, song: str) -> Path:
    """Return the folder of what was dropped beside the song's upload; it need not be there."""
    return store.root / "sidecars" / song


def guess_extension(text: str) -> str:
    """Return the extension that says how the lyrics are to be read: ``lrc`` with times, else ``txt``."""
    if not _TIMED.search(text):
        return "txt"
    return "elrc" if _ENHANCED.search(text) else "lrc"
