"""How often the kernel's out-of-memory killer struck in this process's cgroup: its counter, read before and after.

A process killed by it looks like any other that got SIGKILL; only the counter tells. Control groups of both
versions are read. Nothing here decides what a kill means.
"""

import contextlib
from pathlib import Path

_MEMBERSHIP = Path("/proc/self/cgroup")
_MOUNT = Path("/sys/fs/cgroup")
_COUNTER = "oom_kill"


def count_oom_kills(*, membership: Path = _MEMBERSHIP, mount: Path = _MOUNT) -> int | None:
    """Return how many processes of this process's cgroup were ever killed for want of memory.

    Args:
        membership: file that names the cgroups of this process, as in cgroups(7).
        mount: where cgroups are mounted.

    Returns:
        The counter, or None where the kernel does not tell.
    """
    for path in _candidates(membership, mount=mount):
        with contextlib.suppress(OSError, ValueError):
            for line in path.read_text(encoding="ascii").splitlines():
                name, _, value = line.partition(" ")
                if name == _COUNTER:
                    return int(value)
    return None


def _candidates(membership: Path, *, mount: Path) -> list[Path]:
    """Return the files that may hold the counter; a container may see its own cgroup as the root of the mount."""
    try:
        lines = membership.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return []
    found = []
    for line in lines:
        _, controllers, path = line.split(":", 2)
        if controllers == "":
            version, folder, name = 2, mount, "memory.events"
        elif "memory" in controllers.split(","):
            version, folder, name = 1, mount / controllers, "memory.oom_control"
        else:
            continue
        found += [(version, folder / path.lstrip("/") / name), (version, folder / name)]
    return [path for _, path in sorted(found, key=lambda one: -one[0])]
