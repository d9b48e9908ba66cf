"""A child process and everything it started are surely ended, whoever dies first."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest

from ironclad_assets.errors import ErrorCode
from ironclad_assets.sandbox.limits import Limits
from ironclad_assets.sandbox.process import IMPORT_ROOT, ChildProcess

LIMITS = Limits(cpu_s=20, memory_bytes=256 * 1024**2, wall_s=30)
ENVIRONMENT = {"PATH": os.environ["PATH"]}

NESTED = """
import os, signal, subprocess, sys, time
print("started", flush=True)
child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(300)"], start_new_session=True)
with open(sys.argv[1], "w") as file:
    file.write(f"{os.getpid()} {child.pid}")
os.rename(sys.argv[1], sys.argv[1] + ".done")
if sys.argv[2] == "stubborn":
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
while True:
    time.sleep(1)
"""


def wait_until(condition: Callable[[], bool], *, timeout_s: float = 10.0) -> bool:
    end = time.monotonic() + timeout_s
    while time.monotonic() < end:
        if condition():
            return True
        time.sleep(0.02)
    return condition()


def is_running(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def start_nested(tmp_path: Path, *, manner: str = "docile", grace_s: float = 0.5) -> tuple[ChildProcess, list[int]]:
    notes = tmp_path / "pids"
    process = ChildProcess.start(
        [sys.executable, "-c", NESTED, str(notes), manner],
        limits=LIMITS,
        env=ENVIRONMENT,
        guarded=True,
        grace_s=grace_s,
    )
    done = tmp_path / "pids.done"
    assert wait_until(done.exists)
    return process, [int(word) for word in done.read_text(encoding="ascii").split()]


@pytest.mark.parametrize("manner", ["docile", "stubborn"])
def test_stop_ends_worker_and_its_children_within_five_seconds(tmp_path: Path, manner: str) -> None:
    """JOB-002: the grandchild has a session of its own and still does not survive."""
    process, pids = start_nested(tmp_path, manner=manner)
    started = time.monotonic()
    process.stop(grace_s=0.5)
    assert time.monotonic() - started < 5.0
    assert not any(is_running(pid) for pid in pids)


def test_kill_without_grace_ends_the_whole_tree(tmp_path: Path) -> None:
    process, pids = start_nested(tmp_path)
    assert process.stop(grace_s=0) == -signal.SIGKILL
    assert wait_until(lambda: not any(is_running(pid) for pid in pids))


def test_worker_killed_from_outside_takes_its_children_with_it(tmp_path: Path) -> None:
    process, (worker, grandchild) = start_nested(tmp_path)
    os.kill(worker, signal.SIGKILL)
    assert wait_until(lambda: process.poll() is not None)
    assert process.poll() == -signal.SIGKILL
    assert not is_running(grandchild)


def test_nobody_survives_the_kill_of_the_parent(tmp_path: Path) -> None:
    """WATCH-004: kill -9 of a run's process leaves no engine behind, not even its grandchildren."""
    parent = tmp_path / "parent.py"
    parent.write_text(
        f"""
import os, sys, time
sys.path.insert(0, {str(IMPORT_ROOT)!r})
from ironclad_assets.sandbox.limits import Limits
from ironclad_assets.sandbox.process import ChildProcess
ChildProcess.start([sys.executable, "-c", {NESTED!r}, {str(tmp_path / "pids")!r}, "docile"],
    limits=Limits(cpu_s=20, memory_bytes=10**9, wall_s=60), env=dict(os.environ), guarded=True)
time.sleep(300)
""",
        encoding="utf-8",
    )
    with subprocess.Popen([sys.executable, str(parent)]) as process:
        done = tmp_path / "pids.done"
        assert wait_until(done.exists)
        pids = [int(word) for word in done.read_text(encoding="ascii").split()]
        process.kill()
    assert wait_until(lambda: not any(is_running(pid) for pid in pids), timeout_s=5.0)


@pytest.mark.parametrize("guarded", [False, True])
@pytest.mark.parametrize(("code", "status"), [("raise SystemExit(7)", 7), ("import os; os.abort()", -signal.SIGABRT)])
def test_status_is_the_workers_own(guarded: bool, code: str, status: int) -> None:
    process = ChildProcess.start([sys.executable, "-c", code], limits=LIMITS, env=ENVIRONMENT, guarded=guarded)
    assert process.wait(10.0) == status


def test_output_is_kept_to_its_last_bytes() -> None:
    code = "import sys; print('x' * 100_000, flush=True); print('the end', file=sys.stderr)"
    process = ChildProcess.start([sys.executable, "-c", code], limits=LIMITS, env=ENVIRONMENT)
    assert process.wait(10.0) == 0
    assert len(process.stderr_tail()) <= 8192
    assert process.stderr_tail().endswith("the end\n")


def test_output_goes_to_the_log_where_one_is_named(tmp_path: Path) -> None:
    log = tmp_path / "worker.log"
    process = ChildProcess.start(
        [sys.executable, "-c", "print('hello')"], limits=LIMITS, env=ENVIRONMENT, log_path=log, guarded=True
    )
    assert process.wait(10.0) == 0
    assert log.read_text(encoding="utf-8") == "hello\n"


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux says whom it ends first")
def test_worker_and_guard_go_sooner_where_memory_runs_out(tmp_path: Path) -> None:
    """Else the kernel may take the run instead, and its end would count as a crash of the song."""
    score, log = Path("/proc/self/oom_score_adj"), tmp_path / "worker.log"
    before = int(score.read_text(encoding="ascii"))
    code = "import os; [print(open(f'/proc/{pid}/oom_score_adj').read()) for pid in (os.getpid(), os.getppid())]"
    command = [sys.executable, "-c", code]
    process = ChildProcess.start(command, limits=LIMITS, env=ENVIRONMENT, log_path=log, guarded=True)
    assert process.wait(10.0) == 0
    assert log.read_text(encoding="ascii").split() == [str(min(before + 300, 1000))] * 2
    assert int(score.read_text(encoding="ascii")) == before


def test_program_that_does_not_exist_is_told(tmp_path: Path) -> None:
    with pytest.raises(OSError, match="nowhere"):
        ChildProcess.start([str(tmp_path / "nowhere")], limits=LIMITS, env=ENVIRONMENT)
    guarded = ChildProcess.start([str(tmp_path / "nowhere")], limits=LIMITS, env=ENVIRONMENT, guarded=True)
    assert guarded.wait(10.0) == 127
    assert "nowhere" in guarded.stderr_tail()


def test_memory_of_the_whole_tree_counts() -> None:
    """SPLIT-010: what a worker's own child holds is the worker's."""
    hold = "import time; held = b'x' * 120_000_000; time.sleep(60)"
    code = f"import subprocess, sys; subprocess.run([sys.executable, '-c', {hold!r}])"
    limits = Limits(cpu_s=20, memory_bytes=100_000_000, wall_s=30)
    process = ChildProcess.start([sys.executable, "-c", code], limits=limits, env=ENVIRONMENT, guarded=True)
    try:
        assert wait_until(lambda: process.breach() is not None)
        breach = process.breach()
        assert breach is not None
        assert breach[0] is ErrorCode.LIMIT_MEMORY
        assert process.peak_bytes > 100_000_000
    finally:
        process.stop(grace_s=0)
