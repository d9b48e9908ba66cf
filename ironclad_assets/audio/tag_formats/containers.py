"""Finds out by signature which tags a file can have, and reads them into a `TagSheet`.

The names of files say nothing here: originals are archived under their hash.
"""

import contextlib
import os
from collections.abc import Callable
from pathlib import Path

from mutagen import MutagenError
from mutagen.apev2 import APENoHeaderError, APEv2
from mutagen.asf import ASF
from mutagen.flac import FLAC, VCFLACDict
from mutagen.id3 import ID3, ID3NoHeaderError, ParseID3v1
from mutagen.mp4 import MP4
from mutagen.oggflac import OggFLAC
from mutagen.oggopus import OggOpus
from mutagen.oggvorbis import OggVorbis

from ironclad_assets.audio.tag_formats.chunks import read_chunks
from ironclad_assets.audio.tag_formats.id3 import read_id3
from ironclad_assets.audio.tag_formats.mp4 import read_mp4
from ironclad_assets.audio.tag_formats.others import read_ape, read_asf
from ironclad_assets.audio.tag_formats.sheet import TagSheet
from ironclad_assets.audio.tag_formats.vorbis import read_flac_pictures, read_vorbis

_ID3V1_BYTES = 128


def read_sheet(path: Path, *, media_type: str) -> TagSheet:
    """Return the tags of the file by its signature; a file without one is MP3 or nothing."""
    with path.open("rb") as stream:
        head = stream.read(64)
    if head[4:8] in (b"ftyp", b"moov", b"mdat", b"wide"):
        return read_mp4(MP4(path).tags)
    for signature, read in _READERS.items():
        if head.startswith(signature):
            return read(path)
    if head.startswith(b"ID3") and "flac" in media_type:
        return _read_flac(path)
    return _read_mp3(path)


def _read_flac(path: Path) -> TagSheet:
    flac = FLAC(path)
    sheet = read_vorbis(flac.tags if isinstance(flac.tags, VCFLACDict) else None)
    sheet.pictures[:0] = read_flac_pictures(flac.pictures)
    with contextlib.suppress(Exception):  # an ID3 tag does not belong into FLAC; where one is, it fills gaps
        sheet.fill_from(read_id3(ID3(path, load_v1=False)))
    return sheet


def _read_ogg(path: Path) -> TagSheet:
    problem: MutagenError | None = None
    for kind in (OggVorbis, OggOpus, OggFLAC):
        try:
            return read_vorbis(kind(path).tags)
        except MutagenError as error:
            problem = problem or error
    raise problem or MutagenError("no Ogg stream with tags")


def _read_mp3(path: Path) -> TagSheet:
    """Read ID3v2, then what only APEv2 knows; ID3v1, which cuts and always has a genre, where both have nothing."""
    sheet = TagSheet()
    try:
        sheet = read_id3(ID3(path, load_v1=False))
    except ID3NoHeaderError:
        pass
    except Exception as error:  # noqa: BLE001 - a damaged ID3 tag leaves APEv2 to be tried
        sheet.warn(f"the ID3 tag cannot be read ({type(error).__name__}: {error})")
    try:
        sheet.fill_from(read_ape(APEv2(path)))
    except APENoHeaderError:
        pass
    except Exception as error:  # noqa: BLE001 - as above, for ID3v1
        sheet.warn(f"the APEv2 tag cannot be read ({type(error).__name__}: {error})")
    if not {"TITLE", "ARTIST", "ALBUM"} & sheet.fields.keys():
        sheet.fill_from(_read_id3v1(path))
    return sheet


def _read_id3v1(path: Path) -> TagSheet:
    with path.open("rb") as stream:
        stream.seek(max(0, stream.seek(0, os.SEEK_END) - _ID3V1_BYTES))
        frames = ParseID3v1(stream.read())
    tags = ID3()
    for frame in (frames or {}).values():
        tags.add(frame)
    return read_id3(tags)


_READERS: dict[bytes, Callable[[Path], TagSheet]] = {
    b"fLaC": _read_flac,
    b"OggS": _read_ogg,
    b"RIFF": read_chunks,
    b"RF64": read_chunks,
    b"BW64": read_chunks,
    b"FORM": read_chunks,
    b"wvpk": lambda path: read_ape(APEv2(path)),
    b"MAC ": lambda path: read_ape(APEv2(path)),
    b"\x30\x26\xb2\x75\x8e\x66\xcf\x11": lambda path: read_asf(ASF(path).tags),
}
