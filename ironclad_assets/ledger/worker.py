"""Who works on a job: a process that can be told from any later one with the same number.

A process id is reused, also after a reboot; host, boot and start time make it unique. Whether the worker of
another host lives cannot be seen from here.
"""

import os
import socket
from dataclasses import dataclass
from pathlib import Path

_BOOT_ID = Path("/proc/sys/kernel/random/boot_id")
_STARTED_TICKS_FIELD = 19  # field 22 of proc(5) stat, counted after the name's closing parenthesis


@dataclass(frozen=True, slots=True)
class WorkerIdentity:
    """One process on one boot of one host. `started_ticks` counts clock ticks since the boot."""

    host: str
    boot_id: str
    pid: int
    started_ticks: int

    def __str__(self) -> str:
        return f"{self.pid}:{self.started_ticks}:{self.boot_id}:{self.host}"

    @classmethod
    def parse(cls, text: str) -> "WorkerIdentity":
        """Return the identity that ``str`` wrote.

        Raises:
            ValueError: `text` is no such thing.
        """
        pid, ticks, boot_id, host = text.split(":", 3)
        return cls(host=host, boot_id=boot_id, pid=int(pid), started_ticks=int(ticks))


def current_worker() -> WorkerIdentity:
    """Return the identity of this process."""
    return identify_process(os.getpid())


def identify_process(pid: int) -> WorkerIdentity:
    """Return the identity of the living process `pid` on this host.

    Raises:
        ProcessLookupError: there is none.
    """
    ticks = _started_ticks(pid)
    if ticks is None:
        raise ProcessLookupError(f"process {pid} is not alive")
    return WorkerIdentity(host=socket.gethostname(), boot_id=_boot_id(), pid=pid, started_ticks=ticks)


def is_local(worker: WorkerIdentity) -> bool:
    """Return whether `worker` ran on this host, so that `is_alive` can know."""
    return worker.host == socket.gethostname()


def is_alive(worker: WorkerIdentity) -> bool:
    """Return whether `worker` still runs; one on another host counts as alive, for it cannot be seen."""
    if not is_local(worker):
        return True
    return worker.boot_id == _boot_id() and _started_ticks(worker.pid) == worker.started_ticks


def _boot_id() -> str:
    return _BOOT_ID.read_text(encoding="ascii").strip()


def _started_ticks(pid: int) -> int | None:
    """Return when `pid` started, or None where it is gone or a zombie."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_bytes()
    except (FileNotFoundError, ProcessLookupError):
        return None
    fields = stat.rpartition(b")")[2].split()
    return None if fields[0] in (b"Z", b"X") else int(fields[_STARTED_TICKS_FIELD])
