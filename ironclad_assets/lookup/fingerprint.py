"""The acoustic fingerprint of a song, made by Chromaprint's `fpcalc` where it is installed.

It decodes what a stranger uploaded, so it runs in the same cage as our own decoders: limits, no network, no file but
the song. Asking who knows the fingerprint is `acoustid`'s business.
"""

import shutil
from dataclasses import replace
from pathlib import Path

from ironclad_assets.errors import IroncladError, JobCanceled
from ironclad_assets.sandbox.limits import MEBIBYTE, Limits
from ironclad_assets.sandbox.task import run_task
from ironclad_assets.sandbox.watch import Watch

LISTENED_S = 120
"""What AcoustID compares: the first two minutes."""

_TASK = "ironclad_assets.audio.chromaprint:run_fpcalc"
_LIMITS = Limits(cpu_s=30.0, memory_bytes=512 * MEBIBYTE, wall_s=60.0, file_bytes=MEBIBYTE)


def find_fpcalc() -> Path | None:
    """Return the installed `fpcalc`, None where there is none."""
    found = shutil.which("fpcalc")
    return None if found is None else Path(found).resolve()


def make_fingerprint(audio: Path, *, fpcalc: Path, within_s: float, watch: Watch) -> str | None:
    """Return the fingerprint of a file, None where fpcalc cannot make one in time.

    Raises:
        JobCanceled: the watch asked for it.
    """
    try:
        found = run_task(
            _TASK,
            arguments={"fpcalc": str(fpcalc), "audio": str(audio), "seconds": LISTENED_S},
            limits=replace(_LIMITS, wall_s=min(_LIMITS.wall_s, max(0.0, within_s))),
            readable=[audio],
            executable=[fpcalc],
            watch=watch,
        )
    except JobCanceled:
        raise
    except (IroncladError, OSError):
        return None
    fingerprint = found["fingerprint"]
    return fingerprint if isinstance(fingerprint, str) and fingerprint else None
