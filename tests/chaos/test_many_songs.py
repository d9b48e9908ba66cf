"""Many songs of several users while random processes are killed: each ends exactly once, and nothing grows.

Promise 3 of `docs/reliability.md`. `make chaos` takes 200 songs and 24 kills, `make soak` 1,000 and 120; how many is
CHAOS_SONGS and CHAOS_KILLS. One file in a hundred is no song. What was seen is printed, and written to CHAOS_REPORT.
"""

import json
import os
import random
import statistics
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil
import pytest

from ironclad_assets.contracts.v1.job import Job, JobState
from ironclad_assets.settings import Settings
from ironclad_assets.storage.opening import open_store
from ironclad_assets.upkeep.prune.guard import Clock
from ironclad_assets.upkeep.prune.plan import Kind
from ironclad_assets.upkeep.prune.sweep import Sweep
from tests import synth
from tests.chaos.conftest import SONG_S, SONGS
from tests.e2e.conftest import MakeSystem
from tests.e2e.running import RunningSystem, say

pytestmark = [pytest.mark.chaos, pytest.mark.long]

MANY = int(os.environ.get("CHAOS_SONGS", "200"))
KILLS = int(os.environ.get("CHAOS_KILLS", "24"))
SEED = int(os.environ.get("CHAOS_SEED", "20261"))
USERS = ("ada", "bea", "cyd")
BAD_EVERY = 100
AHEAD = 40
"""Files that are dropped before those in front of them have ended."""

EVERYTHING = "everything"
PATIENCE_S = 300.0
"""Longest time in which no song ends: the promised three minutes until songs go on, and a song."""

SAMPLE_S = 5.0
REPORT_S = 60.0
WATCHED = ("daemon", "code server", "fork server")


@dataclass
class Soak:
    """A system under fire, and what was seen."""

    system: RunningSystem
    rng: random.Random
    dropped: int = 0
    kills: Counter[str] = field(default_factory=Counter)
    recoveries: list[float] = field(default_factory=list)
    sizes: dict[str, list[tuple[float, int, int]]] = field(default_factory=dict)
    began: float = field(default_factory=time.monotonic)
    _sampled_at: float = 0.0

    def ended(self) -> int:
        counts = self.system.ledger.count_by_state()
        return sum(count for state, count in counts.items() if not state.active)

    def feed(self) -> None:
        """Keep some files waiting in the upload folders, no more: as a server's days go."""
        while self.dropped < MANY and self.dropped < self.ended() + AHEAD:
            self._drop(self.dropped)
            self.dropped += 1

    def _drop(self, number: int) -> None:
        staging = self.system.store / ".tests"
        staging.mkdir(exist_ok=True)
        path = staging / f"Song {number}.flac"
        if _is_bad(number):
            path.write_bytes(random.Random(number).randbytes(20_000))
        else:
            synth.write_flac(path, synth.noise(SONG_S, seed=number))
        folder = self.system.store / "input" / USERS[number % len(USERS)]
        folder.mkdir(exist_ok=True)
        path.rename(folder / path.name)

    def kill(self) -> None:
        """Kill one random process, or all; start the system again where it has to be."""
        roles = sorted(set(self.system.processes()) - {"prepare"})
        role = EVERYTHING if not roles or self.rng.random() < 0.15 else self.rng.choice(roles)
        if role == EVERYTHING:
            self.system.kill_all()
        elif self.system.kill(role, choose=self.rng.choice) is None:
            return
        self.kills[role] += 1
        if role in (EVERYTHING, "supervisor"):
            began, before = time.monotonic(), self.ended()
            self.system.await_true(lambda: not self.system.processes(), timeout_s=30.0, what="everything is gone")
            self.system.start()
            if before < self.dropped:
                self.system.await_true(
                    lambda: self.system.pids("run worker") or self.ended() == self.dropped,
                    timeout_s=180.0,
                    what="songs go on",
                )
                self.recoveries.append(time.monotonic() - began)

    def sample(self) -> None:
        """Note memory and open files of what runs for long."""
        now = time.monotonic()
        if now - self._sampled_at < SAMPLE_S:
            return
        self._sampled_at = now
        for role in WATCHED:
            for pid in self.system.pids(role):
                try:
                    process = psutil.Process(pid)
                    seen = (now - self.began, process.memory_info().rss, process.num_fds())
                except psutil.Error:
                    continue
                self.sizes.setdefault(f"{role} {pid}", []).append(seen)


def _is_bad(number: int) -> bool:
    return number % BAD_EVERY == BAD_EVERY - 1


@pytest.fixture(scope="module")
def soak(make_system: MakeSystem) -> Soak:
    """Return the system after all songs have ended."""
    soak = Soak(make_system(), random.Random(SEED))
    soak.system.start()
    last_end, ended, reported_at = time.monotonic(), 0, time.monotonic()
    while ended < MANY:
        soak.feed()
        soak.sample()
        now_ended = soak.ended()
        if now_ended > ended:
            ended, last_end = now_ended, time.monotonic()
        assert time.monotonic() - last_end < PATIENCE_S, soak.system.story()[-8000:]
        if sum(soak.kills.values()) < KILLS and ended >= sum(soak.kills.values()) * MANY / KILLS:
            time.sleep(soak.rng.uniform(0.0, 2.0))
            soak.kill()
        if time.monotonic() - reported_at > REPORT_S:
            reported_at = time.monotonic()
            _keep(_report(soak))
        time.sleep(0.5)
    report = _report(soak)
    _keep(report)
    say(json.dumps(report, indent=1))
    return soak


def _keep(report: dict[str, Any]) -> None:
    """Write the report down, also of a soak that is not over."""
    if "CHAOS_REPORT" in os.environ:
        Path(os.environ["CHAOS_REPORT"]).write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")


def _report(soak: Soak) -> dict[str, Any]:
    took_s = time.monotonic() - soak.began
    jobs = _jobs(soak)
    return {
        "songs": MANY,
        "ended": sum(not job.state.active for job in jobs),
        "kills": dict(sorted(soak.kills.items())),
        "seed": SEED,
        "minutes": round(took_s / 60, 1),
        "states": dict(Counter(job.state.value for job in jobs)),
        "attempts": dict(sorted(Counter(job.attempt for job in jobs).items())),
        "seconds_until_songs_went_on": [round(one, 1) for one in soak.recoveries],
        "growth_percent_per_hour": _growth(soak),
    }


def _growth(soak: Soak) -> dict[str, dict[str, float]]:
    """Return by how much memory and open files of each process that lived ten minutes grew, in percent an hour."""
    grown = {}
    for name, seen in soak.sizes.items():
        settled = seen[len(seen) // 4 :]
        hours = (settled[-1][0] - settled[0][0]) / 3600
        if hours < 1 / 6:
            continue
        half = len(settled) // 2
        grown[name] = {}
        for what, at in (("memory", 1), ("files", 2)):
            first = statistics.median(one[at] for one in settled[:half])
            second = statistics.median(one[at] for one in settled[half:])
            grown[name][what] = round(100 * (second - first) / first / (hours / 2), 2)
    return grown


def _jobs(soak: Soak) -> list[Job]:
    return soak.system.ledger.jobs(limit=10 * MANY)


def test_every_song_ends_exactly_once(soak: Soak) -> None:
    """Promise 3, WATCH-004."""
    jobs = _jobs(soak)
    assert len(jobs) == len({job.song for job in jobs}) == MANY
    wrong = {
        job.original_name: (job.state, job.error)
        for job in jobs
        if job.state is not (JobState.FAILED if _is_bad(_number(job)) else JobState.COMPLETED)
    }
    assert wrong == {}
    for job in jobs:
        ends = [line for line in soak.system.ledger.history(job.job_uuid) if not line.to_state.active]
        assert len(ends) == 1
    assert sorted(soak.system.partitions()) == sorted(job.song for job in jobs)


def _number(job: Job) -> int:
    return int(job.original_name.removeprefix("Song ").removesuffix(".flac"))


def test_their_bytes_are_those_of_a_calm_run(soak: Soak, reference: dict[str, str]) -> None:
    """Each song has its three files; those that were also made undisturbed are equal byte for byte."""
    library = soak.system.library()
    good = sum(not _is_bad(number) for number in range(MANY))
    assert len(library) == 3 * good
    assert {path: library.get(path) for path in reference} == reference
    assert SONGS <= MANY


def test_nothing_is_left_over(soak: Soak) -> None:
    """A file that was killed between its writing and its renaming stays for an hour; then the sweep takes it."""
    root = soak.system.store
    assert soak.system.leftovers() == []
    assert [path for path in (root / "input").rglob("*") if path.is_file()] == []
    left, library = list((root / "stages").rglob("*.part")), soak.system.library()
    say(f"left for the sweep: {[str(path.relative_to(root)) for path in left]}")
    assert len(left) <= sum(soak.kills.values())
    done = next(job.song for job in _jobs(soak) if job.state is JobState.COMPLETED)
    (root / "stages" / "staged_chunks" / done / f".{'0' * 32}.part").touch()
    for clock in (Clock(), Clock(wall=_two_hours_later(time.time), boot_s=_two_hours_later(Clock().boot_s))):
        assert len(list((root / "stages").rglob("*.part"))) == len(left) + 1, "an hour is not over"
        settings = Settings.model_validate({"home": soak.system.home})
        kinds = frozenset({Kind.PARTIAL})
        store, ledger = open_store(settings), soak.system.ledger
        Sweep(store, ledger, settings, actor="test", kinds=kinds, confirmed=True, clock=clock).run()
    assert list((root / "stages").rglob("*.part")) == []
    assert soak.system.library() == library


def _two_hours_later(clock: Callable[[], float]) -> Callable[[], float]:
    return lambda: clock() + 7200.0


def test_nothing_grows(soak: Soak) -> None:
    """Memory and open files of what runs for long: less than 5 % an hour, where it ran long enough to tell."""
    grown = _growth(soak)
    if not grown:
        pytest.skip("no process lived for ten minutes; `python -m benchmarks.scale` shows what grows")
    assert {name: each for name, each in grown.items() if max(each.values()) > 5} == {}
