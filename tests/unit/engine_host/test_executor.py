"""Which endings of a worker are survived, and how often."""

from dataclasses import dataclass, field
from pathlib import Path

import pytest

from ironclad_assets.contracts.v1.engine import EngineResult
from ironclad_assets.engine_host.executor import run_surviving
from ironclad_assets.errors import ChildKilled, ErrorCode, IroncladError, JobCanceled, failure
from ironclad_assets.sandbox.limits import Limits
from tests.unit.engine_host.rogues import Bench, set_up

LIMITS = Limits(cpu_s=1, memory_bytes=1, wall_s=1)
DONE = EngineResult(key="a" * 64, status="completed")
KILLED = ChildKilled("killed")
ENDED = ChildKilled("asked to end from outside", code=ErrorCode.ENGINE_FAILED)
STALLED = failure(ErrorCode.ENGINE_STALLED, "finished no window for 120 s")


@dataclass
class Script:
    """An executor that ends as it is told, one ending per call."""

    endings: list[IroncladError | EngineResult]
    calls: int = 0
    fractions: list[float] = field(default_factory=list)

    def run(self, request, *, engine, hand_off, limits, log_path, watch=None) -> EngineResult:
        for fraction in self.fractions[self.calls : self.calls + 1]:
            watch.progress(fraction, "window")
        ending = self.endings[self.calls]
        self.calls += 1
        if isinstance(ending, IroncladError):
            raise ending
        return ending


@dataclass
class Notes:
    """A watch that remembers, and cancels after `patience` questions."""

    patience: int = 1000
    heard: list[float] = field(default_factory=list)

    def progress(self, fraction: float, message: str) -> None:
        self.heard.append(fraction)

    def canceled(self) -> bool:
        self.patience -= 1
        return self.patience < 0


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    return set_up(tmp_path, entry="Good")


def survive(script: Script, bench: Bench, *, watch: Notes | None = None) -> EngineResult:
    return run_surviving(
        script,
        bench.request,
        engine=bench.engine,
        hand_off=bench.hand_off,
        limits=LIMITS,
        log_path=bench.log_path,
        watch=watch,
    )


@pytest.mark.parametrize("endings", [[DONE], [KILLED, KILLED, DONE], [STALLED, DONE], [KILLED, STALLED, ENDED, DONE]])
def test_two_kills_and_one_stall_are_survived(bench: Bench, endings: list[IroncladError | EngineResult]) -> None:
    script = Script(endings)
    assert survive(script, bench) == DONE
    assert script.calls == len(endings)
    log = bench.log_path.read_text(encoding="utf-8") if bench.log_path.exists() else ""
    assert log.count("tried again") == len(endings) - 1


@pytest.mark.parametrize(
    ("endings", "code"),
    [
        ([KILLED] * 4, ErrorCode.OUT_OF_MEMORY),
        ([ENDED] * 4, ErrorCode.ENGINE_FAILED),
        ([STALLED] * 4, ErrorCode.ENGINE_STALLED),
        ([failure(ErrorCode.OUT_OF_MEMORY, "cuda")] * 2, ErrorCode.OUT_OF_MEMORY),
        ([failure(ErrorCode.DEVICE_UNAVAILABLE, "cuda")] * 2, ErrorCode.DEVICE_UNAVAILABLE),
        ([failure(ErrorCode.STORAGE_FULL, "full")] * 2, ErrorCode.STORAGE_FULL),
    ],
)
def test_nothing_else_is_tried_again_and_nothing_for_ever(
    bench: Bench, endings: list[IroncladError], code: ErrorCode
) -> None:
    script = Script([*endings])
    with pytest.raises(IroncladError) as caught:
        survive(script, bench)
    assert caught.value.code is code
    assert script.calls == {"killed": 3, "asked to end from outside": 3, "finished no window for 120 s": 2}.get(
        endings[0].detail, 1
    )


def test_a_cancel_between_two_workers_is_heard(bench: Bench) -> None:
    script = Script([KILLED, DONE])
    with pytest.raises(JobCanceled):
        survive(script, bench, watch=Notes(patience=0))
    assert script.calls == 1


def test_progress_never_goes_back_when_a_worker_is_replaced(bench: Bench) -> None:
    notes = Notes()
    survive(Script([KILLED, KILLED, DONE], fractions=[0.5, 0.3, 0.9]), bench, watch=notes)
    assert notes.heard == [0.5, 0.5, 0.9]
