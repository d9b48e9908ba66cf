"""Climbing down: what is run, remembered and told when memory is out."""

from collections.abc import Callable
from pathlib import Path

import pytest

from ironclad_assets.contracts.v1.engine import AudioFile, EngineRequest, EngineResult
from ironclad_assets.contracts.v1.staged_chunks import Chunk, MixtureStatistics
from ironclad_assets.contracts.v1.stems import Rung
from ironclad_assets.engine_host.ladder import Footing, Ladder
from ironclad_assets.errors import ChildKilled, ErrorCode, IroncladError, failure
from ironclad_assets.pipeline.separate import EngineWork
from ironclad_assets.resources.descent import STATE_NAME, Descent, RungWatch
from ironclad_assets.sandbox.watch import SilentWatch
from tests.unit.engine_host.test_ladder import make_manifest

GIB = 1024**3


class PowerCutError(BaseException):
    """Ends the run where it stands; nothing catches it."""


class Bench:
    """A descent over a fake engine that `suffices` on some footings."""

    def __init__(self, folder: Path, *, suffices: Callable[[EngineRequest], bool]) -> None:
        self.suffices = suffices
        self.tried: list[EngineRequest] = []
        self.told: list[tuple[Rung, str]] = []
        self.missing: tuple[str, ...] = ()
        self.cut_at: int | None = None
        self.error: IroncladError = failure(ErrorCode.OUT_OF_MEMORY, "hungry asked for 9 GB")
        self.said: list[str] = []
        self.request = EngineRequest(
            job_uuid="job",
            song="song",
            engine="hungry",
            engine_version="1",
            entry="m:C",
            model="large",
            stems=("vocals", "other"),
            mixture=AudioFile(path="/mixture", sample_rate_hz=44100, channels=2, frames=10),
            statistics=MixtureStatistics(mean=0, std=0, peak=0, rms=0),
            chunks=(Chunk(start=0, frames=10),),
            key="k",
            output_dir=str(folder),
            device="cuda",
            batch=2,
        )

    def run(self, *, memory_bytes: int = GIB) -> EngineWork:
        watch = RungWatch(self)
        ladder = Ladder(make_manifest(), allow_smaller_model=True)

        def attempt(request: EngineRequest) -> EngineResult:
            self.tried.append(request)
            watch.progress(0.5, "window 1 of 2")
            if len(self.tried) == self.cut_at:
                raise PowerCutError
            if not self.suffices(request):
                raise self.error
            return EngineResult(key=request.key, status="completed", device=request.device)

        def place(request: EngineRequest, footing: Footing) -> EngineRequest:
            if footing.model in self.missing:
                raise failure(ErrorCode.MODEL_MISSING, f"{footing.model} is not on this machine")
            return request.model_copy(update=footing.model_dump())

        descent = Descent(
            ladder=ladder,
            memory_bytes=memory_bytes,
            attempt=attempt,
            place=place,
            watch=watch,
            tell=lambda rung, text: self.told.append((rung, text)),
        )
        return descent.run(self.request)

    def progress(self, fraction: float, message: str) -> None:
        self.said.append(message)

    def canceled(self) -> bool:
        return SilentWatch().canceled()


def on(**footing: object) -> Callable[[EngineRequest], bool]:
    """Return what says whether a request has these fields."""
    return lambda request: all(getattr(request, name) == value for name, value in footing.items())


def test_work_that_fits_is_done_once_and_leaves_no_trace(tmp_path: Path) -> None:
    bench = Bench(tmp_path, suffices=lambda request: True)
    work = bench.run()
    assert (work.request, work.rungs, work.memory_bytes) == (bench.request, (), None)
    assert list(tmp_path.iterdir()) == []
    assert bench.said == ["window 1 of 2"]


def test_a_smaller_batch_goes_on_under_the_same_key(tmp_path: Path) -> None:
    bench = Bench(tmp_path, suffices=on(batch=1))
    work = bench.run()
    assert [(request.key, request.batch) for request in bench.tried] == [("k", 2), ("k", 1)]
    assert [rung.action for rung in work.rungs] == ["batch"]
    assert work.memory_bytes is None
    assert bench.told[0][1] == "out of memory: the work goes on with batch 1 (hungry asked for 9 GB)"
    assert bench.said[-1] == "window 1 of 2; batch 1"


def test_what_changes_the_result_begins_again_under_another_key(tmp_path: Path) -> None:
    bench = Bench(tmp_path, suffices=on(model="small"))
    work = bench.run()
    assert [rung.value for rung in work.rungs] == ["1", "half", "cpu", "4 s", "2 s", "small"]
    assert len({request.key for request in bench.tried}) == len(bench.tried) - 1
    assert work.request.model == "small"
    assert work.memory_bytes == GIB
    assert "begins again with half precision" in bench.told[1][1]
    assert bench.said[-1] == "window 1 of 2; model small"


def test_a_kill_that_other_workers_met_as_well_is_memory_too(tmp_path: Path) -> None:
    bench = Bench(tmp_path, suffices=on(batch=1))
    bench.error = ChildKilled("killed by the system")
    assert bench.run().rungs[0].reason == "killed by the system"


def test_another_error_is_not_met_with_less_memory(tmp_path: Path) -> None:
    bench = Bench(tmp_path, suffices=lambda request: False)
    bench.error = failure(ErrorCode.ENGINE_FAILED, "upside down")
    with pytest.raises(IroncladError, match="upside down"):
        bench.run()
    assert len(bench.tried) == 1


def test_at_the_foot_of_the_ladder_the_failure_names_every_rung(tmp_path: Path) -> None:
    bench = Bench(tmp_path, suffices=lambda request: False)
    bench.missing = ("tiny",)
    with pytest.raises(IroncladError) as caught:
        bench.run()
    assert caught.value.code is ErrorCode.OUT_OF_MEMORY
    tried = "tried: batch 1, half precision, device cpu, window 4 s, window 2 s, model small"
    assert tried in caught.value.detail
    assert "model tiny is not possible (tiny is not on this machine)" in caught.value.detail
    assert not (tmp_path / STATE_NAME).exists(), "the next job begins at the top"


def test_a_crash_in_the_middle_goes_on_where_it_was(tmp_path: Path) -> None:
    """Else a song that takes the whole machine down would begin at the top for ever."""
    bench = Bench(tmp_path, suffices=on(model="small"))
    bench.cut_at = 4
    with pytest.raises(PowerCutError):
        bench.run()
    broken_off = bench.tried[-1]
    bench.tried.clear()
    bench.cut_at = None
    work = bench.run()
    assert bench.tried[0] == broken_off
    assert [rung.value for rung in work.rungs] == ["1", "half", "cpu", "4 s", "2 s", "small"]
    assert [rung.value for rung, _ in bench.told] == ["1", "half", "cpu", "4 s", "2 s", "small"], "each told once"


@pytest.mark.parametrize("change", ["limit", "device", "key", "damage"])
def test_a_climb_under_other_circumstances_counts_for_nothing(tmp_path: Path, change: str) -> None:
    bench = Bench(tmp_path, suffices=lambda request: False)
    bench.cut_at = 3
    with pytest.raises(PowerCutError):
        bench.run()
    if change == "damage":
        (tmp_path / STATE_NAME).write_text("{", encoding="utf-8")
    elif change != "limit":
        bench.request = bench.request.model_copy(update={change: "cuda:1" if change == "device" else "other"})
    bench.tried.clear()
    bench.cut_at, bench.suffices = None, lambda request: True
    assert bench.run(memory_bytes=2 * GIB if change == "limit" else GIB).rungs == ()
    assert bench.tried == [bench.request]
