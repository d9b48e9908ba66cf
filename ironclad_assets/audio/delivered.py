"""Finishes an encoded file, tags and cover, and says what a player will find in it.

Encoding is over by then (`recombine`); how each format is tagged, `embed` knows.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import av
import numpy as np
import soundfile
from mutagen import MutagenError

from ironclad_assets.audio.embed import read_back, write_tags
from ironclad_assets.audio.tag_formats.sheet import Cover, TagSheet

_BLOCK_FRAMES = 1 << 16


def finish_track(path: Path, *, sheet: TagSheet, cover: Cover | None) -> tuple[dict[str, Any], str | None]:
    """Tag the file and look at it as a player would; tags that cannot be written leave it playable.

    Returns:
        ``frames``, ``sample_rate_hz``, ``channels`` as decoded, ``tags_embedded``, ``art_embedded``; and why
        the tags could not be written.
    """
    problem = None
    try:
        write_tags(path, sheet=sheet, cover=cover)
    except (MutagenError, ValueError) as error:
        problem = str(error)
    return _verify(path, sheet=sheet, cover=cover), problem


def _verify(path: Path, *, sheet: TagSheet, cover: Cover | None) -> dict[str, Any]:
    """Return what a player will find: decoded length, rate and channels, and whether tags and art are there."""
    found = _decode_mp4(path) if path.suffix == ".m4a" else _decode(path)
    try:
        written = read_back(path)
    except (MutagenError, ValueError):
        return {**found, "tags_embedded": False, "art_embedded": False}
    return {
        **found,
        "tags_embedded": written.fields == sheet.fields,
        "art_embedded": cover is not None and [picture.data for picture in written.pictures] == [cover.data],
    }


def _decode(path: Path) -> dict[str, int]:
    frames = 0
    with soundfile.SoundFile(path) as decoded:
        buffer = np.empty((_BLOCK_FRAMES, decoded.channels), dtype=np.int32)  # a fifth faster than float
        while count := len(decoded.read(out=buffer)):
            frames += count
        return {"frames": frames, "sample_rate_hz": decoded.samplerate, "channels": decoded.channels}


def _decode_mp4(path: Path) -> dict[str, int]:
    """Do as `_decode` for AAC, which libsndfile cannot read."""
    with av.open(f"file:{path}", format="mp4", options={"protocol_whitelist": "file"}) as container:
        stream = container.streams.audio[0]
        found = {"sample_rate_hz": stream.codec_context.sample_rate, "channels": stream.codec_context.channels}
        return {"frames": sum(frame.samples for frame in _frames(container, stream)), **found}


def _frames(container: "av.container.InputContainer", stream: "av.AudioStream") -> Iterator[av.AudioFrame]:
    for packet in container.demux(stream):
        yield from packet.decode()
