"""What a task gives back, and which published error each way of going wrong becomes."""

import gc
import os
import signal
import time
from dataclasses import dataclass, field, replace
from pathlib import Path

import psutil
import pytest

from ironclad_assets.errors import ErrorCode, IroncladError, JobCanceled, Refusal
from ironclad_assets.sandbox.task import KILLS_SURVIVED, ChildCrashError, run_task
from tests.unit.sandbox.conftest import LIMITS, Run


@dataclass
class ImpatientWatch:
    """Cancels after a while and remembers what it heard."""

    patience_s: float
    heard: list[tuple[float, str]] = field(default_factory=list)
    started: float = field(default_factory=time.monotonic)

    def progress(self, fraction: float, message: str) -> None:
        self.heard.append((fraction, message))

    def canceled(self) -> bool:
        return time.monotonic() - self.started > self.patience_s


def test_task_returns_what_the_function_returned_and_reports_progress(run: Run) -> None:
    watch = ImpatientWatch(patience_s=60)
    answer = run("echo", arguments={"path": "ü\n", "count": 3}, watch=watch)
    assert answer["arguments"] == {"path": "ü\n", "count": 3}
    assert watch.heard == [(0.5, "half way")]


def test_child_gets_no_environment_of_ours(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """GLOBAL-002: secrets in the environment never reach a process that reads untrusted bytes."""
    monkeypatch.setenv("DATABASE_PASSWORD", "secret")
    answer = run("echo")
    assert "DATABASE_PASSWORD" not in answer["environment"]
    assert answer["environment"].count("OPENBLAS_NUM_THREADS") == 1
    assert answer["folder"] == "/"


def test_only_functions_of_the_audio_package_are_run() -> None:
    with pytest.raises(ValueError, match="os:system"):
        run_task("os:system", arguments={}, limits=LIMITS)


def test_published_error_of_the_child_is_raised_here(run: Run) -> None:
    with pytest.raises(IroncladError) as caught:
        run("refuse")
    assert caught.value.code is ErrorCode.EMPTY_FILE
    assert caught.value.detail == "the file has 0 bytes"


@pytest.mark.parametrize(("times", "calls"), [(0, 1), (1, 2), (KILLS_SURVIVED, KILLS_SURVIVED + 1)])
def test_child_killed_from_outside_is_replaced(run: Run, tmp_path: Path, times: int, calls: int) -> None:
    tally = tmp_path / "tally"
    answer = run("end_at_first", arguments={"tally": str(tally), "times": times}, writable=[tmp_path])
    assert answer == {"calls": calls}


def test_child_that_is_killed_every_time_is_given_up(run: Run, tmp_path: Path) -> None:
    tally = tmp_path / "tally"
    with pytest.raises(IroncladError) as caught:
        run("end_at_first", arguments={"tally": str(tally), "times": 99}, writable=[tmp_path])
    assert caught.value.code is ErrorCode.OUT_OF_MEMORY
    assert tally.stat().st_size == KILLS_SURVIVED + 1


@pytest.mark.parametrize(
    ("task", "code", "words"),
    [
        ("fail", ErrorCode.INTERNAL, "KeyError: 'surprise'"),
        ("say_nothing", ErrorCode.INTERNAL, "no JSON object"),
        ("ask_for_too_much", ErrorCode.LIMIT_MEMORY, "memory"),
        ("leave", ErrorCode.INTERNAL, "last words"),
    ],
)
def test_other_failures_are_named(run: Run, task: str, code: ErrorCode, words: str) -> None:
    with pytest.raises(IroncladError) as caught:
        run(task)
    assert caught.value.code is code
    assert words in caught.value.detail


def test_crash_in_native_code_is_told_with_its_signal(run: Run) -> None:
    with pytest.raises(ChildCrashError, match="SIGSEGV") as caught:
        run("crash")
    assert caught.value.status == -signal.SIGSEGV


def test_memory_beyond_the_limit_ends_the_child(run: Run) -> None:
    """SPLIT-010."""
    with pytest.raises(IroncladError) as caught:
        run("grow", limits=replace(LIMITS, memory_bytes=80_000_000))
    assert caught.value.code is ErrorCode.LIMIT_MEMORY
    assert "allowed are 76 MiB" in caught.value.detail


def test_processor_time_beyond_the_limit_ends_the_child(run: Run) -> None:
    """SPLIT-010."""
    started = time.monotonic()
    with pytest.raises(IroncladError) as caught:
        run("spin", limits=replace(LIMITS, cpu_s=1))
    assert caught.value.code is ErrorCode.LIMIT_CPU
    assert time.monotonic() - started < 15


def test_time_beyond_the_limit_ends_the_child(run: Run) -> None:
    with pytest.raises(IroncladError) as caught:
        run("sleep", limits=replace(LIMITS, wall_s=0.3))
    assert caught.value.code is ErrorCode.LIMIT_TIME


def test_silence_beyond_the_limit_ends_the_child(run: Run) -> None:
    with pytest.raises(IroncladError, match="no progress") as caught:
        run("sleep", limits=replace(LIMITS, stall_s=0.3))
    assert caught.value.code is ErrorCode.LIMIT_TIME


def test_file_beyond_the_limit_is_refused(run: Run, tmp_path: Path) -> None:
    """SPLIT-010."""
    with pytest.raises(IroncladError) as caught:
        run(
            "write",
            arguments={"path": str(tmp_path / "big"), "size": 2_000_000},
            limits=replace(LIMITS, file_bytes=1_000_000),
            writable=[tmp_path],
        )
    assert caught.value.code is ErrorCode.LIMIT_DISK


def test_open_files_are_limited(run: Run) -> None:
    """SPLIT-010."""
    assert run("open_many", limits=replace(LIMITS, open_files=32))["opened"] < 32


def test_open_files_beyond_the_limit_are_named(run: Run) -> None:
    """SPLIT-010."""
    with pytest.raises(IroncladError) as caught:
        run("open_too_many", limits=replace(LIMITS, open_files=32))
    assert caught.value.code is ErrorCode.LIMIT_FILES


@pytest.mark.parametrize("pause_s", [0.0, 0.1])
def test_many_small_files_beyond_the_scratch_limit_end_the_child(run: Run, tmp_path: Path, pause_s: float) -> None:
    """SPLIT-010: also where each file is small, and where the child is done before anybody looks."""
    (tmp_path / "before").write_bytes(bytes(5_000_000))
    limits = replace(LIMITS, scratch_bytes=2_000_000)
    with pytest.raises(IroncladError, match=r"wrote .* MiB; allowed are 1\.9 MiB") as caught:
        run("write_many", arguments={"folder": str(tmp_path), "pause_s": pause_s}, limits=limits, writable=[tmp_path])
    assert caught.value.code is ErrorCode.LIMIT_DISK
    few = {"folder": str(tmp_path), "pause_s": 0.0}
    assert run("write_many", arguments=few, limits=LIMITS, writable=[tmp_path]) == {}


def test_kill_from_outside_is_taken_for_the_out_of_memory_killer(run: Run) -> None:
    with pytest.raises(IroncladError) as caught:
        run("end_by", arguments={"number": int(signal.SIGKILL)})
    assert caught.value.code is ErrorCode.OUT_OF_MEMORY
    assert not caught.value.permanent


def test_cancel_takes_effect_within_five_seconds_and_leaves_no_process(run: Run) -> None:
    """JOB-002; on an idle machine it takes about 0.1 s."""
    others = psutil.Process().children()  # of tests before, such as multiprocessing's resource tracker
    watch = ImpatientWatch(patience_s=0.3)
    with pytest.raises(JobCanceled):
        run("sleep", watch=watch)
    assert time.monotonic() - watch.started < 5.0
    left = [child for child in psutil.Process().children() if child not in others]
    assert [child for child in left if child.status() != psutil.STATUS_ZOMBIE] == []


def test_descriptors_do_not_leak(run: Run) -> None:
    run("echo")
    gc.collect()  # what other tests of this process forgot goes now or later
    before = len(os.listdir("/proc/self/fd"))
    for _ in range(3):
        run("echo")
        with pytest.raises(IroncladError):
            run("refuse")
    assert len(os.listdir("/proc/self/fd")) <= before


def test_refusals_are_permanent() -> None:
    assert Refusal("x", code=ErrorCode.EMPTY_FILE).permanent
