"""Run one function of the audio package in a confined child, and return what it returned.

The caller names the function, the limits and the only files it may touch. What the function does belongs
to `audio`; what a refusal means to a song belongs to `pipeline`.
"""

import contextlib
import json
import os
import selectors
import signal
import socket
import sys
import sysconfig
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

from ironclad_assets.errors import ChildKilled, ErrorCode, IroncladError, JobCanceled, failure
from ironclad_assets.sandbox import child
from ironclad_assets.sandbox.limits import Limits
from ironclad_assets.sandbox.process import IMPORT_ROOT, ChildProcess
from ironclad_assets.sandbox.scratch import Scratch
from ironclad_assets.sandbox.watch import SilentWatch, Watch

TASK_PACKAGE = "ironclad_assets.audio."
KILLS_SURVIVED = 2
"""How often a child may be killed from outside before its work fails."""

MAX_ANSWER_BYTES = 32 * 1024**2
_ADDRESS_HEADROOM_BYTES = 1024**3
_MAX_WORDS = 500
_TICK_S = 0.05
_ASK_WATCH_S = 0.2
_ENVIRONMENT = {
    "PATH": "/usr/bin:/bin",
    "LANG": "C.UTF-8",
    "OPENBLAS_NUM_THREADS": "1",
    "OMP_NUM_THREADS": "1",
    "MKL_NUM_THREADS": "1",
}


def run_task(
    task: str,
    *,
    arguments: Mapping[str, Any],  # a JSON object, whatever the function takes
    limits: Limits,
    readable: Sequence[Path] = (),
    writable: Sequence[Path] = (),
    watch: Watch | None = None,
    code: Sequence[Path] = (),
    executable: Sequence[Path] = (),
) -> dict[str, Any]:  # the JSON object the function returned
    """Call ``module:function`` as ``function(report, **arguments)`` in a child process.

    A child that is killed from outside is replaced by another, a few times: functions start afresh, over
    whatever an earlier call left in their files.

    Args:
        task: a function in a module of `ironclad_assets.audio`.
        arguments: JSON values only.
        limits: beyond them the child is killed.
        readable: files and folders the child may read, besides the Python installation.
        writable: files and folders it may also write.
        watch: hears of progress, and may cancel.
        code: more folders to import the task from; only with them may it lie outside `audio`.
        executable: programs it may start; otherwise none.

    Raises:
        IroncladError: what the function raised, or `LIMIT_CPU`, `LIMIT_MEMORY`, `LIMIT_TIME`, `LIMIT_DISK`,
            `LIMIT_FILES`, `OUT_OF_MEMORY`, or `INTERNAL` when the child crashed.
        JobCanceled: the watch asked for it.
    """
    if not code and not task.startswith(TASK_PACKAGE):
        raise ValueError(f"{task!r} is not a function of {TASK_PACKAGE[:-1]}")
    return call_confined(
        task,
        arguments=arguments,
        limits=limits,
        readable=readable,
        writable=writable,
        watch=watch,
        code=code,
        executable=executable,
    ).result


@dataclass(frozen=True, slots=True)
class Answer:
    """What a child's function returned, and the layers of confinement that held around it (see `confine`)."""

    result: dict[str, Any]  # the JSON object the function returned
    layers: tuple[str, ...]


def call_confined(
    task: str,
    *,
    arguments: Mapping[str, Any],  # a JSON object
    limits: Limits,
    readable: Sequence[Path] = (),
    writable: Sequence[Path] = (),
    watch: Watch | None = None,
    code: Sequence[Path] = (),
    executable: Sequence[Path] = (),
) -> Answer:
    """Do as `run_task` does, with any function, and tell how the child was confined."""
    paths = [str(IMPORT_ROOT), *map(str, code), *_library_paths()]
    request = {
        "parent": os.getpid(),
        "task": task,
        "arguments": dict(arguments),
        "readable": [*paths[1:], str(IMPORT_ROOT / "ironclad_assets"), *_shared_libraries(), *map(str, readable)],
        "writable": [str(path) for path in writable],
        "executable": [str(path) for path in executable],
        "limits": {
            "cpu_s": limits.cpu_s,
            "cpu_growth_s": limits.cpu_growth_s,
            "file_bytes": limits.file_bytes,
            "open_files": limits.open_files,
            "data_bytes": limits.memory_bytes + _ADDRESS_HEADROOM_BYTES,
        },
    }
    watch = watch or SilentWatch()
    scratch = Scratch(writable, most_bytes=limits.scratch_bytes)
    for _ in range(KILLS_SURVIVED):
        with contextlib.suppress(ChildKilled):
            return _run_once(request, paths=paths, limits=limits, watch=watch, scratch=scratch)
    return _run_once(request, paths=paths, limits=limits, watch=watch, scratch=scratch)


def _run_once(
    request: dict[str, Any],  # a JSON object
    *,
    paths: list[str],
    limits: Limits,
    watch: Watch,
    scratch: Scratch,
) -> Answer:
    ours, theirs = socket.socketpair()
    with ours:
        with theirs:
            process = _start(theirs.fileno(), paths=paths, limits=limits)
        try:
            talk = _Conversation(ours, process, limits=limits, watch=watch, scratch=scratch)
            return Answer(result=talk.hold(request), layers=talk.layers)
        finally:
            process.stop(grace_s=0)


def _start(descriptor: int, *, paths: list[str], limits: Limits) -> ChildProcess:
    command = [sys.executable, "-I", "-S", "-X", "utf8", "-c", child.BOOTSTRAP, str(descriptor), *paths]
    return ChildProcess.start(command, limits=limits, env=_ENVIRONMENT, pass_fds=(descriptor,))


@cache
def _library_paths() -> list[str]:
    """Return where the standard library and installed packages are imported from, without running `site`."""
    wanted = {sysconfig.get_path(name) for name in ("stdlib", "platstdlib", "purelib", "platlib")}
    ends = ("lib-dynload", "site-packages", "dist-packages")
    return [path for path in dict.fromkeys(sys.path) if path in wanted or path.endswith(ends)]


def _shared_libraries() -> list[str]:
    """Return the folder of the interpreter's own shared libraries, which extension modules load."""
    stdlib = sysconfig.get_path("stdlib")
    return [str(Path(stdlib).parent)] if stdlib else []


@dataclass(slots=True)
class _Conversation:
    """The parent's side of the talk with one child."""

    channel: socket.socket
    process: ChildProcess
    limits: Limits
    watch: Watch
    scratch: Scratch
    received: bytearray = field(default_factory=bytearray)
    answer: dict[str, Any] | None = None  # the child's last message, a JSON object
    layers: tuple[str, ...] = ()
    ended: bool = False
    heard_at: float = field(default_factory=time.monotonic)
    asked_at: float = 0.0

    def hold(self, request: dict[str, Any]) -> dict[str, Any]:  # JSON objects
        """Send the request, follow the child until it answers or ends, return its result."""
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):
            self.channel.settimeout(10.0)
            self.channel.sendall(json.dumps(request, allow_nan=False).encode() + b"\n")
        self.channel.setblocking(False)
        with selectors.DefaultSelector() as selector:
            selector.register(self.channel, selectors.EVENT_READ)
            while self.answer is None and not self.ended:
                if selector.select(_TICK_S):
                    self._receive()
                self._check()
        if self.answer is None:
            raise self._why_it_ended()
        _refuse(self.scratch.look())
        return self._result(self.answer)

    def _receive(self) -> None:
        try:
            block = self.channel.recv(1 << 16)
        except BlockingIOError:
            return
        except ConnectionResetError:
            block = b""
        self.ended = not block
        self.received += block
        for message in self._messages():
            fraction = message.get("fraction")
            if isinstance(fraction, int | float):
                self.heard_at = time.monotonic()
                self.watch.progress(min(1.0, max(0.0, fraction)), str(message.get("message", ""))[:_MAX_WORDS])
            elif "confined" in message:
                self.layers = tuple(map(str, message["confined"]))
            elif "result" in message or "error" in message:
                self.answer = message

    def _messages(self) -> Iterator[dict[str, Any]]:  # JSON objects
        *lines, rest = bytes(self.received).split(b"\n")
        self.received = bytearray(rest)
        if len(rest) > MAX_ANSWER_BYTES:
            raise failure(ErrorCode.INTERNAL, f"the child sent more than {MAX_ANSWER_BYTES} bytes in one message")
        for line in lines:
            try:
                message = json.loads(line)
            except ValueError:
                message = None
            if not isinstance(message, dict):
                raise failure(ErrorCode.INTERNAL, "the child sent something that is no message")
            yield message

    def _check(self) -> None:
        """Raise when a limit is broken or the watch cancels."""
        now = time.monotonic()
        if now - self.asked_at >= _ASK_WATCH_S:
            self.asked_at = now
            if self.watch.canceled():
                raise JobCanceled("canceled while media work was running")
        _refuse(self.process.breach() or self.scratch.breach())
        stall_s = self.limits.stall_s
        if stall_s is not None and now - self.heard_at > stall_s:
            raise failure(ErrorCode.LIMIT_TIME, f"no progress for {now - self.heard_at:.0f} s; allowed are {stall_s} s")

    def _why_it_ended(self) -> IroncladError:
        """Return the error that fits how the child ended without an answer."""
        status = self.process.wait(5.0)
        if status == -signal.SIGXCPU:
            return failure(ErrorCode.LIMIT_CPU, f"used more than {self.limits.cpu_s:.0f} s of processor time")
        if status == -signal.SIGXFSZ:
            return failure(ErrorCode.LIMIT_DISK, f"wrote a file of more than {self.limits.file_bytes} bytes")
        if status == -signal.SIGKILL:
            return ChildKilled("media work was killed from outside, as happens when memory is out")
        return ChildCrashError(status, output=self.process.stderr_tail())

    @staticmethod
    def _result(answer: dict[str, Any]) -> dict[str, Any]:  # JSON objects
        error = answer.get("error")
        if isinstance(error, dict):
            raise failure(ErrorCode.from_code(str(error.get("code"))), str(error.get("detail")))
        result = answer.get("result")
        if not isinstance(result, dict):
            raise failure(ErrorCode.INTERNAL, "the child returned no JSON object")
        return result


def _refuse(breach: tuple[ErrorCode, str] | None) -> None:
    if breach is not None:
        raise failure(*breach)


class ChildCrashError(IroncladError):
    """The child ended without an answer: a crash in native code, or an exit nobody asked for.

    Attributes:
        status: exit status, negative for a signal.
        ended: the same in words.
    """

    def __init__(self, status: int | None, *, output: str) -> None:
        self.ended = _status_text(status)
        tail = output.strip().splitlines()[-1:] if output.strip() else ["it printed nothing"]
        super().__init__(f"the media process ended {self.ended}: {tail[0][:500]}", code=ErrorCode.INTERNAL)
        self.status = status
        self.output = output


def _status_text(status: int | None) -> str:
    if status is None or status >= 0:
        return f"with status {status}"
    with contextlib.suppress(ValueError):
        return f"by {signal.Signals(-status).name}"
    return f"by signal {-status}"
