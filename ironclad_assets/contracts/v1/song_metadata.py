"""Output of the stage `song_metadata`: tags and art in one contract, whatever the container was."""

from typing import Literal

from pydantic import Field

from ironclad_assets.contracts.v1.base import Contract, FileRecord

TagSource = Literal["file", "musicbrainz", "cover_art_archive", "cache", "file_name", "default"]


class Artwork(Contract):
    """The front cover, as a file of the artifact."""

    file: FileRecord
    media_type: Literal["image/jpeg", "image/png"]
    width_px: int = Field(ge=1)
    height_px: int = Field(ge=1)


class SongMetadata(Contract):
    """A song's tags, Unicode NFC, each value at most 4 kB.

    `sources` says for each filled field where it came from. `fields` keeps every other tag of the file
    under its own name, so that nothing the uploader wrote is lost.
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
