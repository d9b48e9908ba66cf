"""Is the file whole? What each judge has to complain about, and how long a file is once it is decoded.

A header's claim is never asked: `ffprobe` would tell a cut MP3's full length.
"""

import json
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from tests.judges.programs import run
from tests.synth import Signal

CHANNELS = 2


def complain_flac(path: Path) -> str:
    """Decode everything and compare with the MD5 of the samples that the encoder was given."""
    done = run("flac", "-t", "-s", path, allowed=(0, 1))
    return done.stderr.decode() if done.returncode else ""


def complain_mp3val(path: Path) -> str:
    lines = run("mp3val", path).stdout.decode().splitlines()
    return "\n".join(line for line in lines if line.startswith(("WARNING", "ERROR")))


def complain_opusinfo(path: Path) -> str:
    done = run("opusinfo", path, allowed=(0, 1))
    lines = (done.stdout + done.stderr).decode().splitlines()
    return "\n".join(line for line in lines if line.startswith(("WARNING", "ERROR", "Note")) or "EOS not set" in line)


def complain_exiftool(path: Path) -> str:
    done = run("exiftool", "-charset", "filename=utf8", "-validate", "-warning", "-error", "-a", "-j", path,
               allowed=(0, 1))  # fmt: skip
    found = json.loads(done.stdout)[0]
    if found.get("Validate") == "OK":
        return ""
    return "\n".join(f"{name}: {value}" for name, value in found.items() if name not in ("SourceFile", "Validate"))


def complain_ffmpeg(path: Path) -> str:
    done = run("ffmpeg", "-nostdin", "-v", "error", "-xerror", "-i", path, "-map", "0:a", "-f", "null", "-",
               allowed=tuple(range(256)))  # fmt: skip
    said = re.sub(r"\[([^\]]*?) @ 0x[0-9a-f]+\] ", r"\1: ", done.stderr.decode())
    return said or ("" if done.returncode == 0 else f"exit {done.returncode}")


COMPLAIN: dict[str, Callable[[Path], str]] = {
    "flac": complain_flac,
    "mp3val": complain_mp3val,
    "opusinfo": complain_opusinfo,
    "exiftool": complain_exiftool,
    "ffmpeg": complain_ffmpeg,
}
"""By program: what it has to say against a file; nothing, where the file is whole."""


def decode_ffmpeg(path: Path, *, stream: int = 0) -> Signal:
    """Return the samples that FFmpeg's command plays, shape (channels, frames), at the file's own rate."""
    done = run("ffmpeg", "-nostdin", "-v", "error", "-i", path, "-map", f"0:a:{stream}", "-f", "f32le", "-")
    return np.frombuffer(done.stdout, dtype="<f4").reshape(-1, CHANNELS).T


def count_flac(path: Path) -> int:
    """Return the frames that the reference decoder gives for a FLAC of 16 bits."""
    done = run("flac", "-d", "-c", "-s", "--force-raw-format", "--endian=little", "--sign=signed", path)
    return len(done.stdout) // (2 * CHANNELS)


def count_sox(path: Path) -> int:
    return len(run("sox", path, "-t", "s32", "-").stdout) // (4 * CHANNELS)


def count_opusdec(path: Path) -> int:
    """Return the frames that the reference decoder gives at 48 kHz, pre-skip and end trimmed (RFC 7845)."""
    done = run("opusdec", "--quiet", "--rate", "48000", "--float", "--force-wav", path, "-")
    return len(done.stdout[done.stdout.index(b"data") + 8 :]) // (4 * CHANNELS)


@dataclass(frozen=True, slots=True)
class Decoder:
    """A program that decodes one format, and how many frames it gives."""

    program: str
    count: Callable[[Path], int]


OWN_DECODERS = {
    "flac": Decoder("flac", count_flac),
    "wav": Decoder("sox", count_sox),
    "opus": Decoder("opusdec", count_opusdec),
}
"""Decoders that are not FFmpeg's; those of MP3 and AAC in Debian do not trim what the codec added."""

WATCHERS = {
    "flac": ("flac", "ffmpeg"),
    "wav": ("exiftool", "ffmpeg"),
    "mp3": ("mp3val",),
    "m4a": ("exiftool", "ffmpeg"),
    "opus": ("opusinfo",),
}
"""By format, who notices that a file was cut; others say nothing, or cannot read it."""

CUT_AT = {"flac": 0.6, "wav": 0.6, "mp3": 0.6, "m4a": 0.6, "opus": 0.85}
"""Share of the bytes that is left: enough for the tags of all, and for the first of two pages of Opus."""
