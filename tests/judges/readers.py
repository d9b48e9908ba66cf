"""What each judge reads in a file, under the contract's names, and what it is known not to show.

None of them uses mutagen, which writes our tags: kid3-cli rests on TagLib, the others have parsers of their own.
beets and MPD are asked in their own tests, since they read whole libraries.
"""

import base64
import json
import re
import tempfile
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from tests.judges.album import Fields
from tests.judges.programs import run, text

_NAMES = {
    "ALBUM ARTIST": "ALBUMARTIST", "ALBUM_ARTIST": "ALBUMARTIST", "ALBUM_PERFORMER": "ALBUMARTIST",
    "BAND": "ALBUMARTIST", "PERFORMER": "ARTIST", "DISC": "DISCNUMBER", "DISC NUMBER": "DISCNUMBER",
    "DISKNUMBER": "DISCNUMBER", "PART": "DISCNUMBER", "PART_POSITION": "DISCNUMBER", "PARTOFSET": "DISCNUMBER",
    "PART_POSITION_TOTAL": "DISCTOTAL", "TOTAL DISCS": "DISCTOTAL", "TRACK NUMBER": "TRACKNUMBER",
    "TRACK": "TRACKNUMBER", "TRACK_POSITION": "TRACKNUMBER", "TRACK_POSITION_TOTAL": "TRACKTOTAL",
    "TOTAL TRACKS": "TRACKTOTAL", "RECORDED_DATE": "DATE", "RECORDINGTIME": "DATE", "CONTENTCREATEDATE": "DATE",
    "SORT ALBUM ARTIST": "ALBUMARTISTSORT", "ALBUM_PERFORMER_SORT": "ALBUMARTISTSORT", "TSO2": "ALBUMARTISTSORT",
    "ALBUMARTISTSORTORDER": "ALBUMARTISTSORT", "SORT_ALBUM_ARTIST": "ALBUMARTISTSORT",
    "SORTALBUMARTIST": "ALBUMARTISTSORT", "SORT ARTIST": "ARTISTSORT", "PERFORMER_SORT": "ARTISTSORT",
    "ARTIST-SORT": "ARTISTSORT", "PERFORMERSORTORDER": "ARTISTSORT", "SORT_ARTIST": "ARTISTSORT",
    "SORTARTIST": "ARTISTSORT", "TMOO": "MOOD", "LYRICS-ENG": "LYRICS", "COVERART": "PICTURE",
    "©NAM": "TITLE", "©ART": "ARTIST", "©ALB": "ALBUM", "AART": "ALBUMARTIST", "©GEN": "GENRE", "©DAY": "DATE",
    "©WRT": "COMPOSER", "©CMT": "COMMENT", "©LYR": "LYRICS", "TRKN": "TRACKNUMBER", "DISK": "DISCNUMBER",
    "SOAA": "ALBUMARTISTSORT", "SOAR": "ARTISTSORT", "CPIL": "COMPILATION",
    "PUBLISHER": "LABEL", "TPUB": "LABEL", "INITIAL KEY": "KEY", "INITIAL_KEY": "KEY", "INITIALKEY": "KEY",
    "TKEY": "KEY", "TBPM": "BPM", "TMPO": "BPM", "BEATSPERMINUTE": "BPM", "CPRT": "COPYRIGHT", "TDOR": "ORIGINALDATE",
    "ORIGINAL DATE": "ORIGINALDATE", "ORIGINAL_RELEASED_DATE": "ORIGINALDATE", "ORIGINALRELEASETIME": "ORIGINALDATE",
    **{
        spelling.format(who): f"MUSICBRAINZ_{who.replace('_', '')}ID"
        for who in ("ARTIST", "ALBUM_ARTIST", "WORK", "TRACK", "ALBUM", "RELEASE_TRACK", "RELEASE_GROUP")
        for spelling in ("MUSICBRAINZ_{}_ID",)
    },
}  # fmt: skip
"""The judges' names, in capitals, that are not the contract's."""

_BY_LETTERS = {
    re.sub(r"[^A-Z0-9]", "", name): name
    for name in (
        "STEM", "SEPARATION_ENGINE", "SEPARATION_MODEL", "SEPARATION_VERSION", "SOURCE_SHA256",
        "ORIGINAL_RECORDING_ID", "MUSICBRAINZ_ARTISTID", "MUSICBRAINZ_ALBUMARTISTID", "MUSICBRAINZ_WORKID",
        "MUSICBRAINZ_TRACKID", "MUSICBRAINZ_ALBUMID", "MUSICBRAINZ_RELEASETRACKID", "MUSICBRAINZ_RELEASEGROUPID",
        "MUSICBRAINZ_DISCID", "REPLAYGAIN_TRACK_GAIN", "REPLAYGAIN_TRACK_PEAK", "REPLAYGAIN_ALBUM_GAIN",
        "R128_TRACK_GAIN", "ACOUSTID_ID", "ACOUSTID_FINGERPRINT",
    )
}  # fmt: skip
"""exiftool leaves out what is between the words of a name, and spaces stand where underscores do."""

_NUMBERED = {"TRACKNUMBER": "TRACKTOTAL", "DISCNUMBER": "DISCTOTAL"}
_TRUE = {"Yes": "1", "true": "1"}


@dataclass(frozen=True, slots=True)
class Reading:
    """What a judge sees in one file: fields, and the embedded picture or at least its size in pixels."""

    fields: Fields
    picture: bytes | None = None
    picture_px: tuple[int, int] | None = None


@dataclass(frozen=True, slots=True)
class Judge:
    """A program that reads tags.

    Attributes:
        program: its name in `programs`.
        read: reads one file.
        formats: what it can read.
        shows_first: by format, the fields of which it shows one value where there are several.
        blind: by format, the fields it does not show though they are there.
    """

    program: str
    read: Callable[[Path], Reading]
    formats: tuple[str, ...]
    shows_first: dict[str, frozenset[str]]
    blind: dict[str, frozenset[str]]

    def should_see(self, expected: Fields, *, output: str) -> Fields:
        """Return the part of the expected fields that this judge can show of a file of that format."""
        first, blind = self.shows_first.get(output, frozenset()), self.blind.get(output, frozenset())
        return {name: values[:1] if name in first else values for name, values in expected.items() if name not in blind}


def _fields(pairs: Iterable[tuple[str, str]]) -> Fields:
    """Return pairs of a judge's names and values under the contract's names, numbers and totals taken apart."""
    found: Fields = {}
    for theirs, value in pairs:
        name = _canonical(theirs)
        number = re.fullmatch(r"(\d+)(?:/| of )(\d+)", value)
        if name in _NUMBERED and number:
            found[name], found[_NUMBERED[name]] = (number[1],), (number[2],)
            continue
        if name in ("DATE", "ORIGINALDATE"):
            value = value.replace(":", "-")
        if name == "COMPILATION":
            value = _TRUE.get(value, value)
        found[name] = (*found.get(name, ()), value)
    return found


def _canonical(name: str) -> str:
    upper = name.upper()
    upper = _NAMES.get(upper, upper)
    return _BY_LETTERS.get(re.sub(r"[^A-Z0-9]", "", upper), upper)


def read_kid3(path: Path) -> Reading:
    with tempfile.TemporaryDirectory() as folder:
        picture = Path(folder) / "picture"
        answer = text(
            "kid3-cli", "-c", '{"method":"get","params":["all"]}', "-c", f"get picture:{picture}", path
        )  # fmt: skip
        data = picture.read_bytes() if picture.exists() else None
    frames = json.loads(answer.splitlines()[0])["result"]["taggedFile"]["tag2"]["frames"]
    several = "|" if path.suffix in (".mp3", ".wav", ".m4a") else None
    pairs = [(each["name"], value) for each in frames for value in each["value"].split(several or "\0")]
    return Reading(_fields(pair for pair in pairs if not pair[0].startswith("Picture")), picture=data)


def read_mediainfo(path: Path) -> Reading:
    tracks = json.loads(text("mediainfo", "--Output=JSON", path))["media"]["track"]
    general = tracks[0]
    audio = next(track for track in tracks if track["@type"] == "Audio")
    known = general | general.pop("extra", {})
    del known["Track"]  # the title once more
    known = {name: value for name, value in known.items() if isinstance(value, str)}  # LAME's mark is no text
    for theirs, name in (("ReplayGain_Gain", "REPLAYGAIN_TRACK_GAIN"), ("ReplayGain_Peak", "REPLAYGAIN_TRACK_PEAK")):
        if theirs in audio:
            known[name] = f"{audio[theirs]} dB" if theirs.endswith("Gain") else audio[theirs]
    pairs = [(name, value) for name, joined in known.items() for value in _split(name, joined)]
    return Reading(_fields(pairs))


def _split(name: str, joined: str) -> list[str]:
    if name.upper() == "LYRICS":  # " / " stands for a line's end there
        return [joined.replace(" / ", "\n")]
    return joined.split(" / ")


def read_ffprobe(path: Path) -> Reading:
    answer = json.loads(
        text("ffprobe", "-v", "error", "-show_entries",
             "format_tags:stream=codec_type,width,height:stream_tags:stream_disposition=attached_pic", "-of", "json",
             path)
    )  # fmt: skip
    streams = answer["streams"]
    audio = next(stream for stream in streams if stream["codec_type"] == "audio")
    covers = [stream for stream in streams if stream["disposition"]["attached_pic"]]
    tags = audio.get("tags", {}) | answer["format"].get("tags", {})
    several = path.suffix in (".flac", ".opus")
    if not several and "performer" in tags:
        tags["CONDUCTOR"] = tags.pop("performer")  # so it calls the frame TPE3
    pairs = [(name, value) for name, joined in tags.items() for value in (joined.split(";") if several else [joined])]
    size = (covers[0]["width"], covers[0]["height"]) if covers else None
    return Reading(_fields(pairs), picture_px=size)


_EXIFTOOL_GROUPS = ("Vorbis", "ID3v2_4", "ID3v2_3", "ItemList", "iTunes", "FLAC")


def read_exiftool(path: Path) -> Reading:
    """Read with all duplicates: ``Vorbis:Copy1:Genre`` is an earlier value than ``Vorbis:Genre``."""
    answer = json.loads(text("exiftool", "-charset", "filename=utf8", "-j", "-b", "-a", "-G1:4", path))[0]
    values: dict[str, list[tuple[int, str]]] = {}
    picture = None
    for key, value in answer.items():
        group, *copy, name = key.split(":") if ":" in key else ("", key)
        if group not in _EXIFTOOL_GROUPS:
            continue
        if name in ("Picture", "CoverArt"):
            picture = base64.b64decode(value.removeprefix("base64:"))
            continue
        order = int(copy[0].removeprefix("Copy")) if copy else 0
        for each in value if isinstance(value, list) else [value]:
            values.setdefault(name, []).append((order, str(each)))
    return Reading(_fields(_exiftool_pairs(values, id3=path.suffix in (".mp3", ".wav"))), picture=picture)


def _exiftool_pairs(values: dict[str, list[tuple[int, str]]], *, id3: bool) -> Iterator[tuple[str, str]]:
    for name, found in values.items():
        ordered = [value for _, value in sorted(found, key=lambda pair: -pair[0])]
        if name == "UserDefinedText":
            for value in ordered:
                match = re.fullmatch(r"\((.*?)\) (.*)", value, flags=re.DOTALL)
                yield (match[1], match[2]) if match else (name, value)
        elif id3 and name == "Genre":
            yield from ((name, part) for part in ordered[0].split("/"))
        else:
            yield from ((name, value) for value in ordered)


def read_atomicparsley(path: Path) -> Reading:
    answer = run("AtomicParsley", path, "-t").stdout.decode("utf-8-sig")
    pairs: list[tuple[str, str]] = []
    for line in answer.splitlines():
        match = re.fullmatch(r'Atom "(.{4})"(?: \[[^;]*;(.*)\])? contains: (.*)', line)
        if match:
            pairs.append((match[2] or match[1], match[3]))
        elif pairs:
            pairs[-1] = (pairs[-1][0], f"{pairs[-1][1]}\n{line}")
    with tempfile.TemporaryDirectory() as folder:
        run("AtomicParsley", path, "-e", Path(folder) / "art")
        found = sorted(Path(folder).iterdir())
        picture = found[0].read_bytes() if len(found) == 1 else None
    return Reading(_fields(pair for pair in pairs if pair[0] != "covr"), picture=picture)


def read_metaflac(path: Path) -> Reading:
    comments = _comments(text("metaflac", "--export-tags-to=-", path).splitlines())
    with tempfile.TemporaryDirectory() as folder:
        picture = Path(folder) / "picture"
        run("metaflac", f"--export-picture-to={picture}", path, allowed=(0, 1))
        data = picture.read_bytes() if picture.exists() else None
    return Reading(_fields(comments), picture=data)


def read_opusinfo(path: Path) -> Reading:
    answer = run("opusinfo", path).stdout.decode()
    section = answer.partition("User comments section follows...\n")[2].partition("Opus stream 1:")[0]
    comments = _comments(section.replace("\n\t", "\n").lstrip("\t").splitlines())
    fields = _fields(pair for pair in comments if pair[0] != "metadata_block_picture")
    size = re.search(r"metadata_block_picture=3\|image/jpeg\|\|(\d+)x(\d+)x24\|", section)
    return Reading(fields, picture_px=(int(size[1]), int(size[2])) if size else None)


def _comments(lines: list[str]) -> list[tuple[str, str]]:
    """Return Vorbis comments of lines ``NAME=value``; a line without a name belongs to the value before it."""
    pairs: list[tuple[str, str]] = []
    for line in lines:
        match = re.fullmatch(r"([A-Za-z0-9_:]+)=(.*)", line)
        if match:
            pairs.append((match[1], match[2]))
        elif pairs:
            pairs[-1] = (pairs[-1][0], f"{pairs[-1][1]}\n{line}")
    return pairs


_ALL = ("flac", "wav", "mp3", "m4a", "opus")
_SEVERAL = frozenset({"ARTISTS", "GENRE", "LANTERN"})
_OWN = frozenset({"ARTISTS", "LANTERN"})
_PEOPLE = frozenset({"MUSICBRAINZ_ARTISTID", "MUSICBRAINZ_ALBUMARTISTID"})

JUDGES = {
    judge.program: judge
    for judge in (
        Judge("kid3-cli", read_kid3, _ALL, {"wav": _OWN, "mp3": _OWN}, {}),
        Judge(
            "mediainfo", read_mediainfo, _ALL, {"wav": _SEVERAL, "mp3": _SEVERAL}, {"flac": _PEOPLE, "opus": _PEOPLE}
        ),
        Judge(
            "ffprobe",
            read_ffprobe,
            _ALL,
            {"wav": _SEVERAL, "mp3": _SEVERAL, "m4a": _SEVERAL},
            {"m4a": frozenset({"BPM"})},
        ),
        Judge("exiftool", read_exiftool, _ALL, {"wav": _OWN, "mp3": _OWN}, {}),
        Judge("AtomicParsley", read_atomicparsley, ("m4a",), {}, {}),
        Judge("metaflac", read_metaflac, ("flac",), {}, {}),
        Judge("opusinfo", read_opusinfo, ("opus",), {}, {}),
    )
}
"""Every judge of single files, with its known limits; each limit was seen on a file that others read in full."""
