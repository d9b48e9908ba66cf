"""The child's side of `run_task`: confine itself, run one function, send back what it returned.

Started as ``python -I -S -c``; nothing but the standard library and `errors` is imported before the
process is confined. Messages to the parent are lines of JSON on a private descriptor, because decoder
libraries print to standard output and standard error as they like.
"""

import errno
import importlib
import json
import os
import sys
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

from ironclad_assets.errors import ErrorCode, IroncladError
from ironclad_assets.sandbox import confine
from ironclad_assets.storage import atomic

BOOTSTRAP = (
    "import sys; sys.path[:] = sys.argv[2:]; from ironclad_assets.sandbox.child import main; main(int(sys.argv[1]))"
)
_STORAGE = (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EIO, errno.ESTALE, errno.ENOTCONN)


def main(descriptor: int) -> None:
    """Read the request from `descriptor`, answer on it, and end the process without tidying up."""
    request = json.loads(_read_line(descriptor))
    parent = request["parent"]
    confine.die_with_parent(parent)
    confine.offer_to_oom_killer()
    confine.set_limits(**request["limits"])
    layers = confine.confine(
        readable=request["readable"], writable=request["writable"], executable=request["executable"]
    )
    confine.die_with_parent(parent)  # again: entering a user namespace clears the death signal
    channel = _Channel(descriptor)
    channel.send({"confined": ["limits", *layers]})
    channel.send(_answer(request["task"], arguments=request["arguments"], channel=channel))
    os._exit(0)  # the answer is sent; tearing the interpreter down would only cost time


def do_nothing(report: Callable[[float, str], None]) -> dict[str, Any]:
    """Return nothing: the task of a child that is started to see how it is confined."""
    return {}


class _Channel:
    """Sends messages to the parent."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor

    def send(self, message: dict[str, Any]) -> None:  # any JSON object
        data = memoryview(json.dumps(message, allow_nan=False).encode() + b"\n")
        while data:
            data = data[os.write(self._descriptor, data) :]

    def report(self, fraction: float, message: str) -> None:
        self.send({"fraction": min(1.0, max(0.0, float(fraction))), "message": message})


def _answer(task: str, *, arguments: dict[str, Any], channel: _Channel) -> dict[str, Any]:
    """Run the task and return its result, or its failure, as a message."""
    module, _, function = task.partition(":")
    try:
        return {"result": getattr(importlib.import_module(module), function)(channel.report, **arguments)}
    except IroncladError as error:
        return _failed(error.code, error.detail)
    except MemoryError:
        return _failed(ErrorCode.LIMIT_MEMORY, "the work asked for more memory than it may use")
    except OSError as error:
        return _os_failed(error)
    except Exception as error:  # noqa: BLE001 - this is the child's door: whatever happened goes to the parent
        return _unexpected(error)


def _os_failed(error: OSError) -> dict[str, Any]:
    if error.errno == errno.EFBIG:
        return _failed(ErrorCode.LIMIT_DISK, "the work tried to write a larger file than it may")
    if error.errno == errno.EMFILE:
        return _failed(ErrorCode.LIMIT_FILES, "the work opened more files at once than it may")
    if error.errno in _STORAGE:
        mapped = atomic.storage_error(error, Path(os.fsdecode(error.filename or "output")))
        if isinstance(mapped, IroncladError):
            return _failed(mapped.code, mapped.detail)
    return _unexpected(error)


def _unexpected(error: Exception) -> dict[str, Any]:
    traceback.print_exc(file=sys.stderr)
    return _failed(ErrorCode.INTERNAL, f"{type(error).__name__}: {error}")


def _failed(code: ErrorCode, detail: str) -> dict[str, Any]:
    return {"error": {"code": code.code, "detail": detail}}


def _read_line(descriptor: int) -> bytes:
    received = bytearray()
    while not received.endswith(b"\n"):
        block = os.read(descriptor, 1 << 16)
        if not block:
            os._exit(1)
        received += block
    return bytes(received)
