"""Short audio files of every container that tags are read from; which tags they get is the test's matter."""

import struct
from pathlib import Path

import av
import numpy as np
import soundfile as sf
from mutagen.aiff import AIFF
from mutagen.apev2 import APEv2
from mutagen.asf import ASF
from mutagen.flac import FLAC, Picture
from mutagen.id3 import APIC, COMM, ID3, TALB, TCMP, TCON, TDRC, TIT2, TPE1, TPE2, TPOS, TRCK, TXXX, UFID, USLT
from mutagen.mp4 import MP4, MP4Cover, MP4FreeForm
from mutagen.oggopus import OggOpus
from mutagen.oggvorbis import OggVorbis
from mutagen.wave import WAVE

from tests import synth

Y = synth.tone(0.3)
RECORDING = "0b6a3ac4-3a0b-4c1e-9f0c-0a8a7d5c9a11"
VORBIS = {
    "TITLE": "Ærø", "ARTIST": "Ann", "ALBUM": "Far", "ALBUMARTIST": "Ann & Co", "TRACKNUMBER": "3/12",
    "DISCNUMBER": "1", "DISCTOTAL": "2", "DATE": "1999-04-01", "GENRE": ["Folk", "Dub"], "COMMENT": "hello",
    "LYRICS": "la\nla", "COMPILATION": "1", "MUSICBRAINZ_TRACKID": RECORDING, "MOOD": "calm",
}  # fmt: skip


def _encode(path: Path, *, container: str, codec: str) -> Path:
    """Write half a second of tone with PyAV."""
    with av.open(str(path), "w", format=container) as output:
        stream = output.add_stream(codec, rate=44_100, layout="stereo")
        stream.bit_rate = 128_000
        frame = av.AudioFrame.from_ndarray(np.ascontiguousarray(Y), format="fltp", layout="stereo")
        frame.sample_rate = 44_100
        resampler = av.AudioResampler(format=stream.codec_context.format)
        converted = [stream.encode(one) for one in (*resampler.resample(frame), None)]
        for packet in (packet for packets in converted for packet in packets):
            output.mux(packet)
    return path


def id3_tags() -> ID3:
    tags = ID3()
    for frame in (
        TIT2(text="Ærø"), TPE1(text="Ann"), TALB(text="Far"), TPE2(text="Ann & Co"), TRCK(text="3/12"),
        TPOS(text="1/2"), TDRC(text="1999-04-01"), TCON(text=["Folk", "Dub"]), COMM(lang="eng", desc="", text="hello"),
        COMM(lang="eng", desc="iTunNORM", text="00"), USLT(lang="eng", desc="", text="la\nla"), TCMP(text="1"),
        UFID(owner="http://musicbrainz.org", data=RECORDING.encode()), TXXX(desc="mood", text="calm"),
    ):  # fmt: skip
        tags.add(frame)
    return tags


def mp3(folder: Path, *, picture: bytes | None = None) -> Path:
    path = synth.write_mp3(folder / "a.mp3", Y)
    tags = id3_tags()
    if picture:
        tags.add(APIC(mime="image/jpeg", type=3, desc="", data=picture))
    tags.save(path)
    return path


def adts_with_id3(folder: Path, *, picture: bytes | None = None) -> Path:
    path = _encode(folder / "a.aac", container="adts", codec="aac")
    tags = id3_tags()
    if picture:
        tags.add(APIC(mime="image/jpeg", type=3, desc="", data=picture))
    tags.save(path)
    return path


def mp3_with_ape_only(folder: Path, *, picture: bytes | None = None) -> Path:
    return _with_ape(synth.write_mp3(folder / "a.mp3", Y), picture=picture)


def wavpack(folder: Path, *, picture: bytes | None = None) -> Path:
    return _with_ape(_encode(folder / "a.wv", container="wv", codec="wavpack"), picture=picture)


def _with_ape(path: Path, *, picture: bytes | None) -> Path:
    tags = APEv2()
    names = {"TRACKNUMBER": "Track", "ALBUMARTIST": "Album Artist", "DATE": "Year"}
    for name, value in VORBIS.items():
        if not name.startswith("DISC"):
            tags[names.get(name, name.title())] = value
    tags["Disc"] = "1/2"
    if picture:
        tags["Cover Art (Front)"] = b"cover.jpg\0" + picture
    tags.save(path)
    return path


def flac(folder: Path, *, picture: bytes | None = None) -> Path:
    path = synth.write_flac(folder / "a.flac", Y)
    file = FLAC(path)
    file.update(VORBIS)
    if picture:
        file.add_picture(_block(picture))
    file.save()
    return path


def ogg_vorbis(folder: Path, *, picture: bytes | None = None) -> Path:
    path = synth.write_ogg(folder / "a.ogg", Y)
    return _with_comments(path, OggVorbis(path), picture=picture)


def opus(folder: Path, *, picture: bytes | None = None) -> Path:
    path = folder / "a.opus"
    sf.write(path, synth.tone(0.3, sr=48_000).T, 48_000, format="OGG", subtype="OPUS")
    return _with_comments(path, OggOpus(path), picture=picture)


def _with_comments(path: Path, file: OggVorbis | OggOpus, *, picture: bytes | None) -> Path:
    import base64

    file.update(VORBIS)
    if picture:
        file["METADATA_BLOCK_PICTURE"] = [base64.b64encode(_block(picture).write()).decode()]
    file.save()
    return path


def _block(picture: bytes) -> Picture:
    block = Picture()
    block.type, block.mime, block.data = 3, "image/jpeg", picture
    return block


def m4a(folder: Path, *, picture: bytes | None = None) -> Path:
    return _with_atoms(_encode(folder / "a.m4a", container="ipod", codec="aac"), picture=picture)


def alac(folder: Path, *, picture: bytes | None = None) -> Path:
    return _with_atoms(_encode(folder / "a.m4a", container="ipod", codec="alac"), picture=picture)


def _with_atoms(path: Path, *, picture: bytes | None) -> Path:
    file = MP4(path)
    file["\xa9nam"], file["\xa9ART"], file["\xa9alb"], file["aART"] = "Ærø", "Ann", "Far", "Ann & Co"
    file["trkn"], file["disk"], file["\xa9day"], file["\xa9gen"] = [(3, 12)], [(1, 2)], "1999-04-01", ["Folk", "Dub"]
    file["\xa9cmt"], file["\xa9lyr"], file["cpil"] = "hello", "la\nla", True
    file["----:com.apple.iTunes:MusicBrainz Track Id"] = MP4FreeForm(RECORDING.encode())
    file["----:com.apple.iTunes:MOOD"] = MP4FreeForm(b"calm")
    if picture:
        file["covr"] = [MP4Cover(picture)]
    file.save()
    return path


def wav(folder: Path, *, picture: bytes | None = None) -> Path:
    path = synth.write_wav(folder / "a.wav", Y)
    file = WAVE(path)
    return _with_id3(path, file, picture=picture)


def aiff(folder: Path, *, picture: bytes | None = None) -> Path:
    path = folder / "a.aiff"
    sf.write(path, Y.T, synth.SR, format="AIFF", subtype="PCM_16")
    return _with_id3(path, AIFF(path), picture=picture)


def _with_id3(path: Path, file: WAVE | AIFF, *, picture: bytes | None) -> Path:
    file.add_tags()
    for frame in id3_tags().values():
        file.tags.add(frame)
    if picture:
        file.tags.add(APIC(mime="image/jpeg", type=3, desc="", data=picture))
    file.save()
    return path


def wma(folder: Path, *, picture: bytes | None = None) -> Path:
    path = _encode(folder / "a.wma", container="asf", codec="wmav2")
    file = ASF(path)
    file["Title"], file["Author"], file["WM/AlbumTitle"], file["WM/AlbumArtist"] = "Ærø", "Ann", "Far", "Ann & Co"
    file["WM/TrackNumber"], file["WM/PartOfSet"], file["WM/Year"] = "3/12", "1/2", "1999-04-01"
    file["WM/Genre"], file["Description"], file["WM/Lyrics"] = ["Folk", "Dub"], "hello", "la\nla"
    file["WM/IsCompilation"], file["MusicBrainz/Track Id"], file["WM/Mood"] = True, RECORDING, "calm"
    if picture:
        from mutagen.asf import ASFByteArrayAttribute

        name = "image/jpeg".encode("utf-16-le") + b"\0\0" + "front".encode("utf-16-le") + b"\0\0"
        file["WM/Picture"] = [ASFByteArrayAttribute(struct.pack("<bi", 3, len(picture)) + name + picture)]
    file.save()
    return path


def wav_with_info(path: Path, *, identifier: bytes = b"RIFF", **info: bytes) -> Path:
    """Write a WAV (or RF64) with a LIST/INFO chunk behind its samples."""
    data = np.zeros(400, dtype="<i2").tobytes()
    entries = b"".join(
        name.encode() + struct.pack("<I", len(value)) + value + b"\0" * (len(value) % 2) for name, value in info.items()
    )
    chunks = b"fmt " + struct.pack("<IHHIIHH", 16, 1, 1, 44_100, 88_200, 2, 16)
    size = struct.pack("<I", len(data))
    if identifier == b"RF64":
        chunks = b"ds64" + struct.pack("<IQQQI", 28, 0, len(data), 400, 0) + chunks
        size = b"\xff" * 4
    chunks += b"data" + size + data + b"LIST" + struct.pack("<I", 4 + len(entries)) + b"INFO" + entries
    path.write_bytes(identifier + struct.pack("<I", 4 + len(chunks)) + b"WAVE" + chunks)
    return path


EVERY_CONTAINER = (
    mp3, mp3_with_ape_only, adts_with_id3, flac, ogg_vorbis, opus, m4a, alac, wav, aiff, wavpack, wma,
)  # fmt: skip
