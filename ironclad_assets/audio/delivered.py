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

from ironclad_assets.audio.embed import holds_tags, write_tags
from ironclad_assets.audio.stem_mp4 import inspect_stem_mp4
from ironclad_assets.audio.tag_formats.id3_frames import Id3Version
from ironclad_assets.audio.tag_formats.sheet import Cover, TagSheet

_BLOCK_FRAMES = 1 << 16


def finish_track(
    path: Path, *, sheet: TagSheet, cover: Cover | None, id3_version: Id3Version = "2.4"
) -> tuple[dict[str, Any], str | None]:
    """Tag the file and look at it as a player would; tags that cannot be written leave it playable.

    Returns:
        ``frames``, ``sample_rate_hz``, ``channels`` as decoded, ``tags_embedded``, ``art_embedded``; and why
        the tags could not be written.
    """
    problem = None
    try:
        write_tags(path, sheet=sheet, cover=cover, id3_version=id3_version)
    except (MutagenError, ValueError) as error:
        problem = str(error)
    found = _DECODERS.get(path.suffix, _decode)(path)
    try:
        tagged, pictured = holds_tags(path, sheet=sheet, cover=cover, id3_version=id3_version)
    except (MutagenError, ValueError):
        tagged, pictured = False, False
    return {**found, "tags_embedded": tagged, "art_embedded": pictured}, problem


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


_DECODERS = {".m4a": _decode_mp4, ".mp4": inspect_stem_mp4}


def _frames(container: "av.container.InputContainer", stream: "av.AudioStream") -> Iterator[av.AudioFrame]:
    for packet in container.demux(stream):
        yield from packet.decode()
