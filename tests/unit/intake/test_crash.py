"""Power cuts and kill -9 between any two steps of intake: nothing lost, nothing twice (WATCH-004)."""

import hashlib
import os
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path
from types import FrameType
from typing import Any

import pytest

from ironclad_assets.contracts.v1.job import JobState
from ironclad_assets.intake.inbox import Inbox
from ironclad_assets.ledger.store import Ledger
from ironclad_assets.settings import Settings
from ironclad_assets.storage.store import Store

BYTES = b"song" * 270_000  # more than one block
STEPS = frozenset(
    {"open", "pwrite", "write", "fsync", "fchmod", "replace", "rename", "unlink", "mkdir", "execute", "ioctl"}
)
"""Built-in functions that change something outside the process; it dies before each."""

MOST_POINTS = 400


def die_at(point: int) -> Callable[[FrameType, str, Any], None]:
    """Return a profiler that kills this process at its `point`-th step."""
    passed = 0

    def profile(frame: FrameType, event: str, function: Any) -> None:
        nonlocal passed
        if event == "c_call" and getattr(function, "__name__", "") in STEPS:
            passed += 1
            if passed == point:
                os.kill(os.getpid(), signal.SIGKILL)

    return profile


def collect(settings: Settings, store: Store, *, die: int | None = None) -> None:
    """Take in everything, as a new process would; die at a step if told to."""
    inbox = Inbox(ledger=Ledger(settings.ledger_url), store=store, settings=settings)
    if die is not None:
        sys.setprofile(die_at(die))
    inbox.collect(budget_s=10.0)
    sys.setprofile(None)
    inbox.close()


def collect_in_child(settings: Settings, store: Store, *, die: int) -> bool:
    """Return whether the child came to its end."""
    pid = os.fork()
    if pid == 0:
        try:
            collect(settings, store, die=die)
            os._exit(0)
        finally:
            os._exit(1)
    status = os.waitpid(pid, 0)[1]
    assert os.WIFSIGNALED(status) or os.WEXITSTATUS(status) == 0
    return not os.WIFSIGNALED(status)


@pytest.mark.chaos
@pytest.mark.long
@pytest.mark.parametrize("refused", [False, True], ids=["taken", "refused"])
def test_killed_at_every_step_a_file_is_taken_exactly_once(settings: Settings, store: Store, refused: bool) -> None:
    settings = settings.model_copy(update={"settle_s": 0.0})
    ledger = Ledger(settings.ledger_url)
    ledger.migrate()
    ledger.close()
    file, survived, point = store.input / "song.mp3", False, 0
    songs: set[str] = set()
    while not survived:
        point += 1
        content = BYTES + b"%d" % point
        file.write_bytes(content)
        if refused:
            os.link(file, store.root / f"other {point}")
        survived = collect_in_child(settings, store, die=point)
        assert file.exists() or len(Ledger(settings.ledger_url).jobs(limit=1000)) == point
        collect(settings, store)
        jobs = Ledger(settings.ledger_url).jobs(limit=1000)
        assert len(jobs) == point
        assert not file.exists()
        (song,) = {job.song for job in jobs} - songs
        songs.add(song)
        check_whole(store, settings, song=song, content=content, refused=refused)
        assert point < MOST_POINTS
    assert point > 20
    assert len(list(store.archive.glob(".*.part"))) < point


def check_whole(store: Store, settings: Settings, *, song: str, content: bytes, refused: bool) -> None:
    ledger = Ledger(settings.ledger_url)
    identity = ledger.song(song)
    job = ledger.latest_job(song)
    assert job is not None
    assert job.state is (JobState.FAILED if refused else JobState.QUEUED)
    assert store.path(identity.archive_path).read_bytes() == content
    if refused:
        assert (store.quarantine(song) / "error.json").exists()
    else:
        assert identity.sha256 == hashlib.sha256(content).hexdigest()
    ledger.close()


@pytest.mark.chaos
def test_two_watchers_on_one_folder_take_each_file_once(settings: Settings, store: Store) -> None:
    """WATCH-001."""
    settings = settings.model_copy(update={"settle_s": 0.0})
    ledger = Ledger(settings.ledger_url)
    ledger.migrate()
    ledger.close()
    for number in range(40):
        (store.input / f"{number}.mp3").write_bytes(BYTES + b"%d" % number)
    children = []
    for _ in range(3):
        pid = os.fork()
        if pid == 0:
            try:
                for _ in range(3):
                    collect(settings, store)
                os._exit(0)
            finally:
                os._exit(1)
        children.append(pid)
    assert [os.waitpid(pid, 0)[1] for pid in children] == [0, 0, 0]
    jobs = Ledger(settings.ledger_url).jobs(limit=1000)
    assert sorted(int(Path(job.original_name).stem) for job in jobs) == list(range(40))
    assert not any(store.input.iterdir())
    assert not list(store.archive.glob(".*.part"))


def test_a_slow_writer_with_stalls_is_never_taken_early(settings: Settings, store: Store) -> None:
    """WATCH-001: a writer that holds its file open, stalling longer than the settle time."""
    settings = settings.model_copy(update={"settle_s": 0.02})
    ledger = Ledger(settings.ledger_url)
    ledger.migrate()
    inbox = Inbox(ledger=ledger, store=store, settings=settings)
    with (store.input / "slow.mp3").open("wb", buffering=0) as stream:
        for _ in range(10):
            stream.write(b"x")
            time.sleep(0.05)
            assert inbox.collect(budget_s=1.0).taken == []
    (taken,) = inbox.collect(budget_s=1.0).taken
    assert ledger.song(taken.job.song).size_bytes == 10
    inbox.close()
    ledger.close()
