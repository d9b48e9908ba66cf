"""A confined child reaches nothing but what it was given. Skipped where the kernel offers no such layer."""

import ctypes
import os
import socket
import sys
from pathlib import Path

import pytest

from ironclad_assets.errors import IroncladError
from ironclad_assets.sandbox import confine
from tests.unit.sandbox.conftest import Run


def _landlock_abi() -> int:
    return int(ctypes.CDLL(None).syscall(444, None, ctypes.c_size_t(0), 1))


needs_landlock = pytest.mark.skipif(_landlock_abi() < 6, reason="this kernel has no Landlock ABI 6")


@needs_landlock
def test_child_reads_only_what_it_was_given(run: Run, tmp_path: Path) -> None:
    given, other = tmp_path / "given", tmp_path / "other"
    given.write_text("mine", encoding="utf-8")
    other.write_text("theirs", encoding="utf-8")
    assert run("read", arguments={"path": str(given)}, readable=[given])["content"] == "mine"
    with pytest.raises(IroncladError, match="PermissionError"):
        run("read", arguments={"path": str(other)}, readable=[given])
    with pytest.raises(IroncladError, match="PermissionError"):
        run("read", arguments={"path": "/etc/passwd"}, readable=[given])


@needs_landlock
def test_child_writes_only_where_it_may(run: Run, tmp_path: Path) -> None:
    work, archive = tmp_path / "work", tmp_path / "archive"
    work.mkdir()
    archive.mkdir()
    run("write", arguments={"path": str(work / "file")}, writable=[work], readable=[archive])
    assert (work / "file").stat().st_size == 4
    with pytest.raises(IroncladError, match="PermissionError"):
        run("write", arguments={"path": str(archive / "file")}, writable=[work], readable=[archive])
    assert list(archive.iterdir()) == []


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux says whom it ends first")
def test_child_goes_sooner_where_memory_runs_out(run: Run) -> None:
    """Else the kernel may take the run instead, and its end would count as a crash of the song."""
    score = Path("/proc/self/oom_score_adj")
    before = int(score.read_text(encoding="ascii"))
    there = run("read", arguments={"path": str(score)}, readable=[score])["content"]
    assert int(there) == min(before + 300, 1000)
    assert int(score.read_text(encoding="ascii")) == before


@needs_landlock
def test_child_reaches_no_network_program_or_process(run: Run) -> None:
    """No outgoing packet and no signal from a process that decodes untrusted bytes."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        refused = run("reach_out", arguments={"port": server.getsockname()[1]})["refused"]
    assert set(refused) == {"tcp", "udp", "program", "signal"}


def test_confining_says_which_layers_hold() -> None:
    reader, writer = os.pipe()
    child = os.fork()
    if not child:
        layers = confine.confine(readable=[], writable=[])
        os.write(writer, ",".join(layers).encode())
        os._exit(0)
    os.waitpid(child, 0)
    os.close(writer)
    with os.fdopen(reader, "rb") as stream:
        assert "no_new_privileges" in stream.read().decode().split(",")


def test_child_may_raise_its_own_limit_only_as_far_as_allowed() -> None:
    reader, writer = os.pipe()
    child = os.fork()
    if not child:
        import resource

        confine._first_cpu_limit.cache_clear()  # a fresh child has asked nothing yet
        confine.set_limits(cpu_s=5, cpu_growth_s=10, file_bytes=1000, open_files=64)
        confine.allow_cpu(3)
        first = resource.getrlimit(resource.RLIMIT_CPU)[0]
        confine.allow_cpu(1000)
        os.write(writer, f"{first} {resource.getrlimit(resource.RLIMIT_CPU)[0]}".encode())
        os._exit(0)
    os.waitpid(child, 0)
    os.close(writer)
    with os.fdopen(reader, "rb") as stream:
        assert stream.read() == b"8 15"
