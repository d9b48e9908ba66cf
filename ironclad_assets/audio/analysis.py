"""The task that analyses a song: makes the child ready for librosa, then has `analysis_sources` do the work.

librosa compiles functions when it is imported; they are kept in a folder that the caller names, so that each
song but the first saves that time. It is imported only here, after the folder is known.
"""

import contextlib
import importlib
import os
from collections.abc import Callable, Sequence
from typing import Any

Report = Callable[[float, str], None]

_SOURCES = "ironclad_assets.audio.analysis_sources"
_NICENESS = 10
"""Songs that somebody waits for come first on a busy processor."""


def analyse_song(
    report: Report, *, mixture: dict[str, Any], stems: Sequence[dict[str, Any]], compiled_path: str
) -> dict[str, Any]:  # JSON objects
    """Return tempo, beats, key, loudness range and envelopes of a song.

    Args:
        report: told of progress.
        mixture: ``path``, ``sample_rate_hz``, ``channels``, ``frames`` and ``rms`` of the staged mixture.
        stems: ``name`` and ``path`` of each stem, same rate, channels and length.
        compiled_path: folder for compiled functions.

    Returns:
        as `analysis_sources.measure_sources`.
    """
    with contextlib.suppress(OSError):
        os.nice(_NICENESS)
    # What librosa loads looks for the user's folder of caches at once, although it writes nothing there.
    os.environ.update(NUMBA_CACHE_DIR=compiled_path, HOME=compiled_path, TMPDIR=compiled_path)
    report(0.0, "preparing")
    sources = importlib.import_module(_SOURCES)
    measured: dict[str, Any] = sources.measure_sources(report, mixture=mixture, stems=stems)
    return measured
