"""The programs that judge: which Debian package brings each, and how one is run.

What their answers mean is known in `readers`, `mpd_server` and the tests.
"""

import os
import shutil
import subprocess
from pathlib import Path

import pytest

PACKAGES = {
    "AtomicParsley": "atomicparsley",
    "beet": "beets",
    "exiftool": "libimage-exiftool-perl",
    "ffmpeg": "ffmpeg",
    "ffprobe": "ffmpeg",
    "flac": "flac",
    "jpeginfo": "jpeginfo",
    "kid3-cli": "kid3-cli",
    "mediainfo": "mediainfo",
    "metaflac": "flac",
    "mp3val": "mp3val",
    "mpd": "mpd",
    "opusdec": "opus-tools",
    "opusinfo": "opus-tools",
    "sox": "sox",
}
"""Program and the package of Debian 12 that brings it; `.ci/run` installs them all."""

_TIMEOUT_S = 60


def require(*programs: str) -> None:
    """Skip the test where one of the programs is missing, saying what brings it."""
    missing = [program for program in programs if shutil.which(program) is None]
    if missing:
        pytest.skip(f"no {', '.join(missing)} here: apt-get install {' '.join(PACKAGES[each] for each in missing)}")


def run(
    program: str, *arguments: str | Path, home: Path | None = None, allowed: tuple[int, ...] = (0,)
) -> subprocess.CompletedProcess[bytes]:
    """Run a judge in a UTF-8 locale and return what it wrote.

    Args:
        program: one of `PACKAGES`.
        arguments: as on a command line.
        home: a folder for what the program wants to keep; none of the user's own settings are read.
        allowed: exit statuses that are no failure of the program.

    Raises:
        AssertionError: it ended with another status.
    """
    environment = {
        "PATH": os.environ["PATH"],
        "LC_ALL": "C.UTF-8",
        "HOME": str(home or "/nonexistent"),
        "BEETSDIR": str(home or "/nonexistent"),
        "QT_QPA_PLATFORM": "offscreen",
    }
    done = subprocess.run(
        [program, *map(str, arguments)],
        env=environment, stdin=subprocess.DEVNULL, capture_output=True, check=False, timeout=_TIMEOUT_S,
    )  # fmt: skip
    assert done.returncode in allowed, f"{program} ended with {done.returncode}: {done.stderr.decode(errors='replace')}"
    return done


def text(program: str, *arguments: str | Path, home: Path | None = None) -> str:
    """Return the standard output of a judge that must succeed."""
    return run(program, *arguments, home=home).stdout.decode()
