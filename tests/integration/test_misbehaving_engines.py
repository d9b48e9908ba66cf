"""Engines that misbehave, in a worker of their own and warm: each accident has its code, leaves nothing, and the
next song succeeds.
"""

import hashlib
import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import psutil
import pytest

from ironclad_assets.contracts.v1.engine import EngineResult, ModelFile
from ironclad_assets.engine_host.executor import Executor, SubprocessExecutor, run_surviving
from ironclad_assets.engine_host.warm import WarmExecutor
from ironclad_assets.engine_host.warm_protocol import warm_socket
from ironclad_assets.errors import ChildKilled, ErrorCode, IroncladError, JobCanceled
from ironclad_assets.sandbox.limits import Limits
from ironclad_assets.settings import MEBIBYTE, Settings
from tests.unit.engine_host.rogues import Bench, processes_marked, set_up
from tests.unit.supervisor.warm import running_service

LIMITS = Limits(cpu_s=60, memory_bytes=400 * MEBIBYTE, wall_s=60, stall_s=30)


@dataclass
class Scene:
    """One way to run engines, and a folder for them."""

    kind: str
    executor: Executor
    folder: Path
    processes: set[int]

    def bench(self, entry: str, **options: object) -> Bench:
        return set_up(self.folder / entry, entry=entry, engines=self.folder / "engines", **options)

    def run(self, bench: Bench, *, limits: Limits = LIMITS, watch: object = None) -> EngineResult:
        return self.executor.run(bench.request, limits=limits, watch=watch, **places(bench))

    def survive(self, bench: Bench, *, limits: Limits = LIMITS, watch: object = None) -> EngineResult:
        return run_surviving(self.executor, bench.request, limits=limits, watch=watch, **places(bench))

    def assert_nothing_of(self, bench: Bench) -> None:
        """No process works on the song any more, and no stem is there, whole or growing."""
        assert processes_marked(bench.folder) == []
        left = [path.name for path in bench.output.iterdir() if path.name != "result.json"]
        assert left == []

    def assert_the_next_song_succeeds(self) -> None:
        bench = self.bench("Good")
        result = self.run(bench)
        assert result.status == "completed"
        assert np.array_equal(bench.stem("two"), bench.mixture() * np.float32(0.75))


def places(bench: Bench) -> dict[str, object]:
    return {"engine": bench.engine, "hand_off": bench.hand_off, "log_path": bench.log_path}


@pytest.fixture(params=["subprocess", "warm"])
def scene(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Scene]:
    (tmp_path / "engines").mkdir()
    children = {child.pid for child in psutil.Process().children(recursive=True)}
    if request.param == "subprocess":
        yield Scene("subprocess", SubprocessExecutor(), tmp_path, children)
        return
    settings = Settings(
        home=tmp_path / "home", engines_path=tmp_path / "engines", engine_memory_bytes=LIMITS.memory_bytes
    )
    with running_service(settings):
        yield Scene("warm", WarmExecutor(warm_socket(settings.home_dir)), tmp_path, children)
    assert {child.pid for child in psutil.Process().children(recursive=True)} <= children


@pytest.mark.parametrize(
    ("entry", "code"),
    [
        ("Exits", ErrorCode.ENGINE_PROTOCOL),
        ("Leaves", ErrorCode.ENGINE_PROTOCOL),
        ("WrongLength", ErrorCode.ENGINE_PROTOCOL),
        ("NotANumber", ErrorCode.STEMS_INVALID),
        ("Crashes", ErrorCode.ENGINE_FAILED),
        ("Missing", ErrorCode.ENGINE_UNAVAILABLE),
    ],
)
def test_a_broken_engine_gets_its_code_and_the_next_song_succeeds(scene: Scene, entry: str, code: ErrorCode) -> None:
    bench = scene.bench(entry)
    with pytest.raises(IroncladError) as caught:
        scene.run(bench)
    assert caught.value.code is code
    scene.assert_nothing_of(bench)
    scene.assert_the_next_song_succeeds()


@pytest.mark.parametrize("entry", ["Chatty", "Garbles"])
def test_garbage_on_every_descriptor_is_only_noise(scene: Scene, entry: str) -> None:
    bench = scene.bench(entry)
    assert scene.run(bench).status == "completed"
    assert np.array_equal(bench.stem("one"), bench.mixture() * np.float32(0.25))
    assert bench.log_path.stat().st_size < 100_000
    scene.assert_the_next_song_succeeds()


@pytest.mark.parametrize("entry", ["EatsMemory", "NoMemory"])
def test_an_engine_without_end_to_its_memory_is_out_of_memory(scene: Scene, entry: str) -> None:
    """SPLIT-010."""
    bench = scene.bench(entry)
    with pytest.raises(IroncladError) as caught:
        scene.run(bench)
    assert caught.value.code is ErrorCode.OUT_OF_MEMORY
    assert not isinstance(caught.value, ChildKilled), "it is known, so nobody tries again blindly"
    assert not list(bench.output.glob("*.f32"))
    scene.assert_the_next_song_succeeds()


@pytest.mark.parametrize(
    ("entry", "limits", "code"),
    [
        ("BurnsCpu", replace(LIMITS, cpu_s=1.5), ErrorCode.LIMIT_CPU),
        ("Hangs", replace(LIMITS, wall_s=1.5), ErrorCode.LIMIT_TIME),
        ("FillsDisk", replace(LIMITS, scratch_bytes=2 * MEBIBYTE), ErrorCode.LIMIT_DISK),
        ("OpensFiles", LIMITS, ErrorCode.LIMIT_FILES),
        ("Hangs", replace(LIMITS, stall_s=1.0), ErrorCode.ENGINE_STALLED),
        ("IgnoresStop", replace(LIMITS, stall_s=1.0), ErrorCode.ENGINE_STALLED),
        ("Family", replace(LIMITS, stall_s=2.0), ErrorCode.ENGINE_STALLED),
        ("NeverLoads", replace(LIMITS, stall_s=0.5, loading_s=1.5), ErrorCode.ENGINE_STALLED),
    ],
)
def test_an_engine_that_goes_beyond_its_limits_is_ended_with_its_family(
    scene: Scene, entry: str, limits: Limits, code: ErrorCode
) -> None:
    """SPLIT-010."""
    bench = scene.bench(entry)
    with pytest.raises(IroncladError) as caught:
        scene.run(bench, limits=limits)
    assert caught.value.code is code
    assert processes_marked(bench.folder) == []
    assert not list(bench.output.glob("*.f32"))
    scene.assert_the_next_song_succeeds()


def test_loading_is_not_stalling(scene: Scene) -> None:
    bench, said = scene.bench("SlowToLoad"), set()

    class Look(CancelAt):
        def progress(self, fraction: float, message: str) -> None:
            said.add(message)

    result = scene.run(bench, limits=replace(LIMITS, stall_s=0.5), watch=Look(2.0))
    assert "loading the model" in said
    assert result.status == "completed"
    assert result.load_s >= 1.0


class CancelAt:
    """Cancels once `fraction` of the work is done, and remembers when."""

    def __init__(self, fraction: float) -> None:
        self.fraction = fraction
        self.reached = False
        self.at: float | None = None

    def progress(self, fraction: float, message: str) -> None:
        self.reached = self.reached or fraction >= self.fraction

    def canceled(self) -> bool:
        if self.reached and self.at is None:
            self.at = time.monotonic()
        return self.reached


@pytest.mark.parametrize("entry", ["Slow", "Hangs", "IgnoresStop", "Family", "NeverLoads"])
def test_a_cancel_takes_effect_within_five_seconds_whatever_the_engine_does(scene: Scene, entry: str) -> None:
    """JOB-002."""
    bench, watch = scene.bench(entry), CancelAt(0.2 if entry == "Slow" else 0.0)
    with pytest.raises(JobCanceled):
        scene.run(bench, watch=watch)
    assert watch.at is not None
    assert time.monotonic() - watch.at < 5
    assert processes_marked(bench.folder) == []
    assert not list(bench.output.glob("*.f32"))
    scene.assert_the_next_song_succeeds()


@pytest.mark.parametrize(
    ("damage", "code"),
    [
        ("none", None),
        ("missing", ErrorCode.MODEL_MISSING),
        ("truncated", ErrorCode.MODEL_DAMAGED),
        ("another hash", ErrorCode.MODEL_DAMAGED),
    ],
)
def test_weights_that_are_not_what_they_must_be_are_refused(scene: Scene, damage: str, code: ErrorCode | None) -> None:
    bench = scene.bench("Good")
    weights, content = scene.folder / "weights.bin", b"weights" * 10_000
    given = {"none": content, "missing": None, "truncated": content[:-1], "another hash": content[::-1]}[damage]
    if given is not None:
        weights.write_bytes(given)
    file = ModelFile(
        name="weights.bin", path=str(weights), size_bytes=len(content), sha256=hashlib.sha256(content).hexdigest()
    )
    bench = replace(bench, request=bench.request.model_copy(update={"model_files": (file,)}))
    if code is None:
        assert scene.run(bench).status == "completed"
        return
    with pytest.raises(IroncladError, match=r"weights\.bin") as caught:
        scene.run(bench)
    assert caught.value.code is code
    scene.assert_nothing_of(bench)


def test_a_disk_that_fills_up_holds_the_song_and_the_next_one_succeeds(scene: Scene) -> None:
    """A full disk is nobody's fault: the checkpoint stays for when there is room."""
    disk = scene.folder / "disk"
    disk.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=2m", "tmpfs", str(disk)]
    if subprocess.run(mount, capture_output=True, check=False).returncode:
        pytest.skip("mounting is not permitted here")
    try:
        bench = scene.bench("SlowToLoad")
        full = replace(bench, request=bench.request.model_copy(update={"output_dir": str(disk)}))
        with pytest.raises(IroncladError) as caught:
            scene.run(full)
        assert not list(disk.glob("*.f32"))
    finally:
        subprocess.run(["umount", "-l", str(disk)], check=True)
    assert caught.value.code is ErrorCode.STORAGE_FULL
    scene.assert_the_next_song_succeeds()


def test_a_stalled_worker_is_replaced_once_and_its_log_says_so(scene: Scene) -> None:
    bench = scene.bench("StallsOnce")
    result = scene.survive(bench, limits=replace(LIMITS, stall_s=1.0))
    assert result.resumed_chunks == 1
    assert np.array_equal(bench.stem("two"), bench.mixture() * np.float32(0.75))
    assert "tried again, continuing at the checkpoint, after engine_stalled" in bench.log_path.read_text()


def test_a_worker_that_stalls_again_fails(scene: Scene) -> None:
    bench = scene.bench("Hangs")
    with pytest.raises(IroncladError) as caught:
        scene.survive(bench, limits=replace(LIMITS, stall_s=0.7))
    assert caught.value.code is ErrorCode.ENGINE_STALLED
    assert bench.log_path.read_text().count("tried again") == 1


def test_a_killed_worker_is_replaced_and_goes_on_at_its_checkpoint(scene: Scene) -> None:
    """SPLIT-008."""
    bench, seen = scene.bench("KilledOnce"), []

    class Look(CancelAt):
        def progress(self, fraction: float, message: str) -> None:
            seen.append(fraction)

    result = scene.survive(bench, watch=Look(2.0))
    assert result.resumed_chunks == 1
    assert np.array_equal(bench.stem("one"), bench.mixture() * np.float32(0.25))
    assert seen == sorted(seen), "progress never goes back, also across workers"


def test_a_worker_that_is_always_killed_fails_in_the_end(scene: Scene) -> None:
    bench = scene.bench("KilledBySystem")
    with pytest.raises(ChildKilled):
        scene.survive(bench)
    assert bench.log_path.read_text().count("tried again") == 2
    scene.assert_the_next_song_succeeds()


def test_the_log_can_be_read_while_the_worker_works(scene: Scene) -> None:
    bench, seen = scene.bench("Chatty"), []

    class Look(CancelAt):
        def progress(self, fraction: float, message: str) -> None:
            if bench.log_path.exists():
                seen.append("the end of the chatter" in bench.log_path.read_text(errors="replace"))

    scene.run(bench, watch=Look(2.0))
    assert any(seen)
