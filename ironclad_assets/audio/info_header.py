"""The Info header of MP3 (LAME's extension of Xing's): how many samples to leave out before and after the audio.

FFmpeg writes it with a padding that is too short where the last packet is silence alone (one length in 25, by
up to 46 samples); here it is put right. Layout: http://gabriel.mp3-tech.org/mp3infotag.html
"""

from ironclad_assets.audio.honest_file import HonestFile

_MAX_HEADER_BYTES = 512
_FRAMES_OFFSET = 8
_LAME_DELAYS_OFFSET = 141
_CRC_OFFSET = 154
_MPEG_1, _FRAME_LONG, _FRAME_SHORT = 0b11, 1152, 576
_POLYNOMIAL = 0xA001
"""CRC-16 with its bits reversed, which LAME uses."""


def correct_padding(file: HonestFile, *, frames: int) -> None:
    """Make the Info header say that the MP3 in `file`, which begins with it, holds `frames` samples of audio."""
    file.seek(0)
    head = bytearray(file.read(_MAX_HEADER_BYTES))
    tag = max(head.find(b"Info"), head.find(b"Xing"))
    if tag < 0 or len(head) < tag + _CRC_OFFSET + 2:
        return
    packet = _FRAME_LONG if head[1] >> 3 & 3 == _MPEG_1 else _FRAME_SHORT
    packets = int.from_bytes(head[tag + _FRAMES_OFFSET : tag + _FRAMES_OFFSET + 4], "big")
    delays = slice(tag + _LAME_DELAYS_OFFSET, tag + _LAME_DELAYS_OFFSET + 3)
    delay = int.from_bytes(head[delays], "big") >> 12
    padding = packets * packet - delay - frames
    head[delays] = (delay << 12 | max(0, min(padding, 0xFFF))).to_bytes(3, "big")
    crc = slice(tag + _CRC_OFFSET, tag + _CRC_OFFSET + 2)
    head[crc] = header_crc(bytes(head[: tag + _CRC_OFFSET])).to_bytes(2, "big")
    file.seek(0)
    file.write(bytes(head))


def header_crc(head: bytes) -> int:
    """Return the checksum of an Info header: of all bytes of its frame before the checksum itself."""
    value = 0
    for byte in head:
        value ^= byte
        for _ in range(8):
            value = value >> 1 ^ _POLYNOMIAL if value & 1 else value >> 1
    return value
