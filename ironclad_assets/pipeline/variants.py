"""What a derived track is called and which tags it carries over from the song it was made from.

An instrumental, an a cappella, any other mix and the stems are albums of their own beside the original's, with
none of the original's identities (MusicBrainz release, track and recording, ISRC, ReplayGain), or a media server
would take them for the original. Paths are made from these tags in `pipeline/naming.py`; nothing here reads or
writes a file.
"""

import re
from dataclasses import dataclass
from typing import Literal

from ironclad_assets.contracts.v1.options import INSTRUMENTAL
from ironclad_assets.contracts.v1.song_metadata import SongMetadata
from ironclad_assets.pipeline.naming import UNKNOWN_ARTIST, VARIOUS_ARTISTS, TrackName

VOCALS = "vocals"

_KEPT_IDENTITIES = frozenset({"MUSICBRAINZ_ARTISTID", "MUSICBRAINZ_ALBUMARTISTID", "MUSICBRAINZ_WORKID"})
_DROPPED = re.compile(
    # who the original is, for servers and shops
    r"MUSICBRAINZ_.*|ACOUSTID_.*|MUSICIP_.*|.*FINGERPRINT.*|.*[_ ](RELEASE|TRACK|ALBUM|RECORDING|MASTER)[_ ]?ID"
    r"|ISRC|BARCODE|UPC|EAN|CATALOGNUMBER|ASIN|DISCID|MCDI|RELEASESTATUS"
    # whose copy it was
    r"|(PL|CN|GE|AT|SF|CM|AK|AP|EG)ID|XID|OWNR|OWNER|PURD|PURL|PLAYCOUNT|RATING.*|ID3:.*"
    # what holds for its file alone
    r"|REPLAYGAIN_.*|R128_.*|(COMMENT:)?ITUN.*|SERATO_.*|LENGTH|CUESHEET|GAPLESS|PGAP|TDLY|TSIZ|METADATA_BLOCK_PICTURE"
    r"|COVERART.*|ORIGINALFILENAME|ENCODER|ENCODED-?BY|ENCODERSETTINGS|ENCODING|ENCODINGTIME|TAGGINGTIME|TDEN|TDTG"
    # how it was made itself
    r"|STEM|SEPARATION_.*|SOURCE_SHA256|ORIGINAL_RECORDING_ID"
)
_SUNG = re.compile(r"(SYNCED|UNSYNCED)?LYRICS.*")
_SORT_NAMES = ("TITLESORT", "ALBUMSORT")
"""Labelled as the names are that they sort."""

_JOINER = "; "
"""Between several composers where they are one text (`audio.tags`)."""


@dataclass(frozen=True, slots=True)
class Variant:
    """How one kind of derived track is called: ``Title (label)`` on ``Album (album_label)``; empty for no label."""

    label: str
    album_label: str
    has_vocals: bool


@dataclass(frozen=True, slots=True)
class Provenance:
    """How a track was made; written into the file's own fields, the same for the same work."""

    engine: str
    engine_version: str
    model: str
    source_sha256: str


def describe_variant(name: str, *, kind: Literal["target", "stem", "dj_stems"], stems: tuple[str, ...]) -> Variant:
    """Return what the target or stem called `name`, made of `stems`, is called in a library.

    The file for DJ programs holds the whole song, so it has the song's own title, among the stems.
    """
    if kind == "dj_stems":
        return Variant(label="", album_label="Stems", has_vocals=True)
    has_vocals = any(is_vocal(stem) for stem in stems)
    spoken = " + ".join(stem.replace("_", " ").title() for stem in name.split("+"))
    if kind == "stem":
        return Variant(label=spoken, album_label="Stems", has_vocals=has_vocals)
    if name == INSTRUMENTAL:
        return Variant(label="Instrumental", album_label="Instrumental", has_vocals=False)
    if all(is_vocal(stem) for stem in stems):
        return Variant(label="A Cappella", album_label="A Cappella", has_vocals=True)
    return Variant(label=spoken, album_label=spoken, has_vocals=has_vocals)


def is_vocal(stem: str) -> bool:
    """Return whether a stem of that name holds singing: ``vocals``, ``lead_vocals``, ..."""
    return stem == VOCALS or stem.endswith(f"_{VOCALS}")


def label_text(text: str, *, label: str) -> str:
    """Return ``text (label)``, or `text` as it is where it already ends so: never ``(Stems) (Stems)``."""
    end = text.rstrip().casefold()
    if not label or end.endswith((f"({label})".casefold(), f"[{label}]".casefold())):
        return text
    return f"{text} ({label})"


def derived_tags(
    metadata: SongMetadata, *, variant: Variant, name: str, provenance: Provenance
) -> dict[str, tuple[str, ...]]:
    """Return the tags of a derived track under their Vorbis comment names.

    Identities of the original are dropped, its recording is remembered in ORIGINAL_RECORDING_ID, and how the
    track was made is added. Lyrics stay only where there is still singing.
    """
    track_name = name_track(metadata, variant=variant, extension="")
    recording = metadata.fields.get("MUSICBRAINZ_TRACKID", ())
    comment = metadata.comment or f"Made from {metadata.title} by Ironclad with {provenance.engine}"
    single = {
        "TITLE": track_name.title,
        "ARTIST": track_name.artist,
        "ALBUM": track_name.album,
        "ALBUMARTIST": track_name.album_artist,
        "TRACKNUMBER": _number(metadata.track_number),
        "TRACKTOTAL": _number(metadata.track_total),
        "DISCNUMBER": _number(metadata.disc_number),
        "DISCTOTAL": _number(metadata.disc_total),
        "DATE": metadata.date,
        "COMPOSER": metadata.composer,
        "COMMENT": comment,
        "COMPILATION": "1" if metadata.compilation else None,
        "LYRICS": metadata.lyrics if variant.has_vocals else None,
        "STEM": name,
        "SEPARATION_ENGINE": provenance.engine,
        "SEPARATION_MODEL": provenance.model,
        "SEPARATION_VERSION": provenance.engine_version,
        "SOURCE_SHA256": provenance.source_sha256,
        "ORIGINAL_RECORDING_ID": recording[0] if recording else None,
    }
    tags: dict[str, tuple[str, ...]] = {key: (value,) for key, value in single.items() if value}
    if metadata.artists and metadata.artists != (track_name.artist,):
        tags["ARTISTS"] = metadata.artists
    if metadata.genres:
        tags["GENRE"] = metadata.genres
    composers = metadata.fields.get("COMPOSER", ())
    if metadata.composer and metadata.composer == _JOINER.join(composers):
        tags["COMPOSER"] = composers
    for key, values in metadata.fields.items():
        if key in _SORT_NAMES:
            label = variant.label if key == "TITLESORT" else variant.album_label
            tags[key] = tuple(label_text(value, label=label) for value in values)
        elif key not in tags and _carries_over(key, variant=variant):
            tags[key] = values
    return tags


def name_track(metadata: SongMetadata, *, variant: Variant, extension: str) -> TrackName:
    """Return the names of a derived track, from which its tags and its path are made.

    A song without an album is an album of its own title, as a single is. An album artist is always there.
    """
    artist = metadata.artist or metadata.album_artist or UNKNOWN_ARTIST
    album_artist = metadata.album_artist or (VARIOUS_ARTISTS if metadata.compilation else artist)
    return TrackName(
        album_artist=album_artist,
        album=label_text(metadata.album or metadata.title, label=variant.album_label),
        title=label_text(metadata.title, label=variant.label),
        artist=artist,
        extension=extension,
        track_number=metadata.track_number,
        disc_number=metadata.disc_number,
        disc_total=metadata.disc_total,
    )


def _carries_over(key: str, *, variant: Variant) -> bool:
    if _SUNG.fullmatch(key) and not variant.has_vocals:
        return False
    return key in _KEPT_IDENTITIES or _DROPPED.fullmatch(key) is None


def _number(value: int | None) -> str | None:
    return None if value is None else str(value)
