"""The room `stems`: hand the staged mixture to an engine, measure what comes back, decide its checks.

The engine is a callable, so this room knows the protocol but not how a worker is run. Measuring happens in
the sandbox; nothing here opens audio.
"""

import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ironclad_assets.contracts.v1.base import CheckOutcome, Levels, StagedAudio
from ironclad_assets.contracts.v1.engine import AudioFile, EngineRequest, EngineResult, ModelFile
from ironclad_assets.contracts.v1.staged_chunks import StagedChunks
from ironclad_assets.contracts.v1.stems import Rung, Stem, Stems, WeightsFile
from ironclad_assets.sandbox.limits import Limits
from ironclad_assets.sandbox.task import run_task
from ironclad_assets.sandbox.watch import Watch

RESIDUAL_WARNING_DB = -15.0
"""Above this residual the stems miss audible parts of the mixture. Demucs leaves about -25 dB."""

_RESULT_NAME = "result.json"
_SAMPLE_BYTES = 4
_MEASURE = "ironclad_assets.audio.measure:measure_stems"


@dataclass(frozen=True, slots=True)
class Conditions:
    """Under which conditions an engine computes.

    Attributes:
        entry: ``module:Class`` of the engine.
        device: device it computes on.
        threads: threads it may use.
        batch: windows it is given at once.
        model_files: the weights of the model.
    """

    entry: str
    device: str = "cpu"
    threads: int = 1
    batch: int = 1
    model_files: tuple[ModelFile, ...] = ()


@dataclass(frozen=True, slots=True)
class EngineWork:
    """What an engine did: the request as it was really worked off, its result, and the rungs that led there."""

    request: EngineRequest
    result: EngineResult
    rungs: tuple[Rung, ...] = ()
    memory_bytes: int | None = None
    """The limit that did not suffice, where a rung changed the result."""


@dataclass(frozen=True, slots=True)
class Separation:
    """What the room returns: the artifact, its picture and checks, and what the work cost."""

    stems: Stems
    waveform_png_base64: str
    checks: tuple[CheckOutcome, ...]
    result: EngineResult


def separate(
    staged: StagedChunks,
    *,
    staged_folder: Path,
    work: Path,
    key: str,
    job_uuid: str,
    song: str,
    conditions: Conditions,
    run: Callable[[EngineRequest], EngineWork],
    limits: Limits,
    watch: Watch,
) -> Separation:
    """Separate a staged song into stems below `work`.

    Safe to run twice: `run` continues work of the same `key` and returns completed work at once.

    Args:
        staged: the staged song and the engine chosen for it.
        staged_folder: folder of its files.
        work: folder in which the stems are made; it keeps only them.
        key: identity of the work.
        job_uuid: the job that asked, for the engine's log.
        song: the song's partition key.
        conditions: under which the engine is asked to compute.
        run: hands a request to the engine and returns what it did, with its checked result.
        limits: of measuring the stems.
        watch: may cancel; progress is reported by `run`.

    Raises:
        IroncladError: the engine failed, or the stems could not be measured.
    """
    request = make_request(
        staged,
        staged_folder=staged_folder,
        output_dir=work,
        key=key,
        job_uuid=job_uuid,
        song=song,
        conditions=conditions,
    )
    done = run(request)
    measured = _measure(done, limits=limits, watch=watch)
    stems = _read_measured(measured, staged=staged, done=done)
    checks = check_stems(stems, staged=staged, measured=measured)
    _keep_only(stems, work=work)
    return Separation(
        stems=stems,
        waveform_png_base64=measured["waveform_png_base64"],
        checks=checks,
        result=done.result,
    )


def stems_bytes(staged: StagedChunks) -> int:
    """Return the size in bytes of the stems that the engine will make of `staged`: float32, as long as the mixture."""
    mixture = staged.mixture
    return mixture.frames * mixture.channels * _SAMPLE_BYTES * len(staged.engine.stems)


def _keep_only(stems: Stems, *, work: Path) -> None:
    """Remove everything but the stems: a killed worker may leave a checkpoint beside a finished result.

    The notes of how the work was done go late and the result last, so that a removal that is interrupted is not
    work to be done again.
    """
    kept = {Path(stem.audio.path).parts[0] for stem in stems.stems}
    for entry in sorted(work.iterdir(), key=lambda entry: (entry.suffix == ".json", entry.name == _RESULT_NAME)):
        if entry.name in kept:
            continue
        if entry.is_dir() and not entry.is_symlink():
            shutil.rmtree(entry)
        else:
            entry.unlink()


def make_request(
    staged: StagedChunks,
    *,
    staged_folder: Path,
    output_dir: Path,
    key: str,
    job_uuid: str,
    song: str,
    conditions: Conditions,
) -> EngineRequest:
    """Return the request that asks an engine for the stems of `staged`."""
    choice, mixture = staged.engine, staged.mixture
    return EngineRequest.model_validate(
        {
            "job_uuid": job_uuid,
            "song": song,
            "engine": choice.engine,
            "engine_version": choice.version,
            "entry": conditions.entry,
            "model": choice.model,
            "stems": choice.stems,
            "parameters": choice.parameters,
            "mixture": AudioFile.model_validate(
                {
                    "path": str((staged_folder / mixture.path).resolve()),
                    "sample_rate_hz": mixture.sample_rate_hz,
                    "channels": mixture.channels,
                    "frames": mixture.frames,
                }
            ),
            "statistics": staged.statistics,
            "chunks": staged.chunks,
            "key": key,
            "output_dir": str(output_dir.resolve()),
            "device": conditions.device,
            "threads": conditions.threads,
            "batch": conditions.batch,
            "model_files": conditions.model_files,
        }
    )


def check_stems(
    stems: Stems,
    *,
    staged: StagedChunks,
    measured: Mapping[str, Any],  # the JSON answer of `measure_stems`
) -> tuple[CheckOutcome, ...]:
    """Return the checks of `stems`; all block but the residual, which separation may leave by its nature."""
    by_name = {stem["name"]: stem for stem in measured["stems"]}
    audible = {stem.name for stem in stems.stems if stem.levels.peak > 0}
    return (
        _check_finite(by_name),
        _check_length(by_name, frames=staged.mixture.frames),
        _check_not_silent(audible, stems=stems),
        _check_differ(measured["identical"], audible=audible),
        _check_sum(stems.residual_db),
    )


def _check_finite(stems: Mapping[str, Mapping[str, Any]]) -> CheckOutcome:
    bad = [name for name, stem in stems.items() if not stem["finite"]]
    detail = f"NaN or infinite samples in {', '.join(bad)}" if bad else ""
    return CheckOutcome(name="stems_are_finite", passed=not bad, detail=detail)


def _check_length(stems: Mapping[str, Mapping[str, Any]], *, frames: int) -> CheckOutcome:
    wrong = [f"{name} has {stem['frames']}" for name, stem in stems.items() if stem["frames"] != frames]
    detail = f"{', '.join(wrong)} frames instead of {frames}" if wrong else ""
    return CheckOutcome(
        name="stems_are_as_long_as_the_mixture", passed=not wrong, detail=detail, values={"frames": frames}
    )


def _check_not_silent(audible: set[str], *, stems: Stems) -> CheckOutcome:
    passed = bool(audible) or stems.mixture_levels.peak == 0
    detail = "" if passed else f"all {len(stems.stems)} stems are silent, the mixture is not"
    return CheckOutcome(
        name="stems_are_not_silent", passed=passed, detail=detail, values={"audible_stems": len(audible)}
    )


def _check_differ(identical: list[list[str]], *, audible: set[str]) -> CheckOutcome:
    pairs = [" = ".join(pair) for pair in identical if audible.issuperset(pair)]
    return CheckOutcome(name="stems_differ", passed=not pairs, detail=", ".join(pairs))


def _check_sum(residual_db: float | None) -> CheckOutcome:
    if residual_db is None:
        return CheckOutcome(name="stems_sum_to_mixture", passed=True, blocking=False, detail="the mixture is silent")
    passed = residual_db <= RESIDUAL_WARNING_DB
    detail = "" if passed else f"residual {residual_db:.1f} dB, above {RESIDUAL_WARNING_DB:.0f} dB"
    return CheckOutcome(
        name="stems_sum_to_mixture",
        passed=passed,
        blocking=False,
        detail=detail,
        values={"residual_db": round(residual_db, 2)},
    )


class _CancelOnly:
    """Passes cancels on, but not the progress: the engine's has reached the end already."""

    def __init__(self, watch: Watch) -> None:
        self._watch = watch

    def progress(self, fraction: float, message: str) -> None:
        """Keep it."""

    def canceled(self) -> bool:
        return self._watch.canceled()


def _measure(done: EngineWork, *, limits: Limits, watch: Watch) -> dict[str, Any]:
    folder = Path(done.request.output_dir)
    paths = {stem.name: folder / stem.path for stem in done.result.stems}
    mixture = done.request.mixture
    return run_task(
        _MEASURE,
        arguments={
            "mixture": {
                "path": mixture.path,
                "sample_rate_hz": mixture.sample_rate_hz,
                "channels": mixture.channels,
            },
            "stems": [{"name": name, "path": str(path)} for name, path in paths.items()],
        },
        limits=limits,
        readable=[Path(mixture.path), *paths.values()],
        watch=_CancelOnly(watch),
    )


def _read_measured(measured: Mapping[str, Any], *, staged: StagedChunks, done: EngineWork) -> Stems:
    request = done.request
    levels = {stem["name"]: _levels(stem) for stem in measured["stems"]}
    mixture = staged.mixture
    stems = tuple(
        Stem(
            name=stem.name,
            audio=StagedAudio(
                path=stem.path, frames=stem.frames, sample_rate_hz=mixture.sample_rate_hz, channels=mixture.channels
            ),
            levels=levels[stem.name],
        )
        for stem in done.result.stems
    )
    return Stems(
        engine=staged.engine.model_copy(update={"model": request.model, "parameters": request.parameters}),
        device=done.result.device or request.device,
        precision=request.precision,
        threads=request.threads,
        window_s=request.window_s,
        weights=tuple(WeightsFile(name=file.name, sha256=file.sha256) for file in request.model_files),
        rungs=done.rungs,
        memory_bytes=done.memory_bytes,
        stems=stems,
        residual_db=measured["residual_db"],
        mixture_levels=_levels(measured["mixture"]),
    )


def _levels(values: Mapping[str, Any]) -> Levels:
    return Levels(**{name: values[name] for name in ("loudness_lufs", "true_peak_dbtp", "peak", "rms")})
