"""The room `song_analysis`: listening with numbers, after the song is complete.

A sandboxed child (`audio/analysis.py`) goes through the staged mixture and the stems; loudness and true peak are
taken from the stage that measured them. Here its answer becomes the contract and the file for visualisers.
"""

import importlib.metadata
import json
import math
from collections.abc import Mapping, Sequence
from contextlib import suppress
from itertools import pairwise
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from ironclad_assets.contracts.v1.base import CheckOutcome, Levels
from ironclad_assets.contracts.v1.song_analysis import (
    ANALYSIS_FILE,
    AnalysisDocument,
    DrawnSource,
    Key,
    SongAnalysis,
    SourceLoudness,
    Tempo,
)
from ironclad_assets.contracts.v1.staged_chunks import StagedChunks
from ironclad_assets.contracts.v1.stems import Stems
from ironclad_assets.errors import ErrorCode, PermanentFailure
from ironclad_assets.sandbox.limits import Limits
from ironclad_assets.sandbox.task import run_task
from ironclad_assets.sandbox.watch import SilentWatch, Watch
from ironclad_assets.storage import atomic
from ironclad_assets.storage.artifacts import read_manifest
from ironclad_assets.storage.hashing import record_file
from ironclad_assets.storage.store import Store

STAGE = "song_analysis"
MIXTURE = "mixture"

_ANALYSE = "ironclad_assets.audio.analysis:analyse_song"
_PACKAGE = "librosa"
_TIME_DIGITS, _LEVEL_DIGITS, _CONFIDENCE_DIGITS = 4, 2, 3
_MEMORY_BYTES = 1024**3
_FILE_BYTES = 64 * 1024**2
_START_CPU_S = 600.0
"""The first song of an installation pays for compiling: measured 45 s."""

_CPU_SHARE = 0.25
"""Processor seconds allowed per second of song, about ten times what four stems need."""


def analysis_version() -> str:
    """Return the version of librosa that would analyse.

    Raises:
        PermanentFailure: `ANALYSIS_UNAVAILABLE`, where it is not installed.
    """
    try:
        return importlib.metadata.version(_PACKAGE)
    except importlib.metadata.PackageNotFoundError:
        raise PermanentFailure(f"{_PACKAGE} is not installed", code=ErrorCode.ANALYSIS_UNAVAILABLE) from None


def analyse(
    stems: Stems,
    *,
    stems_folder: Path,
    staged: StagedChunks,
    staged_folder: Path,
    work: Path,
    compiled: Path,
    watch: Watch | None = None,
    limits: Limits | None = None,
) -> SongAnalysis:
    """Measure a song and write `analysis.json` into `work`.

    Args:
        stems: the separated song, files below `stems_folder`.
        stems_folder: folder of the stems.
        staged: the mixture, files below `staged_folder`.
        staged_folder: folder of the mixture.
        work: folder of the artifact's files.
        compiled: folder in which librosa's compiled functions are kept from song to song.
        watch: hears of progress and may cancel.
        limits: of the child; by default enough for the song's length.

    Raises:
        PermanentFailure: `ANALYSIS_UNAVAILABLE`, or a limit was exceeded.
    """
    analysis_version()
    atomic.make_folder(compiled)
    mixture = staged.mixture
    paths = {stem.name: stems_folder / stem.audio.path for stem in stems.stems}
    found = run_task(
        _ANALYSE,
        arguments={
            "mixture": {
                "path": str(staged_folder / mixture.path),
                "sample_rate_hz": mixture.sample_rate_hz,
                "channels": mixture.channels,
                "frames": mixture.frames,
                "rms": stems.mixture_levels.rms,
            },
            "stems": [{"name": name, "path": str(path)} for name, path in paths.items()],
            "compiled_path": str(compiled),
        },
        limits=limits or _limits(mixture.duration_s),
        readable=[staged_folder, stems_folder],
        writable=[compiled],
        watch=watch or SilentWatch(),
    )
    levels = {MIXTURE: stems.mixture_levels, **{stem.name: stem.levels for stem in stems.stems}}
    document = _document(found, levels=levels, duration_s=mixture.duration_s)
    text = json.dumps(document.model_dump(mode="json"), sort_keys=True, separators=(",", ":"), allow_nan=False)
    atomic.write_bytes(work / ANALYSIS_FILE, text.encode() + b"\n")
    return SongAnalysis(
        duration_s=document.duration_s,
        sources=tuple(
            SourceLoudness(**source.model_dump(include=set(SourceLoudness.model_fields))) for source in document.sources
        ),
        tempo=document.tempo,
        key=document.key,
        beats_s=document.beats_s,
        file=record_file(work / ANALYSIS_FILE, base=work),
    )


def check_analysis(analysis: SongAnalysis, *, work: Path) -> tuple[CheckOutcome, ...]:
    """Return whether all numbers are finite, the beats increase inside the song, and the envelopes cover it."""
    document = AnalysisDocument.model_validate_json((work / analysis.file.path).read_bytes())
    numbers = [*analysis.beats_s, *(value for source in document.sources for value in (*source.peak, *source.rms))]
    beats = analysis.beats_s
    ordered = all(earlier < later for earlier, later in pairwise(beats))
    inside = all(0.0 <= beat <= analysis.duration_s for beat in beats)
    points = math.ceil(round(document.duration_s * document.envelope_rate_hz, 6))
    short = [one.name for one in document.sources if not len(one.peak) == len(one.rms) == points]
    return (
        CheckOutcome(
            name="numbers_are_finite", passed=all(map(math.isfinite, numbers)), values={"count": len(numbers)}
        ),
        CheckOutcome(
            name="beats_increase_inside_song",
            passed=ordered and inside,
            detail="" if ordered and inside else "a beat is out of order or outside the song",
            values={"beats": len(beats)},
        ),
        CheckOutcome(
            name="envelopes_cover_song",
            passed=not short,
            detail=f"not {points} points: {', '.join(short)}" if short else "",
            values={"points": points},
        ),
    )


def is_analysed(store: Store, song: str, *, code_version: str) -> bool:
    """Return whether the song's analysis is of the stems that it has now; also where there are none to analyse."""
    try:
        wanted = {stage: read_manifest(store.stage(stage, song)).key for stage in ("staged_chunks", "stems")}
    except PermanentFailure:
        return True
    with suppress(PermanentFailure):
        manifest = read_manifest(store.stage(STAGE, song))
        return manifest.inputs == wanted and manifest.code_version == code_version
    return False


def read_analysis(store: Store, song: str) -> SongAnalysis | None:
    """Return what is known of a song, or None where it was not analysed or that cannot be read."""
    with suppress(PermanentFailure, ValidationError, OSError):
        return SongAnalysis.model_validate(read_manifest(store.stage(STAGE, song)).payload)
    return None


def _document(found: Mapping[str, Any], *, levels: Mapping[str, Levels], duration_s: float) -> AnalysisDocument:
    """Return the child's answer as the document, rounded to what was measured."""
    rhythm, key = found["rhythm"], found["key"]
    return AnalysisDocument(
        duration_s=round(duration_s, 6),
        tempo=Tempo(
            bpm=_rounded(rhythm["bpm"], digits=_LEVEL_DIGITS),
            confidence=round(rhythm["confidence"], _CONFIDENCE_DIGITS),
        ),
        key=Key(
            tonic=key["tonic"],
            mode=key["mode"],
            camelot=key["camelot"],
            confidence=round(key["confidence"], _CONFIDENCE_DIGITS),
            tuning_cents=_rounded(key["tuning_cents"], digits=1),
        ),
        beats_s=tuple(round(beat, _TIME_DIGITS) for beat in rhythm["beats_s"]),
        envelope_rate_hz=found["envelope_rate_hz"],
        sources=_drawn_sources(found, levels=levels),
    )


def _drawn_sources(found: Mapping[str, Any], *, levels: Mapping[str, Levels]) -> Sequence[DrawnSource]:
    spread = _rounded(found["loudness_range_lu"], digits=_LEVEL_DIGITS)
    return tuple(
        DrawnSource(
            name=name,
            loudness_lufs=_rounded(level.loudness_lufs, digits=_LEVEL_DIGITS),
            loudness_range_lu=spread if name == MIXTURE else None,
            true_peak_dbtp=_rounded(level.true_peak_dbtp, digits=_LEVEL_DIGITS),
            peak=tuple(envelope["peak"]),
            rms=tuple(envelope["rms"]),
        )
        for (name, level), envelope in zip(levels.items(), found["envelopes"], strict=True)
    )


def _rounded(value: float | None, *, digits: int) -> float | None:
    return None if value is None else round(value, digits)


def _limits(duration_s: float) -> Limits:
    cpu_s = _START_CPU_S + math.ceil(duration_s * _CPU_SHARE)
    return Limits(cpu_s=cpu_s, memory_bytes=_MEMORY_BYTES, wall_s=10 * cpu_s, file_bytes=_FILE_BYTES)
