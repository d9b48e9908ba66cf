"""The atom that makes an MP4 file one of Native Instruments' stems: `moov/udta/stem`, and the JSON in it.

DJ programs know such a file by this atom and by its extension. The streams of audio are written in `stem_mp4`,
tags in `embed`, which leave the atom where it is.
"""

import io
import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Protocol

STEM_COLORS = {"Drums": "#009E73", "Bass": "#D55E00", "Other": "#CC79A7", "Vocals": "#56B4E9"}
"""Names and colours of the four stems in the order of their streams; colours that the colour-blind tell apart."""

_HEADER_BYTES = 8
_LARGE_HEADER_BYTES = 16
_LARGEST = 2**32 - 1
_MOST_MANIFEST_BYTES = 1 << 20


class Seekable(Protocol):
    """What of a binary file is needed here."""

    def read(self, size: int = -1, /) -> bytes | None: ...
    def write(self, data: bytes, /) -> int | None: ...
    def seek(self, offset: int, whence: int = 0, /) -> int: ...


@dataclass(frozen=True, slots=True)
class Atom:
    """Where an atom stands in a file. `size_bytes` counts its header."""

    kind: bytes
    start: int
    size_bytes: int
    header_bytes: int

    @property
    def end(self) -> int:
        return self.start + self.size_bytes


def stem_manifest() -> bytes:
    """Return the JSON of the atom: version 1, four stems, and a mastering chain that is switched off.

    The four stems are mixed as they are: a compressor or limiter would make of them something else than the
    mixture. Values beside ``enabled`` are those that Native Instruments' own tool writes.
    """
    document = {
        "mastering_dsp": {
            "compressor": {
                "enabled": False,
                "ratio": 3,
                "output_gain": 0.5,
                "release": 0.3,
                "attack": 0.003,
                "input_gain": 0.5,
                "threshold": 0,
                "hp_cutoff": 300,
                "dry_wet": 50,
            },
            "limiter": {"enabled": False, "release": 0.05, "threshold": 0, "ceiling": -0.35},
        },
        "version": 1,
        "stems": [{"color": color, "name": name} for name, color in STEM_COLORS.items()],
    }
    return json.dumps(document).encode("ascii")


def add_stem_atom(file: Seekable) -> None:
    """Put the atom into a finished MP4 file whose `moov` comes last, so that nothing has to be moved.

    Raises:
        ValueError: the file has no `moov`, or something follows it.
    """
    end = file.seek(0, io.SEEK_END)
    moov = _child(file, b"moov", start=0, end=end)
    if moov is None or moov.end != end or moov.header_bytes != _HEADER_BYTES:
        raise ValueError("the file does not end with a moov atom of 32 bits")
    atom = _atom(b"stem", stem_manifest())
    udta = _child(file, b"udta", start=moov.start + _HEADER_BYTES, end=moov.end)
    if udta is None or udta.end != moov.end:  # where udta is not last, a second one is as good
        atom, udta = _atom(b"udta", atom), None
    file.seek(end)
    file.write(atom)
    for grown in (moov, udta):
        if grown is not None:
            file.seek(grown.start)
            file.write((grown.size_bytes + len(atom)).to_bytes(4, "big"))


def read_stem_atom(file: Seekable) -> dict[str, Any] | None:  # a JSON object
    """Return the JSON of `moov/udta/stem`, None where there is none that can be read."""
    end = file.seek(0, io.SEEK_END)
    found = [Atom(b"", 0, end, 0)]
    for kind in (b"moov", b"udta", b"stem"):
        found = [
            atom
            for parent in found
            for atom in _children(file, start=parent.start + parent.header_bytes, end=parent.end)
            if atom.kind == kind
        ]
    if len(found) != 1 or found[0].size_bytes > _MOST_MANIFEST_BYTES:
        return None
    file.seek(found[0].start + found[0].header_bytes)
    try:
        document = json.loads(file.read(found[0].size_bytes - found[0].header_bytes) or b"")
    except ValueError:
        return None
    return document if isinstance(document, dict) else None


def _atom(kind: bytes, content: bytes) -> bytes:
    return (_HEADER_BYTES + len(content)).to_bytes(4, "big") + kind + content


def _child(file: Seekable, kind: bytes, *, start: int, end: int) -> Atom | None:
    return next((atom for atom in _children(file, start=start, end=end) if atom.kind == kind), None)


def _children(file: Seekable, *, start: int, end: int) -> Iterator[Atom]:
    """Yield the atoms between two places, as far as their sizes make sense (ISO 14496-12, 4.2)."""
    while start + _HEADER_BYTES <= end:
        file.seek(start)
        header = file.read(_LARGE_HEADER_BYTES) or b""
        size, kind, header_bytes = int.from_bytes(header[:4], "big"), header[4:8], _HEADER_BYTES
        if size == 1:
            size, header_bytes = int.from_bytes(header[8:16], "big"), _LARGE_HEADER_BYTES
        elif size == 0:
            size = end - start
        if size < header_bytes or start + size > end:
            return
        yield Atom(kind, start, size, header_bytes)
        start += size
