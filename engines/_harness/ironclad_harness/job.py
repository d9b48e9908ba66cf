"""One request from reading to result: verify the weights, make the engine, separate, say how it ended.

Every ending of the work has its place here: completed and failed work write `result.json` last; a stop
leaves the checkpoint. Where requests come from belongs to `worker` and `serving`.
"""

import importlib
import sys
import time
import traceback
from collections.abc import Callable
from pathlib import Path

from ironclad_harness import checkpoint
from ironclad_harness.engine import Engine, EngineContext, EngineError, Keeper
from ironclad_harness.events import Events
from ironclad_harness.failures import RESUMABLE, name_failure
from ironclad_harness.model_files import Verifier
from ironclad_harness.protocol import Request, protocol_error, read_request, write_result
from ironclad_harness.separation import Outcome, Separation, seed_generators
from ironclad_harness.stem_files import SUFFIX
from ironclad_harness.stopping import STOPPED_STATUS, Stopped

FAILED_STATUS = 1


class Jobs:
    """Runs requests one after the other, with what one process keeps between them.

    Args:
        threads: how many threads the libraries of this process were started for; others are refused. They
            read their variable once, when the process starts, and sums depend on the number of threads.
            None: whatever a request says.
    """

    def __init__(self, *, threads: str | None = None) -> None:
        self._threads = threads
        self.keeper = Keeper()
        self._verifier = Verifier()

    def run(self, path: Path, *, events: Events, stop: Callable[[], bool]) -> int:
        """Run the request in the file `path`; return 0, 1 for a named failure, 143 when stopped."""
        begun_s = time.monotonic()
        try:
            request = read_request(path)
        except EngineError as error:
            print(error, file=sys.stderr)  # noqa: T201 - without a request there is no folder for a result
            return FAILED_STATUS
        separation: Separation | None = None
        try:
            self._check_threads(request)
            engine = self._load(request, stop=stop)
            separation = Separation(request, engine=engine, events=events, stop=stop)
            load_s = time.monotonic() - begun_s
            outcome = separation.run()
            write_success(request, engine=engine, outcome=outcome, load_s=load_s, warm=self.keeper.reused)
            return 0
        except Stopped:
            return STOPPED_STATUS
        except Exception as error:  # noqa: BLE001 - this is the door: every failure of an engine gets a code
            traceback.print_exc()
            _conclude_failure(request, error=error, separation=separation)
            return FAILED_STATUS

    def _check_threads(self, request: Request) -> None:
        if self._threads and self._threads != str(request.threads):
            raise protocol_error(f"this worker was started for {self._threads} threads, not for {request.threads}")

    def _load(self, request: Request, *, stop: Callable[[], bool]) -> Engine:
        """Return the engine that the request's entry names, made for this request, its weights verified.

        Raises:
            EngineError: ``model_missing`` or ``model_damaged``; ``engine_unavailable`` where it cannot be
                imported; or what the engine says itself.
            Stopped: a stop was asked for meanwhile.
        """
        # Before the engine's code runs: whatever it opens has been verified.
        model_files = self._verifier.verify(request.model_files, stop=stop)
        module_name, _, class_name = request.entry.partition(":")
        try:
            engine_class = getattr(importlib.import_module(module_name), class_name)
        except (ImportError, AttributeError) as error:
            raise EngineError("engine_unavailable", f"{request.entry} cannot be loaded: {error}") from error
        self.keeper.begin_song()
        seed_generators(request.seed)
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
            model_files=model_files,
            keeper=self.keeper,
        )
        engine: Engine = engine_class(context)
        if not callable(getattr(engine, "passes", None)) or not callable(getattr(engine, "separate", None)):
            raise protocol_error(f"{request.entry} has no passes() and separate()")
        if stop():
            raise Stopped
        return engine


def _conclude_failure(request: Request, *, error: Exception, separation: Separation | None) -> None:
    failure = name_failure(error)
    if separation is not None and failure.code not in RESUMABLE:
        separation.remove_output()
    fields = {"status": "failed", "failure": {"code": failure.code, "detail": failure.detail}}
    write_result(request.key, output_dir=request.output_dir, fields=fields)


def write_success(request: Request, *, engine: Engine, outcome: Outcome, load_s: float, warm: bool) -> None:
    """Write the result of completed work; only then is its checkpoint of no use."""
    device = getattr(engine, "device", None)
    fields = {
        "status": "completed",
        "stems": [
            {"name": stem, "path": f"{stem}{SUFFIX}", "frames": request.mixture.frames} for stem in request.stems
        ],
        "device": device if isinstance(device, str) else request.device,
        "computed_chunks": outcome.computed_chunks,
        "resumed_chunks": outcome.resumed_chunks,
        "compute_s": round(outcome.compute_s, 3),
        "load_s": round(load_s, 3),
        "warm": warm,
    }
    write_result(request.key, output_dir=request.output_dir, fields=fields)
    checkpoint.discard(request.output_dir)
