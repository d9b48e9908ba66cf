"""The door of the worker process: read the request, load the engine, work, write the result.

Every ending has its place here: completed and failed work write `result.json` last; a stop leaves the
checkpoint. Error codes are those that `docs/errors.md` publishes.
"""

import argparse
import errno
import importlib
import os
import sys
import traceback
from collections.abc import Sequence
from pathlib import Path

from ironclad_harness import checkpoint
from ironclad_harness.engine import Engine, EngineContext, EngineError
from ironclad_harness.events import Events, own_descriptor
from ironclad_harness.protocol import Request, protocol_error, read_request, write_result
from ironclad_harness.separation import Outcome, Separation
from ironclad_harness.stem_files import SUFFIX
from ironclad_harness.stopping import STOPPED_STATUS, StopFlag, Stopped, die_with_parent

_RESUMABLE = ("out_of_memory", "storage_full", "storage_read_only", "storage_away")

_STORAGE_CODES = {
    errno.ENOSPC: "storage_full",
    errno.EDQUOT: "storage_full",
    errno.EFBIG: "storage_full",
    errno.EROFS: "storage_read_only",
    errno.EIO: "storage_away",
    errno.ESTALE: "storage_away",
}


def main(arguments: Sequence[str]) -> int:
    """Run one request; return the process's exit status: 0, 1 for a named failure, 143 when stopped."""
    parser = argparse.ArgumentParser(prog="ironclad_harness", description="Run one request of the engine protocol.")
    parser.add_argument("--request", type=Path, required=True, help="the request, a JSON file")
    parser.add_argument("--events-fd", type=int, default=None, help="descriptor to write events to")
    options = parser.parse_args(arguments)
    die_with_parent()
    stop = StopFlag()
    stop.install()
    events = Events(own_descriptor(options.events_fd))
    events.start()
    try:
        request = read_request(options.request)
    except EngineError as error:
        print(error, file=sys.stderr)  # noqa: T201 - without a request there is no folder for a result
        return 1
    return _work(request, events=events, stop=stop)


def _work(request: Request, *, events: Events, stop: StopFlag) -> int:
    separation: Separation | None = None
    try:
        separation = Separation(request, engine=load_engine(request), events=events, stop=stop.check)
        outcome = separation.run()
        _write_success(request, outcome=outcome)
        return 0
    except Stopped:
        return STOPPED_STATUS
    except Exception as error:  # noqa: BLE001 - this is the door: every failure of an engine gets a code
        traceback.print_exc()
        failure = name_failure(error)
        if separation is not None and failure.code not in _RESUMABLE:
            separation.remove_output()
        fields = {"status": "failed", "failure": {"code": failure.code, "detail": failure.detail}}
        write_result(request.key, output_dir=request.output_dir, fields=fields)
        return 1
    finally:
        events.close()


def load_engine(request: Request) -> Engine:
    """Return the engine that the request's entry names, made for this request.

    Raises:
        EngineError: ``engine_unavailable`` where it cannot be imported.
    """
    module_name, _, class_name = request.entry.partition(":")
    try:
        engine_class = getattr(importlib.import_module(module_name), class_name)
    except (ImportError, AttributeError) as error:
        raise EngineError("engine_unavailable", f"{request.entry} cannot be loaded: {error}") from error
    context = EngineContext(
        model=request.model,
        stems=request.stems,
        parameters=request.parameters,
        sample_rate_hz=request.mixture.sample_rate_hz,
        channels=request.mixture.channels,
        frames=request.mixture.frames,
        statistics=request.statistics,
        device=request.device,
        threads=request.threads,
        seed=request.seed,
        precision=request.precision,
        window_s=request.window_s,
        model_files=request.model_files,
    )
    engine: Engine = engine_class(context)
    if not callable(getattr(engine, "passes", None)) or not callable(getattr(engine, "separate", None)):
        raise protocol_error(f"{request.entry} has no passes() and separate()")
    return engine


def name_failure(error: Exception) -> EngineError:
    """Return `error` as one of the published codes."""
    if isinstance(error, EngineError):
        return error
    if isinstance(error, MemoryError) or "out of memory" in str(error).lower():
        return EngineError("out_of_memory", str(error) or "an allocation failed")
    if isinstance(error, OSError) and error.errno in _STORAGE_CODES:
        return EngineError(_STORAGE_CODES[error.errno], f"{error.filename}: {os.strerror(error.errno)}")
    return EngineError("engine_failed", f"{type(error).__name__}: {error}")


def _write_success(request: Request, *, outcome: Outcome) -> None:
    stems = [{"name": stem, "path": f"{stem}{SUFFIX}", "frames": request.mixture.frames} for stem in request.stems]
    fields = {
        "status": "completed",
        "stems": stems,
        "device": request.device,
        "computed_chunks": outcome.computed_chunks,
        "resumed_chunks": outcome.resumed_chunks,
        "compute_s": round(outcome.compute_s, 3),
    }
    write_result(request.key, output_dir=request.output_dir, fields=fields)
    checkpoint.discard(request.output_dir)
