"""Recordings and releases as sources tell of them, and a source that needs no network."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ironclad_assets.contracts.v1.lookup import FetchedCover, FoundArtist, FoundRecording, FoundRelease, Reply
from ironclad_assets.pipeline.identify import TaggedSong

DOWN = Reply(problem="MusicBrainz refused the connection")


def mbid(number: int) -> str:
    return f"{number:08x}-0000-4000-8000-{number:012x}"


def release(number: int, title: str = "Album", **more: Any) -> FoundRelease:
    facts = {
        "group_id": mbid(number + 5000), "status": "Official", "primary_type": "Album", "date": "2001-02-03",
        "album_artist": "Ann", "album_artists": (FoundArtist(name="Ann", id=mbid(901), sort_name="Ann, A"),),
        "disc_number": 1, "track_number": 3, "track_total": 10, "track_id": mbid(number + 7000),
    }  # fmt: skip
    return FoundRelease(id=mbid(number), title=title, **{**facts, **more})


def recording(number: int, title: str = "Run", artist: str = "Ann", **more: Any) -> FoundRecording:
    facts = {
        "artists": (FoundArtist(name=artist, id=mbid(901), sort_name=f"{artist}, A"),),
        "duration_s": 200.0,
        "releases": (release(number + 100),),
    }
    return FoundRecording(id=mbid(number), title=title, artist=artist, **{**facts, **more})


@dataclass
class KnownSongs:
    """A source that knows what a test tells it; `asked` are its questions."""

    recordings: list[FoundRecording] = field(default_factory=list)
    heard: list[FoundRecording] | None = None
    covers: dict[str, bytes] = field(default_factory=dict)
    down: Reply | None = None
    stale: bool = False
    asked: list[str] = field(default_factory=list)

    def _reply(self, asked: str, found: list[FoundRecording]) -> Reply:
        self.asked.append(asked)
        if self.stale:
            return Reply(recordings=tuple(found), stale=True, problem="MusicBrainz refused the connection")
        return self.down or Reply(recordings=tuple(found))

    def recording(self, mbid: str) -> Reply:
        return self._reply(f"recording {mbid}", [one for one in self.recordings if one.id == mbid])

    def release(self, mbid: str) -> Reply:
        found = [
            one.model_copy(update={"releases": (edition,)})
            for one in self.recordings
            for edition in one.releases
            if edition.id == mbid
        ]
        return self._reply(f"release {mbid}", found)

    def search(self, *, title: str = "", artist: str = "", album: str = "", recording: str = "") -> Reply:
        found = [one for one in self.recordings if recording in ("", one.id)]
        return self._reply("search " + (recording or f"{title}/{artist}/{album}"), found)

    def by_fingerprint(self, audio: Path, *, duration_s: float) -> Reply | None:
        if self.heard is None:
            return None
        return self._reply("sound", self.heard)

    def cover(self, *, kind: str, mbid: str) -> tuple[FetchedCover | None, Reply]:
        self.asked.append(f"cover {kind} {mbid}")
        data = self.covers.get(mbid)
        if data is None:
            return None, Reply()
        return FetchedCover(data=data, width_px=500, height_px=500), Reply(picture=True)


def tagged(
    *, fields: dict[str, str] | None = None, guess: dict[str, Any] | None = None, has_cover: bool = True,
    duration_s: float = 200.0, **values: Any,
) -> TaggedSong:  # fmt: skip
    """Return a song whose file fills `values`."""
    return TaggedSong(
        values=values,
        fields={name: (value,) for name, value in (fields or {}).items()},
        guess=guess or {},
        has_cover=has_cover,
        audio=Path("song.flac"),
        duration_s=duration_s,
    )
