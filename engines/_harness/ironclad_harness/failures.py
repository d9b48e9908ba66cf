"""Which published code an exception of an engine, a library or the system means.

The codes are those of `docs/errors.md`. What follows from a failure belongs to `job`.
"""

import errno
import os
from collections.abc import Iterator

from ironclad_harness.engine import EngineError

RESUMABLE = ("out_of_memory", "storage_full", "storage_read_only", "storage_away")
"""After these the checkpoint stays: the work can go on when there is more room."""

_STORAGE_CODES = {
    errno.ENOSPC: "storage_full",
    errno.EDQUOT: "storage_full",
    errno.EFBIG: "storage_full",
    errno.EROFS: "storage_read_only",
    errno.EIO: "storage_away",
    errno.ESTALE: "storage_away",
}

# What the libraries say when an allocation fails; most raise it as a plain RuntimeError.
_MEMORY_PHRASES = (
    "out of memory",  # torch on CUDA and MPS
    "outofmemory",
    "std::bad_alloc",  # anything in C++
    "bad allocation",  # ONNX Runtime
    "defaultcpuallocator",  # torch on the CPU
    "can't allocate memory",
    "cannot allocate memory",
    "can not allocate",  # OpenVINO
    "failed to allocate",  # OpenVINO, ONNX Runtime's arena
    "unable to allocate",  # numpy
    "oom when allocating",  # TensorFlow
    "status_alloc_failed",  # cuBLAS, cuDNN
    "exceeds max size of memory object allocation",  # OpenCL
)


def name_failure(error: BaseException) -> EngineError:
    """Return `error` as one of the published codes."""
    if isinstance(error, EngineError):
        return error
    for each in _chain(error):
        if _is_out_of_memory(each):
            return EngineError("out_of_memory", str(each) or "an allocation failed")
    if isinstance(error, OSError) and error.errno in _STORAGE_CODES:
        return EngineError(_STORAGE_CODES[error.errno], f"{error.filename}: {os.strerror(error.errno)}")
    return EngineError("engine_failed", f"{type(error).__name__}: {error}")


def _is_out_of_memory(error: BaseException) -> bool:
    if isinstance(error, MemoryError) or (isinstance(error, OSError) and error.errno == errno.ENOMEM):
        return True
    text = str(error).lower()
    return any(phrase in text for phrase in _MEMORY_PHRASES)


def _chain(error: BaseException) -> Iterator[BaseException]:
    """Give `error` and what caused it: libraries wrap what they caught."""
    seen: BaseException | None = error
    for _ in range(10):
        if seen is None:
            return
        yield seen
        seen = seen.__cause__
