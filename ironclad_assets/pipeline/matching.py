"""How alike a song and a recording are, and which recording, if any, is the song. Pure functions, no source's score.

A search engine's score is relative to its best hit, which may be wrong, so likeness is computed here from title,
artist, album and length. Who is asked and what is done with a match belongs to `identify.py`.
"""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from ironclad_assets.contracts.v1.lookup import FoundRecording, FoundRelease
from ironclad_assets.pipeline.likeness import EDITION_COST, fold, text_distance

STRONG = 0.04
MEDIUM = 0.25
GAP = 0.25
"""Distances after beets (`match.strong_rec_thresh`, `medium_rec_thresh`, `rec_gap_thresh`): strong matches are taken,
medium ones where the next different song is further away by the gap, others are candidates at most."""

LENGTH_GRACE_S = 10.0
LENGTH_MAX_S = 30.0
"""Difference of lengths that counts nothing, and one beyond which it is another recording (beets
`track_length_grace`, `track_length_max`)."""

_WEIGHTS = {"title": 3.0, "artist": 3.0, "length": 2.0, "album": 1.0}
_VERSION_COST = 0.3
_EQUALLY_NEAR = 0.01

_TWINS = {
    "without vocals": re.compile(
        r"\b(instrumentals?|karaoke|backing tracks?|off vocal|minus one|tv track|without vocals?|no vocals?)\b"
        r"|[(\[]\s*inst\b|カラオケ|インスト|伴奏|노래방"
    ),
    "vocals alone": re.compile(r"\b(a ?capp?ella|vocals? only|isolated vocals?)\b"),
}
_VERSIONS = {
    word: re.compile(rf"\b({word})\b")
    for word in (
        "live", "remix|rmx", "demo", "acoustic|unplugged", "cover|tribute", "rehearsal", "edit", "extended", "dub",
        "nightcore|sped up|slowed", "reprise", "interlude", "8d",
    )
}  # fmt: skip
SOUND_SCORE = 0.8
"""Least score of a fingerprint; below, AcoustID itself calls it a weak match."""


@dataclass(frozen=True, slots=True)
class Song:
    """What is known about the uploaded song. An artist from a file's name counts like one from its tags.

    Attributes:
        duration_s: length of the decoded audio.
    """

    title: str | None
    artist: str | None
    album: str | None
    duration_s: float | None


@dataclass(frozen=True, slots=True)
class Match:
    """A recording and its distance from the song, 0..1."""

    recording: FoundRecording
    distance: float

    @property
    def similarity(self) -> float:
        return round(1.0 - self.distance, 4)


@dataclass(frozen=True, slots=True)
class Verdict:
    """What a list of recordings came to.

    Attributes:
        chosen: the recordings that are this song: usually one, several where a source has it more than once; empty
            where nothing is sure.
        candidates: what was near but not sure, nearest first.
    """

    chosen: tuple[Match, ...] = ()
    candidates: tuple[Match, ...] = ()


def length_distance(one_s: float, other_s: float) -> float:
    """Return 0 for lengths within the grace, rising to 1 at the largest difference that one recording may have."""
    beyond = abs(one_s - other_s) - LENGTH_GRACE_S
    return min(1.0, max(0.0, beyond / (LENGTH_MAX_S - LENGTH_GRACE_S)))


def is_twin(song: Song, recording: FoundRecording) -> bool:
    """Return whether one of the two is an instrumental, karaoke or a cappella version and the other is not."""
    theirs = _marks(_TWINS, f"{recording.title} {recording.disambiguation}")
    ours = (song.title or "", f"{song.title or ''} {song.album or ''}")
    return all(_marks(_TWINS, text) != theirs for text in ours)


def is_without_vocals(text: str) -> bool:
    """Return whether a title or album says that nobody sings."""
    return "without vocals" in _marks(_TWINS, text)


def recording_distance(song: Song, recording: FoundRecording) -> float | None:
    """Return how far `recording` is from `song`, 0..1; None where it cannot be it, whatever it is called.

    What one of the two does not say is left out of the mean.
    """
    if is_twin(song, recording) or not _lengths_possible(song, recording):
        return None
    parts: dict[str, float] = {}
    if song.title:
        parts["title"] = text_distance(song.title, recording.title)
    if song.artist:
        parts["artist"] = artist_distance(song.artist, recording)
    if song.duration_s is not None and recording.duration_s is not None:
        parts["length"] = length_distance(song.duration_s, recording.duration_s)
    if song.album and recording.releases:
        parts["album"] = min(text_distance(song.album, release.title) for release in recording.releases)
    if not parts:
        return 1.0
    mean = sum(_WEIGHTS[name] * value for name, value in parts.items()) / sum(_WEIGHTS[name] for name in parts)
    # A mean hides that one of the two names is somebody else's; a song is no better than the worse of them.
    worst = max(parts.get("title", 0.0), parts.get("artist", 0.0))
    return min(1.0, max(mean, worst * 0.6) + _version_cost(song, recording))


def artist_distance(artist: str, recording: FoundRecording) -> float:
    """Return how different the artist is from the recording's credit, however joined, or from its first artist."""
    each = [one.name for one in recording.artists]
    names = (recording.artist or "", each[0] if each else "", "; ".join(each))
    return min(text_distance(artist, name) for name in names if name) if any(names) else 1.0


def judge(song: Song, recordings: Iterable[FoundRecording]) -> Verdict:
    """Return which of the recordings are the song, and which may be.

    A choice needs title and artist; a title alone fits too many songs, so it gives candidates only.
    """
    ranked = rank(song, recordings)
    near = tuple(match for match in ranked if match.distance <= MEDIUM)
    if not near or not song.title or not song.artist:
        return Verdict(candidates=near)
    same = tuple(match for match in near if _same_name(match, near[0]))
    others = tuple(match for match in near if not _same_name(match, near[0]))
    best, gap = near[0].distance, (others[0].distance if others else 1.0) - near[0].distance
    if best > STRONG and (gap < GAP or not _lengths_agree(song, near[0].recording)):
        return Verdict(candidates=near)
    if others and others[0].distance <= STRONG:
        return Verdict(candidates=near)
    chosen = tuple(match for match in same if match.distance <= best + _EQUALLY_NEAR)
    return Verdict(chosen=chosen, candidates=tuple(match for match in near if match not in chosen))


def judge_sound(song: Song, recordings: Iterable[FoundRecording]) -> Verdict:
    """Return which of the recordings that a fingerprint led to are the song.

    What the tags say must not speak against it. Recordings of different names under one fingerprint are a choice for
    a person: a source's links are as good as whoever made them, and an instrumental can sound like its original.
    """
    matches = []
    for recording in recordings:
        score = recording.fingerprint_score or 0.0
        if score < SOUND_SCORE or not _lengths_possible(song, recording):
            continue
        if (song.title or song.artist) and (recording_distance(song, recording) or 0.0) > MEDIUM:
            continue
        if not (song.title and is_twin(song, recording)):
            matches.append(Match(recording, round(1.0 - score, 6)))
    if all(_same_name(match, matches[0]) for match in matches):
        return Verdict(chosen=tuple(matches))
    return Verdict(candidates=tuple(matches))


def rank(song: Song, recordings: Iterable[FoundRecording]) -> tuple[Match, ...]:
    """Return the recordings that can be the song, nearest first; equal input gives equal order."""
    matches = []
    for recording in recordings:
        distance = recording_distance(song, recording)
        if distance is not None:
            matches.append(Match(recording, round(distance, 6)))
    return tuple(
        sorted(matches, key=lambda match: (match.distance, -len(match.recording.releases), match.recording.id))
    )


def choose_release(
    releases: Sequence[FoundRelease], *, album: str | None, track_number: int | None, instrumental: bool = False
) -> FoundRelease | None:
    """Return the edition that the song is from, None where that is anybody's guess.

    With an album in the tags: an edition of that name. Without: the one proper album the recording is on, else the
    one single or EP; compilations, live albums and bootlegs are never guessed.

    Args:
        releases: editions with the recording on them.
        album: as the tags have it.
        track_number: likewise; decides between editions.
        instrumental: whether albums of instrumentals may be meant.
    """
    open_to = [one for one in releases if instrumental or not _marks(_TWINS, f"{one.title} {one.disambiguation}")]
    if album:
        named = [one for one in open_to if text_distance(album, one.title) <= STRONG]
        return min(named, key=lambda one: _edition_order(one, album, track_number), default=None)
    official = [one for one in open_to if one.status in (None, "Official") and not one.secondary_types]
    for kinds in (("Album",), ("EP", "Single")):
        fitting = [one for one in official if one.primary_type in kinds]
        if fitting:
            one_album = len({one.group_id or fold(one.title) for one in fitting}) == 1
            return min(fitting, key=lambda one: _edition_order(one, one.title, track_number)) if one_album else None
    return None


def _edition_order(release: FoundRelease, album: str, track_number: int | None) -> tuple[bool, bool, bool, str, str]:
    """Return the place of an edition among others: same name, same track number, official, oldest, then by id."""
    return (
        fold(release.title) != fold(album),
        track_number is not None and release.track_number != track_number,
        release.status not in (None, "Official"),
        release.date or "9999",
        release.id,
    )


def _same_name(one: Match, other: Match) -> bool:
    first, second = one.recording, other.recording
    return (
        text_distance(first.title, second.title) <= EDITION_COST
        and text_distance(first.artist or "", second.artist or "") <= EDITION_COST
    )


def _lengths_possible(song: Song, recording: FoundRecording) -> bool:
    if song.duration_s is None or recording.duration_s is None:
        return True
    return abs(song.duration_s - recording.duration_s) <= LENGTH_MAX_S


def _lengths_agree(song: Song, recording: FoundRecording) -> bool:
    if song.duration_s is None or recording.duration_s is None:
        return False
    return length_distance(song.duration_s, recording.duration_s) == 0.0


def _version_cost(song: Song, recording: FoundRecording) -> float:
    """Return what a live, remixed or other version costs where only one of the two says so."""
    ours = _marks(_VERSIONS, f"{song.title or ''} {song.album or ''}")
    theirs = _marks(_VERSIONS, f"{recording.title} {recording.disambiguation}")
    return _VERSION_COST if theirs - ours or _marks(_VERSIONS, song.title or "") - theirs else 0.0


def _marks(patterns: Mapping[str, re.Pattern[str]], text: str) -> frozenset[str]:
    """Return what kinds of version `text` names."""
    words = text.casefold().replace("-", " ")
    return frozenset(name for name, pattern in patterns.items() if pattern.search(words))
