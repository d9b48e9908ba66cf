"""What the end of a worker means: a checked result, or one published error.

Shared by all executors; how a worker is started, watched and stopped belongs to them.
"""

import errno
import re
import signal
from dataclasses import dataclass
from pathlib import Path

from ironclad_assets.contracts.v1.engine import EngineRequest, EngineResult
from ironclad_assets.engine_host.disk import find_disk_trouble
from ironclad_assets.engine_host.result import discard_output, read_result
from ironclad_assets.errors import ChildKilled, ErrorCode, IroncladError, failure

_SPOILED = (ErrorCode.ENGINE_FAILED, ErrorCode.ENGINE_PROTOCOL, ErrorCode.STEMS_INVALID)
"""What a worker leaves after these is not worth continuing."""

_ERRNO = re.compile(r"\[Errno (\d+)\]")
_LIMITS = {
    errno.EMFILE: (ErrorCode.LIMIT_FILES, "opened more files at once than it may"),
    errno.EFBIG: (ErrorCode.LIMIT_DISK, "tried to write a larger file than it may"),
}
"""What the kernel tells a process that goes beyond its limits, and what that means."""

_TERMINATED = (-signal.SIGTERM, 128 + signal.SIGTERM)
"""The second is how the harness ends when SIGTERM came; its checkpoint is in place."""


@dataclass(frozen=True, slots=True)
class Ending:
    """How a worker ended.

    Attributes:
        status: its exit status, negative for a signal; 0 where a warm worker finished the request.
        output: the end of what it printed.
        oom_killed: whether the kernel's out-of-memory killer struck while it worked.
        failure: what the end means where there is no result, if whoever ran the worker knows.
    """

    status: int
    output: str = ""
    oom_killed: bool = False
    failure: IroncladError | None = None


def conclude(request: EngineRequest, *, ending: Ending) -> EngineResult:
    """Return the result that a worker left, or raise what its ending means.

    A disk that was full explains all else. Stems of a worker that failed are removed.

    Raises:
        IroncladError: with a published code; ChildKilled after a SIGKILL or SIGTERM that nobody explains.
    """
    try:
        return _judge(request, ending=ending)
    except IroncladError as error:
        said = _find_limit(f"{ending.output}\n{error.detail}") if error.code is ErrorCode.ENGINE_FAILED else None
        if said is not None:
            discard_output(request)
            raise failure(said[0], f"{request.engine} {said[1]}") from error
        if error.code in (ErrorCode.ENGINE_FAILED, ErrorCode.ENGINE_PROTOCOL):
            trouble = find_disk_trouble(Path(request.output_dir), output=ending.output)
            if trouble is not None:
                raise trouble from error
        if error.code in _SPOILED and not isinstance(error, ChildKilled):
            discard_output(request)
        raise


def _judge(request: EngineRequest, *, ending: Ending) -> EngineResult:
    result = read_result(request)
    if result is not None and result.failure is not None:
        raise failure(_engine_code(result.failure.code), f"{request.engine}: {result.failure.detail}")
    if result is not None:
        return result
    if ending.failure is not None:
        raise ending.failure
    status = ending.status
    if status == 0:
        raise failure(ErrorCode.ENGINE_PROTOCOL, f"{request.engine} ended without a result")
    if status == -signal.SIGKILL and ending.oom_killed:
        raise failure(ErrorCode.OUT_OF_MEMORY, f"{request.engine}: the kernel's out-of-memory killer ended it")
    if status == -signal.SIGKILL:
        raise ChildKilled(f"{request.engine} was killed by the system, as happens when memory is out")
    if status in _TERMINATED:
        raise ChildKilled(f"{request.engine} was asked to end from outside", code=ErrorCode.ENGINE_FAILED)
    if status == -signal.SIGXFSZ:
        raise failure(ErrorCode.LIMIT_DISK, f"{request.engine} {_LIMITS[errno.EFBIG][1]}")
    if status == -signal.SIGXCPU:
        raise failure(ErrorCode.LIMIT_CPU, f"{request.engine} used up its processor time")
    lines = ending.output.strip().splitlines() or ["it printed nothing"]
    raise failure(ErrorCode.ENGINE_FAILED, f"{request.engine} ended with status {status}: {lines[-1][:500]}")


def _find_limit(output: str) -> tuple[ErrorCode, str] | None:
    """Return the limit that the kernel held a worker to, as the last error in what it said tells."""
    numbers = [int(number) for number in _ERRNO.findall(output)[-1:]]
    return next((_LIMITS[number] for number in numbers if number in _LIMITS), None)


def _engine_code(code: str) -> ErrorCode:
    """Return the published code an engine named; one that nobody published is ``ENGINE_FAILED``."""
    known = ErrorCode.from_code(code)
    return ErrorCode.ENGINE_FAILED if known in (ErrorCode.INTERNAL, ErrorCode.CANCELED) else known
