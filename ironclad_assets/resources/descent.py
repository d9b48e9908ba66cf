"""Climbing down the out-of-memory ladder: run, and where memory is out, run again on a smaller footing.

Where the climb stands is in the work folder before the next attempt begins, so that a crash in the middle goes
on from there instead of at the top. Which rungs there are is decided in `engine_host.ladder`.
"""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from pydantic import ValidationError

from ironclad_assets.contracts.v1.base import Contract
from ironclad_assets.contracts.v1.engine import EngineRequest, EngineResult
from ironclad_assets.contracts.v1.stems import Rung
from ironclad_assets.engine_host.ladder import Footing, Ladder, Step, derive_key
from ironclad_assets.errors import ErrorCode, IroncladError, failure
from ironclad_assets.pipeline.separate import EngineWork
from ironclad_assets.sandbox.watch import Watch
from ironclad_assets.storage import atomic

STATE_NAME = "ladder.json"
_ABSENT = (ErrorCode.MODEL_MISSING, ErrorCode.MODEL_DAMAGED, ErrorCode.MODEL_LICENCE, ErrorCode.ENGINE_UNAVAILABLE)
"""Why a smaller model cannot take over: it is not on this machine."""


class DescentState(Contract):
    """Where the climb stands: whose work it is, from where it began, under which limit, and the rungs so far."""

    key: str
    start: Footing
    memory_bytes: int
    now: Footing
    rungs: tuple[Rung, ...] = ()


@dataclass(slots=True)
class RungWatch:
    """Passes on the engine's progress, with the rung that it works on."""

    watch: Watch
    rung: str = ""

    def progress(self, fraction: float, message: str) -> None:
        self.watch.progress(fraction, f"{message}; {self.rung}" if self.rung else message)

    def canceled(self) -> bool:
        return self.watch.canceled()


@dataclass(frozen=True, slots=True)
class Descent:
    """One song's way down.

    Attributes:
        ladder: the rungs there are.
        memory_bytes: the limit of the worker; a climb under another limit begins at the top again.
        attempt: works a request off, or raises.
        place: puts a request on a footing: its entry, weights and parameters.
        watch: is told on which rung the work is.
        tell: hears of each new rung, with a sentence for people.
    """

    ladder: Ladder
    memory_bytes: int
    attempt: Callable[[EngineRequest], EngineResult]
    place: Callable[[EngineRequest, Footing], EngineRequest]
    watch: RungWatch
    tell: Callable[[Rung, str], None]

    def run(self, request: EngineRequest) -> EngineWork:
        """Return the work on `request`, done on the highest footing that memory sufficed for.

        Raises:
            IroncladError: `OUT_OF_MEMORY` with the rungs that were tried; or whatever else went wrong.
        """
        path = Path(request.output_dir) / STATE_NAME
        state = self._restore(path, request=request)
        while True:
            placed = self._placed(request, state=state)
            self.watch.rung = describe(state.rungs[-1]) if state.rungs else ""
            try:
                result = self.attempt(placed)
            except IroncladError as error:
                if error.code is not ErrorCode.OUT_OF_MEMORY:
                    raise
                state = self._step_down(request, state=state, error=error, path=path)
                continue
            limit = self.memory_bytes if placed.key != request.key else None
            return EngineWork(request=placed, result=result, rungs=state.rungs, memory_bytes=limit)

    def _restore(self, path: Path, *, request: EngineRequest) -> DescentState:
        """Return where an interrupted climb stands, or the top."""
        start = footing_of(request)
        top = DescentState(key=request.key, start=start, memory_bytes=self.memory_bytes, now=start)
        try:
            found = DescentState.model_validate_json(path.read_bytes())
        except (FileNotFoundError, ValidationError):
            return top
        circumstances = (found.key, found.start, found.memory_bytes)
        return found if circumstances == (top.key, top.start, top.memory_bytes) else top

    def _placed(self, request: EngineRequest, *, state: DescentState) -> EngineRequest:
        if state.now == state.start:
            return request
        placed = self.place(request, state.now)
        return placed.model_copy(update={"key": derive_key(request.key, start=state.start, now=state.now)})

    def _step_down(
        self, request: EngineRequest, *, state: DescentState, error: IroncladError, path: Path
    ) -> DescentState:
        """Remember and tell the next rung that can be stood on.

        Raises:
            IroncladError: `OUT_OF_MEMORY`: there is none. The next job begins at the top again.
        """
        absent: list[str] = []
        for step in self.ladder.steps(state.now):
            try:
                self.place(request, step.footing)
            except IroncladError as missing:
                if missing.code not in _ABSENT:
                    raise
                absent.append(f"{step.action} {step.value} is not possible ({missing.detail})")
                continue
            return self._remember(step, state=state, error=error, path=path)
        path.unlink(missing_ok=True)
        tried = ", ".join(describe(rung) for rung in state.rungs) or "nothing, for there is no smaller footing"
        detail = "; ".join((error.detail, f"tried: {tried}", *absent))
        raise failure(ErrorCode.OUT_OF_MEMORY, detail) from error

    def _remember(self, step: Step, *, state: DescentState, error: IroncladError, path: Path) -> DescentState:
        rung = Rung(action=step.action, value=step.value, reason=error.detail)
        below = state.model_copy(update={"now": step.footing, "rungs": (*state.rungs, rung)})
        atomic.write_json(path, below.model_dump(mode="json"))
        again = "goes on" if step.action == "batch" else "begins again"
        self.tell(rung, f"out of memory: the work {again} with {describe(rung)} ({error.detail})")
        return below


def footing_of(request: EngineRequest) -> Footing:
    """Return the conditions that `request` asks for."""
    return Footing(
        model=request.model,
        device=request.device,
        precision=request.precision,
        batch=request.batch,
        window_s=request.window_s,
    )


def describe(rung: Rung) -> str:
    """Return a rung in words: ``half precision``, ``batch 2``."""
    return f"{rung.value} precision" if rung.action == "precision" else f"{rung.action} {rung.value}"
