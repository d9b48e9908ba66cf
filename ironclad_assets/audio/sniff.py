"""Say what a file is by its first bytes, from a short allow-list. Names and extensions are not looked at.

The answer picks one demuxer by name; nothing is ever left to a library's guess, because a guess also finds
playlists (HLS, ffconcat) that read other files. What a header claims belongs to `headers`.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from ironclad_assets.errors import ErrorCode, Refusal

_HEAD_BYTES = 16384
_MAX_JUNK_BYTES = 1441
"""Bytes before the first MPEG frame that are tolerated: what is left of one frame when a file was cut."""

_GUID_WAVE64 = bytes.fromhex("726966662e91cf11a5d628db04c10000")
_GUID_ASF = bytes.fromhex("3026b2758e66cf11a6d900aa0062ce6c")
_GUID_ASF_ENCRYPTION = bytes.fromhex("fbb3112223bdd211b4b700a0c955fc6e")
_FOREIGN = (
    b"%PDF",
    b"PK\x03\x04",
    b"PK\x05\x06",
    b"\xff\xd8\xff",
    b"\x89PNG",
    b"GIF8",
    b"BM",
    b"MZ",
    b"\x7fELF",
    b"Rar!",
    b"7z\xbc\xaf",
    b"\x1f\x8b",
    b"\xfd7zXZ",
    b"BZh",
    b"II*\x00",
    b"MM\x00*",
    b"\xd0\xcf\x11\xe0",
    b"\xca\xfe\xba\xbe",
)
"""How documents, pictures, archives and programs begin: frames of MPEG behind that make no song of them."""

_BIT_RATES = {
    3: (0, 32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320),
    2: (0, 8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160),
}
_MPEG1_RATES_HZ = (44100, 48000, 32000)


@dataclass(frozen=True, slots=True)
class Kind:
    """A supported type: its MIME type, our word for the container, FFmpeg's demuxer, usual extensions."""

    media_type: str
    container: str
    demuxer: str
    extensions: tuple[str, ...]


WAV = Kind("audio/wav", "wav", "wav", ("wav", "wave", "bwf", "rf64"))
WAVE64 = Kind("audio/x-w64", "w64", "w64", ("w64",))
FLAC = Kind("audio/flac", "flac", "flac", ("flac", "fla"))
MP3 = Kind("audio/mpeg", "mp3", "mp3", ("mp3", "mpga"))
ADTS = Kind("audio/aac", "aac", "aac", ("aac", "adts"))
OGG = Kind("audio/ogg", "ogg", "ogg", ("ogg", "oga", "opus", "spx", "ogx"))
AIFF = Kind("audio/aiff", "aiff", "aiff", ("aif", "aiff", "aifc"))
AU = Kind("audio/basic", "au", "au", ("au", "snd"))
MP4 = Kind("audio/mp4", "mp4", "mov", ("m4a", "m4b", "m4p", "m4r", "mp4", "m4v", "mov", "3gp"))
WAVPACK = Kind("audio/x-wavpack", "wavpack", "wv", ("wv",))
APE = Kind("audio/x-ape", "ape", "ape", ("ape",))
ASF = Kind("audio/x-ms-wma", "asf", "asf", ("wma", "asf", "wmv"))
MATROSKA = Kind("audio/x-matroska", "matroska", "matroska", ("mka", "mkv", "webm"))

KINDS = (WAV, WAVE64, FLAC, MP3, ADTS, OGG, AIFF, AU, MP4, WAVPACK, APE, ASF, MATROSKA)


def extensions_of(container: str) -> tuple[str, ...]:
    """Return the usual extensions of a container, the best first; none for one that is not supported."""
    return next((kind.extensions for kind in KINDS if kind.container == container), ())


def sniff_file(path: Path) -> Kind:
    """Return the type of the file at `path`.

    Raises:
        Refusal: `EMPTY_FILE`, `NOT_AUDIO`, `DAMAGED` (a tag longer than the file), `PROTECTED`.
    """
    head = read_head(path)
    kind = _kind_of(head)
    if kind is None:
        raise Refusal(f"the file begins with {head[:12]!r}, which is no supported audio", code=ErrorCode.NOT_AUDIO)
    if kind is ASF and _GUID_ASF_ENCRYPTION in head:
        raise Refusal("the file holds an encryption header", code=ErrorCode.PROTECTED)
    return kind


def read_head(path: Path) -> bytes:
    """Return the first 16 KiB of the file at `path`, counted from behind its leading ID3 tags.

    Raises:
        Refusal: `EMPTY_FILE`, or `DAMAGED` where a tag claims to be longer than the file.
    """
    with path.open("rb") as stream:
        head = stream.read(_HEAD_BYTES)
        if not head:
            raise Refusal("the file has 0 bytes", code=ErrorCode.EMPTY_FILE)
        return _after_id3(stream, head) if head.startswith(b"ID3") else head


def read_id3_length(path: Path) -> int:
    """Return how many bytes of leading ID3v2 tags the file at `path` says that it has.

    Raises:
        Refusal: `DAMAGED` where a tag has no valid length.
    """
    with path.open("rb") as stream:
        return _skip_id3(stream, stream.read(_HEAD_BYTES))[0]


def _after_id3(stream: BinaryIO, head: bytes) -> bytes:
    """Return what follows the leading ID3v2 tags, whose length comes from their headers."""
    offset, head = _skip_id3(stream, head)
    if not head:
        raise Refusal(f"the ID3 tag claims {offset} bytes, more than the file has", code=ErrorCode.DAMAGED)
    return head.lstrip(b"\0") or head


def _skip_id3(stream: BinaryIO, head: bytes) -> tuple[int, bytes]:
    """Return where the leading ID3v2 tags end, and the first bytes behind them."""
    offset = 0
    while head.startswith(b"ID3") and len(head) >= 10:
        size = int.from_bytes(bytes(head[6:10]), "big")
        if any(byte & 0x80 for byte in head[6:10]):
            raise Refusal("the ID3 tag has an invalid length", code=ErrorCode.DAMAGED)
        size = (size & 0x7F) | (size & 0x7F00) >> 1 | (size & 0x7F0000) >> 2 | (size & 0x7F000000) >> 3
        offset += 10 + size + (10 if head[5] & 0x10 else 0)
        stream.seek(offset)
        head = stream.read(_HEAD_BYTES)
    return offset, head


def _kind_of(head: bytes) -> Kind | None:
    if head[:4] in (b"RIFF", b"RF64", b"BW64") and head[8:12] == b"WAVE":
        return WAV
    if head[:4] == b"FORM" and head[8:12] in (b"AIFF", b"AIFC"):
        return AIFF
    if head[4:8] in (b"ftyp", b"moov", b"mdat", b"wide"):
        return MP4
    starts = (
        (b"fLaC", FLAC), (b"OggS", OGG), (b"wvpk", WAVPACK), (b"MAC ", APE), (b".snd", AU),
        (_GUID_WAVE64, WAVE64), (_GUID_ASF, ASF), (b"\x1a\x45\xdf\xa3", MATROSKA),
    )  # fmt: skip
    for start, kind in starts:
        if head.startswith(start):
            return kind
    return None if head.startswith(_FOREIGN) or _is_text(head[:4]) else _mpeg_kind(head)


def _mpeg_kind(head: bytes) -> Kind | None:
    """Return MP3 or ADTS where two frames follow each other near the beginning (one, if the file is that short)."""
    if _is_adts(head, 0):
        return ADTS
    start = 0
    while 0 <= (start := head.find(b"\xff", start)) <= _MAX_JUNK_BYTES + len(head) - len(head.lstrip(b"\0")):
        length = _frame_bytes(head, start)
        if length and (start + length + 4 > len(head) or _frame_bytes(head, start + length)):
            return MP3
        start += 1
    return None


def _is_text(data: bytes) -> bool:
    return all(0x20 <= byte < 0x7F or byte in b"\t\r\n" for byte in data)


def _frame_bytes(head: bytes, start: int) -> int:
    """Return the length of the MPEG layer III frame at `start`, or 0 where there is none."""
    if len(head) < start + 4 or head[start] != 0xFF or head[start + 1] & 0xE6 != 0xE2:
        return 0
    version, bits = head[start + 1] >> 3 & 3, head[start + 2]
    rate_index = bits >> 4
    if version == 1 or bits >> 2 & 3 == 3 or rate_index in (0, 15):
        return 0
    bit_rate = _BIT_RATES[3 if version == 3 else 2][rate_index] * 1000
    rate_hz = _MPEG1_RATES_HZ[bits >> 2 & 3] >> {3: 0, 2: 1, 0: 2}[version]
    return (144 if version == 3 else 72) * bit_rate // rate_hz + (bits >> 1 & 1)


def _is_adts(head: bytes, start: int) -> bool:
    if len(head) < start + 7 or head[start] != 0xFF or head[start + 1] & 0xF6 != 0xF0:
        return False
    length = (head[start + 3] & 3) << 11 | head[start + 4] << 3 | head[start + 5] >> 5
    following = head[start + length : start + length + 2]
    return length >= 7 and (len(following) < 2 or (following[0] == 0xFF and following[1] & 0xF6 == 0xF0))
