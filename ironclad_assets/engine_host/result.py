"""Reading what a worker left behind: `result.json` and the stems it names. Trusts nothing in it."""

import contextlib
import stat
from pathlib import Path

from pydantic import ValidationError

from ironclad_assets.contracts.v1.engine import EngineRequest, EngineResult
from ironclad_assets.errors import ErrorCode, IroncladError, failure

RESULT_NAME = "result.json"
CHECKPOINT_NAME = "checkpoint"
MAX_RESULT_BYTES = 1024 * 1024
_BYTES_PER_SAMPLE = 4


def read_result(request: EngineRequest) -> EngineResult | None:
    """Return the result of `request`, checked against it; None where there is none, or of other work.

    Raises:
        IroncladError: ``ENGINE_PROTOCOL``: the result or its stems are not what was asked for.
    """
    path = Path(request.output_dir) / RESULT_NAME
    try:
        with path.open("rb") as stream:
            content = stream.read(MAX_RESULT_BYTES)
    except FileNotFoundError:
        return None
    try:
        result = EngineResult.model_validate_json(content)
    except ValidationError as error:
        raise _broken(request, f"wrote an invalid {RESULT_NAME}: {error}") from error
    if result.key != request.key:
        return None
    if result.status == "completed":
        _check_stems(request, result=result)
    elif result.failure is None:
        raise _broken(request, "failed without naming a failure")
    return result


def read_finished(request: EngineRequest) -> EngineResult | None:
    """Return the result of earlier, completed work on `request`; None where it must be done (again)."""
    try:
        result = read_result(request)
    except IroncladError:
        return None
    return result if result is not None and result.status == "completed" else None


def discard_result(request: EngineRequest) -> None:
    """Remove an old result, so that what is there afterwards is this attempt's."""
    (Path(request.output_dir) / RESULT_NAME).unlink(missing_ok=True)


def discard_output(request: EngineRequest) -> None:
    """Remove what there is of the stems, whole or growing, and the checkpoint, after work that failed."""
    folder = Path(request.output_dir)
    names = (*(f"{stem}{suffix}" for stem in request.stems for suffix in (".f32", ".f32.part")), CHECKPOINT_NAME)
    for name in names:
        # The failure itself matters more than what cannot be removed.
        with contextlib.suppress(OSError):
            (folder / name).unlink(missing_ok=True)


def _check_stems(request: EngineRequest, *, result: EngineResult) -> None:
    names = tuple(stem.name for stem in result.stems)
    if names != request.stems:
        raise _broken(request, f"returned the stems {list(names)} instead of {list(request.stems)}")
    mixture = request.mixture
    expected = mixture.frames * mixture.channels * _BYTES_PER_SAMPLE
    for stem in result.stems:
        if stem.frames != mixture.frames:
            raise _broken(request, f"{stem.name} has {stem.frames} frames instead of {mixture.frames}")
        try:
            facts = (Path(request.output_dir) / stem.path).lstat()
        except OSError as error:
            raise _broken(request, f"{stem.name} is missing: {error}") from error
        if not stat.S_ISREG(facts.st_mode) or facts.st_size != expected:
            raise _broken(request, f"{stem.path} has {facts.st_size} bytes instead of {expected}")


def _broken(request: EngineRequest, what: str) -> IroncladError:
    return failure(ErrorCode.ENGINE_PROTOCOL, f"{request.engine} {what}")
