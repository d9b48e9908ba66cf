"""What a source of metadata answered about recordings and releases, in one form whatever its own format is.

Answers come from strangers: every text is bounded, every id has the form of one. What they are worth for a song is
decided in `pipeline/matching.py`; what became of them is in the contract `song_metadata`.
"""

from typing import Annotated

from pydantic import Field

from ironclad_assets.contracts.v1.base import Contract

MBID_PATTERN = r"^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$"

Mbid = Annotated[str, Field(pattern=MBID_PATTERN)]
"""A MusicBrainz identifier. It becomes part of addresses and file names, so nothing else passes."""

Text = Annotated[str, Field(max_length=4096)]


class FoundArtist(Contract):
    """One artist of a credit, under the name that it is credited with."""

    name: Text
    id: Mbid | None = None
    sort_name: Text | None = None


class FoundRelease(Contract):
    """An edition of an album, and where on it the recording is."""

    id: Mbid
    title: Text
    group_id: Mbid | None = None
    status: Text | None = None
    primary_type: Text | None = None
    secondary_types: tuple[Text, ...] = ()
    disambiguation: Text = ""
    date: Annotated[str, Field(pattern=r"^[0-9]{4}(-[0-9]{2}(-[0-9]{2})?)?$")] | None = None
    album_artist: Text | None = None
    album_artists: tuple[FoundArtist, ...] = ()
    disc_number: int | None = Field(default=None, ge=0, le=9999)
    disc_total: int | None = Field(default=None, ge=0, le=9999)
    track_number: int | None = Field(default=None, ge=0, le=9999)
    track_total: int | None = Field(default=None, ge=0, le=9999)
    track_id: Mbid | None = None


class FoundRecording(Contract):
    """A recording that may be the song.

    Attributes:
        fingerprint_score: how well the audio's fingerprint fits (0..1), where it was found by that.
    """

    id: Mbid
    title: Text
    artist: Text | None = None
    artists: tuple[FoundArtist, ...] = ()
    duration_s: float | None = Field(default=None, ge=0)
    disambiguation: Text = ""
    releases: tuple[FoundRelease, ...] = ()
    fingerprint_score: float | None = Field(default=None, ge=0, le=1)


class FetchedCover(Contract):
    """A front cover ready to be delivered: a fresh JPEG, RGB."""

    data: bytes
    width_px: int = Field(ge=1)
    height_px: int = Field(ge=1)


class Reply(Contract):
    """What came of one question.

    Attributes:
        recordings: what was found; empty where the source knows nothing.
        picture: whether a picture was found.
        stale: the answer is an old one from the cache, because the source did not give another.
        problem: why there is no answer, None where there is one.
    """

    recordings: tuple[FoundRecording, ...] = ()
    picture: bool = False
    stale: bool = False
    problem: Text | None = None
