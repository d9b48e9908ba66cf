"""Room *stage*: the song as raw audio for an engine, and the plan by which the engine goes through it.

Decoding happens in a confined child (`audio.staging`); which engine it is for was decided before. The chunk
plan is arithmetic over the staged frames.
"""

import shutil
from pathlib import Path
from typing import Any

from ironclad_assets.contracts.v1.base import AudioFormat, StagedAudio
from ironclad_assets.contracts.v1.engine import EngineModel
from ironclad_assets.contracts.v1.staged_chunks import Chunk, EngineChoice, MixtureStatistics, StagedChunks
from ironclad_assets.contracts.v1.validated_file import ValidatedFile
from ironclad_assets.errors import ErrorCode, StorageUnavailable
from ironclad_assets.pipeline.policy import Policy, crash_as_damage
from ironclad_assets.sandbox.task import ChildCrashError, run_task
from ironclad_assets.sandbox.watch import SilentWatch, Watch
from ironclad_assets.storage.store import Store

CHUNK_S = 30
"""Length of a chunk: what is computed anew, at most, after an interruption."""

MIXTURE_NAME = "mixture.f32"
SOURCE_NAME = "source.f32"

_STAGE = "ironclad_assets.audio.staging:stage_file"
_SAMPLE_BYTES = 4
_RESAMPLING_FACTOR = 2
"""Staging may resample as well: allow twice the time of decoding alone."""


def stage_song(
    validated: ValidatedFile,
    *,
    choice: EngineChoice,
    model: EngineModel,
    store: Store,
    work: Path,
    policy: Policy,
    watch: Watch | None = None,
) -> StagedChunks:
    """Decode the song once into `work`, as `model` wants it and as the result must come back.

    Args:
        validated: the original.
        choice: the engine that will separate it.
        model: says rate and channels.
        store: where the original lies.
        work: folder of the artifact's files.
        policy: what decoding may cost.
        watch: hears of progress and may cancel.

    Raises:
        StorageUnavailable: `STORAGE_FULL` where the staged audio would not fit above the reserve.
        PermanentFailure: the original differs from what was validated, or a limit was exceeded.
        JobCanceled: the watch asked for it.
    """
    original = store.original(validated.archive_path)
    largest = _check_space(validated.audio, model=model, folder=work, reserve_bytes=store.reserve_bytes)
    try:
        found = run_task(
            _STAGE,
            arguments={
                "path": str(original),
                "mixture_path": str(work / MIXTURE_NAME),
                "source_path": str(work / SOURCE_NAME),
                "engine_rate_hz": model.sample_rate_hz,
                "engine_channels": model.channels,
                "max_frames": validated.audio.frames,
            },
            limits=policy.media_limits(duration_s=_RESAMPLING_FACTOR * validated.audio.duration_s, file_bytes=largest),
            readable=[original],
            writable=[work],
            watch=watch or SilentWatch(),
        )
    except ChildCrashError as crash:
        raise crash_as_damage(crash) from crash
    mixture = _staged(found["mixture"], name=MIXTURE_NAME)
    return StagedChunks(
        original_sha256=validated.sha256,
        engine=choice,
        mixture=mixture,
        source=_staged(found["source"], name=SOURCE_NAME) if found["source"] is not None else None,
        source_format=AudioFormat(**found["source_format"]),
        statistics=MixtureStatistics(**found["statistics"]),
        chunks=plan_chunks(mixture.frames, sample_rate_hz=mixture.sample_rate_hz),
        silent=found["silent"],
        warnings=tuple(found["warnings"]),
    )


def plan_chunks(frames: int, *, sample_rate_hz: int, chunk_s: int = CHUNK_S) -> tuple[Chunk, ...]:
    """Return ranges that cover `frames` without gap or overlap, each `chunk_s` long but the last."""
    length = chunk_s * sample_rate_hz
    return tuple(Chunk(start=start, frames=min(length, frames - start)) for start in range(0, frames, length))


def _staged(found: dict[str, Any], *, name: str) -> StagedAudio:  # rate, channels, frames as the child counted them
    return StagedAudio(path=name, **found)


def staged_bytes(audio: AudioFormat, *, model: EngineModel) -> tuple[int, int]:
    """Return the sizes in bytes of what staging writes: the mixture for `model`, and the source where it differs."""
    mixture_frames = -(-audio.frames * model.sample_rate_hz // audio.sample_rate_hz)
    mixture = mixture_frames * model.channels * _SAMPLE_BYTES
    channels = min(audio.channels, 2)
    same = (audio.sample_rate_hz, channels) == (model.sample_rate_hz, model.channels)
    return mixture, 0 if same else audio.frames * channels * _SAMPLE_BYTES


def _check_space(audio: AudioFormat, *, model: EngineModel, folder: Path, reserve_bytes: int) -> int:
    """Return the size in bytes of the largest file that staging will write, if both fit above the reserve."""
    mixture, source = staged_bytes(audio, model=model)
    free = shutil.disk_usage(folder).free - reserve_bytes
    if mixture + source > free:
        raise StorageUnavailable(
            f"staging needs {(mixture + source) / 1e9:.2f} GB; {max(0, free) / 1e9:.2f} GB are free above the reserve",
            code=ErrorCode.STORAGE_FULL,
        )
    return max(mixture, source)
