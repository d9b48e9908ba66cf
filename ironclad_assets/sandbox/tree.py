"""The process tree below one process: who is in it, what it uses, how to end it.

On Linux this reads `/proc` directly, because it is asked twenty times a second; elsewhere psutil answers.
"""

import contextlib
import os
import signal
import sys
from pathlib import Path

import psutil

_PROC = Path("/proc")
_ON_LINUX = sys.platform == "linux"
_COUNTED = ("RssAnon:", "RssShmem:")


def family(pid: int) -> list[int]:
    """Return `pid` and all its descendants, oldest first; gone processes are left out."""
    if not _ON_LINUX:
        return _family_elsewhere(pid)
    found = [pid]
    for member in found:
        for child in _children(member):
            if child not in found:
                found.append(child)
    return found


def _children(pid: int) -> list[int]:
    children: list[int] = []
    with contextlib.suppress(OSError):
        for thread in os.listdir(_PROC / str(pid) / "task"):
            with contextlib.suppress(OSError):
                text = (_PROC / str(pid) / "task" / thread / "children").read_text(encoding="ascii")
                children.extend(int(word) for word in text.split())
    return children


def _family_elsewhere(pid: int) -> list[int]:
    try:
        return [pid, *(child.pid for child in psutil.Process(pid).children(recursive=True))]
    except psutil.Error:
        return [pid]


def resident_bytes(pid: int) -> int:
    """Return the memory of `pid` and its descendants that cannot be dropped: anonymous and shared pages.

    Pages of mapped files are left out: the kernel takes them back by itself, so a large mapped input is
    no reason to end anybody.
    """
    if _ON_LINUX:
        return sum(_resident_of(member) for member in family(pid))
    total = 0
    for member in family(pid):
        with contextlib.suppress(psutil.Error):
            total += psutil.Process(member).memory_info().rss
    return total


def _resident_of(pid: int) -> int:
    try:
        lines = (_PROC / str(pid) / "status").read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return 0
    return sum(int(line.split()[1]) * 1024 for line in lines if line.startswith(_COUNTED))


def cpu_seconds(pid: int) -> float:
    """Return the processor seconds that `pid` and its descendants have used, with those of ended children."""
    total = 0.0
    for member in family(pid):
        with contextlib.suppress(psutil.Error):
            total += sum(psutil.Process(member).cpu_times()[:4])
    return total


def kill_group(group: int, number: signal.Signals) -> None:
    """Send a signal to every process of a group; a group that is gone is no error."""
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(group, number)


def kill_all(pids: list[int]) -> None:
    """Send SIGKILL to each of `pids` that is still there."""
    for pid in pids:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.kill(pid, signal.SIGKILL)
