"""Which recording a song is, by the sources of metadata: ids in its tags, else its tags and name, else its sound.

Here is decided who is asked what, in which order, and when enough is known. How alike is alike enough belongs to
`matching.py`, what is made of the answer to `filling.py`; the sources themselves come in as an object (`Sources`).
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from ironclad_assets.contracts.v1.lookup import MBID_PATTERN, FetchedCover, FoundRecording, FoundRelease, Reply
from ironclad_assets.contracts.v1.song_metadata import MatchedBy
from ironclad_assets.pipeline.likeness import text_distance
from ironclad_assets.pipeline.matching import LENGTH_MAX_S, Match, Song, Verdict, judge, judge_sound

WANTED = ("title", "artist", "album", "album_artist", "track_number", "date")
"""Fields that a lookup is worth while for, besides the cover."""

_MBID = re.compile(MBID_PATTERN)
_SOMEBODY_ELSES = 0.6
"""Distance of titles from which an id in the tags is doubted, if the lengths differ too: titles may be translations."""

_OTHER_ANSWERS = "an earlier answer was used"


class Sources(Protocol):
    """Whoever answers questions about songs. Where there is no answer, the reply has a problem; nothing is raised."""

    def recording(self, mbid: str) -> Reply:
        """Return the recording of that id."""
        ...

    def release(self, mbid: str) -> Reply:
        """Return the recordings on the release of that id, each with this one release."""
        ...

    def search(self, *, title: str = "", artist: str = "", album: str = "", recording: str = "") -> Reply:
        """Return recordings that fit the words, or the one of that id with everything that is known about it."""
        ...

    def by_fingerprint(self, audio: Path, *, duration_s: float) -> Reply | None:
        """Return recordings that sound like the file; None where nobody can say."""
        ...

    def cover(self, *, kind: str, mbid: str) -> tuple[FetchedCover | None, Reply]:
        """Return the front cover of a ``release`` or ``release-group``."""
        ...


@dataclass(frozen=True, slots=True)
class TaggedSong:
    """A song as its file tells of it.

    Attributes:
        values: filled fields of `SongMetadata`.
        fields: every other tag.
        guess: what the file's name adds.
        has_cover: whether there is a cover in the file.
        audio: the file.
        duration_s: length of the decoded audio.
    """

    values: Mapping[str, Any]  # texts, numbers, tuples of texts
    fields: Mapping[str, tuple[str, ...]]
    guess: Mapping[str, Any]
    has_cover: bool
    audio: Path
    duration_s: float

    @property
    def song(self) -> Song:
        """What is compared with recordings."""
        values = {**self.guess, **self.values}
        return Song(values.get("title"), values.get("artist"), values.get("album"), self.duration_s)

    @property
    def gaps(self) -> tuple[str, ...]:
        """Fields that the file leaves open and a source could fill."""
        return tuple(name for name in WANTED if self.values.get(name) in (None, ""))

    def mbid(self, name: str) -> str | None:
        """Return the MusicBrainz id in a tag, None where there is none or something else."""
        value = next(iter(self.fields.get(name, ())), "").casefold()
        return value if _MBID.fullmatch(value) else None


@dataclass(frozen=True, slots=True)
class Identity:
    """What the sources say a song is.

    Attributes:
        chosen: the recordings that are this song; several where one song is there more than once.
        releases: editions that it may be from.
        release: the edition, where an id in the tags names it.
        matched_by: what led there.
        stale: whether old answers had to do.
        candidates: what was not sure enough.
        warnings: who gave no answer, and why.
    """

    chosen: tuple[Match, ...] = ()
    releases: tuple[FoundRelease, ...] = ()
    release: FoundRelease | None = None
    matched_by: MatchedBy = "tags"
    stale: bool = False
    candidates: tuple[Match, ...] = ()
    candidates_by: MatchedBy = "tags"
    warnings: tuple[str, ...] = ()

    @property
    def recording(self) -> FoundRecording | None:
        return self.chosen[0].recording if self.chosen else None

    @property
    def score(self) -> float:
        """How sure it is, 0..1."""
        return 1.0 if self.matched_by == "ids" or not self.chosen else self.chosen[0].similarity


@dataclass(slots=True)
class Inquiry:
    """The questions about one song, and what has come of them."""

    tagged: TaggedSong
    sources: Sources
    warnings: list[str] = field(default_factory=list)
    stale: bool = False
    silence: bool = False

    def heard(self, reply: Reply) -> Reply:
        """Take note of how an answer came about."""
        if reply.problem is not None:
            self.warn(f"{reply.problem}; {_OTHER_ANSWERS}" if reply.stale else reply.problem)
        self.stale = self.stale or reply.stale
        self.silence = self.silence or (reply.problem is not None and not reply.stale)
        return reply

    def warn(self, warning: str) -> None:
        if warning not in self.warnings:
            self.warnings.append(warning)


def identify(inquiry: Inquiry) -> Identity:
    """Return what the song is. Nothing is asked where the file leaves nothing open."""
    tagged = inquiry.tagged
    for name in ("MUSICBRAINZ_TRACKID", "MUSICBRAINZ_ALBUMID"):
        if tagged.fields.get(name) and tagged.mbid(name) is None:
            inquiry.warn(f"the tag {name} is no MusicBrainz id: {tagged.fields[name][0][:80]!r}")
    if not tagged.gaps and (tagged.has_cover or tagged.mbid("MUSICBRAINZ_ALBUMID")):
        return _finished(inquiry, Identity())
    identity, answered = _by_ids(inquiry)
    if identity.chosen or identity.release or not answered:
        return _finished(inquiry, identity)
    by_tags, by_sound = _by_tags(inquiry), Identity()
    if not by_tags.chosen:
        by_sound = _by_sound(inquiry)
    best = by_sound if by_sound.chosen or not (by_tags.chosen or by_tags.candidates) else by_tags
    return _finished(inquiry, best)


def _finished(inquiry: Inquiry, identity: Identity) -> Identity:
    return Identity(
        chosen=identity.chosen,
        releases=identity.releases,
        release=identity.release,
        matched_by=identity.matched_by,
        stale=inquiry.stale,
        candidates=identity.candidates,
        candidates_by=identity.candidates_by,
        warnings=tuple(inquiry.warnings),
    )


def _by_ids(inquiry: Inquiry) -> tuple[Identity, bool]:
    """Return what ids in the tags lead to, and whether asking on makes sense: not where the source is silent."""
    tagged, sources = inquiry.tagged, inquiry.sources
    recording_id, release_id = tagged.mbid("MUSICBRAINZ_TRACKID"), tagged.mbid("MUSICBRAINZ_ALBUMID")
    release: FoundRelease | None = None
    if release_id is not None:
        reply = inquiry.heard(sources.release(release_id))
        if reply.problem is not None and not reply.stale:
            return Identity(), False
        track = _find_track(tagged, reply.recordings)
        if track is not None:
            return _known(track, release=track.releases[0]), True
        release = _without_place(reply.recordings[0].releases[0]) if reply.recordings else None
    if recording_id is None:
        return Identity(release=release, matched_by="ids"), True
    reply = inquiry.heard(sources.recording(recording_id))
    if reply.problem is not None and not reply.stale:
        return Identity(release=release, matched_by="ids"), False
    if not reply.recordings:
        inquiry.warn(f"MusicBrainz knows no recording {recording_id}, which the tags name")
        return Identity(release=release, matched_by="ids"), True
    recording = reply.recordings[0]
    if _is_somebody_elses(tagged.song, recording):
        inquiry.warn(f"recording {recording_id}, which the tags name, is {recording.title!r} of another length")
        return Identity(release=release, matched_by="ids"), True
    if release is None and _needs_kinds(tagged, recording):
        full = inquiry.heard(sources.search(recording=recording.id))
        recording = next((one for one in full.recordings if one.id == recording.id), recording)
    return _known(recording, release=release), True


def _known(recording: FoundRecording, *, release: FoundRelease | None) -> Identity:
    return Identity(chosen=(Match(recording, 0.0),), releases=recording.releases, release=release, matched_by="ids")


def _needs_kinds(tagged: TaggedSong, recording: FoundRecording) -> bool:
    """Return whether an album is to be guessed: only a search says which releases are albums and which compilations."""
    kinds_known = all(one.primary_type is not None for one in recording.releases)
    return not kinds_known and bool({"album", "track_number", "date"} & set(tagged.gaps))


def _find_track(tagged: TaggedSong, tracks: tuple[FoundRecording, ...]) -> FoundRecording | None:
    """Return the song's track among those of the release that its tags name."""
    recording_id, track_id = tagged.mbid("MUSICBRAINZ_TRACKID"), tagged.mbid("MUSICBRAINZ_RELEASETRACKID")
    for track in tracks:
        if track.id == recording_id or (track_id is not None and track.releases[0].track_id == track_id):
            return track
    if recording_id is not None:
        return None
    song = tagged.song
    verdict = judge(Song(song.title, song.artist, None, song.duration_s), tracks)
    return verdict.chosen[0].recording if len(verdict.chosen) == 1 else None


def _without_place(release: FoundRelease) -> FoundRelease:
    """Return the release without a track's place on it: which track the song is, is not known."""
    nowhere = {"disc_number": None, "track_number": None, "track_total": None, "track_id": None}
    return release.model_copy(update=nowhere)


def _is_somebody_elses(song: Song, recording: FoundRecording) -> bool:
    if song.title is None or song.duration_s is None or recording.duration_s is None:
        return False
    other_length = abs(song.duration_s - recording.duration_s) > LENGTH_MAX_S
    return other_length and text_distance(song.title, recording.title) > _SOMEBODY_ELSES


def _by_tags(inquiry: Inquiry) -> Identity:
    song = inquiry.tagged.song
    if not song.title:
        return Identity()
    reply = inquiry.heard(inquiry.sources.search(title=song.title, artist=song.artist or "", album=song.album or ""))
    return _settled(judge(song, reply.recordings), matched_by="tags")


def _by_sound(inquiry: Inquiry) -> Identity:
    tagged = inquiry.tagged
    reply = inquiry.sources.by_fingerprint(tagged.audio, duration_s=tagged.duration_s)
    if reply is None:
        return Identity()
    identity = _settled(judge_sound(tagged.song, inquiry.heard(reply).recordings), matched_by="fingerprint")
    if identity.recording is None or inquiry.silence:
        return identity
    full = inquiry.heard(inquiry.sources.search(recording=identity.recording.id))
    for recording in full.recordings:
        if recording.id == identity.recording.id:
            chosen = (Match(recording, identity.chosen[0].distance), *identity.chosen[1:])
            return Identity(chosen=chosen, releases=recording.releases, matched_by="fingerprint")
    return identity


def _settled(verdict: Verdict, *, matched_by: MatchedBy) -> Identity:
    releases = {release.id: release for match in verdict.chosen for release in match.recording.releases}
    return Identity(
        chosen=verdict.chosen,
        releases=tuple(releases.values()),
        matched_by=matched_by,
        candidates=verdict.candidates,
        candidates_by=matched_by,
    )
