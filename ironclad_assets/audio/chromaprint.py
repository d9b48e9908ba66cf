"""Runs Chromaprint's `fpcalc` over a song and reads its answer. Runs in a sandboxed child, which fpcalc inherits.

Which fpcalc, and what the fingerprint is for, is the business of `lookup/`.
"""

import json
import subprocess
from collections.abc import Callable
from typing import Any

from ironclad_assets.errors import ErrorCode, IroncladError

LONGEST_S = 55.0


def run_fpcalc(report: Callable[[float, str], None], *, fpcalc: str, audio: str, seconds: int) -> dict[str, Any]:
    """Return ``fingerprint``, the compressed fingerprint of the first `seconds` of a file.

    Raises:
        IroncladError: with `NOT_AUDIO` where fpcalc makes none.
    """
    report(0.0, "listening")
    command = [fpcalc, "-json", "-length", str(seconds), audio]
    # No DEVNULL: it is opened for writing too, which the cage forbids.
    done = subprocess.run(command, input=b"", capture_output=True, timeout=LONGEST_S, check=False)
    try:
        answer = json.loads(done.stdout)
        return {"fingerprint": str(answer["fingerprint"])}
    except (ValueError, KeyError, TypeError) as error:
        said = done.stderr.decode("utf-8", "replace").strip()[-200:]
        raise IroncladError(f"fpcalc ended with status {done.returncode}: {said}", code=ErrorCode.NOT_AUDIO) from error
