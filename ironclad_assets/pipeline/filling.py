"""What a recognised song's open fields are filled with, from where, and why. What the file says stays as it is.

Also the cover, and the candidates that a person may choose from where nothing is sure. Recognising is
`identify.py`'s business.
"""

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from ironclad_assets.contracts.v1.lookup import FetchedCover, FoundArtist, FoundRecording, FoundRelease
from ironclad_assets.contracts.v1.song_metadata import Candidate, MatchedBy, Reason, TagSource
from ironclad_assets.pipeline.identify import Identity, Inquiry, Sources, TaggedSong, identify
from ironclad_assets.pipeline.likeness import fold
from ironclad_assets.pipeline.matching import Match, choose_release, is_without_vocals
from ironclad_assets.storage.hashing import hash_json

MAX_CANDIDATES = 5
VARIOUS_ARTISTS_ID = "89ad4ac3-39f7-470e-963a-56509c546377"
"""MusicBrainz' artist of compilations."""


@dataclass(frozen=True, slots=True)
class Findings:
    """What the sources add to a file's tags.

    Attributes:
        values: fields of `SongMetadata`; none that the file fills.
        fields: other tags, by their Vorbis names; likewise.
        reasons: why, for each of both.
        cover: the front cover, and why it is that.
        candidates: recordings that the song may be.
        warnings: who gave no answer, and what was odd.
    """

    values: dict[str, Any] = field(default_factory=dict)  # texts, numbers, tuples of texts
    fields: dict[str, tuple[str, ...]] = field(default_factory=dict)
    reasons: dict[str, Reason] = field(default_factory=dict)
    cover: FetchedCover | None = None
    candidates: tuple[Candidate, ...] = ()
    warnings: tuple[str, ...] = ()

    @property
    def digest(self) -> str:
        """SHA-256 of everything that ends up in the metadata: equal answers, equal work."""
        return hash_json(
            {
                "values": self.values,
                "fields": self.fields,
                "reasons": {name: reason.model_dump(mode="json") for name, reason in self.reasons.items()},
                "cover": None if self.cover is None else hashlib.sha256(self.cover.data).hexdigest(),
                "candidates": [candidate.model_dump(mode="json") for candidate in self.candidates],
                "warnings": self.warnings,
            }
        )


def look_up(tagged: TaggedSong, *, sources: Sources) -> Findings:
    """Return what the sources know about a song and its file does not."""
    inquiry = Inquiry(tagged, sources)
    identity = identify(inquiry)
    filler = _Filler(tagged, identity)
    release = filler.fill()
    cover = None
    if not tagged.has_cover:
        cover = _find_cover(inquiry, release=release, filler=filler)
    return Findings(
        values=filler.values,
        fields=filler.fields,
        reasons=filler.reasons,
        cover=cover,
        candidates=_candidates(tagged, identity, release=release),
        warnings=tuple(inquiry.warnings),
    )


class _Filler:
    """Fills the open fields of one song."""

    def __init__(self, tagged: TaggedSong, identity: Identity) -> None:
        self.values: dict[str, Any] = {}  # texts, numbers, tuples of texts
        self.fields: dict[str, tuple[str, ...]] = {}
        self.reasons: dict[str, Reason] = {}
        self._tagged = tagged
        self._identity = identity

    def fill(self) -> FoundRelease | None:
        """Fill what can be filled; return the edition that it comes from."""
        recording = self._identity.recording
        if recording is not None:
            self._fill_from_recording(recording)
        release = self._identity.release or self._edition()
        if release is not None:
            self._fill_from_release(release)
        return release

    def reason(self, entity: str, *, source: TagSource = "musicbrainz", stale: bool | None = None) -> Reason:
        """Return why something is taken from `entity`."""
        old = self._identity.stale if stale is None else stale
        return Reason(
            source="cache" if old else source,
            matched_by=self._identity.matched_by,
            score=self._identity.score,
            entity=entity,
        )

    def _edition(self) -> FoundRelease | None:
        values = self._tagged.values
        release = choose_release(
            self._identity.releases,
            album=values.get("album"),
            track_number=values.get("track_number"),
            instrumental=is_without_vocals(f"{self._tagged.song.title} {values.get('album')}"),
        )
        if release is None or values.get("album"):
            return release
        # A number that the album does not have the song at: the file is from another one.
        given = values.get("track_number")
        return None if given is not None and release.track_number not in (None, given) else release

    def _fill_from_recording(self, recording: FoundRecording) -> None:
        source: TagSource = "acoustid" if self._from_acoustid_alone(recording) else "musicbrainz"
        reason = self.reason(recording.id, source=source)
        self._value("title", recording.title, reason)
        if recording.artist and "artist" not in self._tagged.values:
            self._value("artist", recording.artist, reason)
            self._value("artists", _names(recording.artists) or (recording.artist,), reason)
        self._field("ARTISTSORT", _sort_name(recording.artists), reason)
        self._field("MUSICBRAINZ_ARTISTID", _ids(recording.artists), reason)
        if len(self._identity.chosen) == 1:
            self._field("MUSICBRAINZ_TRACKID", (recording.id,), reason)

    def _from_acoustid_alone(self, recording: FoundRecording) -> bool:
        return recording.fingerprint_score is not None

    def _fill_from_release(self, release: FoundRelease) -> None:
        reason, values = self.reason(release.id), self._tagged.values
        self._value("album", release.title, reason)
        self._value("album_artist", release.album_artist, reason)
        self._value("date", release.date, reason)
        same_place = values.get("track_number") in (None, release.track_number)
        if same_place and values.get("disc_number") in (None, release.disc_number):
            self._value("track_number", release.track_number, reason)
            self._value("track_total", release.track_total, reason)
            if (release.disc_total or 0) > 1 or (release.disc_number or 0) > 1:
                self._value("disc_number", release.disc_number, reason)
                self._value("disc_total", release.disc_total, reason)
            self._field("MUSICBRAINZ_RELEASETRACKID", (release.track_id,) if release.track_id else (), reason)
        if any(artist.id == VARIOUS_ARTISTS_ID for artist in release.album_artists):
            self._value("compilation", True, reason)
        self._field("ALBUMARTISTSORT", _sort_name(release.album_artists), reason)
        self._field("MUSICBRAINZ_ALBUMARTISTID", _ids(release.album_artists), reason)
        self._field("MUSICBRAINZ_RELEASEGROUPID", (release.group_id,) if release.group_id else (), reason)
        if self._only_edition(release):
            self._field("MUSICBRAINZ_ALBUMID", (release.id,), reason)

    def _only_edition(self, release: FoundRelease) -> bool:
        same = [one for one in self._identity.releases if fold(one.title) == fold(release.title)]
        return self._identity.release is not None or len(same) == 1

    def _value(self, name: str, value: Any, reason: Reason) -> None:  # noqa: ANN401 - of any field
        if value not in (None, "", ()) and self._tagged.values.get(name) in (None, "", (), False):
            self.values[name] = value
            self.reasons[name] = reason

    def _field(self, name: str, values: tuple[str, ...], reason: Reason) -> None:
        if values and not self._tagged.fields.get(name):
            self.fields[name] = values
            self.reasons[name] = reason


def _find_cover(inquiry: Inquiry, *, release: FoundRelease | None, filler: _Filler) -> FetchedCover | None:
    """Return the front cover of the song's release, else of its group, and note why."""
    tagged = inquiry.tagged
    by_tags = {
        "release": tagged.mbid("MUSICBRAINZ_ALBUMID"),
        "release-group": tagged.mbid("MUSICBRAINZ_RELEASEGROUPID"),
    }
    by_match: dict[str, str | None] = {"release": None, "release-group": None}
    if release is not None:
        by_match = {"release": release.id, "release-group": release.group_id}
    for kind, named in by_tags.items():
        mbid = named or by_match[kind]
        if mbid is None:
            continue
        cover, reply = inquiry.sources.cover(kind=kind, mbid=mbid)
        inquiry.heard(reply)
        if cover is not None:
            reason = filler.reason(mbid, source="cover_art_archive", stale=reply.stale)
            by_id = {"matched_by": "ids", "score": 1.0}
            filler.reasons["artwork"] = reason.model_copy(update=by_id) if named else reason
            return cover
        if reply.problem is not None:
            break
    return None


def _candidates(tagged: TaggedSong, identity: Identity, *, release: FoundRelease | None) -> tuple[Candidate, ...]:
    """Return what a person may choose from: recordings that were not sure, or albums of the one that is."""
    if identity.chosen:
        if release is not None or "album" not in tagged.gaps:
            return ()
        albums = {one.group_id or fold(one.title): one for one in reversed(identity.releases)}
        match, by = identity.chosen[0], identity.matched_by
        ordered = sorted(albums.values(), key=lambda one: (one.date or "9999", one.id))
        return tuple(_candidate(match, one, by=by) for one in ordered[:MAX_CANDIDATES])
    near = identity.candidates[:MAX_CANDIDATES]
    return tuple(_candidate(match, _likeliest(tagged, match), by=identity.candidates_by) for match in near)


def _likeliest(tagged: TaggedSong, match: Match) -> FoundRelease | None:
    values = tagged.values
    return choose_release(
        match.recording.releases, album=values.get("album"), track_number=values.get("track_number")
    ) or next(iter(match.recording.releases), None)


def _candidate(match: Match, release: FoundRelease | None, *, by: MatchedBy) -> Candidate:
    recording = match.recording
    return Candidate(
        recording_id=recording.id,
        release_id=release and release.id,
        title=recording.title,
        artist=recording.artist,
        album=release and release.title,
        date=release and release.date,
        duration_s=recording.duration_s,
        disambiguation=recording.disambiguation,
        matched_by=by,
        score=match.similarity,
    )


def _names(artists: Iterable[FoundArtist]) -> tuple[str, ...]:
    return tuple(artist.name for artist in artists)


def _ids(artists: Iterable[FoundArtist]) -> tuple[str, ...]:
    return tuple(artist.id for artist in artists if artist.id is not None)


def _sort_name(artists: tuple[FoundArtist, ...]) -> tuple[str, ...]:
    """Return the sort name of a credit to one artist; how several are joined is nowhere written down."""
    return (artists[0].sort_name,) if len(artists) == 1 and artists[0].sort_name else ()
