"""Output of the stage `song_metadata`: tags and art in one contract, whatever the container was."""

from typing import Literal

from pydantic import Field

from ironclad_assets.contracts.v1.base import Contract, FileRecord
from ironclad_assets.contracts.v1.lookup import Mbid

TagSource = Literal["file", "musicbrainz", "cover_art_archive", "acoustid", "cache", "file_name", "default"]

MatchedBy = Literal["ids", "tags", "fingerprint"]
"""What led to a recording: an id in the file's tags, its other tags and name, or the sound itself."""


class Artwork(Contract):
    """The front cover, as a file of the artifact."""

    file: FileRecord
    media_type: Literal["image/jpeg", "image/png"]
    width_px: int = Field(ge=1)
    height_px: int = Field(ge=1)


class Reason(Contract):
    """Why a field has its value.

    Attributes:
        source: where the value came from.
        matched_by: how the song was recognised there, None for the file itself and its name.
        score: how sure that is, 0..1: 1 for ids in the tags, else similarity, or the fingerprint's score.
        entity: the MusicBrainz recording, release or release group that the value is of.
    """

    source: TagSource
    matched_by: MatchedBy | None = None
    score: float | None = Field(default=None, ge=0, le=1)
    entity: Mbid | None = None


class Candidate(Contract):
    """A recording that may be this song, but not surely enough to take its word; for a person to choose from."""

    recording_id: Mbid
    release_id: Mbid | None = None
    title: str
    artist: str | None = None
    album: str | None = None
    date: str | None = None
    duration_s: float | None = Field(default=None, ge=0)
    disambiguation: str = ""
    matched_by: MatchedBy
    score: float = Field(ge=0, le=1)


class SongMetadata(Contract):
    """A song's tags, Unicode NFC, each value at most 4 kB, lyrics at most 64 kB.

    `sources` says for each filled field where it came from, and `reasons` why. `fields` keeps every other tag of the
    file under its own name, so that nothing the uploader wrote is lost; a source adds ids and sort names to it, and
    those have reasons too. `candidates` are matches that were not sure enough, the likeliest first.
    """

    title: str
    artist: str | None = None
    artists: tuple[str, ...] = ()
    album: str | None = None
    album_artist: str | None = None
    track_number: int | None = Field(default=None, ge=0)
    track_total: int | None = Field(default=None, ge=0)
    disc_number: int | None = Field(default=None, ge=0)
    disc_total: int | None = Field(default=None, ge=0)
    date: str | None = None
    genres: tuple[str, ...] = ()
    composer: str | None = None
    comment: str | None = None
    lyrics: str | None = None
    compilation: bool = False
    artwork: Artwork | None = None
    fields: dict[str, tuple[str, ...]] = Field(default_factory=dict)
    sources: dict[str, TagSource] = Field(default_factory=dict)
    warnings: tuple[str, ...] = ()
    reasons: dict[str, Reason] = Field(default_factory=dict)
    candidates: tuple[Candidate, ...] = ()
