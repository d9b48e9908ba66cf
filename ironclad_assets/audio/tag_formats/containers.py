"""Finds out by signature which tags a file can have, and reads them into a `TagSheet`.

The names of files say nothing here: originals are archived under their hash.
"""

import contextlib
from collections.abc import Callable
from pathlib import Path

from mutagen import MutagenError
from mutagen.apev2 import APEv2
from mutagen.asf import ASF
from mutagen.flac import FLAC, VCFLACDict
from mutagen.id3 import ID3, ID3NoHeaderError
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


def read_sheet(path: Path, *, media_type: str) -> TagSheet:
    """Return the tags of the file by its signature; a file without one is MP3 or nothing."""
    with path.open("rb") as stream:
        head = stream.read(64)
    if head[4:8] == b"ftyp":
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
    """Read ID3 first, then what only APEv2 knows."""
    sheet = TagSheet()
    try:
        sheet = read_id3(ID3(path))
    except ID3NoHeaderError:
        pass
    except Exception as error:  # noqa: BLE001 - a damaged ID3 tag leaves APEv2 to be tried
        sheet.warnings.append(f"the ID3 tag cannot be read ({type(error).__name__}: {error})")
    with contextlib.suppress(MutagenError):  # most files have none
        sheet.fill_from(read_ape(APEv2(path)))
    return sheet


_READERS: dict[bytes, Callable[[Path], TagSheet]] = {
    b"fLaC": _read_flac,
    b"OggS": _read_ogg,
    b"RIFF": read_chunks,
    b"RF64": read_chunks,
    b"FORM": read_chunks,
    b"wvpk": lambda path: read_ape(APEv2(path)),
    b"\x30\x26\xb2\x75\x8e\x66\xcf\x11": lambda path: read_asf(ASF(path).tags),
}
