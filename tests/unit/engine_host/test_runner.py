"""The runner against engines that misbehave: each gets its published code, and nothing of it stays."""

import errno
import hashlib
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from ironclad_assets.engine_host.runner import run_engine
from ironclad_assets.errors import ErrorCode, IroncladError, JobCanceled, StorageUnavailable
from ironclad_assets.sandbox.limits import Limits
from ironclad_assets.sandbox.report import describe_cage
from tests.unit.engine_host.cgroups import small_cgroup
from tests.unit.engine_host.rogues import Bench, processes_marked, set_up

__all__ = ["small_cgroup"]

ROOT = Path(__file__).resolve().parents[3]
MEBIBYTE = 1024**2
LIMITS = Limits(cpu_s=60, memory_bytes=400 * MEBIBYTE, wall_s=60, stall_s=30)


class Recorder:
    """Remembers progress; cancels once `cancel_at` of the work is done."""

    def __init__(self, cancel_at: float | None = None) -> None:
        self.fractions: list[float] = []
        self.canceled_at: float | None = None
        self._cancel_at = cancel_at
        self._seen = threading.Event()

    def progress(self, fraction: float, message: str) -> None:
        self.fractions.append(fraction)

    def canceled(self) -> bool:
        if self._cancel_at is None or not self.fractions or self.fractions[-1] < self._cancel_at:
            return False
        if self.canceled_at is None:
            self.canceled_at = time.monotonic()
        return True


def run(bench: Bench, *, limits: Limits = LIMITS, watch: Recorder | None = None):
    return run_engine(
        bench.request,
        engine=bench.engine,
        hand_off=bench.hand_off,
        limits=limits,
        log_path=bench.log_path,
        watch=watch,
    )


def assert_nothing_left(bench: Bench) -> None:
    assert processes_marked(bench.folder) == []


def test_a_good_engine_returns_its_stems(tmp_path: Path) -> None:
    bench, watch = set_up(tmp_path, entry="Good"), Recorder()
    result = run(bench, watch=watch)
    assert result.status == "completed"
    assert [stem.name for stem in result.stems] == ["one", "two"]
    assert result.computed_chunks == 3
    assert np.array_equal(bench.stem("two"), bench.mixture() * np.float32(0.75))
    assert watch.fractions == sorted(watch.fractions)
    assert watch.fractions[-1] == 1.0
    assert sorted(path.name for path in bench.output.iterdir()) == ["one.f32", "result.json", "two.f32"]


def test_the_request_is_handed_over_as_the_contract_says(tmp_path: Path) -> None:
    """SPLIT-013: the hand-off is one whole file that names job, engine, version and key."""
    bench, seen = set_up(tmp_path, entry="Good"), []

    class Look(Recorder):
        def progress(self, fraction: float, message: str) -> None:
            seen.append({path.name: path.read_bytes() for path in bench.hand_off.iterdir()})

    run(bench, watch=Look())
    assert all(list(files) == ["request.json"] for files in seen)
    content = seen[0]["request.json"]
    assert type(bench.request).model_validate(json.loads(content)) == bench.request
    recorded = bench.log_path.read_text(encoding="utf-8").splitlines()[1]
    assert recorded == f"handed_over={bench.hand_off / 'request.json'} sha256={hashlib.sha256(content).hexdigest()}"


def test_the_hand_off_is_taken_back_after_success_and_stays_after_a_failure(tmp_path: Path) -> None:
    """SPLIT-014."""
    good, bad = set_up(tmp_path / "good", entry="Good"), set_up(tmp_path / "bad", entry="Fails")
    run(good)
    assert not good.hand_off.exists()
    good.hand_off.mkdir()
    (good.hand_off / "request.json").write_text("left by a run that was killed", encoding="utf-8")
    run(good)
    assert not good.hand_off.exists()
    with pytest.raises(IroncladError):
        run(bad)
    assert [path.name for path in bad.hand_off.iterdir()] == ["request.json"]


def test_completed_work_is_not_done_again(tmp_path: Path) -> None:
    """SPLIT-008: none done twice."""
    bench = set_up(tmp_path, entry="Good")
    run(bench)
    inode = (bench.output / "one.f32").stat().st_ino
    assert run(bench).status == "completed"
    assert (bench.output / "one.f32").stat().st_ino == inode


def test_a_result_whose_stems_are_damaged_is_done_again(tmp_path: Path) -> None:
    bench = set_up(tmp_path, entry="Good")
    run(bench)
    (bench.output / "one.f32").write_bytes(b"short")
    run(bench)
    assert len(bench.stem("one")) == bench.request.mixture.frames


def test_garbage_on_standard_output_does_no_harm_and_ends_up_in_a_bounded_log(tmp_path: Path) -> None:
    bench = set_up(tmp_path, entry="Chatty")
    assert run(bench).status == "completed"
    log = bench.log_path.read_bytes()
    assert b"the end of the chatter" in log
    assert len(log) < 64 * 1024


@pytest.mark.parametrize(
    ("entry", "code", "words"),
    [
        ("Leaves", ErrorCode.ENGINE_PROTOCOL, "without a result"),
        ("Fails", ErrorCode.ENGINE_FAILED, "the model is upside down"),
        ("Mangles", ErrorCode.ENGINE_FAILED, r"no file called \?.bin"),
        ("Names", ErrorCode.ENGINE_UNAVAILABLE, "the weights are missing"),
        ("NotANumber", ErrorCode.STEMS_INVALID, "window 2"),
        ("TooShort", ErrorCode.ENGINE_PROTOCOL, "instead of stems of shape"),
        ("NotAnArray", ErrorCode.ENGINE_PROTOCOL, "list"),
        ("NoPass", ErrorCode.ENGINE_PROTOCOL, "no pass"),
        ("Gaps", ErrorCode.ENGINE_PROTOCOL, "leaves frames out"),
        ("NoMemory", ErrorCode.OUT_OF_MEMORY, "9 GB"),
        ("KilledBySystem", ErrorCode.OUT_OF_MEMORY, "killed by the system"),
        ("Crashes", ErrorCode.ENGINE_FAILED, "status -6"),
        ("Missing", ErrorCode.ENGINE_UNAVAILABLE, "cannot be loaded"),
    ],
)
def test_a_failure_gets_its_published_code_and_leaves_no_stem(
    tmp_path: Path, entry: str, code: ErrorCode, words: str
) -> None:
    bench = set_up(tmp_path, entry=entry)
    with pytest.raises(IroncladError, match=words) as caught:
        run(bench)
    assert caught.value.code is code
    assert not list(bench.output.glob("*.f32"))
    assert_nothing_left(bench)


def test_too_much_memory_is_named_out_of_memory(tmp_path: Path) -> None:
    bench = set_up(tmp_path, entry="EatsMemory")
    with pytest.raises(IroncladError, match="MiB") as caught:
        run(bench)
    assert caught.value.code is ErrorCode.OUT_OF_MEMORY
    assert_nothing_left(bench)


def test_too_much_processor_time_is_named(tmp_path: Path) -> None:
    bench = set_up(tmp_path, entry="BurnsCpu")
    with pytest.raises(IroncladError) as caught:
        run(bench, limits=Limits(cpu_s=2, memory_bytes=400 * MEBIBYTE, wall_s=60, stall_s=30))
    assert caught.value.code is ErrorCode.LIMIT_CPU


def test_too_long_is_named(tmp_path: Path) -> None:
    bench = set_up(tmp_path, entry="Hangs")
    with pytest.raises(IroncladError) as caught:
        run(bench, limits=Limits(cpu_s=60, memory_bytes=400 * MEBIBYTE, wall_s=1.5, stall_s=30))
    assert caught.value.code is ErrorCode.LIMIT_TIME
    assert_nothing_left(bench)


def test_a_heartbeat_without_work_is_a_stall(tmp_path: Path) -> None:
    bench, watch = set_up(tmp_path, entry="Hangs"), Recorder()
    with pytest.raises(IroncladError, match="no window") as caught:
        run(bench, limits=Limits(cpu_s=60, memory_bytes=400 * MEBIBYTE, wall_s=60, stall_s=2), watch=watch)
    assert caught.value.code is ErrorCode.ENGINE_STALLED
    assert len(watch.fractions) >= 3, "the heartbeat went on all the while"
    assert_nothing_left(bench)


@pytest.mark.parametrize("entry", ["Slow", "Hangs", "IgnoresStop", "Family"])
def test_a_cancel_takes_effect_within_five_seconds(tmp_path: Path, entry: str) -> None:
    """JOB-002: whatever the engine does, and however large its family."""
    bench = set_up(tmp_path, entry=entry)
    watch = Recorder(cancel_at=0.2 if entry == "Slow" else 0.0)
    with pytest.raises(JobCanceled):
        run(bench, watch=watch)
    assert watch.canceled_at is not None
    assert time.monotonic() - watch.canceled_at < 5
    assert_nothing_left(bench)
    assert not list(bench.output.glob("*.f32"))
    assert not (bench.output / "result.json").exists()


def test_work_continues_after_a_cancel(tmp_path: Path) -> None:
    """ENG-003: a stop keeps the checkpoint."""
    bench = set_up(tmp_path, entry="Slow")
    with pytest.raises(JobCanceled):
        run(bench, watch=Recorder(cancel_at=0.4))
    result = run(bench)
    assert result.resumed_chunks >= 1
    assert result.resumed_chunks + result.computed_chunks == 3
    assert np.array_equal(bench.stem("one"), bench.mixture() * np.float32(0.25))


def test_a_family_is_ended_when_its_worker_leaves(tmp_path: Path) -> None:
    bench = set_up(tmp_path, entry="Family", job_uuid="leave")
    with pytest.raises(IroncladError) as caught:
        run(bench)
    assert caught.value.code is ErrorCode.ENGINE_FAILED
    assert_nothing_left(bench)


_RUN_IN_PROCESS = """
import sys
from pathlib import Path
from tests.unit.engine_host.rogues import Bench
from tests.unit.engine_host.test_runner import LIMITS, run
from ironclad_assets.contracts.v1.engine import EngineRequest
from ironclad_assets.engine_host.registry import find_engines
folder = Path(sys.argv[1])
request = EngineRequest.model_validate_json((folder / "request.json").read_text())
run(Bench(engine=find_engines(folder / "engines")["rogue"], request=request, folder=folder))
"""


def test_a_killed_run_leaves_no_worker_and_no_grandchild(tmp_path: Path) -> None:
    bench = set_up(tmp_path, entry="Family")
    (tmp_path / "request.json").write_text(bench.request.model_dump_json(), encoding="utf-8")
    parent = subprocess.Popen([sys.executable, "-c", _RUN_IN_PROCESS, str(tmp_path)], cwd=ROOT)
    wait_until(lambda: len(processes_marked(tmp_path)) >= 5, seconds=20)
    parent.send_signal(signal.SIGKILL)
    parent.wait(timeout=5)
    wait_until(lambda: processes_marked(tmp_path) == [], seconds=5)


def wait_until(condition, *, seconds: float) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.05)


def test_the_worker_gets_no_secrets(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("IRONCLAD_DATABASE_URL", "postgresql://user:hunter2@host/db")
    bench = set_up(tmp_path, entry="Hangs")
    found: list[bytes] = []

    class Look(Recorder):
        def canceled(self) -> bool:
            for line in processes_marked(tmp_path):
                if "ironclad_harness" in line and (environment := environment_of(int(line.split()[0]))):
                    found.append(environment)
            return bool(found)

    with pytest.raises(JobCanceled):
        run(bench, watch=Look())
    assert b"hunter2" not in found[0]
    assert b"OMP_NUM_THREADS=1" in found[0]


def environment_of(pid: int) -> bytes:
    try:
        return Path(f"/proc/{pid}/environ").read_bytes()
    except OSError:
        return b""


def test_a_log_that_cannot_be_written_fails_nothing(tmp_path: Path) -> None:
    bench = set_up(tmp_path, entry="Good")
    bench.log_path.parent.write_text("in the way", encoding="utf-8")
    assert run(bench).status == "completed"


def test_a_full_disk_is_no_fault_of_the_engine(tmp_path: Path) -> None:
    """The worker could not even write its failure."""
    with pytest.raises(StorageUnavailable, match="No space left") as caught:
        run(set_up(tmp_path, entry="DiskFull"))
    assert caught.value.code is ErrorCode.STORAGE_FULL


def test_a_disk_that_fills_up_under_the_worker_is_found_out(tmp_path: Path) -> None:
    (tmp_path / "disk").mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=2m", "tmpfs", str(tmp_path / "disk")]
    if subprocess.run(mount, capture_output=True, check=False).returncode:
        pytest.skip("mounting is not permitted here")
    try:
        bench = set_up(tmp_path, entry="Good")
        request = bench.request.model_copy(update={"output_dir": str(tmp_path / "disk")})
        with pytest.raises(StorageUnavailable) as caught:
            run(replace(bench, request=request))
    finally:
        subprocess.run(["umount", "-l", str(tmp_path / "disk")], check=True)
    assert caught.value.code is ErrorCode.STORAGE_FULL


def namespaces_are_allowed() -> bool:
    return "network_namespace" in describe_cage()


def test_a_worker_reaches_no_network(tmp_path: Path) -> None:
    if not namespaces_are_allowed():
        pytest.skip("network namespaces are not permitted here")
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        socket.create_connection(("127.0.0.1", port)).close()
        with pytest.raises(IroncladError, match=f"errno {errno.ENETUNREACH}"):
            run(set_up(tmp_path, entry="Dials", job_uuid=str(port)))


def test_no_descriptor_is_left_open(tmp_path: Path) -> None:
    before = len(os.listdir("/proc/self/fd"))
    run(set_up(tmp_path, entry="Good"))
    assert len(os.listdir("/proc/self/fd")) <= before


_RUN_IN_CGROUP = """
import os, sys
from pathlib import Path
Path(sys.argv[2], "cgroup.procs").write_text(str(os.getpid()))
from tests.unit.engine_host.rogues import Bench
from tests.unit.engine_host.test_runner import ROOMY, run
from ironclad_assets.contracts.v1.engine import EngineRequest
from ironclad_assets.engine_host.registry import find_engines
from ironclad_assets.errors import IroncladError
folder = Path(sys.argv[1])
request = EngineRequest.model_validate_json((folder / "request.json").read_text())
try:
    run(Bench(engine=find_engines(folder / "engines")["rogue"], request=request, folder=folder), limits=ROOMY)
except IroncladError as error:
    print(type(error).__name__, error.code.code, error.detail)
"""

ROOMY = Limits(cpu_s=60, memory_bytes=4096 * MEBIBYTE, wall_s=60, stall_s=30)


def test_a_kill_by_the_kernel_for_want_of_memory_is_known_by_name(tmp_path: Path, small_cgroup: Path) -> None:
    """SPLIT-010: not tried again blindly, as a kill that nobody explains is."""
    bench = set_up(tmp_path, entry="EatsMemory")
    (tmp_path / "request.json").write_text(bench.request.model_dump_json(), encoding="utf-8")
    command = [sys.executable, "-c", _RUN_IN_CGROUP, str(tmp_path), str(small_cgroup)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60, check=True)
    words = "rogue: the kernel's out-of-memory killer ended it"
    assert done.stdout == f"TransientFailure out_of_memory {words}\n", done.stderr
    assert_nothing_left(bench)
