"""Warm workers through the executor and the real service: what stays, what is replaced, who waits, what dies."""

import asyncio
import os
import re
import shutil
import signal
import socket
import stat
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import pytest

from ironclad_assets.contracts.v1.engine import EngineResult
from ironclad_assets.engine_host.executor import run_surviving
from ironclad_assets.engine_host.warm import WarmExecutor
from ironclad_assets.engine_host.warm_protocol import warm_socket
from ironclad_assets.engine_host.worker_log import WorkerLog
from ironclad_assets.errors import ChildKilled, ErrorCode, IroncladError, JobCanceled, TransientFailure
from ironclad_assets.ledger.worker import current_worker
from ironclad_assets.sandbox.limits import Limits
from ironclad_assets.settings import MEBIBYTE, Settings
from ironclad_assets.supervisor.warm_process import WarmProcess, WorkerKey
from tests.unit.engine_host.cgroups import small_cgroup
from tests.unit.engine_host.rogues import Bench, processes_marked, set_up
from tests.unit.supervisor.warm import ROOT, running_service, start_service, wait_until

__all__ = ["small_cgroup"]

LIMITS = Limits(cpu_s=60, memory_bytes=2048 * MEBIBYTE, wall_s=60, stall_s=30)


@dataclass
class Hall:
    """A running service, and songs to send to it."""

    settings: Settings
    folder: Path
    said: list[str] = field(default_factory=list)
    songs: int = 0

    @property
    def executor(self) -> WarmExecutor:
        return WarmExecutor(warm_socket(self.settings.home_dir))

    def bench(self, entry: str, **changes: object) -> Bench:
        self.songs += 1
        seconds = changes.pop("seconds", 5.0)
        folder = self.folder / f"song{self.songs}"
        bench = set_up(folder, entry=entry, engines=self.settings.engines_path, seconds=seconds)
        return replace(bench, request=bench.request.model_copy(update=changes))

    def run(self, bench: Bench, *, watch: object = None) -> EngineResult:
        return self.executor.run(
            bench.request,
            engine=bench.engine,
            hand_off=bench.hand_off,
            limits=LIMITS,
            log_path=bench.log_path,
            watch=watch,
        )

    def song(self, entry: str, **changes: object) -> tuple[EngineResult, int]:
        """Run a song of its own; return the result and the worker that did it."""
        bench = self.bench(entry, **changes)
        return self.run(bench), leased_worker(bench)


def leased_worker(bench: Bench) -> int:
    """Return the process id of the worker that a song was done by last; 0 where it had one of its own."""
    found = re.findall(r"leased the warm worker pid=(\d+)", bench.log_path.read_text(encoding="utf-8"))
    return int(found[-1]) if found else 0


def alive(pid: int) -> bool:
    return Path(f"/proc/{pid}").exists()


def make_settings(folder: Path, **changes: object) -> Settings:
    (folder / "engines").mkdir(exist_ok=True)
    return Settings(home=folder / "home", engines_path=folder / "engines", **changes)


@pytest.fixture
def hall(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Hall]:
    settings = make_settings(tmp_path, **getattr(request, "param", {}))
    with running_service(settings) as said:
        yield Hall(settings, tmp_path, said)


class Look:
    """A watch that remembers what it hears, and cancels when it is told to."""

    def __init__(self) -> None:
        self.messages: list[str] = []
        self.times: list[float] = []
        self.shall_end = False

    def progress(self, fraction: float, message: str) -> None:
        self.messages.append(message)
        self.times.append(time.monotonic())

    def canceled(self) -> bool:
        return self.shall_end


class InBackground(threading.Thread):
    """Runs a song in a thread of its own."""

    def __init__(self, hall: Hall, bench: Bench) -> None:
        super().__init__()
        self.hall, self.bench, self.watch = hall, bench, Look()
        self.result: EngineResult | None = None
        self.error: IroncladError | None = None
        self.began = self.ended = 0.0
        self.start()

    def run(self) -> None:
        try:
            self.result = self.hall.run(self.bench, watch=self.watch)
        except IroncladError as error:
            self.error = error
        self.ended = time.monotonic()

    def working(self) -> bool:
        return any(message.startswith("window") for message in self.watch.messages)


def test_the_model_stays_loaded_from_one_song_to_the_next(hall: Hall) -> None:
    """ENG-002."""
    (first, first_worker), (second, second_worker) = hall.song("SlowToLoad"), hall.song("SlowToLoad")
    assert (first.warm, second.warm) == (False, True)
    assert first.load_s >= 1.0 > second.load_s
    assert first_worker == second_worker


@pytest.mark.parametrize("hall", [{"warm_idle_s": 0.5}], indirect=True)
def test_a_worker_that_nobody_needs_ends(hall: Hall) -> None:
    _, worker = hall.song("Good")
    assert alive(worker)
    wait_until(lambda: not alive(worker), seconds=5)
    assert hall.song("Good")[1] != worker


def test_a_worker_whose_memory_grows_is_replaced(hall: Hall) -> None:
    workers = [hall.song("Grows")[1] for _ in range(4)]
    assert workers[0] == workers[1] == workers[2]
    assert workers[3] != workers[2]
    assert any("it holds" in line for line in hall.said)


def test_a_worker_that_left_processes_behind_is_not_used_again(hall: Hall) -> None:
    bench = hall.bench("LeavesChild")
    assert hall.run(bench).status == "completed"
    assert processes_marked(bench.folder) == []
    assert not alive(leased_worker(bench))


def test_another_engine_takes_the_place_of_the_one_used_least_recently(hall: Hall) -> None:
    _, first = hall.song("Good")
    _, second = hall.song("Slow", seconds=1.0)
    assert not alive(first)
    assert alive(second)


@pytest.mark.parametrize("hall", [{"warm_workers": 2}], indirect=True)
def test_two_places_keep_two_engines_warm(hall: Hall) -> None:
    _, first = hall.song("Good")
    _, second = hall.song("SlowToLoad")
    assert hall.song("Good")[1] == first
    _, third = hall.song("Slow", seconds=1.0)
    assert alive(first)
    assert not alive(second)
    assert alive(third)


def test_a_song_waits_for_its_turn_and_says_so(hall: Hall) -> None:
    first = InBackground(hall, hall.bench("Slow"))
    wait_until(first.working, seconds=10)
    second = InBackground(hall, hall.bench("Slow", seconds=1.0))
    wait_until(lambda: second.watch.messages, seconds=5)
    third = InBackground(hall, hall.bench("Slow", seconds=1.0))
    for run in (first, second, third):
        run.join(30)
        assert run.result is not None
    assert first.ended < second.ended < third.ended
    assert set(second.watch.messages[:2]) == {"waiting for a warm worker"}
    assert max(np.diff(second.watch.times)) < 1.5
    assert len({leased_worker(run.bench) for run in (first, second, third)}) == 1


def test_a_song_that_waits_can_be_canceled(hall: Hall) -> None:
    """JOB-002."""
    first = InBackground(hall, hall.bench("Slow"))
    wait_until(first.working, seconds=10)
    second = InBackground(hall, hall.bench("Slow"))
    wait_until(lambda: second.watch.messages, seconds=5)
    second.watch.shall_end = True
    second.join(2)
    assert isinstance(second.error, JobCanceled)
    first.join(30)
    assert first.result is not None


def test_a_canceled_song_leaves_its_worker_warm_and_its_checkpoint(hall: Hall) -> None:
    """ENG-003."""
    bench = hall.bench("Slow")
    run = InBackground(hall, bench)
    wait_until(lambda: any(message.startswith("window 3") for message in run.watch.messages), seconds=10)
    run.watch.shall_end = True
    run.join(5)
    worker = leased_worker(bench)
    assert isinstance(run.error, JobCanceled)
    assert alive(worker)
    result = hall.run(bench)
    assert result.resumed_chunks >= 1
    assert leased_worker(bench) == worker
    assert np.array_equal(bench.stem("one"), bench.mixture() * np.float32(0.25))


@pytest.mark.parametrize("hall", [{"warm_workers": 3}], indirect=True)
def test_there_is_one_worker_on_a_gpu_and_never_two(hall: Hall) -> None:
    """ENG-002. The engine does not mind that there is no GPU."""
    devices = ("cuda", "cuda:0", "cuda:1")
    runs = {device: InBackground(hall, hall.bench("Slow", device=device, seconds=3.0)) for device in devices}
    for run in runs.values():
        run.join(30)
        assert run.result is not None
    spans = {device: (run.watch.times, run.watch.messages) for device, run in runs.items()}
    working = {
        device: [at for at, message in zip(times, messages, strict=True) if message.startswith("window")]
        for device, (times, messages) in spans.items()
    }
    assert overlap(working["cuda"], working["cuda:0"]) <= 0
    assert overlap(working["cuda:1"], working["cuda"]) > 0 or overlap(working["cuda:1"], working["cuda:0"]) > 0


def overlap(one: list[float], other: list[float]) -> float:
    return min(one[-1], other[-1]) - max(one[0], other[0])


def test_without_a_service_the_song_gets_a_worker_of_its_own_and_the_log_says_so(tmp_path: Path) -> None:
    hall = Hall(make_settings(tmp_path), tmp_path)
    bench = hall.bench("Good")
    assert hall.run(bench).status == "completed"
    assert "no warm workers, so this song gets a worker of its own" in bench.log_path.read_text(encoding="utf-8")


def test_an_engine_that_the_service_does_not_know_is_unavailable(hall: Hall) -> None:
    with pytest.raises(IroncladError, match="is not installed") as caught:
        hall.song("Good", engine_version="9.9.9")
    assert caught.value.code is ErrorCode.ENGINE_UNAVAILABLE


def test_an_engine_that_was_changed_is_started_again(hall: Hall) -> None:
    bench = hall.bench("Good")
    hall.run(bench)
    module = bench.engine.folder / "rogue_good.py"
    module.write_text(module.read_text(encoding="utf-8").replace("0.75", "0.5"), encoding="utf-8")
    later = replace(hall.bench("Slow"), engine=bench.engine)  # a song of its own, whose set-up leaves the engine alone
    same = {name: getattr(bench.request, name) for name in ("engine", "engine_version", "entry")}
    later = replace(later, request=later.request.model_copy(update=same))
    hall.run(later)
    assert leased_worker(later) != leased_worker(bench)
    assert np.array_equal(later.stem("two"), later.mixture() * np.float32(0.5))


def test_only_the_owner_can_talk_to_the_service_and_nonsense_does_no_harm(hall: Hall) -> None:
    path = warm_socket(hall.settings.home_dir)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    for nonsense in (b"\xff\n", b"{}\n", b'{"lease": 7}\n', b"x" * 200_000, b""):
        with socket.socket(socket.AF_UNIX) as client:
            client.connect(str(path))
            client.sendall(nonsense)
    assert hall.song("Good")[0].status == "completed"


def test_a_home_with_a_long_path_has_warm_workers_too(tmp_path: Path) -> None:
    """An address of a unix socket has 108 bytes."""
    deep = tmp_path / ("long" * 30)
    deep.mkdir()
    settings = make_settings(deep)
    with running_service(settings):
        assert hall_song(settings, deep) > 0


def hall_song(settings: Settings, folder: Path) -> int:
    return Hall(settings, folder).song("Good")[1]


def test_a_warm_worker_names_home_and_supervisor_so_that_a_leftover_is_found(hall: Hall) -> None:
    _, worker = hall.song("Good")
    environment = Path(f"/proc/{worker}/environ").read_bytes().split(b"\0")
    assert f"IRONCLAD_HOME={hall.settings.home_dir}".encode() in environment
    assert f"IRONCLAD_SUPERVISOR={current_worker()}".encode() in environment


@pytest.mark.parametrize("kills", [1, 2])
def test_a_worker_that_is_killed_while_it_starts_is_started_again(hall: Hall, kills: int) -> None:
    """It happens to be killed by itself here: before it listens, as by kill -9 at the wrong moment."""
    bench = hall.bench("Good")
    harness = hall.settings.engines_path / "_harness"
    original = harness.resolve()
    harness.unlink()
    shutil.copytree(original, harness)
    counter = hall.folder / "starts"
    main = harness / "ironclad_harness" / "__main__.py"
    early = (
        "import os, signal\n"
        f"starts = open({str(counter)!r}, 'a+'); starts.write('x'); starts.flush(); starts.seek(0)\n"
        f"if len(starts.read()) <= {kills}: os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    main.write_text(early + main.read_text(encoding="utf-8"), encoding="utf-8")
    assert hall.run(bench).status == "completed"
    assert counter.read_text(encoding="utf-8") == "x" * (kills + 1)


def test_a_worker_that_is_killed_while_it_is_looked_at_was_killed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It lived when its end was asked for first; only whoever was not killed is told why the engine cannot be used."""
    looks = iter([None, -signal.SIGKILL, -signal.SIGKILL])
    monkeypatch.setattr(WarmProcess, "exit_status", lambda _: next(looks))

    async def await_one() -> None:
        key = WorkerKey("demucs", "1", "small", "cpu", 1, "f")
        await WarmProcess(key, folder=tmp_path, log=WorkerLog(tmp_path / "log")).await_ready()

    with pytest.raises(ChildKilled):
        asyncio.run(await_one())


_RUN_IN_PROCESS = """
import sys
from pathlib import Path
from ironclad_assets.contracts.v1.engine import EngineRequest
from ironclad_assets.engine_host.registry import find_engines
from ironclad_assets.engine_host.warm import WarmExecutor
from tests.unit.supervisor.test_warm_workers import LIMITS
folder, socket, engines = map(Path, sys.argv[1:])
request = EngineRequest.model_validate_json((folder / "request.json").read_text())
WarmExecutor(socket).run(
    request, engine=find_engines(engines)[request.engine], hand_off=folder / "hand-off", limits=LIMITS,
    log_path=folder / "logs" / "worker.log",
)
"""


@pytest.mark.parametrize("entry", ["Slow", "Hangs"])
def test_a_killed_run_ends_its_lease_and_the_song_goes_on_at_its_checkpoint(hall: Hall, entry: str) -> None:
    """A worker that listens stays; one that does not is ended. Either way nobody works for a dead run."""
    bench = hall.bench(entry)
    (bench.folder / "request.json").write_text(bench.request.model_dump_json(), encoding="utf-8")
    socket_path = warm_socket(hall.settings.home_dir)
    arguments = [str(bench.folder), str(socket_path), str(hall.settings.engines_path)]
    run = subprocess.Popen([sys.executable, "-c", _RUN_IN_PROCESS, *arguments], cwd=ROOT)
    made = (bench.output / "checkpoint") if entry == "Slow" else (bench.output / "one.f32.part")
    wait_until(made.exists, seconds=15)
    run.send_signal(signal.SIGKILL)
    run.wait(timeout=5)
    worker = leased_worker(bench)
    if entry == "Hangs":
        wait_until(lambda: not alive(worker), seconds=5)
        return
    result = hall.run(bench)
    assert leased_worker(bench) == worker
    assert result.resumed_chunks >= 1
    assert np.array_equal(bench.stem("one"), bench.mixture() * np.float32(0.25))


def test_workers_die_with_their_service_and_the_song_goes_on(tmp_path: Path) -> None:
    """kill -9 of the service, which `up` starts again."""
    settings = make_settings(tmp_path)
    hall = Hall(settings, tmp_path)
    bench, seen = hall.bench("Slow"), Look()
    service = start_service(settings)
    outcome: list[EngineResult] = []

    def work() -> None:
        outcome.append(
            run_surviving(
                hall.executor,
                bench.request,
                engine=bench.engine,
                hand_off=bench.hand_off,
                limits=LIMITS,
                log_path=bench.log_path,
                watch=seen,
            )
        )

    thread = threading.Thread(target=work)
    thread.start()
    wait_until((bench.output / "checkpoint").exists, seconds=15)
    worker = leased_worker(bench)
    service.send_signal(signal.SIGKILL)
    service.wait(5)
    wait_until(lambda: not alive(worker), seconds=4)
    again = start_service(settings)
    try:
        thread.join(20)
    finally:
        again.terminate()
        assert again.wait(10) == 0
    assert outcome[0].resumed_chunks >= 1
    assert np.array_equal(bench.stem("one"), bench.mixture() * np.float32(0.25))
    assert "tried again, continuing at the checkpoint" in bench.log_path.read_text(encoding="utf-8")


def test_a_warm_worker_that_the_kernel_kills_for_want_of_memory_is_known_by_name(
    tmp_path: Path, small_cgroup: Path
) -> None:
    """SPLIT-010."""
    settings = make_settings(tmp_path)
    service = start_service(settings)
    try:
        (small_cgroup / "cgroup.procs").write_text(str(service.pid))
        with pytest.raises(IroncladError, match="out-of-memory killer") as caught:
            Hall(settings, tmp_path).song("EatsMemory")
    finally:
        service.terminate()
        service.wait(10)
    assert caught.value.code is ErrorCode.OUT_OF_MEMORY
    assert type(caught.value) is TransientFailure, "which nobody tries again blindly"


def test_a_service_that_is_asked_to_end_takes_its_workers_with_it(tmp_path: Path) -> None:
    settings = make_settings(tmp_path)
    service = start_service(settings)
    worker = hall_song(settings, tmp_path)
    assert alive(worker)
    began = time.monotonic()
    service.terminate()
    assert service.wait(10) == 0
    assert time.monotonic() - began < 5, "longer is not given by the supervisor"
    assert not alive(worker)
    assert not warm_socket(settings.home_dir).exists()


def test_no_descriptor_is_left_open_by_a_run(hall: Hall) -> None:
    hall.song("Good")
    before = len(os.listdir("/proc/self/fd"))
    after = []
    for _ in range(3):  # threads that other tests left may open something for a moment
        hall.song("Good")
        after.append(len(os.listdir("/proc/self/fd")))
    assert min(after) <= before
