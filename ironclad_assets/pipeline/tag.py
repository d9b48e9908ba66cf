"""The room `song_metadata`: what the song is called, by whom, from which album.

Tags and cover come from the file, in a sandboxed child; what they leave open comes from the sources of metadata, where
those are asked (`identify.py`, `filling.py`), and then from the file's name. No failure of tags or sources stops a
song: it goes on with its name and a warning.
"""

import re
from pathlib import Path
from typing import Any

from ironclad_assets.contracts.v1.lookup import FetchedCover
from ironclad_assets.contracts.v1.song_metadata import Artwork, Reason, SongMetadata
from ironclad_assets.contracts.v1.validated_file import ValidatedFile
from ironclad_assets.errors import IroncladError, JobCanceled, StorageUnavailable
from ironclad_assets.pipeline.filling import Findings
from ironclad_assets.pipeline.identify import TaggedSong
from ironclad_assets.pipeline.naming import UNTITLED
from ironclad_assets.sandbox.limits import Limits
from ironclad_assets.sandbox.task import run_task
from ironclad_assets.sandbox.watch import SilentWatch, Watch
from ironclad_assets.storage.hashing import record_file
from ironclad_assets.storage.store import Store

TAG_LIMITS = Limits(cpu_s=20.0, memory_bytes=768 * 1024**2, wall_s=120.0, file_bytes=64 * 1024**2)
"""Enough for the largest cover that is accepted; tags of a sane file need a tenth of a second."""

Found = dict[str, Any]  # a JSON object: what a child found in the file

_FETCHED = "cover.jpg"
_READ = "ironclad_assets.audio.tags:read_tags"
_NOT_FIELDS = ("artwork", "warnings", "fields")
# "07 - Title", "1-07 - Title", "07. Title", "07 Title"; "50 Ways" starts with no track number.
_NUMBERED = re.compile(
    r"(?:(?P<disc>[1-9])-)?(?:(?P<track>[0-9]{2,3})\s*[-._)]\s*|(?P<zero>0[1-9])\s+)(?P<rest>\S.*)", flags=re.ASCII
)
_SEPARATOR = re.compile(r"\s+[-–—]\s+")


def read_metadata(
    validated: ValidatedFile, *, store: Store, work: Path, watch: Watch | None = None, limits: Limits = TAG_LIMITS
) -> SongMetadata:
    """Return the song's tags without asking anybody; its cover, where it has one, is written into `work`.

    Takes and raises what `read_file` does.
    """
    found = read_file(validated, store=store, work=work, watch=watch, limits=limits)
    return complete_metadata(found, original_name=validated.original_name, work=work)


def read_file(
    validated: ValidatedFile, *, store: Store, work: Path, watch: Watch | None = None, limits: Limits = TAG_LIMITS
) -> Found:
    """Return what the file's tags say; its cover, where it has one, is written into `work`.

    Args:
        validated: the song's original.
        store: where the original lies.
        work: folder for the cover.
        watch: may cancel.
        limits: of the child that reads the file.

    Returns:
        The answer of `audio.tags:read_tags`; only warnings where the file cannot be read.

    Raises:
        JobCanceled: the watch asked for it.
        StorageUnavailable: the cover could not be written.
    """
    original = store.original(validated.archive_path)
    try:
        return run_task(
            _READ,
            arguments={"path": str(original), "media_type": validated.media_type, "work": str(work)},
            limits=limits,
            readable=[original],
            writable=[work],
            watch=watch or SilentWatch(),
        )
    except (JobCanceled, StorageUnavailable):
        raise
    except IroncladError as error:
        return {"fields": {}, "artwork": None, "warnings": [f"the tags cannot be read: {error.detail}"]}


def describe_song(found: Found, *, validated: ValidatedFile, store: Store) -> TaggedSong:
    """Return the song as the sources of metadata are asked about it."""
    values = _values(found)
    return TaggedSong(
        values=values,
        fields={name: tuple(given) for name, given in found["fields"].items()},
        guess=_guess(validated.original_name, known=values),
        has_cover=found.get("artwork") is not None,
        audio=store.original(validated.archive_path),
        duration_s=validated.audio.duration_s,
    )


def complete_metadata(
    found: Found, *, original_name: str, work: Path, findings: Findings | None = None
) -> SongMetadata:
    """Return the metadata of what the file's tags say; what they leave open, of what was found, then of its name.

    Args:
        found: the answer of `audio.tags:read_tags`.
        original_name: the name the file was uploaded under.
        work: folder that holds the cover named in `found`, or gets the one in `findings`.
        findings: what the sources of metadata added.
    """
    findings = findings or Findings()
    values = _values(found)
    reasons = dict.fromkeys(values, Reason(source="file"))
    values |= findings.values
    guess = _guess(original_name, known=values)
    values |= guess
    reasons |= dict.fromkeys(guess, Reason(source="file_name"))
    if "title" not in values:
        values["title"] = UNTITLED
        reasons["title"] = Reason(source="default")
    reasons |= findings.reasons
    artwork = _artwork(found.get("artwork"), fetched=findings.cover, work=work)
    if artwork is not None and findings.cover is None:
        reasons["artwork"] = Reason(source="file")
    return SongMetadata(
        **values,
        artwork=artwork,
        fields=findings.fields | found["fields"],
        sources={name: reason.source for name, reason in reasons.items() if name not in findings.fields},
        reasons=reasons,
        candidates=findings.candidates,
        warnings=(*found["warnings"], *findings.warnings),
    )


def _values(found: Found) -> dict[str, Any]:
    return {name: value for name, value in found.items() if name not in _NOT_FIELDS and value not in (None, "")}


def parse_name(original_name: str) -> dict[str, Any]:
    """Return what a file name says: ``Artist - Title``, ``NN - Title``, ``NN - Artist - Title``, or ``Title``.

    Values are texts, numbers for `track_number` and `disc_number`, and `artists` beside an `artist`.
    """
    stem = original_name.rpartition(".")[0] or original_name
    text = re.sub(r"\s+", " ", stem if " " in stem else stem.replace("_", " ")).strip(" .")
    guess: dict[str, Any] = {}
    match = _NUMBERED.fullmatch(text)
    if match and int(match["track"] or match["zero"]) > 0:
        guess["track_number"] = int(match["track"] or match["zero"])
        if match["disc"]:
            guess["disc_number"] = int(match["disc"])
        text = match["rest"]
    parts = _SEPARATOR.split(text, maxsplit=1)
    if len(parts) == 2 and all(parts):
        guess["artist"] = parts[0]
        guess["artists"] = (parts[0],)
    if text:
        guess["title"] = parts[-1] or text
    return guess


def _guess(original_name: str, *, known: dict[str, Any]) -> dict[str, Any]:
    """Return what the name adds to the tags; a name that contradicts them adds nothing, or only the title."""
    guess = parse_name(original_name)
    if "title" in known and known["title"].casefold() != guess.get("title", "").casefold():
        return {}
    artist = guess.get("artist")
    if artist and "title" not in known and known.get("artist", artist).casefold() != artist.casefold():
        # The part before the dash is not the artist, so it belongs to the title.
        guess["title"] = f"{artist} - {guess['title']}"
    if "artist" in known:
        guess.pop("artists", None)
    return {name: value for name, value in guess.items() if name not in known}


def _artwork(cover: Found | None, *, fetched: FetchedCover | None, work: Path) -> Artwork | None:
    """Return the record of the file's own cover, else of the fetched one, which is written first."""
    if cover is None:
        if fetched is None:
            return None
        (work / _FETCHED).write_bytes(fetched.data)
        cover = {"path": _FETCHED, "width_px": fetched.width_px, "height_px": fetched.height_px}
    return Artwork(
        file=record_file(work / cover["path"], base=work),
        media_type="image/jpeg",
        width_px=cover["width_px"],
        height_px=cover["height_px"],
    )
