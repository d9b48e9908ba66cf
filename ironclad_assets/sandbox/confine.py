"""What a process does to itself before it touches anything untrusted. Runs in the child, standard library only.

Hard limits (rlimits) always hold. Isolation (no network, no other files, no privileges) is best effort:
each layer that the kernel offers is used, and `confine` returns the names of those that hold.
"""

import contextlib
import ctypes
import math
import os
import resource
import signal
import struct
from collections.abc import Iterable
from functools import cache
from pathlib import Path

_PR_SET_PDEATHSIG = 1
_PR_SET_NO_NEW_PRIVS = 38
_CLONE_NEWUSER = 0x10000000
_CLONE_NEWNET = 0x40000000
_CAPABILITY_VERSION_3 = 0x20080522
_CAP_DAC_OVERRIDE = 1 << 1
_SOONER = 300
_MOST_OOM_SCORE = 1000
"""Of oom_score_adj (proc(5)): thousandths of the memory there is, by which a process counts as larger than it is."""

_SYS_LANDLOCK_CREATE_RULESET = 444
_SYS_LANDLOCK_ADD_RULE = 445
_SYS_LANDLOCK_RESTRICT_SELF = 446
_READ_FILE, _READ_DIR = 1 << 2, 1 << 3
_FOR_FILES = 1 << 0 | 1 << 1 | 1 << 2 | 1 << 14 | 1 << 15
_RIGHTS_SINCE_ABI = ((1, (1 << 13) - 1), (2, 1 << 13), (3, 1 << 14), (5, 1 << 15))
_EXECUTE = 1 << 0
_WITHHELD = _EXECUTE | 1 << 6 | 1 << 9 | 1 << 10 | 1 << 11 | 1 << 12 | 1 << 15
"""Execute, and making devices, sockets, FIFOs and symbolic links: granted nowhere, not even in `writable`."""

_LOADERS = ("lib/ld-*.so*", "lib64/ld-*.so*", "lib/*/ld-*.so*")
"""Programs that start other programs: the kernel executes them on behalf of every dynamically linked one."""

_SYSTEM_READABLE = (
    "/lib", "/lib64", "/usr/lib", "/usr/lib64", "/usr/local/lib", "/nix/store", "/etc/ld.so.cache", "/dev/null",
    "/dev/urandom", "/proc/cpuinfo", "/proc/meminfo", "/sys/devices/system/cpu", "/sys/fs/cgroup",
)  # fmt: skip


def die_with_parent(parent: int, number: int = signal.SIGKILL) -> None:
    """Ask the kernel to end this process when its parent, process `parent`, ends."""
    with contextlib.suppress(OSError, AttributeError):
        _libc().prctl(_PR_SET_PDEATHSIG, int(number), 0, 0, 0)
    if os.getppid() != parent:
        os._exit(128 + number)


def offer_to_oom_killer() -> None:
    """Count as larger by three tenths of the memory there is, where the kernel has to end a process for want of memory.

    It ends the largest at that instant; and while that one is still going, whoever asks next, which may be the run that
    waits for its child. A process that fills the memory by itself is still ended before a small child. Best effort, and
    handed on to what this process starts.
    """
    score = Path("/proc/self/oom_score_adj")
    with contextlib.suppress(OSError, ValueError):
        own = int(score.read_text(encoding="ascii"))
        score.write_text(str(min(own + _SOONER, _MOST_OOM_SCORE)), encoding="ascii")


def set_limits(
    *, cpu_s: float, file_bytes: int, open_files: int, cpu_growth_s: float = 0.0, data_bytes: int | None = None
) -> None:
    """Set the hard limits.

    Args:
        cpu_s: processor seconds before SIGXCPU.
        file_bytes: largest file.
        open_files: open descriptors.
        cpu_growth_s: how far the process itself may raise `cpu_s` later (see `allow_cpu`).
        data_bytes: private memory by address, a backstop to the resident-memory watchdog.
    """
    cpu = max(1, math.ceil(cpu_s))
    _limit(resource.RLIMIT_CORE, 0, 0)
    _limit(resource.RLIMIT_CPU, cpu, cpu + math.ceil(cpu_growth_s) + 2)
    _limit(resource.RLIMIT_FSIZE, file_bytes, file_bytes)
    _limit(resource.RLIMIT_NOFILE, open_files, open_files)
    if data_bytes is not None:
        _limit(resource.RLIMIT_DATA, data_bytes, data_bytes)


def _limit(which: int, soft: int, hard: int) -> None:
    ceiling = resource.getrlimit(which)[1]
    if ceiling != resource.RLIM_INFINITY:
        soft, hard = min(soft, ceiling), min(hard, ceiling)
    resource.setrlimit(which, (soft, hard))


def confine(*, readable: Iterable[str], writable: Iterable[str], executable: Iterable[str] = ()) -> list[str]:
    """Give up privileges, the network, and every file but those named; return the layers that hold.

    Args:
        readable: files and folders that may be read.
        writable: those that may be written too.
        executable: programs that may be started; they stay under all of this.
    """
    layers = (
        ("network_namespace", leave_network),
        ("no_new_privileges", _refuse_new_privileges),
        ("no_capabilities", _drop_capabilities),
        ("landlock", lambda: _restrict_files(readable=readable, writable=writable, executable=executable)),
    )
    holding = []
    for name, layer in layers:
        try:
            layer()
        except (OSError, AttributeError):
            continue
        holding.append(name)
    return holding


def _libc() -> ctypes.CDLL:
    return ctypes.CDLL(None, use_errno=True)


def _checked(result: int) -> int:
    if result < 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))
    return result


def leave_network() -> None:
    """Move this process, and what it starts, into a network of its own that leads nowhere.

    Without root that takes a user namespace, in which the process keeps its ids and its files. Entering one
    clears the death signal: call `die_with_parent` again.

    Raises:
        OSError: the kernel or a container's policy forbids it.
    """
    user, group, libc = os.getuid(), os.getgid(), _libc()
    if user == 0:
        _checked(libc.unshare(_CLONE_NEWNET))
        return
    _checked(libc.unshare(_CLONE_NEWUSER | _CLONE_NEWNET))
    for name, text in (("setgroups", "deny"), ("uid_map", f"{user} {user} 1"), ("gid_map", f"{group} {group} 1")):
        with contextlib.suppress(OSError), open(f"/proc/self/{name}", "w", encoding="ascii") as file:  # noqa: PTH123
            file.write(text)


def _refuse_new_privileges() -> None:
    _checked(_libc().prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0))


def _drop_capabilities() -> None:
    # A store on a volume of another owner stays writable to root; Landlock bounds which files that means.
    kept = _CAP_DAC_OVERRIDE if os.geteuid() == 0 else 0
    header = struct.pack("=Ii", _CAPABILITY_VERSION_3, 0)
    _checked(_libc().capset(header, struct.pack("=6I", kept, kept, 0, 0, 0, 0)))


def _restrict_files(*, readable: Iterable[str], writable: Iterable[str], executable: Iterable[str]) -> None:
    libc = _libc()
    abi = _checked(libc.syscall(_SYS_LANDLOCK_CREATE_RULESET, None, ctypes.c_size_t(0), 1))
    handled = sum(rights for since, rights in _RIGHTS_SINCE_ABI if abi >= since)
    network = 0b11 if abi >= 4 else 0
    scoped = 0b11 if abi >= 6 else 0
    attributes = struct.pack("=QQQ", handled, network, scoped)[: 24 if abi >= 6 else 16 if abi >= 4 else 8]
    ruleset = _checked(libc.syscall(_SYS_LANDLOCK_CREATE_RULESET, attributes, ctypes.c_size_t(len(attributes)), 0))
    try:
        for path in (*_SYSTEM_READABLE, *readable):
            _allow(ruleset, path, rights=_READ_FILE | _READ_DIR)
        for path in writable:
            _allow(ruleset, path, rights=handled & ~_WITHHELD)
        programs = list(executable)
        loaders = [str(path) for pattern in _LOADERS for path in Path("/").glob(pattern)] if programs else []
        for path in (*programs, *loaders):
            _allow(ruleset, path, rights=_READ_FILE | _EXECUTE)
        _checked(libc.syscall(_SYS_LANDLOCK_RESTRICT_SELF, ruleset, 0))
    finally:
        os.close(ruleset)


def _allow(ruleset: int, path: str, *, rights: int) -> None:
    try:
        descriptor = os.open(path, os.O_PATH | os.O_CLOEXEC)
    except OSError:
        return
    try:
        if not os.path.isdir(path):  # noqa: PTH112
            rights &= _FOR_FILES
        rule = struct.pack("=Qi", rights, descriptor)
        _checked(_libc().syscall(_SYS_LANDLOCK_ADD_RULE, ruleset, 1, rule, 0))
    finally:
        os.close(descriptor)


def allow_cpu(more_s: float) -> None:
    """Raise this process's soft CPU limit to its first value plus `more_s`, as far as the hard limit goes.

    For work whose honest cost grows with what it has already achieved: a decoder stuck in native code
    never gets here and meets the first value.
    """
    hard = resource.getrlimit(resource.RLIMIT_CPU)[1]
    first = _first_cpu_limit()
    if first == resource.RLIM_INFINITY:
        return
    wanted = first + math.ceil(more_s)
    if hard != resource.RLIM_INFINITY:
        wanted = min(wanted, max(first, hard - 2))
    resource.setrlimit(resource.RLIMIT_CPU, (wanted, hard))


@cache
def _first_cpu_limit() -> int:
    return resource.getrlimit(resource.RLIMIT_CPU)[0]
