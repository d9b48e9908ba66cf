"""The songs that the judges are shown: what is uploaded, and what must be found in each delivered file.

What is expected stands here by hand, in the words of the contract's Vorbis names, and owes nothing to the code that
writes tags. The songs are one album in five formats, and one compilation in two.
"""

import unicodedata
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path

import numpy as np
from mutagen.flac import FLAC, Picture
from PIL import Image

from tests import synth

ENGINE = "spectral"
FRAMES = 2 * synth.SR + 137
"""Length of every upload; no codec's packets end there."""

COVER_PX = 600

ALBUM_ARTIST = "Þórdís Åström"
ALBUM = "Ævintýri á gönguför"
COMPILATION = "Vår & Høst"
VARIOUS_ARTISTS = "Various Artists"

RELEASE = "5b1c9bd2-6a54-4a2c-8a3e-0b8f3c1d0a01"
IDENTITIES = {
    "MUSICBRAINZ_ALBUMID": RELEASE,
    "MUSICBRAINZ_RELEASEGROUPID": "5b1c9bd2-6a54-4a2c-8a3e-0b8f3c1d0a02",
    "MUSICBRAINZ_DISCID": "I5l9cCSFccLKFEKS.7wqSZAorPU-",
    "ACOUSTID_ID": "5b1c9bd2-6a54-4a2c-8a3e-0b8f3c1d0a03",
    "ACOUSTID_FINGERPRINT": "AQADtMmybfGO8NCNEESLnzHyXNOHeHnG",
    "ISRC": "ISXYZ9900017",
    "BARCODE": "5690000000123",
    "CATALOGNUMBER": "IRON-0017",
    "ASIN": "B00IRON017",
    "REPLAYGAIN_TRACK_GAIN": "+31.70 dB",
    "REPLAYGAIN_ALBUM_GAIN": "+32.70 dB",
}
"""Identities and measures of the original's release, which nothing made from it may carry."""

KEPT_IDS = {
    "MUSICBRAINZ_ARTISTID": "5b1c9bd2-6a54-4a2c-8a3e-0b8f3c1d0b01",
    "MUSICBRAINZ_ALBUMARTISTID": "5b1c9bd2-6a54-4a2c-8a3e-0b8f3c1d0b02",
    "MUSICBRAINZ_WORKID": "5b1c9bd2-6a54-4a2c-8a3e-0b8f3c1d0b03",
}
"""Identities of people and of the work, which are still true."""

OWN_FIELDS = {
    "MOOD": ("dreamy",),
    "LANTERN": ("eins", "zwölf"),
    "ARTISTSORT": ("Åström, Þórdís",),
    "ALBUMARTISTSORT": ("Åström, Þórdís",),
    "BPM": ("92",),
    "KEY": ("F#m",),
    "LABEL": ("Jökull Útgáfa",),
    "COPYRIGHT": ("℗ 1999 Jökull",),
    "ORIGINALDATE": ("1998-01-02",),
    "CONDUCTOR": ("Hildur Öxn",),
}
"""Fields with a name of their own in some containers, and one that nobody knows, with two values."""

Fields = dict[str, tuple[str, ...]]


@dataclass(frozen=True, slots=True)
class Song:
    """One upload. `decomposed` says that its tags are written in NFD, as a Mac does.

    `artists` are several; a compilation names them alone, without an album artist.
    """

    output: str
    title: str
    number: int
    total: int
    disc: int = 1
    discs: int = 1
    album: str = ALBUM
    artists: tuple[str, ...] = (ALBUM_ARTIST, "Jürgen Øst")
    compilation: bool = False
    decomposed: bool = False
    targets: tuple[str, ...] = ("instrumental",)
    dj_stems: bool = False

    @property
    def name(self) -> str:
        return f"{self.output}-{self.number}{'-va' if self.compilation else ''}"

    @property
    def artist(self) -> str:
        return " & ".join(self.artists)

    @property
    def recording(self) -> str:
        return f"5b1c9bd2-6a54-4a2c-8a3e-{self.disc:02d}{self.number:02d}{len(self.album):04d}0c01"

    @property
    def track(self) -> str:
        return self.recording[:-4] + "0c02"

    @property
    def seed(self) -> int:
        return 10 * self.disc + self.number + len(self.album)


SONGS = (
    Song("flac", "Svefn‐g‐Englar", 1, 3, 1, 2, targets=("instrumental", "vocals"), dj_stems=True),
    Song("wav", "Nótt í Été", 2, 3, 1, 2, decomposed=True),
    Song("mp3", "Ljós‐ár", 3, 3, 1, 2),
    Song("m4a", "Öræfi", 1, 2, 2, 2, decomposed=True),
    Song("opus", "Þoka‐Þula", 2, 2, 2, 2),
    Song("mp3", "Sommer", 1, 2, album=COMPILATION, artists=("Bø", "Çelik"), compilation=True),
    Song("m4a", "Høst", 2, 2, album=COMPILATION, artists=("Dör",), compilation=True),
)
ALBUM_SONGS = tuple(song for song in SONGS if not song.compilation)
COMPILED_SONGS = tuple(song for song in SONGS if song.compilation)


def cover_png() -> bytes:
    """Return a square picture of `COVER_PX`, a gradient."""
    ramp = np.linspace(0, 255, COVER_PX, dtype=np.uint8)
    pixels = np.stack([*np.meshgrid(ramp, ramp), np.full((COVER_PX, COVER_PX), 90, np.uint8)], axis=-1)
    stream = BytesIO()
    Image.fromarray(pixels, "RGB").save(stream, "PNG")
    return stream.getvalue()


def uploaded_tags(song: Song) -> Fields:
    """Return the tags that the upload carries."""
    tags: Fields = {
        "TITLE": (song.title,),
        "ARTIST": (song.artist,),
        "ALBUM": (song.album,),
        "TRACKNUMBER": (str(song.number),),
        "TRACKTOTAL": (str(song.total),),
        "DISCNUMBER": (str(song.disc),),
        "DISCTOTAL": (str(song.discs),),
        "DATE": ("1999-06-12",),
        "GENRE": ("Électronique", "Folk"),
        "COMPOSER": ("Ólafur Þór",),
        "COMMENT": ("Tekið upp í eldhúsinu",),
        "LYRICS": ("Lína eitt\nLína tvö — ♪",),
        "MUSICBRAINZ_TRACKID": (song.recording,),
        "MUSICBRAINZ_RELEASETRACKID": (song.track,),
        **{name: (value,) for name, value in (IDENTITIES | KEPT_IDS).items()},
        **OWN_FIELDS,
    }
    if len(song.artists) > 1:
        tags["ARTISTS"] = song.artists
    if song.compilation:
        tags["COMPILATION"] = ("1",)
        del tags["ALBUMARTISTSORT"], tags["MUSICBRAINZ_ALBUMARTISTID"]
    else:
        tags["ALBUMARTIST"] = (ALBUM_ARTIST,)
    if song.decomposed:
        return {name: tuple(unicodedata.normalize("NFD", value) for value in values) for name, values in tags.items()}
    return tags


def write_upload(song: Song, *, folder: Path) -> Path:
    """Synthesise the song as a tagged FLAC with a cover; return its path."""
    path = synth.write_flac(folder / f"{song.name}.flac", synth.music(FRAMES / synth.SR, seed=song.seed))
    flac = FLAC(path)
    for name, values in uploaded_tags(song).items():
        flac[name] = list(values)
    picture = Picture()
    picture.type, picture.mime, picture.data = 3, "image/png", cover_png()
    picture.width = picture.height = COVER_PX
    picture.depth = 24
    flac.add_picture(picture)
    flac.save()
    return path


def labels(name: str, *, kind: str) -> tuple[str, str]:
    """Return the words in brackets that title and album of a track get."""
    if kind == "stem":
        return name.title(), "Stems"
    return {"instrumental": ("Instrumental", "Instrumental"), "vocals": ("A Cappella", "A Cappella")}[name]


def delivered_tags(song: Song, *, name: str, kind: str) -> Fields:
    """Return what must be found in the delivered track; what measures the output is not among it."""
    label, album_label = labels(name, kind=kind)
    tags = {key: values for key, values in uploaded_tags(song).items() if key not in IDENTITIES}
    for gone in ("MUSICBRAINZ_TRACKID", "MUSICBRAINZ_RELEASETRACKID", "LYRICS" if name != "vocals" else ""):
        tags.pop(gone, None)
    tags |= {
        "TITLE": (f"{song.title} ({label})",),
        "ALBUM": (f"{song.album} ({album_label})",),
        "ALBUMARTIST": (VARIOUS_ARTISTS if song.compilation else ALBUM_ARTIST,),
        "STEM": (name,),
        "SEPARATION_ENGINE": (ENGINE,),
        "SEPARATION_MODEL": (ENGINE,),
        "ORIGINAL_RECORDING_ID": (song.recording,),
    }
    return {key: tuple(unicodedata.normalize("NFC", value) for value in values) for key, values in tags.items()}


def delivered_frames(song: Song) -> int:
    """Return the length of the delivered tracks: the upload's, at the rate that Opus alone knows."""
    return round(FRAMES * 48_000 / synth.SR) if song.output == "opus" else FRAMES


def delivered_path(song: Song, *, name: str, kind: str) -> str:
    """Return where the delivered track must stand below its library's root."""
    label, album_label = labels(name, kind=kind)
    number = f"{song.disc}-{song.number:02d}" if song.discs > 1 else f"{song.number:02d}"
    artist, credit = (VARIOUS_ARTISTS, f"{song.artist} - ") if song.compilation else (ALBUM_ARTIST, "")
    return f"{artist}/{song.album} ({album_label})/{number} - {credit}{song.title} ({label}).{song.output}"
