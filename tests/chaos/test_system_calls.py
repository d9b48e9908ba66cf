"""Each system call of each writer is the last one, or fails: no torn file is ever visible, and writing again succeeds.

Promise 2 of `docs/reliability.md`. By default two calls of each writer are tried, with `make chaos` ten, and all
with ``CHAOS_CALLS=1000 pytest -s -m chaos tests/chaos/test_system_calls.py`` (half an hour).
"""

import os
import random
import shutil
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.chaos.every_writer import WRITERS
from tests.chaos.faults import KILLED, Zygote, require_strace
from tests.chaos.writers import State, Writer
from tests.e2e.running import say

pytestmark = [pytest.mark.chaos, pytest.mark.slow]

SEED = int(os.environ.get("CHAOS_SEED", "20261"))
TRIED = int(os.environ.get("CHAOS_CALLS", "2"))
"""Calls of each writer that are tried."""

NAMES = sorted(set(WRITERS) - {"nothing"})
ERRORS = {
    "write": ("ENOSPC", "EIO"),
    "pwrite64": ("ENOSPC", "EDQUOT"),
    "fsync": ("EIO",),
    "fdatasync": ("EIO",),
    "ftruncate": ("ENOSPC",),
    "openat": ("ENOSPC", "EMFILE", "EACCES", "EROFS"),
    "mkdir": ("ENOSPC", "EROFS"),
    "rename": ("EIO", "EXDEV"),
    "link": ("EMLINK", "EPERM"),
    "linkat": ("EMLINK",),
    "unlink": ("EROFS",),
    "fchmod": ("EPERM",),
}


@pytest.fixture(scope="module")
def zygote(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Zygote]:
    folder = tmp_path_factory.mktemp("strace")
    require_strace(folder)
    with Zygote(folder / "strace.log") as zygote:
        yield zygote


class Stage:
    """A writer with what is there before it and after it."""

    def __init__(self, name: str, *, zygote: Zygote, folder: Path) -> None:
        self.name = name
        self.writer: Writer = WRITERS[name]
        self._prepared = folder / "prepared"
        self._folder = folder / "tried"
        self._prepared.mkdir()
        self.writer.prepare(self._prepared)
        self.calls = zygote.changes(name, self.fresh())
        self.new = self.read()
        self.old = self.writer.read(self.fresh())

    def fresh(self) -> Path:
        """Return the folder as it is before the writer comes."""
        shutil.rmtree(self._folder, ignore_errors=True)
        shutil.copytree(self._prepared, self._folder, symlinks=True)
        return self._folder

    def read(self) -> State:
        return self.writer.read(self._folder)

    def cases(self, *, among: tuple[str, ...]) -> list[tuple[str, int]]:
        """Return calls to try, by name and number."""
        every = [(call, at) for call in among for at in self.calls[call]]
        chosen = random.Random(SEED).sample(every, min(TRIED, len(every)))
        return sorted(chosen)

    def require_whole(self, what: str) -> None:
        """Assert that the old state or the new one is there, and that writing again gives the new one."""
        found = self.read()
        assert found in (self.old, self.new) or self.writer.between(found), f"{what}: {found}"
        self.writer.write(self._folder)
        assert self.read() == self.new, what


@pytest.fixture
def stage(request: pytest.FixtureRequest, zygote: Zygote, tmp_path: Path) -> Stage:
    return Stage(request.param, zygote=zygote, folder=tmp_path)


@pytest.mark.parametrize("stage", NAMES, indirect=True)
def test_a_writer_killed_at_any_call_leaves_the_old_or_the_new(stage: Stage, zygote: Zygote) -> None:
    """Promise 2."""
    ends: Counter[int] = Counter()
    for call, at in stage.cases(among=tuple(stage.calls)):
        ends[zygote.kill(stage.name, stage.fresh(), call=call, at=at)] += 1
        stage.require_whole(f"killed at {call} {at}")
    assert ends[KILLED] >= 0.9 * sum(ends.values()), ends
    calls = {call: len(numbers) for call, numbers in stage.calls.items()}
    say(f"{stage.name}: {calls}; killed {ends[KILLED]} times, 0 torn")


@pytest.mark.parametrize("stage", NAMES, indirect=True)
def test_a_writer_whose_call_fails_leaves_the_old_or_the_new(stage: Stage, zygote: Zygote) -> None:
    """Promise 2: and where it fails it says so, unless what failed did not matter."""
    tried, failed = 0, 0
    for call, at in stage.cases(among=tuple(set(ERRORS) & set(stage.calls))):
        for error in ERRORS[call]:
            status = zygote.fail(stage.name, stage.fresh(), call=call, at=at, error=error)
            assert status in (0, 1), f"{call} {at} {error}: {status}"
            if status == 0:
                found = stage.read()
                assert found == stage.new or stage.writer.between(found), (
                    f"{call} {at} {error} said it was done: {found}"
                )
            tried, failed = tried + 1, failed + status
            stage.require_whole(f"{error} at {call} {at}")
    say(f"{stage.name}: {tried} errors, {failed} told, 0 torn")
